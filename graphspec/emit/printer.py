"""Trees to text: parentheses by operator precedence, and lines wrapped as ruff wraps them."""

from __future__ import annotations

import ast
import re
from itertools import pairwise

from graphspec.emit.code import Read, reads, replace

WIDTH = 88

(CONDITIONAL, OR, AND, NOT, COMPARED, BIT_OR, BIT_XOR) = range(7)
(BIT_AND, SHIFT, SUM, PRODUCT, SIGN, POWER, ATOM) = range(7, 14)
OPERATORS: dict[type, tuple[str, int]] = {
    ast.BitOr: ("|", BIT_OR),
    ast.BitXor: ("^", BIT_XOR),
    ast.BitAnd: ("&", BIT_AND),
    ast.LShift: ("<<", SHIFT),
    ast.RShift: (">>", SHIFT),
    ast.Add: ("+", SUM),
    ast.Sub: ("-", SUM),
    ast.Mult: ("*", PRODUCT),
    ast.Div: ("/", PRODUCT),
    ast.FloorDiv: ("//", PRODUCT),
    ast.Mod: ("%", PRODUCT),
    ast.MatMult: ("@", PRODUCT),
    ast.Pow: ("**", POWER),
}
COMPARISONS: dict[type, str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
}
SIGNS: dict[type, str] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}


def comment(text: str) -> str:
    """Text that is safe in a comment or docstring: printable ASCII, no quotes that could end it."""
    return re.sub(r"[^ -~]", "?", text).replace("\\", "/").replace('"""', "'''")


def flat(node: ast.expr, least: int = CONDITIONAL) -> str:
    """An expression on one line, in parentheses if its precedence is below `least`."""
    text, level = _written(node)
    return text if level >= least else f"({text})"


def _written(node: ast.expr) -> tuple[str, int]:
    """The text of an expression, and its precedence."""
    match node:
        case Read():
            return node.variable.name or node.variable.word, ATOM
        case ast.Name():
            return node.id, ATOM
        case ast.Constant():
            return _constant(node.value), ATOM
        case ast.Attribute():
            return f"{_object(node.value)}.{node.attr}", ATOM
        case ast.Call():
            inner = arguments(node)
            text = ", ".join(map(_item, inner) if len(inner) == 1 else map(_argument, inner))
            return f"{flat(node.func, ATOM)}({text})", ATOM
        case ast.Subscript():
            return f"{_object(node.value)}[{_index(node.slice)}]", ATOM
        case ast.BinOp():
            return _binary(node)
        case ast.UnaryOp():
            word, level = ("not ", NOT) if isinstance(node.op, ast.Not) else (SIGNS[type(node.op)], SIGN)
            power = isinstance(node.operand, ast.BinOp) and isinstance(node.operand.op, ast.Pow)
            return f"{word}{flat(node.operand, ATOM if power else level)}", level
        case ast.BoolOp():
            word, level = ("and", AND) if isinstance(node.op, ast.And) else ("or", OR)
            return f" {word} ".join(flat(value, level + 1) for value in node.values), level
        case ast.Compare():
            parts = [flat(node.left, COMPARED + 1)]
            for op, value in zip(node.ops, node.comparators, strict=True):
                parts += [COMPARISONS[type(op)], flat(value, COMPARED + 1)]
            return " ".join(parts), COMPARED
        case ast.IfExp():
            text = f"{flat(node.body, OR)} if {flat(node.test, OR)} else {flat(node.orelse)}"
            return text, CONDITIONAL
        case ast.Lambda():
            head = f"lambda {ast.unparse(node.args)}".rstrip()
            return f"{head}: {flat(node.body)}", CONDITIONAL
        case _:
            display = _display(node)
            return (_unparsed(node), CONDITIONAL) if display is None else (display, ATOM)


def _unparsed(node: ast.expr) -> str:
    """An expression as Python writes it: of a kind that no layout of its own is worth."""
    for read in list(reads(node)):
        node = replace(node, read, ast.Name(flat(read), ast.Load()))
    return ast.unparse(node)


def _display(node: ast.expr) -> str | None:
    """Lists, tuples, dictionaries, comprehensions, slices, and text with insertions."""
    match node:
        case ast.List():
            return f"[{', '.join(map(flat, node.elts))}]"
        case ast.Set():
            return f"{{{', '.join(map(flat, node.elts))}}}"
        case ast.Tuple():
            inner = ", ".join(map(flat, node.elts))
            return f"({inner},)" if len(node.elts) == 1 else f"({inner})"
        case ast.Dict():
            return f"{{{', '.join(map(_entry, node.keys, node.values))}}}"
        case ast.Starred():
            return f"*{flat(node.value, BIT_OR)}"
        case ast.ListComp():
            return f"[{flat(node.elt)} {_loops(node.generators)}]"
        case ast.GeneratorExp():
            return f"({flat(node.elt)} {_loops(node.generators)})"
        case ast.Slice():
            return _slice(node)
        case ast.JoinedStr():
            return 'f"' + "".join(map(_inserted, node.values)) + '"'
    return None


def _object(node: ast.expr) -> str:
    """The object of an attribute or an item."""
    number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    return f"({flat(node)})" if number else flat(node, ATOM)


def _constant(value: object) -> str:
    if isinstance(value, str):  # in double quotes unless that needs more backslashes
        quote = "'" if value.count('"') > value.count("'") else '"'
        return f"{quote}{_escaped(value, quote)}{quote}"
    return repr(value) if value is not ... else "..."


def _escaped(text: str, quote: str = '"') -> str:
    return ascii(text + '"')[1:-2].replace("\\'", "'").replace(quote, f"\\{quote}")


def _inserted(node: ast.expr) -> str:
    """A part of a text with insertions."""
    if isinstance(node, ast.FormattedValue):
        conversion = f"!{chr(node.conversion)}" if node.conversion > 0 else ""
        layout = node.format_spec.values if isinstance(node.format_spec, ast.JoinedStr) else []
        return f"{{{flat(node.value)}{conversion}{':' if layout else ''}{''.join(map(_inserted, layout))}}}"
    assert isinstance(node, ast.Constant) and isinstance(node.value, str)
    return _escaped(node.value).replace("{", "{{").replace("}", "}}")


def _entry(key: ast.expr | None, value: ast.expr) -> str:
    return f"**{flat(value, BIT_OR)}" if key is None else f"{flat(key)}: {flat(value)}"


def _loops(generators: list[ast.comprehension]) -> str:
    parts = []
    for each in generators:
        parts.append(f"for {bare(each.target)} in {flat(each.iter, OR)}")
        parts += [f"if {flat(test, OR)}" for test in each.ifs]
    return " ".join(parts)


def bare(node: ast.expr) -> str:
    """A tuple without parentheses, as before `=`, after `return` and after `for`."""
    if isinstance(node, ast.Tuple) and len(node.elts) > 1:
        return ", ".join(flat(each) for each in node.elts)
    return flat(node)


def _index(node: ast.expr) -> str:
    if isinstance(node, ast.Tuple) and node.elts:
        inner = ", ".join(map(flat, node.elts))
        return f"{inner}," if len(node.elts) == 1 else inner
    return flat(node)


def _slice(node: ast.Slice) -> str:
    """The colon of a slice has spaces unless both ends are simple names or numbers."""
    ends = [node.lower, node.upper, *([node.step] if node.step is not None else [])]
    parts = [flat(part) if part is not None else "" for part in ends]
    if all(part is None or _simple(part) for part in ends):
        return ":".join(parts)
    text = parts[0]
    for before, after in pairwise(parts):
        text += (" :" if before else ":") + (f" {after}" if after else "")
    return text


def _simple(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        node = node.operand
    return isinstance(node, ast.Name | ast.Constant | Read)


def _binary(node: ast.BinOp) -> tuple[str, int]:
    word, level = OPERATORS[type(node.op)]
    if level == POWER:
        signed = isinstance(node.left, ast.UnaryOp)  # which is in parentheses
        space = "" if _plain(node.left) and not signed and _plain(node.right) else " "
        return f"{flat(node.left, ATOM)}{space}**{space}{flat(node.right, SIGN)}", POWER
    return f"{flat(node.left, level)} {word} {flat(node.right, level + 1)}", level


def _plain(node: ast.expr) -> bool:
    """Whether an operand has no spaces around `**`."""
    if isinstance(node, ast.UnaryOp) and not isinstance(node.op, ast.Not):
        node = node.operand
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name | Read) or (
        isinstance(node, ast.Constant) and isinstance(node.value, int | float | complex | None)
    )


def arguments(node: ast.Call) -> list[ast.expr | ast.keyword]:
    """The arguments of a call, in order."""
    return [*node.args, *node.keywords]


def _argument(node: ast.expr | ast.keyword) -> str:
    if isinstance(node, ast.keyword):
        return f"**{flat(node.value, BIT_OR)}" if node.arg is None else f"{node.arg}={flat(node.value)}"
    return flat(node)


# --- lines


def lines(prefix: str, node: ast.expr, indent: int, suffix: str = "", statement: bool = True) -> list[str]:
    """`prefix expression suffix` as one or more lines, indented by `indent` spaces.

    The expression of a statement gets parentheses if it is broken outside of brackets.
    """
    pad = " " * indent
    text = bare(node) if statement else flat(node)
    if len(pad) + len(prefix) + len(text) + len(suffix) <= WIDTH:
        return [f"{pad}{prefix}{text}{suffix}"]
    chain = _chain(node)
    if len(chain) > 2:
        return _parenthesized(prefix, _chained(chain, indent + 4 * statement), pad, suffix, statement)
    operands = _operands(node)
    if len(operands) > 1:
        grouped = statement and len(operands) == 2 and _level(operands[0][1]) < operands[0][2]
        if grouped:  # the existing parentheses
            inner = _stacked(_operands(operands[0][1]), indent + 4)
            rest = f"{operands[1][0]}{flat(operands[1][1], operands[1][2])}"
            return [f"{pad}{prefix}(", *inner, f"{pad}) {rest}{suffix}"]
        return _parenthesized(prefix, _stacked(operands, indent + 4 * statement), pad, suffix, statement)
    brackets = _brackets(node)
    if brackets is None:
        if statement and not isinstance(node, ast.Constant | ast.Name):
            return [f"{pad}{prefix}(", f"{pad}    {text}", f"{pad}){suffix}"]
        return [f"{pad}{prefix}{text}{suffix}"]
    head, items, tail = brackets
    if len(chain) == 2 and len(pad) + len(prefix) + len(head) > WIDTH:  # broken in the first of two calls
        return lines(prefix, chain[0], indent, flat(_added(*chain)) + suffix, statement)
    body = ", ".join(map(_item, items))
    if isinstance(node, ast.Call | ast.Subscript) and len(pad) + 4 + len(body) <= WIDTH:
        return [f"{pad}{prefix}{head}", f"{pad}    {body}", f"{pad}{tail}{suffix}"]
    only = items[0] if len(items) == 1 else None
    if isinstance(only, ast.GeneratorExp) and isinstance(node, ast.Call):
        return [f"{pad}{prefix}{head}", *_comprehension(only, indent + 4), f"{pad}{tail}{suffix}"]
    if isinstance(node, ast.ListComp | ast.GeneratorExp):
        return [f"{pad}{prefix}{head}", *_comprehension(node, indent + 4), f"{pad}{tail}{suffix}"]
    out = [f"{pad}{prefix}{head}"]
    index = isinstance(node, ast.Subscript) and only is node.slice  # with a comma it would be a tuple
    joined = isinstance(only, ast.List | ast.ListComp) and isinstance(node, ast.Call)
    trailing = "" if index or joined or isinstance(only, ast.GeneratorExp) else ","
    for each in items:
        out += _item_lines(each, indent + 4, trailing)
    return [*out, f"{pad}{tail}{suffix}"]


def _parenthesized(prefix: str, inner: list[str], pad: str, suffix: str, statement: bool) -> list[str]:
    """Lines in their own parentheses, if they are not in brackets already."""
    if statement:
        return [f"{pad}{prefix}(", *inner, f"{pad}){suffix}"]
    first = pad + prefix + inner[0].lstrip()
    return [first, *inner[1:-1], inner[-1] + suffix] if len(inner) > 1 else [first + suffix]


Item = ast.expr | ast.keyword | tuple[ast.expr | None, ast.expr]


def _item(each: Item) -> str:
    if isinstance(each, tuple):
        return _entry(*each)
    if isinstance(each, ast.GeneratorExp):
        return flat(each)[1:-1]
    return _argument(each)


def _item_lines(each: Item, indent: int, suffix: str) -> list[str]:
    if isinstance(each, tuple):
        word, value = "**" if each[0] is None else f"{flat(each[0])}: ", each[1]
    elif isinstance(each, ast.keyword):
        word, value = f"{each.arg}=" if each.arg else "**", each.value
    elif isinstance(each, ast.Starred):
        word, value = "*", each.value
    else:
        word, value = "", each
    return _bound(word, value, BIT_OR if word in ("*", "**") else CONDITIONAL, indent, suffix)


def _comprehension(node: ast.GeneratorExp | ast.ListComp, indent: int) -> list[str]:
    """A comprehension in brackets: on one line, or with `for` on a line of its own."""
    line = f"{' ' * indent}{flat(node)[1:-1]}"
    if len(line) <= WIDTH:
        return [line]
    out = lines("", node.elt, indent, statement=False)
    for each in node.generators:
        out += _bound(f"for {bare(each.target)} in ", each.iter, OR, indent)
        out += [line for test in each.ifs for line in _bound("if ", test, OR, indent)]
    return out


def _level(node: ast.expr) -> int:
    return _written(node)[1]


Operand = tuple[str, ast.expr, int]  # the operator before it, the operand, and the precedence that it needs


def _operands(node: ast.expr) -> list[Operand]:
    """The operands of the operators of lowest precedence, each with the operator before it."""
    if isinstance(node, ast.IfExp):
        return [("", node.body, OR), ("if ", node.test, OR), ("else ", node.orelse, CONDITIONAL)]
    if isinstance(node, ast.BoolOp):
        word, level = ("and ", AND) if isinstance(node.op, ast.And) else ("or ", OR)
        return [(word if i else "", value, level + 1) for i, value in enumerate(node.values)]
    if isinstance(node, ast.Compare):
        words = ["", *(f"{COMPARISONS[type(op)]} " for op in node.ops)]
        values = [node.left, *node.comparators]
        return [(word, value, COMPARED + 1) for word, value in zip(words, values, strict=True)]
    if not isinstance(node, ast.BinOp) or isinstance(node.op, ast.Pow):
        return [("", node, CONDITIONAL)]
    level = OPERATORS[type(node.op)][1]
    rest: list[Operand] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp) and OPERATORS[type(left.op)][1] == level:
        rest.append((f"{OPERATORS[type(left.op)][0]} ", left.right, level + 1))
        left = left.left
    return [("", left, level), *reversed(rest)]


def _stacked(operands: list[Operand], indent: int) -> list[str]:
    """Operands on one line each."""
    line = " ".join(f"{word}{flat(value, level)}" for word, value, level in operands)
    if indent + len(line) <= WIDTH:
        return [" " * indent + line]
    return [line for word, value, level in operands for line in _bound(word, value, level, indent)]


def _bound(word: str, value: ast.expr, least: int, indent: int, suffix: str = "") -> list[str]:
    """A word and what it binds, in parentheses if the precedence of that is below `least`."""
    if _level(value) >= least:
        return lines(word, value, indent, suffix, statement=False)
    pad = " " * indent
    line = f"{pad}{word}({flat(value)}){suffix}"
    inner = _stacked(_operands(value), indent + 4)
    return [line] if len(line) <= WIDTH else [f"{pad}{word}(", *inner, f"{pad}){suffix}"]


def _chain(node: ast.expr) -> list[ast.expr]:
    """A chain of method calls, each on the result of the previous one, from the first object to the whole."""
    links = [node]
    while True:
        inner, attributes = node, 0
        while isinstance(inner, ast.Call | ast.Subscript | ast.Attribute):
            if attributes and not isinstance(inner, ast.Attribute):
                break
            attributes += isinstance(inner, ast.Attribute)
            inner = inner.func if isinstance(inner, ast.Call) else inner.value
        if not isinstance(inner, ast.Call | ast.Subscript):
            return links[::-1]
        links.append(inner)
        node = inner


def _chained(chain: list[ast.expr], indent: int) -> list[str]:
    """The links of a chain, one per line."""
    out = lines("", chain[0], indent, statement=False)
    for before, link in pairwise(chain):
        out += lines("", _added(before, link), indent, statement=False)
    return out


def _added(before: ast.expr, link: ast.expr) -> ast.expr:
    """The text that a link adds to the previous one, which may also appear among its arguments."""
    if link is before:
        return ast.Name("", ast.Load())
    match link:
        case ast.Call():
            return ast.Call(_added(before, link.func), link.args, link.keywords)
        case ast.Attribute():
            return ast.Attribute(_added(before, link.value), link.attr, link.ctx)
        case ast.Subscript():
            return ast.Subscript(_added(before, link.value), link.slice, link.ctx)
    return link


def _brackets(node: ast.expr) -> tuple[str, list[Item], str] | None:
    """The text up to the last opening bracket, the items in it, and the closing bracket."""
    match node:
        case ast.Call() if arguments(node):
            return f"{flat(node.func, ATOM)}(", list(arguments(node)), ")"
        case ast.Subscript(slice=ast.Tuple(elts=[_, _, *_] as parts)):
            return f"{_object(node.value)}[", list(parts), "]"
        case ast.Subscript():
            return f"{_object(node.value)}[", [node.slice], "]"
        case ast.List() if node.elts:
            return "[", list(node.elts), "]"
        case ast.Tuple() if node.elts:
            return "(", list(node.elts), ")"
        case ast.Dict() if node.keys:
            return "{", list(zip(node.keys, node.values, strict=True)), "}"
        case ast.ListComp():
            return "[", [node], "]"
        case ast.GeneratorExp():
            return "(", [node], ")"
    return None
