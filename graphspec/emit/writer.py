"""Classes and functions as the lines of a file."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphspec.diagnostics import Span
from graphspec.elaborated import Elaborated
from graphspec.emit.body import Assign, Effect, For, If, Return, Statement, assigned_by, read_by
from graphspec.emit.code import Variable, equal, literal, template
from graphspec.emit.construct import InitWriter
from graphspec.emit.definitions import signature
from graphspec.emit.forward import Forward
from graphspec.emit.init_statement import InitStatement
from graphspec.emit.initialization import Initialization
from graphspec.emit.module_class import MISSING, ModuleClass
from graphspec.emit.printer import WIDTH, flat, lines
from graphspec.graph import Value
from graphspec.tensor import BATCH, Dim, symbol, unit_of
from graphspec.weights import names


@dataclass(eq=False, slots=True)
class SourceWriter:
    """Collects a file's lines with their places in the spec."""

    lines: list[str] = field(default_factory=list)
    places: dict[int, Span] = field(default_factory=dict)
    nodes: dict[int, list[Span]] = field(default_factory=dict)

    def add(self, *texts: str, span: Span | None = None) -> None:
        for text in texts:
            self.lines.append(text)
            if span is not None:
                self.places[len(self.lines)] = span

    def line(
        self, prefix: str, value: ast.expr, indent: int, span: Span | None, suffix: str = "", shape: str = ""
    ) -> None:
        """One wrapped statement, with its comment at the end if there is room."""
        written = lines(prefix, value, indent, suffix)
        if shape and len(written) == 1 and len(written[0]) + len(shape) + 4 <= WIDTH:
            written[0] += f"  # {shape}"
        self.add(*written, span=span)

    def steps(self, steps: Iterable[InitStatement]) -> None:
        """The statements of `__init__`; neighbours under one condition are under one `if`."""
        condition: ast.expr | None = None
        for step in steps:
            again = step.condition is not None and condition is not None and equal(step.condition, condition)
            if step.condition is not None and not again:
                self.line("if ", step.condition, 8, step.span, ":")
            condition = step.condition
            self._step(step, 8 if condition is None else 12)

    def _step(self, step: InitStatement, indent: int) -> None:
        prefix, suffix = f"self.{step.attribute} = " if step.attribute else "", ""
        if step.must:
            prefix, suffix = "assert ", f', "{step.must}"'
        if step.unless_none:
            self.add(f"{' ' * indent}if self.{step.unless_none} is not None:", span=step.span)
            indent += 4
        self.line(prefix, step.value, indent, step.span, suffix)

    def statements(self, forward: Forward, indent: int) -> None:
        """The statements of a `forward`."""
        read = {variable for statement in forward.body for variable in read_by(statement)}
        unread = [variable.name for variable in forward.parameters if variable not in read]
        if unread:
            self.add(f"{' ' * indent}del {', '.join(unread)}  # not read here")
        for statement in forward.body:
            self._statement(forward, statement, indent)

    def _statement(self, forward: Forward, statement: Statement, indent: int) -> None:
        match statement:
            case Assign():
                prefix = self._targets(statement.targets, indent)
                shape = forward.shape(statement)
                self._computed(prefix, statement, indent, shape)
            case Return():
                self._computed("return ", statement, indent, forward.shape(statement))
            case Effect():
                self.line("", statement.value, indent, statement.span)
            case For():
                prefix = f"for {', '.join(map(_target, statement.targets))} in "
                self.line(prefix, statement.source, indent, statement.span, ":")
                for inner in statement.body:
                    self._statement(forward, inner, indent + 4)
            case If():
                self.line("if ", statement.test, indent, None, ":")
                for part in statement.body:
                    self._statement(forward, part, indent + 4)

    def _targets(self, targets: Sequence[Variable | None], indent: int) -> str:
        """The text before the value of an assignment; of long targets each has a line."""
        prefix = f"{', '.join(map(_target, targets))} = "
        if len(targets) == 1 or indent + len(prefix) < WIDTH:
            return prefix
        pad = " " * indent
        self.add(f"{pad}(", *(f"{pad}    {_target(each)}," for each in targets))
        return ") = "

    def _computed(self, prefix: str, statement: Assign | Return, indent: int, shape: str) -> None:
        """A statement that computes one or several nested nodes."""
        begin = len(self.lines)
        self.line(prefix, statement.value, indent, statement.span, shape=shape)
        spans = [op.span for op in statement.ops if op.span is not None]
        self.nodes |= dict.fromkeys(range(begin + 1, len(self.lines) + 1), spans)


def _target(variable: Variable | None) -> str:
    return variable.name if variable is not None else "_"


def write_definition(
    writer: SourceWriter, forward: Forward, program: Elaborated | None, fills: Initialization | None
) -> None:
    """One class, or the function of a block without weights."""
    group, constructor = forward.group, forward.constructor
    if group.is_function or group.over is not None:
        module = [f"self: {group.over.name}"] if group.over is not None else []
        parts = [*module, *_inputs(group)]
        writer.add("", "")
        writer.add(*signature(f"def {group.name}(", parts, f") -> {_result(group, None)}:", 0))
        if group.over is not None:
            writer.add(f'    """{group.over.name} on inputs of another structure than its first."""')
        writer.statements(forward, 4)
        return
    writer.add("", "", f"class {group.name}(nn.Module):")
    closing = []
    if program is not None and fills is not None and fills.needed:
        fill = "initialize(self)" if constructor.classes.imported else "self.apply(init_weights)"
        closing.append(InitStatement(template(fill)))
    if constructor.steps or closing or group.args:
        writer.add(*signature("def __init__(", ["self", *_arguments(group)], ") -> None:", 4))
        writer.add("        super().__init__()")
        writer.steps([*constructor.steps, *closing])
        writer.add("")
    result, defaults = _result(group, program), program.defaults if program is not None else ()
    writer.add(*signature("def forward(", ["self", *_inputs(group, defaults)], f") -> {result}:", 4))
    if program is not None:
        writer.add(*default_fills(program, constructor))
        taken = {variable.name for each in forward.body for variable in (*assigned_by(each), *read_by(each))}
        taken |= {variable.name for variable in forward.parameters}
        writer.add(*size_checks(program, group, taken, forward.limits))
    writer.statements(forward, 8)


def _arguments(group: ModuleClass) -> Iterator[str]:
    """The parameters of `__init__`, after `self`."""
    for arg in group.ordered_args:
        default = "" if arg.default is MISSING else f" = {flat(literal(arg.default))}"
        yield f"{arg.name}: {arg.annotation}{default}"


def _inputs(group: ModuleClass, defaults: Collection[str] = ()) -> list[str]:
    """The parameters of `forward`; those in `defaults` are optional."""
    positional: list[str] = []
    for word in reversed(group.inputs):
        optional = word in defaults or any(body.inputs[word] is None for body in group.bodies)
        default = " = None" if all(each.endswith(" = None") for each in positional) else ""
        positional.insert(0, f"{group.input(word)}: Tensor" + (f" | None{default}" if optional else ""))
    named = [f"{variable.name}: {group.types[variable.name]}" for variable in group.borrowed.values()]
    named += ["logits: bool = False"] if group.logits else []
    return [*positional, *(["*", *named] if named else [])]


def _result(group: ModuleClass, program: Elaborated | None) -> str:
    """The return type of `forward`."""
    count = len(group.graph.outputs)
    if program is None:
        types = [f"Tensor{' | None' * _may_be_none(group, value)}" for value in group.graph.outputs.values()]
        return types[0] if count == 1 else f"tuple[{', '.join(types)}]"
    if count == 1:
        return "Tensor | dict[str, Tensor]" if program.masks else "Tensor"
    return "dict[str, Tensor]"


def _may_be_none(group: ModuleClass, value: Value) -> bool:
    """Whether some instances lack the node of an output, and pass nothing on for it."""
    op = value.op
    instances = group.template.instances.get(value, [])
    lacking = (each.op for each in instances if each is not None and each.op is not None)
    return op is not None and any(not each.present and not each.inputs for each in lacking)


def default_fills(program: Elaborated, constructor: InitWriter) -> list[str]:
    """The statements that fill inputs that were left out.

    Sizes and device come from the inputs that are given.
    """
    group, known = constructor.group, dict[str, tuple[str, int]]()
    sources = [name for name in program.inputs if name not in program.defaults]
    for name in sources:
        for axis, size in enumerate(program.inputs[name].shape):
            if (unit := unit_of(size)) is not None:
                known.setdefault(unit[0], (f"{group.input(name)}.shape[{axis}]", unit[1]))
    out: list[str] = []
    for name, default in program.defaults.items():
        tensor, word = program.inputs[name], group.input(name)
        like = next((each for each in sources if program.inputs[each].dtype == tensor.dtype), None)
        shape = ", ".join(_size_expression(size, known) for size in tensor.shape)
        dtype = (
            ast.unparse(constructor.float_type()) if tensor.dtype == "float32" else f"torch.{tensor.dtype}"
        )
        same = group.input(like or sources[0])
        options = f"dtype={f'{same}.dtype' if like else dtype}, device={same}.device"
        if isinstance(default, str):
            drawn = {"random_normal": "randn", "random_uniform": "rand"}[default]
            source = f"torch.{drawn}({shape}, {options})"
        elif like is not None:
            source = f"{same}.new_full(({shape},), {default!r})" if default else f"{same}.new_zeros({shape})"
        else:
            source = f"torch.full(({shape},), {default!r}, {options})"
        out.append(f"        if {word} is None:")
        out += lines(f"{word} = ", ast.parse(source, mode="eval").body, 12)
    return out


def _size_expression(size: Dim, known: Mapping[str, tuple[str, int]]) -> str:
    """A size as an expression over the shapes of the given inputs."""
    unit = unit_of(size)
    if unit is None:
        return str(size)
    expression, factor = known[unit[0]]
    if factor == unit[1]:
        return expression
    single = f"{expression} // {factor}" if factor > 1 else expression
    return f"{single} * {unit[1]}" if unit[1] > 1 else single


@dataclass(frozen=True, slots=True)
class SizeCheck:
    """A check of an input's size: `refused` is the condition under which it fails; `must` describes the legal
    sizes, `several` those of adjacent axes.
    """

    name: str
    axis: int
    label: str
    refused: str
    must: str
    several: str

    def may_join(self, before: SizeCheck) -> bool:
        """Whether one check says this of the axis after that of another."""
        alike = (self.name, self.refused) == (before.name, before.refused) and self.label != before.label
        return alike and self.axis == before.axis + 1


def size_checks(
    program: Elaborated, group: ModuleClass, taken: set[str], limits: Mapping[str, str]
) -> list[str]:
    """The statements that refuse invalid sizes.

    These are lengths outside of the model's bounds, sizes that are not multiples of what they should be, and
    sizes that should be equal and differ. `taken` are the names of its variables, `limits` the code of
    what is no number.
    """
    variable = names.Namespace(taken | group.helpers).claim("size")
    runs: list[list[SizeCheck]] = []
    for check in _checks(program, group, limits):
        run = next((run for run in runs if check.may_join(run[-1])), None)
        if run is None:
            runs.append([check])
        else:
            run.append(check)
    return [line for run in runs for line in _written(run, group.input(run[0].name), variable)]


def _checks(program: Elaborated, group: ModuleClass, limits: Mapping[str, str]) -> Iterator[SizeCheck]:
    """The checks of each size of each input."""
    seen: dict[str, tuple[str, str, int]] = {}  # of each size the input, its expression, and its factor
    for name, tensor in program.inputs.items():
        for axis, size in enumerate(tensor.shape):
            unit = unit_of(size)
            if unit is None or size == symbol(BATCH):
                continue
            word, factor = unit
            label = "size" if word.startswith("?") else str(size)
            if word in seen:
                earlier, before, other = seen[word]
                if factor == other:
                    must = f"is {{}}, but {{{before}}} in {earlier}"
                    yield SizeCheck(name, axis, f"`{label}`", f"!= {before}", must, must)
                else:
                    wanted = f"{before} // {other}" if other > 1 else before
                    wanted = f"{wanted} * {factor}" if factor > 1 else wanted
                    must = f"is {{}}, not {{{wanted}}}"
                    yield SizeCheck(name, axis, f"`{label}`", f"!= {wanted}", must, must)
                continue
            seen[word] = name, f"{group.input(name)}.shape[{axis}]", factor
            times = limits.get(f"* {word}", str(factor))
            if times != "1":
                what = "a size" if word.startswith("?") else f"`{label if times.isdecimal() else word}`"
                refused, must = f"% {times} != 0", f"must be a multiple of {_shown(times)}, not {{}}"
                yield SizeCheck(name, axis, what, refused, must, f"must be multiples of {_shown(times)}")
            least, most = program.minimum_sizes.get(word, 1), program.maximum_sizes.get(word)
            if least > 1:
                limit = _product(str(least), times)
                must = f"must be at least {_shown(limit)}"
                yield SizeCheck(name, axis, f"`{label}`", f"< {limit}", f"{must}, not {{}}", must)
            if most is not None:
                limit = _product(limits.get(word, str(most)), times)
                must = f"must be at most {_shown(limit)}"
                yield SizeCheck(name, axis, f"`{label}`", f"> {limit}", f"{must}, not {{}}", must)


def _product(a: str, b: str) -> str:
    if a.isdecimal() and b.isdecimal():
        return str(int(a) * int(b))
    return a if b == "1" else f"{a} * {b}"


def _shown(code: str) -> str:
    """A number in a message, as the part of an f-string."""
    return code if code.isdecimal() else f"{{{code}}}"


def _written(run: list[SizeCheck], local: str, variable: str) -> list[str]:
    """A check of adjacent axes that refuses a size under a condition.

    `{}` in the message is the size, or all of them. If the line is too long otherwise, one size gets a
    variable, and several are written without their names.
    """
    first, last = run[0], run[-1]
    if first is last:
        size, message = f"{local}.shape[{first.axis}]", f"{first.name}: {first.label} {first.must}"
        ways = [
            (f"if {size} {first.refused}:", message.replace("{}", f"{{{size}}}")),
            (f"if ({variable} := {size}) {first.refused}:", message.replace("{}", f"{{{variable}}}")),
        ]
    else:
        sizes, labels = f"{local}.shape[{first.axis}:{last.axis + 1}]", ", ".join(each.label for each in run)
        condition = f"if any({variable} {first.refused} for {variable} in {sizes}):"
        ways = [
            (condition, f"{first.name}: {labels} {first.several}: {{[*{sizes}]}}"),
            (condition, f"{first.name}: {{[*{sizes}]}} {first.several}"),
        ]
    written = [
        [f"        {head}", *lines("raise ", ast.parse(f'ValueError(f"{text}")', mode="eval").body, 12)]
        for head, text in ways
    ]
    return min(written, key=lambda way: (max(map(len, way)) > WIDTH, len(way)))
