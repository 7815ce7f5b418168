"""The directory of a run as files: which of them are the run's, and their deletion. Needs no torch."""

from __future__ import annotations

import os.path
import re
from collections import defaultdict
from pathlib import PurePosixPath

from graphspec.files.folder import Folder
from graphspec.files.records import RunEnvironment, environment_of
from graphspec.files.remembered import recall
from graphspec.files.run_files import (
    BEST,
    CHECKPOINT,
    CHECKPOINTS,
    ENGINES_FOLDER,
    ENVIRONMENT,
    EVENTS,
    FILES,
    FORMER,
    IN_CHECKPOINT,
    IN_ENGINES_FOLDER,
    LAST,
    MEASURED_ENDING,
    OWN,
    TENSORBOARD,
    kept_file,
    reserved,
)

READ, WRITTEN = "read", "written"
"""Lists of further names in `environment.json`: files that the spec reads, and those that callbacks write."""
WEIGHTS_DIGEST = "weights_sha256"
"""The digest in `environment.json` of the file of weights that a run started from."""
REPLACED = "replaced"
"""The mark of a run that another one is about to take the place of: what else is there is of the old one."""


class RunFolder(Folder):
    """Deletes only what a run has written; whatever else lies in its directory stays."""

    def about(self) -> RunEnvironment:
        """`environment.json`; nothing where it cannot be read."""
        try:
            return environment_of(self.path)
        except (OSError, ValueError):
            return RunEnvironment()

    def names(self, key: str) -> list[str]:
        """One of the lists of `environment.json`: names that a file besides the run's own can have."""
        about = self.about()
        names = about.read if key == READ else about.written
        return [name for name in names if not reserved(name)]

    def clean(self, alone: bool = False) -> None:
        """Deletes files that a process left half written; if this one is `alone` in the run, of any process,
        but for those of engines, which are written beside a training. Raises `SpecError` where a link has the
        place of one of the run's own.
        """
        for name in OWN:
            self.holds(name)
        for name in (*self._in(CHECKPOINTS, CHECKPOINT), *self._in(ENGINES_FOLDER, IN_ENGINES_FOLDER)):
            self.holds(name)
        places: dict[str, set[str]] = defaultdict(set)
        for path in map(PurePosixPath, (*FILES, *self.names(READ), *self.names(WRITTEN))):
            places[str(path.parent)].add(path.name)
        for place, names in places.items():
            self.remove_halves(place, names.__contains__, alone)
        self.remove_halves(CHECKPOINTS, CHECKPOINT.fullmatch, alone)
        self.clear_half_engines()

    def clear_half_engines(self) -> None:
        """Deletes what processes that have ended left of engines half written."""
        self.remove_halves(ENGINES_FOLDER, IN_ENGINES_FOLDER.fullmatch)

    def clear(self) -> None:
        """Deletes the run, but for `environment.json`."""
        for name in (*FILES, *self.names(READ), *self.names(WRITTEN)):
            if name != ENVIRONMENT:
                self.remove(name)
        self.clear_checkpoints()
        self.remove_folder(ENGINES_FOLDER, IN_ENGINES_FOLDER)
        for part in ("train", "validation"):
            self.remove_folder(f"{TENSORBOARD}/{part}", EVENTS)
        self.remove_folder(TENSORBOARD, EVENTS)

    def clear_checkpoints(self) -> None:
        for name in self._in(CHECKPOINTS, CHECKPOINT):
            self.remove_folder(name, IN_CHECKPOINT)
        self.remove_folder(CHECKPOINTS, re.compile("(?!)"))

    def clear_weights(self) -> None:
        """Deletes everything that holds weights, half written or whole."""
        self.clean()
        self.clear_checkpoints()
        self.remove_folder(ENGINES_FOLDER, IN_ENGINES_FOLDER)
        written = (name for name in self.names(WRITTEN) if name.endswith(".safetensors"))
        for name in (LAST, BEST, *FORMER, *written):
            self.remove(name)

    def clear_engines(self) -> None:
        """Deletes what is kept of weights that are not there any more."""
        names = self._in(ENGINES_FOLDER, IN_ENGINES_FOLDER)
        for name in names:
            stem = name.partition(".")[0]
            if not os.path.isfile(self.path / self._weights_of(stem)):
                self.remove(name)

    def _weights_of(self, stem: str) -> str:
        """The place of the weights of which files of `engines` with this stem are; "" where none says so."""
        key = recall(self.path, f"{stem}{MEASURED_ENDING}").get("key")
        place = str(key["weights"][0]) if key else ""
        return place if kept_file(place, "") == stem else ""

    def _in(self, folder: str, names: re.Pattern[str]) -> list[str]:
        """The files of a folder whose name matches."""
        return [f"{folder}/{e.name}" for e in self.listed(folder) if names.fullmatch(e.name)]
