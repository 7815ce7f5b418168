"""A compiled spec, and all that can be done with one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from graphspec.data.augmentation import chain
from graphspec.diagnostics import Span, fail
from graphspec.diagnostics.arguments import checked, need, need_names, need_sizes
from graphspec.diagnostics.attributes import OF_PROGRAMS, no_attribute
from graphspec.elaborated import BaseProgram, Elaborated, OutputSpec
from graphspec.source import Document
from graphspec.tensor import Tensor, names_of
from graphspec.traced import plain
from graphspec.version import LANGUAGE

if TYPE_CHECKING:
    from torch import nn

    from graphspec.emit import EmitOptions, Emitted
    from graphspec.fold import Folded
    from graphspec.graph import Value
    from graphspec.passes.stream import Step
    from graphspec.train.custom_loop import Metrics
    from graphspec.train.progress import Result
    from graphspec.view.summary import Summary


CompileText = Callable[[str, str, Path | None, Iterable[str]], "Program"]
"""Compiles a text: what diagnostics call it, the file that what it names is relative to, what it allows. A
program compiles others: of `augment`, and of itself with more outputs.
"""


ElaborateAgain = Callable[
    [Document, Path | None, Mapping[str, Any], frozenset[str] | None], "Elaborated | None"
]
"""Elaborates a checked document again, with other params, and with names in the formulas of its numbers."""


_AROUND = ("params", "blocks", "shared")
"""Sections of a file that a block sees."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Program(BaseProgram):
    """A compiled spec. Nothing here imports torch before `module` or `example_inputs` is called."""

    compile_text: CompileText
    elaborate_again: ElaborateAgain
    folding: Folding | None = None
    """The unfolded program and the plan, if this program is folded."""
    stepping: Step | None = None
    """The inputs of this program, if it is that of a step."""
    _emitted: dict[EmitOptions, Emitted] = field(default_factory=dict)
    _derived: dict[Any, Program] = field(default_factory=dict)

    @cached_property
    def resolved(self) -> str:
        """The spec as YAML text, with its name, and with `--set` and `--preset` applied."""
        return self.resolve()

    @checked
    def resolve(self, defaults: bool = False) -> str:
        """The resolved spec, as YAML text that compiles to the same source: its name, the version of the
        language, its params with their values, the blocks of the library
        that it uses, and the changes of `settings`; with `defaults`, also every default that it leaves out.
        """
        from graphspec.reference.library import inlined
        from graphspec.source.writing import write

        document = {"name": self.name, "language": LANGUAGE}
        document |= {key: value for key, value in inlined(self.document).items() if key not in document}
        if defaults:
            from graphspec.reference.resolution import with_defaults

            document = with_defaults(document, self.training)
        return write(document)

    @cached_property
    def emitted(self) -> Emitted:
        """The emitted source, with the place in the spec of each line."""
        return self.emit()

    @checked
    def emit(self, inplace: bool = True, exporting: bool = False, fixed: bool = False) -> Emitted:
        """The emitted source, with options.

        Without `inplace`, activations do not work in place: hooks see every value, full backward hooks work,
        and training needs more memory. `exporting` is for torch.export with dynamic sizes. With
        `fixed`, the params of the file are numbers; else arguments of the model's class, as far as one text
        suits other values of them.
        """
        from graphspec.emit import EmitOptions, emit
        from graphspec.emit.params import emit_with_params

        params = not (fixed or exporting or self.folding is not None)
        initialize = self.folding is None and self.stepping is None
        options = EmitOptions(inplace, exporting, initialize=initialize, params=params)
        if options not in self._emitted:
            presets = self.document.get("presets") or {}
            self._emitted[options] = (
                emit_with_params(self._again, self.params, presets, options, self._use)
                if params
                else emit(self._with_formulas if self.folding is None else self, options)
            )
        return self._emitted[options]

    def _again(self, params: Mapping[str, Any], symbols: frozenset[str]) -> Elaborated | None:
        """The same file with other params, and with these in the formulas of its numbers."""
        program = self.elaborate_again(self.parsed, self.path, params, symbols)
        if program is None or self.stepping is None:
            return program
        return replace(program, **_step_of(program, self.outputs, self.stepping.encoder is not None)[1])

    def _use(self, block: str, inputs: Mapping[str, Tensor], params: Mapping[str, Any]) -> Elaborated | None:
        """The file with one node alone, of a block."""
        shapes = {
            word: {
                "shape": [plain(n) if isinstance(n, int) else str(n) for n in x.shape[1:]],
                "dtype": x.dtype,
            }
            for word, x in inputs.items()
        }
        node = {"block": block, "from": {word: word for word in inputs}, **params}
        kept = {word: self.parsed.value[word] for word in _AROUND if word in self.parsed.value}
        value = {**kept, "inputs": shapes, "nodes": {"used": node}, "outputs": ["used"]}
        return self.elaborate_again(replace(self.parsed, value=value), self.path, {}, frozenset())

    @cached_property
    def _with_formulas(self) -> Elaborated:
        """The same program, whose numbers keep the formulas over their blocks that emission writes."""
        program = self._again({}, frozenset())
        assert program is not None, "what was elaborated once is so again"
        return program

    @property
    def class_name(self) -> str:
        """The name of the emitted class of the program."""
        return self.emitted.class_name

    def summary(self) -> Summary:
        """The summary: rows and totals as data; `str()` gives the table."""
        from graphspec.view.rows import summarize

        return summarize(self)

    @checked
    def memory(self, batch_size: int, sizes: Mapping[str, int] | None = None) -> int | None:
        """The bytes of a training step on `batch_size` examples at its peak, as torch finds them on tensors
        without memory, with the workspaces of kernels on CPUs. `sizes` are those of named sizes.

        None where shapes alone do not tell: see `graphspec.train.memory_estimate.step_bytes`.
        """
        from graphspec.train.memory_estimate import step_bytes

        need_sizes(self, sizes or {})
        return step_bytes(self, batch_size, sizes)

    def fold(self) -> Program:
        """The same program for inference only, and faster: normalizations are folded into the layers before
        them, and training-only layers are removed.

        Its `module` takes the weights of this program; its state dict has other keys.
        """
        from graphspec.fold import fold

        if self.folding is not None:
            return self
        folded = fold(self._with_formulas.graph)
        masks: dict[str, Value] = {}  # which are for losses
        return replace(
            self, graph=folded.graph, masks=masks, folding=Folding(self, folded), _emitted={}, _derived={}
        )

    @checked
    def step(self, outputs: Iterable[str] | None = None, *, encoded: bool = False) -> Program:
        """The program of a step, for inference: of new steps of a sequence, one or many, it computes what
        this program would of the whole sequence. `outputs` are those that are wanted; by default all.

        Its further input `places`, [N], says how many steps there were. Its `module` has the weights of this
        program under the same keys, and states, which `module.begin(batch, longest)` makes and a call changes
        in place. With `encoded` it has no inputs but new steps: what it needs of the others are states, too,
        which `encoder` gives. Raises `SpecError` (not-causal) at the node that needs later steps.
        """
        need(names=outputs)
        names = [*self.outputs] if outputs is None else [*outputs]
        need_names(names, self.outputs)
        key = (*names, encoded)
        if key not in self._derived:
            step, changes = _step_of(self, names, encoded)
            self._derived[key] = replace(self, **changes, stepping=step, _emitted={}, _derived={})
        return self._derived[key]

    @property
    def looped(self) -> Program | None:
        """The program of one step of the loop of `generate`; None of a spec without one.

        Its inputs are the value that goes on, those of `repeat`, in this step and, as `next_time`, after it,
        and what else it reads; its outputs are the next value, and the result.
        """
        if self.loop is None:
            return None
        if "loop" not in self._derived:

            def again(*arguments: Any) -> Elaborated | None:
                program = self.elaborate_again(*arguments)
                return program and replace(program, **_looped(program))

            changes = {**_looped(self), "elaborate_again": again}
            self._derived["loop"] = replace(self, **changes, _emitted={}, _derived={})
        return self._derived["loop"]

    @property
    def encoder(self) -> Program | None:
        """Of the program of a step: that of what is computed once for a sequence, of the inputs that do not
        go on. Its outputs are states, by their paths in the module of the step, whose `encode` keeps them;
        None where there are none.
        """
        if self.stepping is None or self.stepping.encoder is None:
            return None
        if "encoder" in self._derived:
            return self._derived["encoder"]
        names = [*self.outputs]

        def again(*arguments: Any) -> Elaborated | None:
            program = self.elaborate_again(*arguments)
            if program is None or program.outputs.keys().isdisjoint(names):  # one node of it alone
                return program
            return replace(program, **_encoder_of(program, _step_of(program, names, True)[0]))

        changes = {**_encoder_of(self, self.stepping), "elaborate_again": again}
        found = replace(self, **changes, stepping=None, _emitted={}, _derived={})
        return self._derived.setdefault("encoder", found)

    @checked
    def module(
        self,
        device: str = "cpu",
        seed: int = 0,
        weights: str | Path | Mapping[str, Any] | None = None,
        *,
        inplace: bool = True,
        exporting: bool = False,
        fixed: bool = True,
    ) -> nn.Module:
        """The emitted module on a device, initialized from `seed`, then loaded from `weights` if given: a
        `.safetensors` file or a state dict; `inplace`, `exporting` and `fixed` as in `emit`.

        Raises `SpecError`; (module-not-allowed) for custom code that `allow` does not name, (module-differs)
        where that returns something else than its node declares.
        """
        from graphspec import custom
        from graphspec.emit.load import load_folded, load_module

        classes = custom.bring(custom.nodes(self), self.folder, self.allow)
        emitted = self.emit(inplace, exporting, fixed)
        if self.folding is None:
            module = load_module(self, emitted, self.path, seed, weights, classes)
        else:
            unfolded = self.folding.program.module(seed=seed, weights=weights)
            module = load_folded(emitted, unfolded, self.folding.folded.steps, classes)
        try:
            module.to(device)
        except (RuntimeError, AssertionError):  # torch has other words for a device that is not there
            from graphspec.train import device as devices

            devices.choose(str(device))
            raise
        if classes:
            from graphspec.emit.proof import check_declared

            check_declared(self, module)
        return module

    @checked
    def augmentations(self, more: Mapping[str, int] | None = None) -> dict[str, nn.Module]:
        """By input, the modules of the features' `augment`, which apply to a batch of float images.

        `more` is by input how many channels come after those of its images, which are only moved with them.
        """
        modules = {}
        for name, feature in self.data.features.items() if self.data is not None else ():
            if name in self.inputs and (layers := getattr(feature, "augment", None)):
                text = chain(layers, self.inputs[name], (more or {}).get(name, 0))
                modules[name] = self.compile_text(text, "<augment>", None, ()).module().train()
        return modules

    @checked
    def trackers(self, names: Iterable[str]) -> dict[str, nn.Module]:
        """By input, of those with these names, what moves pixels as the features' `augment` does, and shows
        where they are from: see `graphspec.data.moved_boxes`.
        """
        from graphspec.data.moved_boxes import tracking

        names, features = list(names), {} if self.data is None else self.data.features
        need_names(names, features.keys() & self.inputs.keys())
        modules = {}
        for name in names:
            text = tracking(getattr(features[name], "augment", []), self.inputs[name])
            modules[name] = self.compile_text(text, "<augment>", None, ()).module().train()
        return modules

    @checked
    def fit(
        self,
        data: Any = None,
        *,
        weights: str | Path | None = None,
        device: str = "auto",
        run_dir: str | Path | None = None,
        epochs: int | None = None,
        limit: int | None = None,
        resume: bool = False,
        overwrite: bool = False,
        callbacks: Iterable[Any] = (),
    ) -> Result:
        """Trains as `graphspec train` does. The result has `history`, `metrics` and `run_dir`, for
        `graphspec.Run`.

        `data` is a path, a dict of arrays, a pandas or polars frame, or a torch Dataset of dicts, by the
        names of columns; by default the data of the spec. A notebook shows a bar and curves. The
        other arguments are fields of `graphspec.train.options.TrainOptions`. Raises `SpecError`.
        """
        from graphspec.data.in_memory_source import given
        from graphspec.train.loop import train
        from graphspec.view.live import live

        return train(
            self,
            data=given(data),
            root=self.folder,
            weights=Path(weights) if weights is not None else None,
            device=device,
            run_dir=Path(run_dir) if run_dir is not None else None,
            epochs=epochs,
            limit=limit,
            resume=resume,
            overwrite=overwrite,
            callbacks=callbacks,
            progress=live(self.name),
        )

    @checked
    def loss(
        self, outputs: Any, targets: Any, *, logits: bool = False, weights: Any = None
    ) -> dict[str, Any]:
        """The training loss without penalties: `loss`, a scalar to differentiate, and that of each output,
        `<name>_loss`.

        `outputs` is the return value of the module, called with the same `logits`; `targets` are tensors by
        name, or one tensor for a single output. Among them are the columns that `sample_weight` names;
        `class_weight` counts where it names class numbers or declared values. `weights` replaces both: one
        tensor, or tensors by output, with a weight for each example. Raises `SpecError` (data-column,
        data-shape, loss-misfit), also where `outputs` cannot be what `logits` says.
        """
        from graphspec.train.custom_loop import objective

        return objective(self, outputs, targets, logits, weights)

    @checked
    def metrics(self, *, logits: bool = False) -> Metrics:
        """The values that an epoch reports, `loss` and the metrics by name, accumulated batch by batch.

        `update(outputs, targets, weights)` takes the arguments of `loss`, `compute()` returns the values over
        all batches so far, `reset()` starts again. Means are over examples, not over batches.
        """
        from graphspec.train.custom_loop import Metrics

        return Metrics(self, logits)

    @checked
    def activations(self, module: nn.Module, inputs: Any, names: Iterable[str]) -> dict[str, Any]:
        """The outputs of nodes, named as in `from`: `stem`, `stages.1`, `encoder.attention`.

        `module` is a module of this program, in training or inference mode; `inputs` is a tensor, a list of
        them, or a dict by name. Gradients flow back into its weights. Raises `SpecError` for an unknown name.
        """
        from graphspec.emit.load import run_as

        names = list(names)
        need_names(names)
        probe, keys = self._probe(names)
        outputs = run_as(self, probe.module(), module, inputs)
        return {name: outputs[key] for name, key in zip(names, keys, strict=True)}

    def _probe(self, names: list[str]) -> tuple[Program, list[str]]:
        """This program with an additional output for each name, and the names of these outputs."""
        from graphspec.source.writing import write

        keys = [f"activation_{index}" for index in range(len(names))]
        written = self.document["outputs"]
        kept = written if isinstance(written, dict) else {name: {} for name in self.outputs}
        outputs = {**kept, **{key: {"from": name} for key, name in zip(keys, names, strict=True)}}
        text = write({"name": self.name, **self.document, "outputs": outputs})
        return self.compile_text(text, "<activations>", self.path, self.allow), keys

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """A program computes nothing itself. Raises `SpecError` (wrong-type), which names what does."""
        help = "`program.module()` is one; of a trained run it is `graphspec.Run(RUN_DIR).module()`"
        raise fail("wrong-type", "a program is not a module: it cannot be called", help)

    if not TYPE_CHECKING:  # to which a word that it lacks is a mistake

        def __getattr__(self, name: str) -> Any:
            raise no_attribute("a program", name, OF_PROGRAMS, dir(type(self)))

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name} {tensor}" for name, tensor in self.inputs.items())
        outputs = ", ".join(self.outputs)
        return f"<Program {self.name}: {inputs} -> {outputs}; {self.summary().total_params:,} params>"

    def _repr_svg_(self) -> str:
        """The graph as a picture, for notebooks."""
        from graphspec.plot import plot

        return plot(self, ".svg")

    @checked
    def example_inputs(
        self, batch_size: int = 2, sizes: Mapping[str, int] | None = None, seed: int = 0, *, least: int = 0
    ) -> dict[str, Any]:
        """Random tensors in the ranges that the graph accepts. Symbolic sizes come from `sizes`; by default
        each is the smallest legal one, but at least 8. `least` is the smallest integer that is drawn, where
        the range has it: with 1 no token is 0, which is padding for many models.
        """
        from graphspec.emit.load import example_inputs

        need_sizes(self, sizes or {})
        return example_inputs(self, batch_size, dict(sizes or {}), seed, least)

    @checked
    def bundle(self, inplace: bool = True, prove: bool = True, fixed: bool = False) -> str:
        """The emitted Python source with custom modules copied into it; it is run once unless `prove` is
        false; `inplace` and `fixed` as in `emit`. Raises `SpecError` (bundle-misfit) if they need more than
        torch.
        """
        from graphspec import custom
        from graphspec.emit.bundle import bundle

        bundled = bundle(self, self.emit(inplace, fixed=fixed))
        if prove:
            from graphspec.emit.load import load_module

            custom.need_permission(custom.nodes(self), self.allow)
            self.prove(load_module(self, bundled, self.path, 0, None, {}))
        return bundled.source

    @checked
    def prove(self, module: nn.Module) -> None:
        """Runs a module of this program once, on small random inputs. Raises `SpecError` (module-differs)
        if a custom module returns something else than its node declares; (weights-misfit) for another module.
        States of a step are forgotten.
        """
        from graphspec.emit.proof import prove

        prove(self, module)

    @checked
    def adapt(self, module: nn.Module, batches: Callable[[], Iterable[Mapping[str, Any]]]) -> list[str]:
        """Fills what layers of a module learn of training data before the first step: the boundaries of
        `Discretization` with `num_bins`, the means and variances of `Normalization` without them. Layers that
        know them keep them. Returns the paths of the layers that learned.

        `batches` gives batches of inputs by name, from the start at each call. Raises `SpecError`
        (cannot-adapt).
        """
        from graphspec.custom.adapting import adapt

        return adapt(self.graph, self.inputs, module, batches)

    @checked
    def place_of(self, error: BaseException) -> Span | None:
        """The place in the spec of the innermost line of the module in an error's traceback."""
        place, trace = None, error.__traceback__
        while trace is not None:
            place = self.place_of_line(trace.tb_frame.f_code.co_filename, trace.tb_lineno) or place
            trace = trace.tb_next
        return place

    @checked
    def place_of_line(self, file: str, line: int) -> Span | None:
        """The place in the spec of a line of a module that was made of this program. `file` is the name
        that Python has for its emitted source.
        """
        from graphspec.emit.execution import file_name

        for emitted in self._emitted.values():
            if file == file_name(emitted.source, emitted.program):
                return emitted.places.get(line)
        return None


@dataclass(frozen=True, slots=True)
class Folding:
    """The origin of a folded program."""

    program: Program
    folded: Folded


def _looped(program: Elaborated) -> dict[str, Any]:
    """The fields in which the program of a step of a loop differs from the whole."""
    loop = program.loop
    assert loop is not None
    kept = loop.inputs.keys() - {loop.name, *(loop.settings.repeat or {}), *loop.drawn}
    changes = {"graph": loop.graph, "inputs": loop.inputs, "outputs": loop.outputs, "ranges": loop.ranges}
    changes["defaults"] = {name: value for name, value in program.defaults.items() if name in kept}
    return {**changes, "channels_first": program.channels_first & kept, "masks": {}, "loop": None}


def _encoder_of(program: Elaborated, step: Step) -> dict[str, Any]:
    """The fields in which the program of an encoder differs from that of its step."""
    from graphspec.emit.states import path_of

    graph = step.encoder
    assert graph is not None
    title = f"{graph.definition.title} encoder"
    states = dict(zip(map(path_of, step.encoded), graph.outputs.values(), strict=True))
    graph = replace(graph, outputs=states, definition=replace(graph.definition, title=title))
    inputs = {name: value.tensor for name, value in graph.inputs.items() if value is not None}
    outputs = {name: OutputSpec(name, (value.tensor,), None, 1.0, (), name) for name, value in states.items()}
    sizes = {name for tensor in inputs.values() for size in tensor.shape for name in names_of(size)}
    changes = {"graph": graph, "inputs": inputs, "outputs": outputs, "masks": {}}
    for word in ("minimum_sizes", "maximum_sizes"):
        changes[word] = {key: value for key, value in getattr(program, word).items() if key in sizes}
    return changes


def _step_of(program: Elaborated, names: Iterable[str], encoded: bool) -> tuple[Step, dict[str, Any]]:
    """A step that gives these outputs, and what its program has in the place of what this one has."""
    from graphspec.passes.stream import step_of, streamed_size

    wanted = {name: program.graph.outputs[name] for name in names}
    whole = replace(program.graph, outputs=wanted)
    step = step_of(whole, streamed_size(whole), encoded)
    inputs = {name: value.tensor for name, value in step.graph.inputs.items() if value is not None}
    changes = {"graph": step.graph, "inputs": inputs, "masks": {}, "maximum_sizes": {}}
    changes["minimum_sizes"] = {**program.minimum_sizes, **dict.fromkeys(step.rooms, 1)}
    return step, {**changes, "outputs": {name: program.outputs[name] for name in wanted}}
