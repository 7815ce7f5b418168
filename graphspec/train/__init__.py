"""Training. `config` has the settings and needs no torch; everything else here does."""

import sys

from graphspec.diagnostics.attributes import Package

sys.modules[__name__].__class__ = Package
