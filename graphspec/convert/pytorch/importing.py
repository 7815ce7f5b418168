"""One module through all stages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.export import Dim

from graphspec.convert.folding.naming import kind
from graphspec.convert.nodes import ConvertedBody, ConvertedInput, ConvertedNode, ConvertedValue
from graphspec.convert.pytorch.compositions import composed
from graphspec.convert.pytorch.converting import Converter
from graphspec.convert.pytorch.initial import initialize, left_out
from graphspec.convert.pytorch.kept import modes_kept
from graphspec.convert.pytorch.layout import Laid
from graphspec.convert.pytorch.parts import write_in_parts
from graphspec.convert.pytorch.passes import tidy
from graphspec.convert.pytorch.recognized import recognized
from graphspec.convert.pytorch.result import Conversion, FromTorch
from graphspec.convert.pytorch.state import origins, state
from graphspec.convert.pytorch.tracing import BATCH, TracedModule, traced
from graphspec.convert.pytorch.training import marked, with_training
from graphspec.convert.pytorch.tree import Tree, shortened
from graphspec.convert.pytorch.tying import unsettled
from graphspec.convert.pytorch.writer import Common, NodeWriter
from graphspec.convert.refusals import Unsupported
from graphspec.convert.specs import ConvertedSpec, compiled


def converted(
    module: nn.Module,
    inputs: dict[str, Tensor],
    dynamic: Mapping[str, Sequence[str | int | None]],
    name: str,
    flat: bool,
) -> FromTorch:
    """Raises `Unsupported`, `SpecError`."""
    with modes_kept(module), recognized(module.eval()), composed(), marked(module):
        batched = {word: _batched(tensor) for word, tensor in inputs.items()}
        free = {word: _free(dynamic.get(word)) for word in batched}
        graph = traced(module, batched, free)
        random, left = with_training(graph, module, batched, free)
        write_in_parts(graph.program)
    notes = list(left)
    sizes = _sizes(graph, dynamic)
    converter, results, outputs, nodes = _converted(graph, sizes)
    writer = converter.writer
    named = {key for key, _ in graph.outputs if key}
    rows = tuple(_rows(writer, nodes))
    for node in nodes:
        if node.automatic:
            node.name = kind(node)
    names = {each: each.name for each in converter.inputs}
    _drop_unread(converter.inputs, nodes, outputs, notes)
    lasts = {path: each for path, each in module.named_modules() if not any(True for _ in each.children())}
    torch_paths = {path for path, each in lasts.items() if type(each).__module__.startswith("torch.nn.")}
    body = Tree(writer.origins, set(lasts), torch_paths).body(name, converter.inputs, nodes, outputs)
    _share(body, writer)
    _name_features(body)
    turned = {place: converter.turned[key] for place, key in enumerate(results) if key in converter.turned}
    outputs = {(key if key in named else _called(value)): value for key, value in body.outputs.items()}
    if len(outputs) == len(body.outputs):
        body.outputs = outputs
    if any(isinstance(value.maker, ConvertedInput) for value in body.outputs.values()):
        raise Unsupported("an output of it is an input", "return what is computed")
    keys = list(body.outputs)
    notes += [
        f"the output `{keys[place]}` has the batch first, not as axis {turned[place]}" for place in turned
    ]
    initialize(body, compiled(body, {}, True, notes), writer.weights)
    spec = compiled(body, {}, flat, notes)
    frozen = tuple(sorted(writer.frozen))
    weights = state(spec.program.graph, spec.places, writer.weights)
    notes += _training_notes(writer, nodes, spec, frozen, weights)
    return FromTorch(
        name,
        spec.text,
        spec.program,
        weights,
        spec.places,
        writer,
        frozen,
        rows,
        tuple((names[each], each.shape) for each in converter.inputs),
        tuple(notes),
        turned=turned,
        origins=origins(spec.program.graph, spec.places, writer, module.state_dict().keys()),
        random=random,
        conversion=Conversion(graph, sizes, body),
    )


def _converted(
    graph: TracedModule, sizes: dict[Any, str]
) -> tuple[Converter, dict[str, Laid], dict[str, ConvertedValue], list[ConvertedNode]]:
    """The nodes of a graph, written once more where they would train a parameter twice."""
    common: dict[str, Common] = {}
    while True:
        converter = Converter(graph, sizes, common)
        results = converter.run()
        outputs = {key: laid.value for key, laid in results.items()}
        nodes = tidy(converter.writer, outputs)
        changed = unsettled(converter.writer, nodes)
        if not changed:
            return converter, results, outputs, nodes
        common |= changed


def _training_notes(
    writer: NodeWriter,
    nodes: list[ConvertedNode],
    spec: ConvertedSpec,
    frozen: tuple[str, ...],
    weights: Mapping[str, Tensor],
) -> Iterator[str]:
    """Differences in training: parts that the spec does not train, or drop, as the module does."""
    if frozen:
        yield f"folded in: {_listed(frozen)}: the spec holds what was computed of them, and trains that"
    for path, place in spec.places.items():
        for known in writer.weights[place.stored.path].values():
            if known.padding is not None and any(writer.trains.get(name) for name in known.names):
                yield f"row {known.padding} of `{path}` learns: PyTorch leaves it as it is (padding_idx)"
    drawn, alone = left_out(spec, weights)
    if alone:
        words = ("are", "they start") if len(alone) > 1 else ("is", "it starts")
        yield f"{_listed(alone)} {words[0]} in the weights alone: without them {words[1]} at random"
    dropout = next((dropout for node, dropout in writer.rates.items() if node in nodes), None)
    if dropout is not None:
        yield (
            f"a dropout of {dropout.rate} in causal attention over an open size is left out: "
            "{op: dot_product_attention} has none"
        )
    if drawn:
        yield (
            f"without the weights of the module, {_listed(drawn)} {'start' if len(drawn) > 1 else 'starts'} "
            "with other numbers: train with `--weights`"
        )


def _drop_unread(
    inputs: list[ConvertedInput], nodes: list[ConvertedNode], outputs: dict[str, Any], notes: list[str]
) -> None:
    """Leaves out inputs that no output depends on."""
    read = {value.maker for node in nodes for value in node.sources()}
    read |= {value.maker for value in outputs.values()}
    for unread in [item for item in inputs if item not in read]:
        notes.append(f"the input `{unread.name}` is left out: no output depends on it")
        inputs.remove(unread)


def _listed(words: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(f"`{word}`" for word in words[:3]) + more


def _called(value: Any) -> str:
    return str(value.maker.name)


def _batched(tensor: Tensor) -> Tensor:
    """An example with as many rows as a module is traced with, which is no other input."""
    if tensor.shape[0] == BATCH:
        return tensor.clone()
    return tensor[:1].expand(BATCH, *tensor.shape[1:]).contiguous()


def _free(shape: Sequence[str | int | None] | None) -> dict[int, Any]:
    dims: dict[int, Any] = {0: Dim.AUTO}
    for axis, size in enumerate(shape or ()):
        if not isinstance(size, int):
            dims[axis + 1] = Dim.AUTO
    return dims


def _sizes(graph: Any, dynamic: Mapping[str, Sequence[str | int | None]]) -> dict[Any, str]:
    """The words for sizes that stay open. Raises `Unsupported` where one does not."""
    from graphspec.convert.pytorch.sizes import known_number

    words: dict[Any, str] = {}
    for node in graph.program.graph.nodes:
        if node.op != "placeholder" or node.name not in graph.inputs:
            continue
        shape = [known_number(size) for size in node.meta["val"].shape]
        if isinstance(shape[0], int):
            raise Unsupported(
                f"it takes batches of {shape[0]} alone", "use `x.shape[0]`, or -1, in place of the number"
            )
        for size, word in zip(shape[1:], dynamic.get(node.name) or (), strict=False):
            if isinstance(word, int):
                continue
            if isinstance(size, int):
                raise Unsupported(
                    f"the size `{word}` of `{node.name}` does not stay open: the module fixes it at {size}",
                    "give it as a number",
                )
            words.setdefault(size, str(word or f"size_{len(words)}"))
    return words


def _share(body: ConvertedBody, writer: Any) -> None:
    """The entries of layers with common parameters."""
    used: dict[Any, None] = {}

    def walk(inner: ConvertedBody) -> None:
        for node in inner.nodes:
            if node.entry is not None and node.form == "call":
                used.setdefault(node.entry)
            elif node.body is not None:
                walk(node.body)

    walk(body)
    paths = [writer.origins_of(entry) for entry in used]
    from graphspec.weights.names import Namespace

    names = Namespace({item.name for item in body.inputs} | {node.name for node in body.nodes})
    for entry, word in zip(used, shortened(paths), strict=True):
        entry.name = names.claim(word.replace(".", "_") or "shared")
    body.shared = list(used)


def _name_features(body: ConvertedBody) -> None:
    """Calls `features` what the last layer of the first output reads, so that another head can read it."""
    head = next(iter(body.outputs.values())).maker
    while isinstance(head, ConvertedNode) and head.what in ("Activation", "Reshape", "Dropout"):
        head = next(head.sources()).maker
    if not isinstance(head, ConvertedNode) or head.what != "Dense" or head.form != "layer":
        return
    features = next(head.sources()).maker
    while isinstance(features, ConvertedNode) and features.what == "Dropout":
        features = next(features.sources()).maker
    if not isinstance(features, ConvertedNode) or features.stored is not None:
        return
    if features.form in ("layer", "op", "merge") and "features" not in _names_of(body):
        features.name, features.automatic = "features", False


def _names_of(body: ConvertedBody) -> set[str]:
    inputs, entries = {item.name for item in body.inputs}, {entry.name for entry in body.shared}
    return inputs | entries | {node.name for node in body.nodes}


def _rows(writer: Any, nodes: list[ConvertedNode]) -> Any:
    """The nodes of each of the user's modules."""
    words_by_module: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        modules = writer.origins[node].modules
        key = (modules[-1][1], modules[-1][2]) if modules else ("", "")
        word = str(node.what) if node.form not in ("parameter", "constant", "call") else node.form
        words_by_module.setdefault(key, []).append(word)
    for (path, name), words in words_by_module.items():
        yield path, name, ", ".join(dict.fromkeys(words))
