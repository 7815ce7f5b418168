"""A trained model in use: its module, its evaluation, its predictions.

run = Run("runs/digits-1")
run.evaluate()                          # {"loss": 0.08, "accuracy": 0.98}
run.predict("new.csv").to_pandas()
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graphspec.compiler import compile
from graphspec.data.rows.reader import as_rows
from graphspec.diagnostics import SpecError, fail
from graphspec.diagnostics.arguments import checked
from graphspec.diagnostics.notebook import preformatted, table
from graphspec.files.run_files import CANDIDATES
from graphspec.program import Program
from graphspec.runs.directory import RunFiles, Values, row_of
from graphspec.runs.engines import OF_CPUS
from graphspec.runs.spec_files import SUFFIXES, SpecFiles
from graphspec.weights import no_file

if TYPE_CHECKING:
    import pyarrow as pa
    import torch
    from torch import nn

    from graphspec.data.batches import Examples
    from graphspec.data.candidates import Candidates
    from graphspec.data.encoders import Encoders
    from graphspec.generate.generating import Maker
    from graphspec.runs.judging import Judge
    from graphspec.runs.model import Model
    from graphspec.runs.recommending import Finder
    from graphspec.runs.sampling import Samples


class Run:
    """The directory that a training left, here or copied from elsewhere; or a spec, whose weights come from
    the files that it names or from `weights`. Raises `SpecError` (run-missing) for another directory.

    `weights` is best, last (the epoch), or a file; `allow` names the Python packages that
    `module:` may import; with `allow_url` the spec's test data may lie in object storage.
    """

    @checked
    def __init__(
        self,
        path: str | Path,
        weights: Literal["best", "last"] | str | Path = "best",
        allow: Iterable[str] = (),
        allow_url: bool = False,
    ):
        place = Path(path)
        is_spec = place.suffix in SUFFIXES and not place.is_dir()
        self.files: RunFiles | SpecFiles = SpecFiles(place) if is_spec else RunFiles(place)
        self._weights = weights
        self._allow, self._allow_url = tuple(allow), allow_url
        self._kept: tuple[tuple[str, str, int], Any, Path | None, Model] | None = None

    def __repr__(self) -> str:
        epochs = max((len(values) for values in self.history.values()), default=0)
        return f"<Run {self.path}: {epochs} epochs>" if epochs else f"<Run {self.path}>"

    def _repr_html_(self) -> str:
        if isinstance(self.files, SpecFiles):
            return preformatted(repr(self))
        row = row_of(self.path)
        head = ("", f"epoch {row.best_epoch}" if row.best_epoch else "")
        return table(f"{self.path}: {row.epochs} epochs, {row.state}", head, [*row.values.items()])

    @property
    def path(self) -> Path:
        """The directory."""
        return self.files.path

    @cached_property
    def program(self) -> Program:
        """The compiled spec."""
        return self.compiled()

    @checked
    def compiled(self, settings: Mapping[str, Any] | None = None) -> Program:
        """The spec compiled with further settings, by their dotted paths."""
        return compile(self.files.spec, None, None, settings, self._allow, self._allow_url)

    @property
    def history(self) -> Values:
        """The values of all completed epochs, by name."""
        return self.files.history()

    @property
    def lengths(self) -> dict[str, int]:
        """The usual values of the inputs' named sizes, where the run knows them."""
        return self.files.lengths

    @property
    def weights(self) -> Path | None:
        """The file of weights that is used; None where the spec names files for all of them. Raises
        `SpecError` (weights-missing).
        """
        file = self.files.weights(str(self._weights), self.program)
        if file is not None and not file.exists():
            raise no_file(file)
        return file

    @checked
    def module(self, device: str = "cpu") -> nn.Module:
        """The trained `nn.Module`, in inference mode."""
        with self._naming_others():
            return self.program.module(device=device, weights=self.state()).eval()

    @contextmanager
    def _naming_others(self) -> Iterator[None]:
        """Lets an error without a remedy name the other weights of the run."""
        try:
            yield
        except SpecError as error:
            help = self.files.instead(str(self._weights))
            raise SpecError(replace(each, help=each.help or help) for each in error.diagnostics) from None

    def state(self) -> Any:
        """The weights: their file, or with adapters a mapping, these merged into the base that they were
        trained for.
        """
        weights = self.weights
        if weights is None or not self.program.training.adapters:
            return weights
        from graphspec.train.adapters import with_adapters

        return with_adapters(self.program, weights, self.files.base)

    @checked
    def evaluate(
        self,
        data: Any = None,
        *,
        device: str = "auto",
        engine: str = "torch",
        batch_size: int | None = None,
        limit: int | None = None,
        progress: Callable[[int], None] | None = None,
        noted: Callable[[list[str]], None] | None = None,
        baselines: bool = False,
        boosting: bool = False,
        tiles: int | None = None,
    ) -> dict[str, Any]:
        """Losses and metrics by name, as in training, on all of `data`; by default on the spec's test
        data, or else on its validation data. Forecasts of numbers have `naive_mae`, the error of the seasonal
        naive forecast, `mase`, and `by_step` the errors of each step. `progress` gets the number of rows
        so far after each batch, `noted` which engine computes and what was unseen, filled or cut: a line for
        each feature with such rows. With `baselines`, and without `data`, there is also what is reached on
        the same rows without the model; with `boosting` also by boosted trees, if scikit-learn is there. With
        `tiles`, pictures of `data` keep their size, as in `predict`.

        Raises `SpecError` for errors in the data, or if there are none to evaluate on.
        """
        from graphspec.train import device as devices
        from graphspec.train.loop import compared

        program, place = self.program, devices.choose(device)
        more: dict[str, Any] = {}
        with devices.computing(devices.threads(program)):
            if tiles is not None:
                return self._in_tiles(data, tiles, device, engine, limit, progress, noted)
            examples, encoders, part, training = self.parts(data, place, limit)
            judge, lines = self.judge(encoders, place, engine, batch_size)
            values = judge(examples, progress)
            if baselines and training is not None:
                beside_it = compared(program, encoders, training, examples, "", boosting)
                more = {"baselines": beside_it} if beside_it else {}
        if noted is not None:
            counted = encoders.counted(part) if encoders is not None else ()
            noted([*lines, *counted, *judge.notes])
        return {**values, **more}

    def _in_tiles(
        self,
        data: Any,
        overlap: int,
        device: str,
        engine: str,
        limit: int | None,
        progress: Callable[[int], None] | None,
        noted: Callable[[list[str]], None] | None,
    ) -> dict[str, Any]:
        """The values of `evaluate` for pictures in their own size. Raises `SpecError`."""
        import torch

        from graphspec.data.in_memory_source import given
        from graphspec.data.weighed import weighed
        from graphspec.runs.engine_module import EngineModule
        from graphspec.runs.judging import Judge
        from graphspec.runs.prediction import tiled_examples
        from graphspec.runs.tiles import TiledEngine, Tiles
        from graphspec.train.penalties import Penalties

        source, encoders = given(data), self.encoders()
        if source is None:
            raise fail(
                "data-missing", "tiles are of pictures that `--data` names", "give data: `--data PATH`"
            )
        cut, model = Tiles.of(self.program, encoders, overlap), self.model(device, engine)
        assert encoders is not None
        examples = tiled_examples(self.program, cut, encoders, source, limit or sys.maxsize)
        module = EngineModule(TiledEngine(model.engine, cut), [*self.program.inputs])
        penalties = Penalties(self.program.graph, self.module())
        if penalties.of_activities:
            raise fail("not-supported", "the loss has penalties on inner activities", "leave `--tiles` out")
        judge = Judge(self.program, encoders, module, penalties, torch.device("cpu"), 1)
        values = judge(weighed(examples, encoders), progress)
        if noted is not None:
            noted([*model.notes, *encoders.counted()])
        return values

    @checked
    def judge(
        self, encoders: Encoders | None, place: Any, engine: str = "torch", batch_size: int | None = None
    ) -> tuple[Judge, Sequence[str]]:
        """Measures the model on a device, or another engine, with its losses and metrics; and lines that say
        which engine it is. Raises `SpecError`.
        """
        from graphspec.runs.engine_module import EngineModule
        from graphspec.runs.engines import FileEngine
        from graphspec.runs.judging import Judge
        from graphspec.train.freezing import Freezing
        from graphspec.train.penalties import Penalties

        place = _device(place)
        program, module, lines = self.program, self.module(str(place)), list[str]()
        size = batch_size or program.training.batch_size
        penalties = Penalties(program.graph, module)
        penalties.bind(Freezing(program.graph, module).trained(program.training))
        known = self.candidates()
        if engine != "torch" and not penalties.of_activities:
            model = self.model(str(place), engine, size)
            lines += model.notes
            if isinstance(model.engine, FileEngine):
                file_module = EngineModule(model.engine, [*program.inputs])
                return Judge(program, encoders, file_module, penalties, place, size, known), lines
        elif engine not in ("torch", "auto"):
            message = f"`{engine}` returns outputs, but the loss also has penalties on inner activities"
            raise fail("not-supported", message, "leave `--engine` out")
        if not penalties:  # which are of the weights as they were trained
            _, module = self.inference(place)
        return Judge(program, encoders, module, penalties, place, size, known), lines

    @checked
    def finder(self, top: int, device: str = "auto", engine: str = "torch", rows: int = 1) -> Finder:
        """Finds the `top` keys of training rows for each query. Raises `SpecError`."""
        from graphspec.runs.recommending import Finder

        model = self.model(device, engine, rows)
        return Finder(self.program, model, self.encoders, self.candidates(), top, max(rows, 256))

    def candidates(self) -> dict[str, Candidates]:
        """By output, the keys of training rows that its metrics rank and `top` finds; none of a program that
        reads none. Raises `SpecError` (data-format).
        """
        wanted = [name for name, output in self.program.outputs.items() if output.reads_candidates]
        if not wanted:
            return {}
        from graphspec.data.candidates import Candidates
        from graphspec.emit.load import read_weights

        path = self.path / CANDIDATES
        try:
            state = read_weights(path, None)
            return {name: Candidates.restored(self.program, name, state) for name in wanted}
        except (SpecError, ValueError) as error:
            reason = f" {error}" if isinstance(error, ValueError) else ""
            message = (
                f"`{path}`, the keys of the rows that the run learned from, is missing or damaged:{reason}"
            )
            help = "copy the whole directory of the run, or train again"
            raise fail("data-format", message.rstrip(":"), help) from None

    @checked
    def predict(
        self,
        data: Any,
        *,
        device: str = "auto",
        engine: str = "torch",
        batch_size: int | None = None,
        limit: int | None = None,
        probabilities: bool = True,
        every_window: bool = False,
        top: int | None = None,
        tiles: int | None = None,
    ) -> pa.Table:
        """A row for each row of `data`, in order: the key columns of the spec, then the predictions. A dict
        of values is one row, and a key that it lacks a missing value.

        Classes and sets are given by name, with the probability of each if `probabilities`;
        numbers in the units of their column; sequences as lists. Targets in `data` are not read. Of windows
        over time, a row for each step that comes after the last of each series, or after `every_window`.
        With `top`, a row has the names of so many keys that suit its query best, of those that training rows
        do not have with it, and their scores. With `tiles`, pictures keep their size: of those larger than
        the input, masks are blended from tiles that overlap by so many pixels.
        """
        size = batch_size or self.program.training.batch_size
        rows, table = as_rows(data), None
        if top is not None or tiles is not None:
            pass
        elif rows is not None and len(rows) == 1:
            table = self.model(device, engine).predict_row(rows[0], probabilities)
        elif rows is None and isinstance(data, dict) and limit is None:
            table = self.model(device, engine, size).predict_arrays(data, size, probabilities)
        if table is not None:
            return table
        import pyarrow as pa

        from graphspec.data.in_memory_source import of_rows

        if rows is not None and self.encoders() is not None:
            data = of_rows(rows)
        parts = self.predictions(
            data,
            device=device,
            engine=engine,
            batch_size=batch_size,
            limit=limit,
            probabilities=probabilities,
            every_window=every_window,
            top=top,
            tiles=tiles,
        )
        return pa.concat_tables(list(parts))

    @checked
    def predictions(
        self,
        data: Any,
        *,
        device: str = "auto",
        engine: str = "torch",
        batch_size: int | None = None,
        limit: int | None = None,
        probabilities: bool = True,
        every_window: bool = False,
        noted: Callable[[list[str]], None] | None = None,
        pictures: Path | None = None,
        top: int | None = None,
        tiles: int | None = None,
    ) -> Iterator[pa.Table]:
        """The tables of `predict`, part by part, in bounded memory; with a folder `pictures`, masks are PNG
        files in it, of which the tables have the names. In the end `noted` gets what was
        unseen, filled or cut: a line for each feature with such rows.
        """
        from graphspec.data.in_memory_source import KINDS, given
        from graphspec.runs.prediction import predictions

        source = given(data)
        if source is None:
            raise fail("data-missing", "there is no data to predict of", f"give {KINDS}")
        size = batch_size or self.program.training.batch_size
        model = self.model(device, engine, size)
        if noted is not None and model.notes:
            noted([*model.notes])
        if top is not None:
            from graphspec.runs.recommending import recommendations

            finder = self.finder(top, device, engine, size)
            yield from recommendations(finder, source, limit or sys.maxsize, probabilities, noted)
            return
        yield from predictions(
            self.program,
            model.engine,
            None if model.encoders is None else self.encoders(),
            source,
            size,
            limit or sys.maxsize,
            probabilities,
            noted,
            every_window,
            pictures,
            tiles,
        )

    @checked
    def generate(
        self,
        prompts: str | Sequence[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        length: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        beams: int | None = None,
        end: str | int | list[str | int] | None = None,
        begin: str | int | None = None,
        seed: int | None = None,
        device: str = "auto",
        batch_size: int = 16,
        samples: int = 1,
        steps: int | None = None,
    ) -> Iterator[Any]:
        """How texts go on, or what is made of noise. Of one text the pieces of what follows, as they are
        made; of several what follows each, in order, `batch_size` of them at a time.

        Of a spec whose `generate` is a loop, arrays: `samples` of each row of values that the model is made
        for, or without `prompts`; in so many `steps`.

        Without a tokenizer, in the run or as `tokenizer.json` next to a spec, texts are numbers of tokens. Of
        a model with an encoder the texts are what it reads, and what follows begins with the token `begin`.
        The settings replace those of `generate` in the spec. What is drawn for a text does not depend on the
        others. Raises `SpecError` (not-causal, prompt-misfit) before anything is computed.
        """
        from graphspec.runs.generation import continuations, need_prompts, pieces, texts_in

        need_prompts(prompts)
        given: dict[str, Any] = {
            "length": length,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "min_p": min_p,
        }
        given |= {"repetition_penalty": repetition_penalty, "beams": beams, "end": end, "seed": seed}
        given["begin"] = begin
        given = {key: value for key, value in given.items() if value is not None}
        if self.program.loop is not None:
            seed = given.pop("seed", None)
            if given:
                raise fail("not-supported", f"`{next(iter(given))}` is for texts", "leave it out")
            sampler = self.sampler(steps, seed, device)
            return sampler.make(sampler.read(prompts, samples), batch_size)
        if steps is not None or samples != 1:
            message = "`steps` and `samples` are for what is made of noise"
            raise fail("not-supported", message, "give each text as often as it is to go on")
        texts = texts_in(prompts)
        made = self.maker(given, device)
        return pieces(made, texts) if isinstance(texts, str) else continuations(made, texts, batch_size)

    @checked
    def sampler(self, steps: int | None = None, seed: int | None = None, device: str = "auto") -> Samples:
        """Makes samples of noise, in so many steps, by the loop of `generate` in the spec."""
        from graphspec.runs.sampling import Samples
        from graphspec.train import device as devices

        place, state = str(devices.choose(device)), self.files.encoders(self.program)
        return Samples(self.program, lambda: self.module(place), state, steps, seed)

    @checked
    def maker(self, settings: Mapping[str, Any], device: str = "auto") -> Maker:
        """Makes texts, with these settings in the place of those of `generate` in the spec."""
        from graphspec.runs.generation import maker
        from graphspec.train import device as devices

        place = str(devices.choose(device))
        return maker(self.program, self.files, lambda: self.module(place), self.encoders(), settings)

    @checked
    def again(self, path: Path | None = None, weights: str | Path | None = None) -> Run:
        """The same run, read from its directory again; or another one, or other weights, allowed the same."""
        return Run(path or self.path, weights or self._weights, self._allow, self._allow_url)

    @checked
    def model(self, device: str = "auto", engine: str = "torch", rows: int = 1) -> Model:
        """The model, which predicts on a device: it reads rows, computes, and writes predictions. It is kept
        until the weights change.

        `engine` is torch, onnxruntime or openvino, or auto: the fastest with so many rows at a time of those
        that are installed here and agree with torch, to 1e-4 of each number and 1e-5 of the largest. The run
        remembers which. onnxruntime and openvino compute on the CPU.
        """
        device = "cpu" if device == "auto" and engine in OF_CPUS else device
        asked = (device, engine, rows if engine == "auto" else 1)
        if self._kept is not None and self._kept[:2] == (asked, _written(self._kept[2])):
            return self._kept[3]
        from graphspec.runs.engines import TorchEngine
        from graphspec.runs.fastest import engine_of
        from graphspec.runs.model import Model
        from graphspec.train import device as devices

        def base() -> TorchEngine:
            place = devices.choose(device)
            return TorchEngine(self.program, self.inference(place)[1], place)

        weights = self.weights
        known = _written(weights)
        with self._naming_others():
            chosen_engine, notes = engine_of(self, base, engine, rows, device == "cpu")
        model = Model(self.program, chosen_engine, self.encoders(), notes)
        self._kept = asked, known, weights, model
        return model

    @checked
    def inference(self, place: Any = "cpu") -> tuple[Program, nn.Module]:
        """The trained module for inference and its program: folded, if folding changes it and gives the same
        numbers.
        """
        from graphspec.custom import nodes
        from graphspec.fold.weights import difference

        place = _device(place)
        module = self.module(str(place))
        folding = None if nodes(self.program) else self.program.fold().folding
        if folding is None or not folding.folded.steps:
            return self.program, module
        program = self.program.fold()
        folded = program.module(device=str(place), weights=self.state()).eval()
        inputs = {name: value.to(place) for name, value in self.program.example_inputs().items()}
        apart, allowed = difference(folded, module, inputs)
        return (program, folded) if apart <= allowed else (self.program, module)

    def encoders(self) -> Encoders | None:
        """The encoders, as they learned from the training data; None if the data were arrays or synthetic."""
        state = self.files.encoders(self.program)
        if state is None:
            return None
        from graphspec.data.encoding import encoders_of

        return encoders_of(self.program, state)

    @checked
    def examples(
        self, data: Any, place: Any, limit: int | None = None
    ) -> tuple[Examples, Encoders | None, str]:
        """Examples with targets, their encoders, and the part of the data for which these count them."""
        return self.parts(data, place, limit)[:3]

    @checked
    def parts(
        self, data: Any, place: Any, limit: int | None = None
    ) -> tuple[Examples, Encoders | None, str, Examples | None]:
        """The same, and what training learned from where that was read, too."""
        from graphspec.data.in_memory_source import given
        from graphspec.data.loading import load_file

        place, encoders = _device(place), self.encoders()
        source = given(data)
        if source is not None:
            return load_file(self.program, source, place, encoders, limit=limit), encoders, "test", None
        if self.program.data is None:
            help = "give data: `--data PATH`"
            raise fail("data-missing", "the spec has no `data`", help)
        parts = data_parts(self, place, limit, encoders)
        for part in ("test", "validation"):
            if part in parts:
                return parts[part], encoders, part, parts.get("training")
        message = "the spec has neither test data nor validation data"
        if "synthetic" in parts and not self.files.synthetic:
            message = "the run learned from arrays in memory, which it does not keep"
        raise fail("data-missing", message, "give data: `--data PATH`")


def data_parts(
    run: Run, place: Any, limit: int | None = None, encoders: Encoders | None = None
) -> dict[str, Examples]:
    """The examples that the spec and the record of the run name, by part: training, validation, test. In
    place of training data that no file has, there are those called `synthetic`, and no part of these is
    the validation data of a run that learned from arrays in memory. Raises `SpecError`.
    """
    from graphspec.data.files import DataFile
    from graphspec.data.loading import load

    config = run.program.data
    root, known = run.files.places(run.program)
    data = load(run.program, known, root, place, limit=limit, encoders=encoders)
    learned = "synthetic" if data.is_synthetic else "training"
    parts = {learned: data.training, "validation": data.validation, "test": data.test}
    filed = config is not None and isinstance(config.validation, DataFile)
    if data.is_synthetic and not (run.files.synthetic or filed):
        del parts["validation"]
    return {name: examples for name, examples in parts.items() if examples is not None}


def _device(place: Any) -> torch.device:
    """A device as it is, or that of a name. Raises `SpecError` (device-missing)."""
    from graphspec.train import device as devices

    return devices.choose(place) if isinstance(place, str) else place


def _written(file: Path | None) -> tuple[int, int] | None:
    """Changes when a file is written again; None where there is none."""
    try:
        about = os.stat(file) if file is not None else None
    except OSError:
        return None
    return None if about is None else (about.st_mtime_ns, about.st_size)
