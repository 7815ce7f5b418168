"""The grammar of expressions: the tree of Python's parser, with a closed list of node types."""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Callable, Iterator

from graphspec.diagnostics import Change, Remedy, did_you_mean, shortened, write

MAX_LENGTH = 2_000
"""Characters of one expression."""
MAX_DEPTH = 40
"""Levels of nesting: brackets in the text, nodes in the tree, lists in a value."""
MAX_NUMBER = 10**18
"""Bound on the size of an integer: more than 18 digits are a mistake, and int64 ends soon after."""

WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
"""Names of values; a node or an input of such a name takes precedence in a formula."""
EXPRESSION_WORDS = frozenset([*WORDS, "not"])
"""Words that no param may have as its name: `$(not + 1)` would not parse."""
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TOO_LARGE = "a number has more than 18 digits or is infinite"


class ExpressionError(Exception):
    """An error in an expression: `start` and `end` are offsets in its text.

    `path` says where in nested data that text is; `evaluate` sets it.
    """

    def __init__(
        self, code: str, message: str, start: int = 0, end: int = 0, help: str | None = None
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.help = code, message, help
        self.start, self.end = start, end
        self.path: tuple[str | int, ...] = ()

    def shifted(self, offset: int) -> ExpressionError:
        """The same error in a text in which this one begins at `offset`."""
        self.start += offset
        self.end += offset
        return self


def error_at(node: ast.AST, code: str, message: str, help: str | None = None) -> ExpressionError:
    """An error at a node of a tree that `parse_tree` made."""
    assert isinstance(node, ast.expr)
    return ExpressionError(code, message, node.col_offset, node.end_col_offset or node.col_offset, help)


BINARY: dict[type, str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
COMPARE: dict[type, str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
}
UNARY: dict[type, str] = {ast.UAdd: "+", ast.USub: "-", ast.Not: "not "}
NUMERIC: dict[str, Callable[[float], float]] = {
    name: getattr(math, name)
    for name in ("sqrt", "exp", "log", "log2", "log10", "sin", "cos", "tan", "sinh", "cosh", "tanh")
}
"""Functions of a number, which emitted source takes from `math`."""
CONSTANTS = {"pi": math.pi}
"""Numbers with a name; what a spec calls so takes precedence."""
FUNCTIONS: dict[str, int | None] = {
    "min": None,
    "max": None,
    "round": 2,
    "ceil": 1,
    "floor": 1,
    "int": 1,
    "abs": 1,
    "len": 1,
    "sum": 1,
    "channels": 1,
    "given": 1,
    "vocabulary": 1,
    **dict.fromkeys(NUMERIC, 1),
}
"""Each function with the greatest number of its arguments, None for any; the least is one."""
NAMED = {
    "channels": "an input of the block: channels(x)",
    "given": "an input of the block: given(memory)",
    "vocabulary": "a feature of `data`: vocabulary(kinds)",
}
"""Functions of a name, not of a value, and what is in them."""

_REFUSED: dict[type, str] = {
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.JoinedStr: "an f-string",
    ast.Dict: "a mapping",
    ast.Set: "a set",
    ast.Tuple: "a tuple",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a starred value",
    ast.Await: "`await`",
    ast.Yield: "`yield`",
    ast.YieldFrom: "`yield`",
}
_FORMS = (
    "expressions have + - * / // % **, comparisons, and, or, not, `a if c else b`, lists in brackets, "
    "their indices and slices"
)
NO_NAME = r"(?:and|or|not|in|is|if|else|for|lambda|R_*)\b"
"""Words of Python, and what stands for a reference while a formula is parsed."""
Signs = tuple[tuple[str, str], ...]
"""Patterns, each with what stands for it here."""
NearMisses = tuple[tuple[re.Pattern[str], str, str], ...]
"""How a text looks that nearly is an expression, what is wrong with it, and a template of the help."""
PRODUCT = (
    re.compile(rf"(?<![\w.])(\d+(?:\.\d+)?)\s*(?![eE][+-]?\d|[xob]\w|{NO_NAME})([A-Za-z_]\w*)"),
    "a product needs its `*`",
    r"write `\1 * \2`",
)
_HALF = (
    re.compile(r"^(.*\S)\s+if\b(?!.*\belse\b)\s*(.*\S)"),
    "`if` needs its `else`",
    r"write `\1 if \2 else ...`",
)
_FOREIGN: Signs = (
    (r"&&", "write `and`"),
    (r"\|\|", "write `or`"),
    (r"!(?!=)", "write `not`"),
    (r"\?", "write `a if condition else b`"),
    (r"(?<![=!<>])=(?!=)", Remedy("compare with `==`", Change("=="))),
    (r"\$", Remedy("inside of `$(...)` a param is written without `$`", Change(""))),
)
"""Signs of other languages in an expression cannot be parsed, and what stands for them here."""


def called(node: ast.Call) -> str:
    """The name of the function, or "" where something else is called."""
    return node.func.id if isinstance(node.func, ast.Name) else ""


# --- reading

_STRING = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\""
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(rf"{_STRING}|{_WORD.pattern}|\.?\d[\w.]*|\S")
_BETWEEN = {"and", "or", "in", "is", "if", "else", "for"}
_BEFORE = {"not", "lambda", "await", "yield"}
_BEFORE_PREFIX = {"", "(", "[", ",", ":", "and", "or", "not", "if", "else"}
_HIDDEN_FIRST = {chr(ord("A") + i): chr(0x410 + i) for i in range(26)}
_HIDDEN_FIRST |= {chr(ord("a") + i): chr(0x430 + i) for i in range(26)}
_SHOWN_FIRST = {hidden: shown for shown, hidden in _HIDDEN_FIRST.items()}


def parse_tree(text: str) -> ast.expr:
    """Python's tree of `text`, in which `col_offset` and `end_col_offset` are character offsets in `text`.

    Only allowed nodes are in it, nested within MAX_DEPTH. Raises ExpressionError.
    """
    tree = read_tree(text, _FORMS, _FOREIGN, (PRODUCT, _HALF), logic=True)
    _check(tree, text)
    return tree


def read_tree(
    text: str, forms: str = "", foreign: Signs = (), almost: NearMisses = (), *, logic: bool = False
) -> ast.expr:
    """The same, with whatever Python's parser takes in it.

    `forms` says what may be written, `foreign` what stands for signs of other languages, `almost` what is
    meant by texts that nearly are expressions. With `logic`, `not -1` and `not [1]` are operations.
    """
    if len(text) > MAX_LENGTH:
        message = f"the expression has more than {MAX_LENGTH:,} characters"
        raise ExpressionError("expression-too-long", message, 0, len(text))
    _scan(text)
    # In parentheses Python takes line breaks and indentation as blanks; one line keeps offsets simple.
    source = "(" + _hidden(re.sub(r"\s", " ", text), logic) + ")"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise _syntax_error(text, error, forms, foreign, almost) from None
    except (ValueError, RecursionError, MemoryError):
        message = "the expression is nested too deeply"
        raise ExpressionError("expression-too-long", message, 0, len(text)) from None
    _restore(tree, source)
    return tree


def _hidden(text: str, logic: bool) -> str:
    """The text with names that Python keeps for itself as identifiers: a node may be called `class`, or `in`.
    Their first letters become Cyrillic, which no expression has outside of its strings, for the time of
    parsing. A word of an operator is one where a value stands before it, or starts behind it.
    """
    tokens = list(_TOKEN.finditer(text))
    words = ["", *(token[0] for token in tokens), ""]
    places = zip(tokens, words, words[1:], words[2:], _starts(words[1:-1])[1:], strict=False)
    letters, value_before, pair = list(text), False, False
    for token, before, word, after, begins in places:  # `begins`: whether a value does behind it
        operator = word in _BETWEEN or word in _BEFORE
        if operator and not value_before and not pair:
            negates = logic and word == "not" and after in ("[", "+", "-", "~")
            prefix = before in _BEFORE_PREFIX and (negates or (word, after) == ("lambda", ":"))
            operator = prefix or (begins and after != "[")
        pair = operator and value_before and (word, after) in (("not", "in"), ("is", "not"))
        if keyword.iskeyword(word) and not operator:
            letters[token.start()] = _HIDDEN_FIRST[word[0]]
        value_before = not operator and (_is_value(word) or word in (")", "]", "}"))
    return "".join(letters)


def _starts(words: list[str]) -> list[bool]:
    """Whether a value starts at each token, and at the end."""
    starts, after = [False], ""
    for word in reversed(words):
        starts.append(not starts[-1] if word in _BETWEEN else word in ("(", "[") or _is_value(word))
        starts[-1] &= (word, after, starts[-2]) != ("not", "in", False)
        after = word
    return starts[::-1]


def _is_value(token: str) -> bool:
    """Whether a token is a text, a number or a word."""
    return token[-1] in "'\"_." or token[-1].isalnum()


_COLON_ARGUMENT = re.compile(r"(?<=[(, ])([A-Za-z_]\w*)\s*:\s+(\[[^\]]*\]|[^,()\[\]]+)")
"""`axis: [1, 2]` in a call, as it is written beside `op`."""


def _syntax_error(
    text: str, error: SyntaxError, forms: str, foreign: Signs, almost: NearMisses
) -> ExpressionError:
    at = min(max((error.offset or 1) - 2, 0), len(text) - 1)
    bare = re.sub(_STRING, lambda match: " " * len(match[0]), text)
    for sign, help in foreign:
        if match := re.search(sign, bare):
            message = f"`{match[0]}` is not an operation of an expression"
            return ExpressionError("expression-syntax", message, match.start(), match.end(), help)
    if match := _COLON_ARGUMENT.search(bare):
        name, value = match[1], text[match.start(2) : match.end(2)].strip()
        message = f"the argument `{name}` of a call has `=` before its value, not `:`"
        help = write(f"{name}={value}")
        return ExpressionError("expression-syntax", message, match.start(), match.end(), help)
    for pattern, message, help in almost:
        if match := pattern.search(bare):
            return ExpressionError("expression-syntax", message, *match.span(), match.expand(help))
    if "integer string conversion" in error.msg or "too many digits" in error.msg:
        return ExpressionError("number-too-large", TOO_LARGE, at, at + 1)
    if (place := _unmatched(bare)) is not None:
        closing = BRACKETS.get(bare[place])
        message = f"`{bare[place]}` {'closes nothing' if closing is None else 'is not closed'}"
        help = "remove it" if closing is None else f"its end is `{closing}`"
        return ExpressionError("expression-syntax", message, place, place + 1, help)
    if (word := _WORD.match(bare, at)) and word[0] in _BETWEEN:
        message = f"`{word[0]}` is an operator of expressions, and goes between values"
        return ExpressionError("expression-syntax", message, *word.span(), forms)
    message = "the expression cannot be read"
    if "leading zeros" in error.msg:
        message += ": a number cannot begin with 0"
    return ExpressionError("expression-syntax", message, at, at + 1, forms)


BRACKETS = {"(": ")", "[": "]", "{": "}"}


def _unmatched(text: str) -> int | None:
    """The place of the last bracket that is not closed, or of the first that closes none."""
    opened: list[int] = []
    for place, char in enumerate(text):
        if char in BRACKETS:
            opened.append(place)
        elif char in BRACKETS.values():
            if not opened or BRACKETS[text[opened[-1]]] != char:
                return place
            opened.pop()
    return opened[-1] if opened else None


_SIGNS = {
    **{"\N{SUPERSCRIPT TWO}": "** 2", "\N{SUPERSCRIPT THREE}": "** 3"},
    **{"\N{MULTIPLICATION SIGN}": "*", "\N{MIDDLE DOT}": "*", "\N{DIVISION SIGN}": "/"},
    **{"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-"},
    **{"\N{LESS-THAN OR EQUAL TO}": "<=", "\N{GREATER-THAN OR EQUAL TO}": ">=", "\N{NOT EQUAL TO}": "!="},
}
"""Signs of mathematics, as an expression writes them."""


def outside_quotes(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """The characters of an expression that are in no text, with their offsets; quotes are left out."""
    quote, skip = "", False
    for position in range(start, len(text)):
        char = text[position]
        if skip:
            skip = False
        elif quote:
            skip = char == "\\"
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            yield position, char


def _scan(text: str) -> None:
    """Refuse what Python's parser would read otherwise than meant: comments, other letters, deep brackets."""
    if not text.strip():
        raise ExpressionError("expression-syntax", "the expression is empty", 0, len(text))
    depth = 0
    for position, char in outside_quotes(text):
        if char in "([{":
            depth += 1
            if depth > MAX_DEPTH:
                message = f"more than {MAX_DEPTH} levels of brackets"
                raise ExpressionError("expression-too-long", message, position, position + 1)
        elif char in ")]}":
            depth -= 1
        elif char in "#\\" or not (" " <= char <= "~" or char in "\t\r\n"):
            shown = char if char.isprintable() else f"U+{ord(char):04X}"
            message = f"`{shown}` has no meaning in an expression"
            help = write(_SIGNS[char]) if char in _SIGNS else None
            raise ExpressionError("expression-syntax", message, position, position + 1, help)


def _restore(tree: ast.expr, source: str) -> None:
    """Python counts the bytes of UTF-8 from the added parenthesis; we count characters of the text."""
    raw = source.encode()
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            node.col_offset = len(raw[: node.col_offset].decode()) - 1
            node.end_col_offset = len(raw[: node.end_col_offset].decode()) - 1
        if isinstance(node, ast.Name):
            node.id = _SHOWN_FIRST.get(node.id[0], node.id[0]) + node.id[1:]
        elif isinstance(node, ast.keyword) and node.arg:
            node.arg = _SHOWN_FIRST.get(node.arg[0], node.arg[0]) + node.arg[1:]


# --- checking


def _check(tree: ast.expr, text: str) -> None:
    todo: list[tuple[ast.expr, int]] = [(tree, 1)]
    while todo:
        node, depth = todo.pop()
        if depth > MAX_DEPTH:
            message = f"the expression is nested more than {MAX_DEPTH} deep"
            raise ExpressionError("expression-too-long", message, 0, len(text))
        todo += [(child, depth + 1) for child in reversed(_operands(node, text))]


def _operands(node: ast.expr, text: str) -> list[ast.expr]:
    """The operands of an allowed node, from left to right; raises for any other."""
    if isinstance(node, ast.Constant):
        _check_constant(node, text)
        return []
    if isinstance(node, ast.Name):
        return []
    if isinstance(node, ast.Call):
        return _check_call(node, text)
    if isinstance(node, ast.Attribute):
        raise _attribute(node)
    if isinstance(node, ast.BinOp) and type(node.op) in BINARY:
        return [node.left, node.right]
    if isinstance(node, ast.UnaryOp) and type(node.op) in UNARY:
        return [node.operand]
    if isinstance(node, ast.Compare) and all(type(op) in COMPARE for op in node.ops):
        return [node.left, *node.comparators]
    if isinstance(node, ast.BoolOp | ast.IfExp | ast.List | ast.Subscript | ast.Slice):
        return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
    raise _refused(node, text)


def _attribute(node: ast.Attribute) -> ExpressionError:
    message = f"`.{node.attr}` reads an attribute; in an expression nothing has one"
    help = "write a reference outside of the parentheses: `node.$(index).output`"
    if node.attr in ("channels", "shape") and isinstance(node.value, ast.Name):
        help = f"the size of the last axis of an input of a block is `channels({node.value.id})`"
    elif node.attr in FUNCTIONS or node.attr in CONSTANTS:
        help = f"functions and `pi` have no prefix: write `{node.attr}`"
    return error_at(node, "expression-attribute", message, help)


def _refused(node: ast.expr, text: str) -> ExpressionError:
    what, help = _REFUSED.get(type(node)), _FORMS
    if isinstance(node, ast.Compare):
        what, help = "`is`", "compare with `==`"
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitXor):
        what, help = "`^`", "write a power as `**`"
    elif what is None:
        what = f"`{shortened(text[node.col_offset : node.end_col_offset])}`"
    return error_at(node, "expression-form", f"{what} is not part of an expression", help)


def _check_constant(node: ast.Constant, text: str) -> None:
    value = node.value
    if not isinstance(value, int | float | str):
        what = text[node.col_offset : node.end_col_offset]
        raise error_at(
            node, "expression-form", f"`{shortened(what)}` is not a value of an expression", _FORMS
        )
    if isinstance(value, int | float) and not is_sound(value):
        raise error_at(node, "number-too-large", TOO_LARGE)


def is_sound(value: int | float) -> bool:
    """Whether a number is finite and an integer not too long."""
    return -MAX_NUMBER < value < MAX_NUMBER if isinstance(value, int) else math.isfinite(value)


def _check_call(node: ast.Call, text: str) -> list[ast.expr]:
    name = called(node)
    if name not in FUNCTIONS:
        if isinstance(node.func, ast.Attribute):
            raise _attribute(node.func)
        functions = "functions are " + ", ".join(FUNCTIONS)
        near = did_you_mean(name, FUNCTIONS, None)
        help = Remedy(f"{near} {functions}", near.change) if isinstance(near, Remedy) else functions
        what = text[node.func.col_offset : node.func.end_col_offset]
        raise error_at(
            node.func, "unknown-function", f"`{shortened(what)}` cannot be called in an expression", help
        )
    if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
        raise error_at(node, "call-arguments", f"`{name}` takes plain arguments, without names or stars")
    most = FUNCTIONS[name]
    if not node.args or (most is not None and len(node.args) > most):
        expected = {1: "one argument", 2: "one or two arguments", None: "arguments"}[most]
        raise error_at(node, "call-arguments", f"`{name}` takes {expected}, not {len(node.args)}")
    if name in NAMED and not isinstance(node.args[0], ast.Name):
        what = NAMED[name].partition(" of ")[0]
        help = f"write the name of {NAMED[name]}"
        raise error_at(node.args[0], "call-arguments", f"`{name}` takes the name of {what}", help)
    return node.args
