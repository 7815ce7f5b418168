"""Compiles a graph to Python source as an expert would write it, with the place in the spec of every line."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from graphspec.contract.fields import same
from graphspec.contract.layer import Leaf
from graphspec.diagnostics import SpecError
from graphspec.elaborated import Elaborated
from graphspec.emit.classes import Classes
from graphspec.emit.code import HOLE, call, literal, without
from graphspec.emit.construct import InitWriter
from graphspec.emit.definitions import DefinitionWriter
from graphspec.emit.emitted import EmitOptions, Emitted
from graphspec.emit.forward import Forward
from graphspec.emit.initialization import Initialization
from graphspec.emit.library_calls import LibraryCall
from graphspec.emit.library_source import KEPT, Node, known_names, library_code, read_names
from graphspec.emit.module_class import Cell, FixedParams, ModuleClass, NeedsModule, Varies, plain
from graphspec.emit.printer import WIDTH, comment, flat, lines
from graphspec.emit.soundness import check_source, unsound
from graphspec.emit.specialize import Specializer
from graphspec.emit.states import beginning
from graphspec.emit.values import Wish
from graphspec.emit.writer import SourceWriter, write_definition
from graphspec.graph import Definition, Graph, Op, Unit
from graphspec.passes.layout import Layout
from graphspec.tensor import BATCH, Tensor, show_size, symbol, unit_of
from graphspec.version import MADE_BY, __version__
from graphspec.weights import names

ClassParts = tuple[InitWriter, Forward]


def emit(
    program: Elaborated,
    options: EmitOptions,
    probes: Mapping[tuple[str, ...], Elaborated] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    uses: Mapping[tuple[str, ...], Graph] | None = None,
) -> Emitted:
    """The source of a program: deterministic to the byte, formatted as ruff formats. It needs only torch.

    With `probes`, the same file with other values of these params, they are arguments of the model's class:
    raises `FixedParams` for those that cannot be. `presets` name values of them.

    Where the classes of all instances together would be unsound, each has its own. Raises `SpecError`
    (emission-failed) for a fault of the emitter.
    """
    probes = probes or {}
    modules: set[Definition] = set()
    while True:
        try:
            classes = Classes(program, partial(_write_class, program), options, modules, probes, uses)
            break
        except NeedsModule as needed:
            modules.add(needed.definition)
        except Varies as varies:
            if probes or uses:
                raise FixedParams(_all(uses or probes)) from varies
            if not options.merged:
                raise unsound(f"one instance of a block differs in itself: {varies}") from varies
            options = replace(options, merged=False)
    fills = Initialization(classes) if options.initialize else None
    bodies = SourceWriter()
    for constructor, forward in classes.parts:
        forward.finish()
        write_definition(bodies, forward, program if constructor.group is classes.root else None, fills)
    bodies.add(*beginning(program.graph))
    try:
        return assemble(program, bodies, classes, fills, presets or {})
    except SpecError as error:
        if probes or uses:
            raise FixedParams(_all(uses or probes)) from error
        if not options.merged:
            raise
    return emit(program, replace(options, merged=False))


def _all(probes: Iterable[tuple[str, ...]]) -> set[str]:
    return {word for words in probes for word in words}


def _write_class(program: Elaborated, classes: Classes[ClassParts], group: ModuleClass) -> ClassParts:
    """The statements of a class."""
    root = program.graph in group.numbers
    if root:
        group.logits = program.takes_logits
    constructor = InitWriter(classes, group)
    constructor.write()
    masks = {key: group.template.values[value] for key, value in program.masks.items()} if root else {}
    forward = Forward(constructor, root, masks)
    forward.write()
    if root and group.probes:
        forward.limits = _limits(program, constructor, classes.probes)
    group.is_function = constructor.is_empty and classes.may_be_function(group)
    return constructor, forward


def _limits(
    program: Elaborated, constructor: InitWriter, probes: Mapping[tuple[str, ...], Elaborated]
) -> dict[str, str]:
    """The code of the largest sizes that depend on params, by name, and of factors that do, by `* name`.
    Raises `FixedParams` where other values of params change more of what the file says of its inputs.
    """
    limits: dict[str, str] = {}
    for words, probe in probes.items():
        alike = probe.minimum_sizes == program.minimum_sizes and probe.defaults == program.defaults
        if not alike or probe.maximum_sizes.keys() != program.maximum_sizes.keys():
            raise FixedParams(words)
    own = _factors(program.inputs)
    for at, factor in own.items():
        others = {words: _factors(probe.inputs).get(at) for words, probe in probes.items()}
        changed = [words for words, other in others.items() if other != factor]
        if changed and (len([key for key in own if key[2] == at[2]]) > 1 or program.defaults):
            raise FixedParams(_all(changed))
        if changed:
            limits[f"* {at[2]}"] = _kept(constructor, f"{at[2]}_factor", factor, others)
    for size, most in program.maximum_sizes.items():
        others = {words: probe.maximum_sizes[size] for words, probe in probes.items()}
        if any(other != most for other in others.values()):
            limits[size] = _kept(constructor, f"longest_{size}", most, others)
    return limits


def _factors(inputs: Mapping[str, Tensor]) -> dict[tuple[str, int, str], int]:
    """The factors of named sizes, by input, axis and name."""
    return {
        (name, axis, unit[0]): unit[1]
        for name, tensor in inputs.items()
        for axis, size in enumerate(tensor.shape)
        if (unit := unit_of(size)) is not None
    }


def _kept(constructor: InitWriter, word: str, value: Leaf, others: Mapping[tuple[str, ...], Leaf]) -> str:
    """The attribute that keeps a number that depends on params. Raises `FixedParams` if no formula does."""
    group = constructor.group
    values: dict[Cell, Leaf] = {(0, 0): value}
    values |= {(n + 1, 0): others[words] for n, words in enumerate(group.probes)}
    code = constructor.values.traced(values, Wish(word, word))
    if code is None:
        raise FixedParams(_all(words for words, other in others.items() if not same(other, value)))
    word = code.id if isinstance(code, ast.Name) else word
    return flat(constructor.keep(names.attribute(word), code, group.template.slots[0]))


def assemble(
    program: Elaborated,
    bodies: SourceWriter,
    classes: Classes[ClassParts],
    fills: Initialization | None,
    presets: Mapping[str, Mapping[str, Any]],
) -> Emitted:
    """The whole file: docstring, imports, library code, initializers, classes."""
    top, name = SourceWriter(), classes.root.name
    given = {arg.param: arg.name for arg in classes.root.args.values() if arg.param is not None}
    _add_presets(bodies, classes, given, program.graph.params, presets)
    top.add(*origin(program, given), *docstring(program, folded=fills is None), "")
    initializers = ["", "", *fills.lines()] if fills is not None and fills.needed else []
    classes_tree = ast.parse("\n".join([*initializers, *bodies.lines]))
    read = read_names(classes_tree)
    check_source(classes_tree, read, name)
    carried, called = carry(classes, classes_tree)
    middle = [*carried, *initializers]
    used = {*called, *read}
    imports = ["import math"] if "math" in used else []
    abstract = [word for word in ("Callable", "Mapping") if word in used]
    imports += [f"from collections.abc import {', '.join(abstract)}"] if abstract else []
    imports += ["from functools import partial"] if "partial" in used else []
    imports += ["from typing import Any"] if "Any" in used else []
    imports += [""] if imports else []
    imports += ["import torch"] if "torch" in used else []
    imports += [f"from torch import {', '.join(word for word in ('Tensor', 'nn') if word in used)}"]
    functions = [word for word in ("functional_call", "grad", "vmap") if word in used]
    imports += [f"from torch.func import {', '.join(functions)}"] if functions else []
    imports += ["from torch.nn import functional as F"] if "F" in used else []
    imports += ["from torch.utils.checkpoint import checkpoint"] if "checkpoint" in used else []
    top.add(*imports, *custom_imports(classes))
    offset = len(top.lines) + len(middle)
    source = "\n".join([*top.lines, *middle, *bodies.lines]) + "\n"
    places = {number + offset: span for number, span in bodies.places.items()}
    nodes = {number + offset: spans for number, spans in bodies.nodes.items()}
    images = _keeps_channels_last(classes.layout, classes.root.graph)
    return Emitted(source, places, nodes, name, program.name, images)


def _keeps_channels_last(layout: Layout, graph: Graph) -> bool:
    """Whether weights use the channels-last memory format. It is not possible with weights of five axes."""
    ops = [op for op in graph.walk() if op.present]
    return any(
        op.layer and layout.op_first(op) and _rank(op) == 4 and op.weights() for op in ops
    ) and not any(len(weight.shape) == 5 for op in ops for weight in op.weights())


def _rank(op: Op) -> int:
    """The rank of an op's first input; 0 if it has none."""
    first = next(iter(op.site().inputs), None)
    return 0 if first is None else first.rank


def _add_presets(
    writer: SourceWriter,
    classes: Classes[ClassParts],
    arguments: Mapping[str, str],
    params: Mapping[str, Any],
    presets: Mapping[str, Mapping[str, Any]],
) -> None:
    """The presets as arguments of the model's class, but for those that change what is no argument."""
    blank = ["", ""]
    for word, values in presets.items():
        given = {arguments[key]: value for key, value in values.items() if key in arguments}
        if any(key not in arguments and not same(value, params.get(key)) for key, value in values.items()):
            continue
        if given:
            code = call("dict", **{key: literal(plain(value)) for key, value in given.items()})
            writer.add(*blank, *lines(f"{classes.space.claim(names.constant_name(word))} = ", code, 0))
            blank = []


TORCH = "2.10"
"""The smallest torch that emitted files run with."""


def origin(program: Elaborated, arguments: Collection[str]) -> list[str]:
    """The comment that names the generator, the spec and the params that are not arguments of the model.

    It has only the file name of the spec: a copy of the file gives the same source.
    """
    declared = program.graph.declared
    given = {word for word, value in declared.items() if not (isinstance(value, str) and "$" in value)}
    fixed = {w: value for w, value in program.graph.params.items() if w in given and w not in arguments}
    params = ", ".join(f"{name} = {json.dumps(value)}" for name, value in fixed.items())
    spec = program.name + (f" with {params}" if params else "")
    text = f"{MADE_BY} {__version__} from the spec {spec}."
    return [f"# {line}" for line in wrap(comment(f"{text} It needs torch {TORCH} or later."), WIDTH - 2)]


def docstring(program: Elaborated, folded: bool) -> list[str]:
    """The docstring of a file: the program's inputs and outputs."""
    head = f'"""{comment(program.name)}: '
    inputs = [comment(f"{name} {_type(tensor)}") for name, tensor in program.inputs.items()]
    outputs = [comment(f"{name} {_type(out.tensors[0])}") for name, out in program.outputs.items()]
    line = f"{head}{', '.join(inputs)} -> {', '.join(outputs)}."
    more = ["", "Folded for inference; its weights come from a file."] if folded else []
    if len(line) + 3 <= WIDTH:
        return [line, *more, '"""'] if more else [f'{line}"""']
    return [*_wrapped(head, inputs, ""), *_wrapped("-> ", outputs, "."), *more, '"""']


def _wrapped(head: str, tensors: list[str], tail: str) -> list[str]:
    """A list of tensors as lines, broken between tensors."""
    text = head + ", ".join(each.replace(" ", "\0") for each in tensors) + tail
    lines = wrap(text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [line.replace("\0", " ") for line in lines]


def carry(classes: Classes[ClassParts], tree: ast.Module) -> tuple[list[str], set[str]]:
    """The library code at the top of a file, reduced to what the file uses; and the names that it reads."""
    specializer = Specializer(tree, classes.helpers, dict(_module_calls(classes)), classes.options.exporting)
    written: list[str] = []
    read: set[str] = set()
    for node in specializer.run().values():
        written += ["", "", *_written(node)]
        read.update(known_names(node))
    return written, read


@lru_cache(KEPT)
def _written(node: Node) -> tuple[str, ...]:
    """The text of a definition of the library, whole or cut down."""
    return tuple(DefinitionWriter(library_code()).write(node))


def custom_imports(classes: Classes[ClassParts]) -> list[str]:
    """The imports of custom modules, one line for each Python module."""
    homes: dict[str, list[str]] = {}
    for (home, word), alias in sorted(classes.imported.items()):
        homes.setdefault(home, []).append(word if word == alias else f"{word} as {alias}")
    imports = [line for home, parts in homes.items() for line in _import(home, parts)]
    return ["", *imports] if imports else []


def _import(home: str, parts: list[str]) -> list[str]:
    line = f"from {home} import {', '.join(parts)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {home} import (", *(f"    {part}," for part in parts), ")"]


def _module_calls(classes: Classes[ClassParts]) -> Iterator[tuple[str, list[LibraryCall]]]:
    """The calls of the modules of layers, by class; a shared layer has one class for all of its calls."""
    targets: dict[Unit | Op, set[str]] = defaultdict(set)
    calls: dict[Unit | Op, list[LibraryCall]] = defaultdict(list)
    for op in (op for group in classes.groups for body in group.bodies for op in body.ops):
        code = classes.code(op) if op.layer is not None and op.present else None
        if code is None or code.construct is None or op.layer is None:
            continue
        absent = frozenset() if op.layer.variadic else absent_of(op)
        formulas = [each.value for each in op.expressions]  # what is written as one stays in the call
        usual = [
            word
            for word, default in code.defaults.items()
            if code.constants.get(word) == default and not any(value is default for value in formulas)
        ]
        module = op.unit or op
        targets[module] |= {code.construct.target, code.construct.general or code.construct.target}
        for made in (each for each in ast.walk(without(code.call, usual)) if isinstance(each, ast.Call)):
            if isinstance(made.func, ast.Name) and made.func.id == f"{HOLE}self":
                calls[module].append(LibraryCall(made, absent))
    by_class: dict[str, list[LibraryCall]] = defaultdict(list)
    for module, words in targets.items():
        for name in words:
            by_class[name] += calls[module]
    yield from by_class.items()


def absent_of(op: Op) -> frozenset[str]:
    """The placeholders of a layer's arguments that are not given."""
    assert op.layer is not None
    pairs = zip_longest(op.layer.arguments, op.arguments[: len(op.layer.arguments)])
    return frozenset(f"{HOLE}{argument.name}" for argument, value in pairs if value is None)


def _type(tensor: Tensor) -> str:
    shape = ", ".join("N" if size == symbol(BATCH) else show_size(size) for size in tensor.shape)
    return f"{tensor.dtype}[{shape}]"


__all__ = ["EmitOptions", "Emitted", "emit"]
