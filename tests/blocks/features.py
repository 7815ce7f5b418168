"""What random specs combine, counted: `python -m tests.blocks.features 1000`."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from tests.blocks.specs import Spec, Writer, reads

Place = tuple[str | None, Spec, dict[str, Any]]
"""The block that a node stands in, None for the file's; its body; the node."""

WITH_WEIGHTS = re.compile(r"Dense|Conv|Normalization|GRU|LSTM|RNN|Attention|Bidirectional")


def places(spec: Spec) -> Iterator[Place]:
    for name, body in ((None, spec), *spec.get("blocks", {}).items()):
        for node in body["nodes"].values():
            yield name, body, node


def features(spec: Spec) -> set[str]:
    """The features of a spec."""
    found = {f"shared {next(iter(entry))}" for entry in spec.get("shared", {}).values()}
    found |= {"presets"} & spec.keys()
    for place in places(spec):
        found |= {f"{feature} in a block" if place[0] else feature for feature in of_node(place[2])}
        found |= {*of_block(spec, place)}
    for name in spec.get("shared", {}):
        callers = [(block, node) for block, _, node in places(spec) if node.get("call") == name]
        found |= (
            {"shared entry called in several bodies"} if len({block for block, _ in callers}) > 1 else set()
        )
    found |= {f"loss {output['loss']}" for output in spec["outputs"].values() if "loss" in output}
    for entry in spec["inputs"].values():
        found.add(entry["dtype"] if "dtype" in entry else f"input of {len(entry['shape'])} axes")
        found |= {"channels first"} if "data_format" in entry else set()
    return found


def of_node(node: dict[str, Any]) -> Iterator[str]:
    """What one node has."""
    form, when, repeat = next(iter(node)), str(node.get("when", "")), node.get("repeat")
    yield from {"checkpoint", "trainable"} & node.keys()
    yield from {"call", "layer", "block", "compute", "parameter", "constant"} & node.keys()
    if when:
        yield f"optional {form}"
        yield from (
            f"when by {word}"
            for word in ("index > 0", "index == 0", "index != 1", "channels")
            if word in when
        )
        yield "when in a repetition" if repeat is not None else "when"
    if "else" in node:
        yield "else null" if node["else"] is None else "else another"
    if repeat is not None:
        yield f"repeated {form}"
        yield "repeat 0" if repeat == 0 else "repeat by lists" if isinstance(repeat, dict) else "repeat"
        yield from ["repeat of n - 1"] if "- 1" in str(repeat) else []
        yield from ["repeat by a list param"] if "$widths" in str(repeat) else []
    yield from ["merge by a param"] if "$how" in str(node.get("merge")) else []
    yield from ["operand by a condition"] if "merge" in node and " if " in str(node["from"]) else []
    if "parallel" in node:
        yield "parallel from a list" if "from" in str(node["parallel"]) else "parallel"
    if node.get("layer") == "TimeDistributed":
        yield f"TimeDistributed {next(iter(node['wraps']))}"
    if "$" in node.get("compute", ""):
        yield "formula with params"
    source = str(node.get("from"))
    yield from ["from by index"] if "index" in source else []
    yield from ["reads .*"] if ".*" in source else []
    yield from ["reads .*.output"] if re.search(r"\.\*\.\w", source) else []
    yield from (
        ["argument by index"]
        if any("index" in str(node[key]) for key in node.keys() - {"when", "from"})
        else []
    )


def of_block(spec: Spec, place: Place) -> Iterator[str]:
    """What the use of a block has to do with the block and its place."""
    user, body, node = place
    if "block" not in node:
        return
    names = re.findall(r"block\d+", node["block"])
    used = [spec["blocks"][name] for name in names]
    if node["block"] == "$kind":
        yield "block by a param"
    if len(set(names)) > 1:
        yield "parallel of different kinds"
        yield from (
            ["parallel of kinds without weights"] if any(not has_weights(block) for block in used) else []
        )
    for block in used:
        own, read = body.get("params", {}).keys(), reads(block) - block.get("params", {}).keys()
        if user is not None:
            yield "nested blocks"
            yield from ["a block's param is also the file's"] if own & spec.get("params", {}).keys() else []
            yield from ["a nested block reads the file's param below one of that name"] if own & read else []
            yield from ["nested params of one name"] if own & block.get("params", {}).keys() else []
        yield from ["shared in a block"] if "shared" in block else []
        if len(block.get("outputs", ())) > 1:
            yield "several outputs in a repetition" if "repeat" in node else "several outputs"
        if isinstance(block["inputs"], dict):
            given = isinstance(node.get("from"), list | dict) and len(node["from"]) > 1
            yield f"optional input {'given' if given else 'left out'}" + (
                " in a repetition" if "repeat" in node else ""
            )


def has_weights(block: Spec) -> bool:
    nodes = block["nodes"].values()
    return any(
        WITH_WEIGHTS.search(str(node.get("layer"))) or {"call", "block", "parameter"} & node.keys()
        for node in nodes
    )


def counted(number: int) -> Counter[str]:
    """How many of the first specs have each feature."""
    return Counter(feature for seed in range(number) for feature in features(Writer(seed).write()))


if __name__ == "__main__":
    number = int(sys.argv[1])
    for feature, count in counted(number).most_common():
        print(f"{100 * count / number:5.1f} %  {feature}")
