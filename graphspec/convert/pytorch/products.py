"""Functions of matrices: products, as a `Dense` where one is a matrix of parameters and as an einsum in the
layout of the values elsewhere; distances of their rows; their triangles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from graphspec.convert.nodes import ConvertedValue
from graphspec.convert.pytorch.computed import counted
from graphspec.convert.pytorch.functions import Out, handles
from graphspec.convert.pytorch.layers import dense
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.pointwise import pair, scalar
from graphspec.convert.pytorch.reducing import reduced
from graphspec.convert.pytorch.sizes import dtype_of
from graphspec.convert.pytorch.writer import Known, NodeWriter
from graphspec.convert.refusals import Unsupported
from graphspec.convert.tracing.symbolic import spelled

BATCH = "b"


@handles("matmul", "bmm", "mm", "baddbmm", "einsum", "outer", "dot", "vdot", "mv")
def _matmul(
    w: NodeWriter,
    *,
    function: str,
    out: Any,
    self: Any = None,
    other: Any = None,
    equation: str = "",
    tensors: Any = (),
    then: Any = None,
    **given: Any,
) -> Laid:
    if function == "baddbmm":
        product_ = _matmul(w, function="matmul", out=out, self=given["batch1"], other=given["batch2"])
        if given.get("alpha", 1) != 1:
            product_ = scalar(w, "multiply", product_, given["alpha"])
        if given.get("beta", 1) == 0:
            return product_
        return pair(w, "add", self, product_, out.shape)
    if function == "einsum":
        terms, result = _terms(equation, [shape_of(x) for x in tensors])
        return _summed(w, list(zip(terms, tensors, strict=True)), result, out, then)
    others = [other, *(given.get(name) for name in ("mat2", "vec2", "vec", "tensor"))]
    left, right = self, next(x for x in others if x is not None)
    first, second, result = _letters(left, right, function)
    return _product(w, (first, left), (second, right), result, out, then)


def _product(w: NodeWriter, a: Term, b: Term, result: str, out: Any, then: Any = None) -> Laid:
    (first, left), (second, right) = a, b
    if isinstance(left, Laid) and isinstance(right, Known):
        simple = _projection(w, left, right, first, second, result)
        if simple is not None:
            return simple
    if isinstance(left, Known):
        return contract(w, right, left, second, first, result, out, then)
    return contract(w, left, right, first, second, result, out, then)


def _terms(equation: str, shapes: list[Any]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with letters for dots."""
    operands, arrow, result = spelled(equation, [len(shape) for shape in shapes]).partition("->")
    terms, flat = operands.split(","), operands.replace(",", "")
    if arrow:
        return terms, result
    dots = sorted({*flat} - {*equation})
    return terms, "".join([*dots, *sorted(c for c in {*equation} & {*flat} if flat.count(c) == 1)])


def _summed(w: NodeWriter, terms: list[Term], result: str, out: Any, then: Any) -> Laid:
    """An einsum of any number of tensors, two at a time."""
    if any(len(set(term)) < len(term) for term, _ in terms):
        raise Unsupported("an einsum of a diagonal is not understood", "name each axis of a tensor once")
    while len(terms) > 2:
        (first, left), (second, right), *rest = terms
        if isinstance(left, Known) and isinstance(right, Known):
            terms = [terms[0], *rest, terms[1]]
            continue
        sizes = dict(zip(first + second, (*shape_of(left), *shape_of(right)), strict=True))
        needed = {*result, *(letter for term, _ in rest for letter in term)}
        kept = "".join(letter for letter in dict.fromkeys(first + second) if letter in needed)
        part = Out(tuple(sizes[letter] for letter in kept))
        terms = [(kept, _product(w, terms[0], terms[1], kept, part)), *rest]
    if len(terms) == 2:
        return _product(w, terms[0], terms[1], result, out, then)
    term, x = terms[0]
    gone = [i for i, letter in enumerate(term) if letter not in result]
    if gone:
        x = reduced(w, "sum", x, gone, False, None)
    left = [letter for letter in term if letter in result]
    permuted: Laid = x.permuted([left.index(letter) for letter in result])
    return permuted


@handles("bilinear")
def _bilinear(w: NodeWriter, input1: Laid, input2: Laid, weight: Any, bias: Any, out: Any) -> Laid:
    front = "ABCDEFGH"[: len(input1.shape) - 1]
    terms = [(f"{front}i", input1), ("oij", weight), (f"{front}j", input2)]
    y = _summed(w, terms, f"{front}o", out, None)
    return y if bias is None else pair(w, "add", y, bias, out.shape)


@handles("_weight_norm", "_weight_norm_interface")
def _weight_norm(w: NodeWriter, v: Laid, g: Laid, function: str, dim: int = 0) -> Any:
    """Vectors of the lengths `g`, in the directions of `v`, one for each index of an axis; or one for all."""
    norm = reduced(w, "norm", v, [i for i in range(len(v.shape)) if i != dim], True, None)
    weight = pair(w, "multiply", pair(w, "divide", v, norm, v.shape), g, v.shape)
    return (weight, norm) if function.endswith("interface") else weight


@handles("cdist", "_cdist_forward")
def _cdist(w: NodeWriter, x1: Laid, x2: Laid, out: Any, p: float = 2.0) -> Laid:
    """The distances of each vector of one tensor and each of another."""
    a, b = x1.inserted(len(x1.shape) - 1), x2.inserted(len(x2.shape) - 2)
    gaps = pair(w, "subtract", a, b, (*out.shape, x1.shape[-1]))
    arguments = {} if p == 2 else {"ord": p}
    return reduced(w, "norm", gaps, [len(out.shape)], False, None, **arguments)


@handles("tril", "triu")
def _triangle(w: NodeWriter, self: Laid, function: str, out: Any, diagonal: int = 0) -> Laid:
    number = w.constant(self)
    if number is not None and self.axes == ((), ()) and bool((number == number.flatten()[0]).all()):
        return _triangle_of(w, number.flatten()[0].item(), function, out, diagonal)
    x = w.natural(self)
    return w.of(x, function, k=diagonal)


def _triangle_of(w: NodeWriter, number: Any, function: str, out: Any, diagonal: int) -> Laid:
    """The triangle of a matrix that is one number everywhere, as a comparison of its rows and columns."""
    rows, columns = (counted(w, size) for size in out.shape)
    rows, columns = scalar(w, "add", rows, diagonal).inserted(1), columns.inserted(0)
    order = "greater_equal" if function == "tril" else "less_equal"
    inside = replace(pair(w, order, rows, columns, tuple(out.shape)), dtype="bool")
    if number is True:
        return inside
    chosen = w.node("op", "where", {"x1": number, "x2": type(number)(0)}, [("condition", inside.value)])
    return replace(inside, value=ConvertedValue(chosen), dtype=dtype_of(out))


Term = tuple[str, Any]
"""Letters of the axes of a tensor, and the tensor."""


def rank_of(x: Any) -> int:
    return len(x.shape) if isinstance(x, Laid) else x.tensor.dim()


def shape_of(x: Any) -> Any:
    return x.shape if isinstance(x, Laid) else tuple(x.tensor.shape)


def _letters(left: Any, right: Any, function: str) -> tuple[str, str, str]:
    a, b = rank_of(left), rank_of(right)
    if function == "outer":
        return "i", "j", "ij"
    front = max(a, b) - 2
    words = "ABCDEFGH"[:front] if front > 0 else ""
    first = words[len(words) - (a - 2) :] + "ik" if a > 1 else "k"
    second = words[len(words) - (b - 2) :] + "kj" if b > 1 else "k"
    if a == 2:
        first = "ik"
    if b == 2:
        second = "kj"
    return first, second, words + ("i" if a > 1 else "") + ("j" if b > 1 else "")


def _projection(w: NodeWriter, x: Laid, matrix: Known, first: str, second: str, result: str) -> Laid | None:
    """A product of data with a matrix along the last axis is a `Dense`."""
    if len(second) != 2 or first[-1] not in second or result[:-1] != first[:-1]:
        return None
    turned = second == first[-1] + result[-1]
    if not (turned or second == result[-1] + first[-1]):
        return None
    return dense(w, x, matrix.map(lambda t: t.t()) if turned else matrix, None)


def contract(
    w: NodeWriter, left: Laid, right: Any, first: str, second: str, result: str, out: Any, then: Any = None
) -> Laid:
    """An einsum, in the axes that the values have. `then` is the order in which torch's axes are wanted."""
    left = w.solid(left)
    right = w.solid(right) if isinstance(right, Laid) else right
    shapes = dict(zip(first, left.shape, strict=True))
    for letter, size in zip(second, shape_of(right), strict=True):
        if shapes.get(letter, 1) == 1:
            shapes[letter] = size
    terms = ((first, left), (second, right))
    parts, apart = _parts(terms, shapes)
    if apart:
        left, right = _joined(w, left, first, apart), _joined(w, right, second, apart)
        return contract(w, left, right, first, second, result, out, then)
    names, letters = _named(terms, parts)
    words, reads = [], []
    sized = {BATCH: 1}
    for term, x in terms:
        if isinstance(x, Known):
            value, word = _constant(w, x, term, parts, names, shapes)
        else:
            value, word = x.value, _word(x, term, names, shapes, letters)
            free = x.is_free
            sized |= {
                name: size for name, size in zip(word, x.sizes, strict=True) if not (free and name == BATCH)
            }
        words.append(word if BATCH in word else BATCH + word)
        reads.append(("", value))
    for letter in names:
        sized |= dict(zip(names[letter], parts[letter], strict=True))
    there = {name for word in words for name in word}  # not those of axes of size 1 that no value has
    names = {letter: "".join(name for name in found if name in there) for letter, found in names.items()}
    wanted = result if then is None else "".join(result[i] for i in then)
    flat = [name for letter in wanted for name in names[letter]]
    if BATCH not in flat and not all(isinstance(x, Known) or x.is_free for _, x in terms):
        raise Unsupported("it sums over the examples of a batch", "combine tensors of one example")
    order = [BATCH, *(name for name in flat if name != BATCH)]
    node = w.node("op", "einsum", {"subscripts": f"{','.join(words)}->{''.join(order)}"}, reads)
    axes = tuple(tuple(order.index(name) for name in names[letter]) for letter in result)
    sizes = tuple(sized[name] for name in order)
    return Laid(ConvertedValue(node), sizes, axes, tuple(out.shape), left.dtype)


Terms = tuple[tuple[str, Any], ...]
Parts = dict[str, tuple[Any, ...]]


def _parts(terms: Terms, shapes: dict[str, Any]) -> tuple[Parts, str]:
    """The sizes that each letter's axis consists of, and a letter for which both tensors have others."""
    parts: Parts = {}
    for term, x in terms:
        for i, letter in enumerate(term):
            if isinstance(x, Laid) and (real := x.real(i)) and x.length(x.axes[i]) == shapes[letter]:
                sizes = tuple(x.sizes[j] for j in real)
                if parts.setdefault(letter, sizes) != sizes:
                    return parts, letter
    for letter, size in shapes.items():
        parts.setdefault(letter, (size,))
    return parts, ""


def _named(terms: Terms, parts: Parts) -> tuple[dict[str, str], Iterator[str]]:
    """The letters in the spec's einsum for each of torch's, and those that are left."""
    letters = iter("acdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    names: dict[str, str] = {}
    for letter in dict.fromkeys("".join(term for term, _ in terms)):
        names[letter] = "".join(
            BATCH
            if any(isinstance(x, Laid) and _is_batch(x, term, letter, k) for term, x in terms)
            else next(letters)
            for k in range(len(parts[letter]))
        )
    return names, letters


def _word(x: Laid, term: str, names: dict[str, str], shapes: dict[str, Any], letters: Iterator[str]) -> str:
    """The letters of a value's axes."""
    word = ["?"] * len(x.sizes)
    if x.is_free:
        word[0] = BATCH
    for i, letter in enumerate(term):
        if x.length(x.axes[i]) == shapes[letter]:
            for j, name in zip(x.real(i), names[letter], strict=False):
                word[j] = name
    for j, size in enumerate(x.sizes):
        if word[j] == "?" and size == 1:
            word[j] = next(letters)
    if "?" in word:
        raise Unsupported("an einsum of stretched axes is not understood", "write it in steps")
    if word[0] != BATCH:
        raise Unsupported("it mixes the examples of a batch", "combine tensors of one example")
    return "".join(word)


def _is_batch(x: Laid, term: str, letter: str, k: int) -> bool:
    if letter not in term:
        return False
    real = x.real(term.index(letter))
    return k < len(real) and real[k] == 0


def _joined(w: NodeWriter, x: Any, term: str, letter: str) -> Any:
    """With the axis of this letter in one piece."""
    if not isinstance(x, Laid) or letter not in term:
        return x
    i = term.index(letter)
    if len(x.real(i)) < 2:
        return x
    if 0 in x.axes[i]:
        raise Unsupported("it mixes the examples of a batch", "keep the batch apart from other axes")
    groups = [x.axes[k] for k in range(len(x.axes)) if 0 not in x.axes[k]]
    if any(0 in axis and len(axis) > 1 for axis in x.axes):
        groups = [(j,) for axis in x.axes if 0 in axis for j in axis if j] + groups
    return w.lay(x, groups)


def _constant(
    w: NodeWriter, x: Known, term: str, parts: Parts, names: dict[str, str], shapes: dict[str, Any]
) -> tuple[ConvertedValue, str]:
    """A known tensor as a value, and the letters of its axes after the batch."""
    sizes: list[int] = []
    for i, letter in enumerate(term):
        stretched = x.tensor.shape[i] == 1 != shapes[letter]
        sizes += [1] * len(parts[letter]) if stretched else [int(size) for size in parts[letter]]
    word = "".join(names[letter] for letter in term)
    if BATCH not in word:
        return w.held(x.map(lambda t: t.reshape(sizes))), word
    place = word.index(BATCH)
    if sizes[place] != 1:
        raise Unsupported("a constant has a value for each example of the batch", "pass it as an input")
    return w.held(x.map(lambda t: t.reshape(sizes).movedim(place, 0)[0])), word.replace(BATCH, "")


@handles("linalg_inv", "inverse", "linalg_cholesky", "linalg_det", "det", "linalg_solve")
def _of_matrices(
    w: NodeWriter, out: Any, function: str, self: Any = None, A: Any = None, B: Any = None, **given: Any
) -> Laid:
    """A function of each of the matrices along the last two axes."""
    if given.get("upper") or given.get("left") is False:
        raise Unsupported("it takes matrices from the other side", "transpose them")
    op = {"inverse": "inv"}.get(function, function.removeprefix("linalg_"))
    matrices = [w.laid(x) for x in (self if self is not None else A, B) if x is not None]
    vectors = len(matrices) == 2 and len(matrices[1].shape) < len(matrices[0].shape)
    if vectors:
        matrices[1] = matrices[1].inserted(len(matrices[1].shape))
    node = w.node("op", op, {}, [("", w.natural(x).value) for x in matrices])
    shape = (*out.shape, 1) if vectors else tuple(out.shape)
    result = Laid(ConvertedValue(node), shape, tuple((i,) for i in range(len(shape))), shape)
    return result.without([len(shape) - 1]) if vectors else result
