"""The settings that the mappings of a spec are, by their path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphspec.data.config import DataConfig
from graphspec.data.files import DataFile, Marked, SourceFile, Split
from graphspec.generate.config import GenerateSettings
from graphspec.generate.loop_config import LoopSettings, Way
from graphspec.language.schema import Block, Input, Output, Spec
from graphspec.reference.entries import Parameter
from graphspec.reference.layers import parameters_of
from graphspec.train.config import TrainConfig
from graphspec.train.config.adapters import AdapterSettings
from graphspec.train.config.groups import ParameterGroup
from graphspec.train.config.phases import PhaseSettings, StepSettings
from graphspec.train.config.varying import Varying
from graphspec.tune.config import Choice, FloatRange, IntRange, TuneConfig

_AT: Mapping[tuple[str, ...], tuple[type[Any], ...]] = {
    (): (Spec,),
    ("inputs", "*"): (Input,),
    ("outputs", "*"): (Output,),
    ("blocks", "*"): (Block,),
    ("outputs", "*", "loss_weight"): (Varying,),
    ("nodes", "*", "constant"): (Varying,),
    ("shared", "*", "momentum"): (Varying,),
    ("train",): (TrainConfig,),
    ("train", "parameter_groups", "*"): (ParameterGroup,),
    ("train", "adapters", "*"): (AdapterSettings,),
    ("train", "phases", "*"): (PhaseSettings,),
    ("train", "steps", "*"): (StepSettings,),
    ("data",): (DataConfig,),
    ("data", "train"): (DataFile,),
    ("data", "train", "*"): (SourceFile,),
    ("data", "validation"): (Split, Marked, DataFile),
    ("data", "test"): (DataFile,),
    ("tune",): (TuneConfig,),
    ("tune", "search", "*"): (IntRange, FloatRange, Choice),
    ("generate", "*"): (GenerateSettings, LoopSettings),
    ("generate", "*", "repeat", "*"): (Way,),
}
"""The classes of a mapping at a path; * is any name, or an item of a list."""


def classes_at(path: tuple[str, ...]) -> tuple[type[Any], ...]:
    """The classes of settings that a mapping at a path can be."""
    for pattern, classes in _AT.items():
        if len(pattern) == len(path) and all(p in ("*", step) for p, step in zip(pattern, path, strict=True)):
            return classes
    return ()


def parameters_at(cls: type[Any]) -> tuple[Parameter, ...]:
    """The keys of a class of settings; what has any type has none that would say something."""
    return tuple(replace(each, type="") if each.type == "any" else each for each in parameters_of(cls))
