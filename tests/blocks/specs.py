"""Random specs with all features together: `written_spec(seed)` is one as YAML text.

They are legal by construction: of each value the type is known, as texts of the scope that reads it.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from typing import Any

import yaml

from tests.blocks.bodies import Block, Node, called
from tests.blocks.layers import layer
from tests.blocks.scopes import KINDS, Scope, Value, written
from tests.blocks.uses import UsingBody

Spec = dict[str, Any]
EXPRESSION = re.compile(r"\$(?:\w+|\([^\"]*)")
WORD = re.compile(r"[A-Za-z_]\w*")


def written_spec(seed: int) -> str:
    spec = Writer(seed).write()
    return str(yaml.dump(spec, Dumper=yaml.CSafeDumper, sort_keys=False, width=100, default_flow_style=None))


def reads(text: Any) -> set[str]:
    """The params that expressions of a text read."""
    found = EXPRESSION.findall(json.dumps(text))
    return {word for expression in found for word in WORD.findall(expression)}


def keep_needed(params: dict[str, Any], read: set[str]) -> None:
    """Takes out the params that nothing reads: an expression may have been drawn, and then not chosen."""
    while more := {word for name in params if name in read for word in reads(params[name])} - read:
        read |= more
    for name in [*params]:
        if name not in read:
            del params[name]


class Writer:
    """A spec that grows: its blocks, each followed by what is shared, then its nodes."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.file = Scope(self.random)
        self.one, self.chance = self.file.one, self.file.chance
        self.spec: Spec = {"params": self.file.params, "presets": {}}
        self.spec |= {key: {} for key in ("inputs", "blocks", "shared", "nodes", "outputs")}
        self.blocks: list[Block] = []
        self.used = set[str]()

    def write(self) -> Spec:
        for number in range(self.one(1, 2, 2, 3)):
            self.one(*16 * [self.block], *3 * [self.light], self.strided)(number)
            if self.chance(0.5):
                self.one(self.share_layer, self.share_block)()
        self.main()
        read = reads([self.spec[key] for key in ("inputs", "shared", "nodes")])
        for block in self.spec["blocks"].values():
            read |= reads(block) - block.get("params", {}).keys()
        keep_needed(self.file.params, read)
        if self.file.params and self.chance(0.4):
            fixed = ("list", "kind")
            names = [name for name in self.file.params if KINDS[name] not in fixed]
            self.spec["presets"] = (
                {"other": {name: self.file.literal(KINDS[name]) for name in names}} if names else {}
            )
        self.keep_checkpoints()
        return {key: value for key, value in self.spec.items() if value}

    def keep_checkpoints(self) -> None:
        """Takes `checkpoint` from what calls a layer of the file that keeps statistics: that is an error."""
        keeping = {name for name in self.spec["shared"] if "BatchNormalization" in self.reached(name)}
        for body in (self.spec, *self.spec["blocks"].values()):
            for node in body["nodes"].values():
                texts = [self.reached(name) for name in called(node)] if "checkpoint" in node else []
                if (
                    any(f"call: {name}" in text for name in keeping for text in texts)
                    or called(node) & keeping
                ):
                    node.pop("checkpoint", None)

    def reached(self, name: str) -> str:
        """The text of a block or of what is shared, and of all that it uses."""
        entry = self.spec["blocks"].get(name) or self.spec["shared"].get(name) or {}
        return yaml.dump(entry, Dumper=yaml.CSafeDumper) + "".join(map(self.reached, called(entry)))

    # --- blocks

    def block(self, number: int) -> None:
        scope = Scope(self.random, self.file)
        x = Value("x", scope.one("any", "any", "any", "sequence", "image", "vector"), "@x", "channels(x)")
        shape = scope.one("one", "one", "one", "memory", "two")
        inputs = [x, replace(x, ref="y")] if shape == "two" else [x]
        body = UsingBody(scope, [*self.blocks], inputs)
        node: Node = {"params": scope.params, "inputs": [value.ref for value in inputs], "nodes": body.nodes}
        if shape == "memory":
            node["inputs"] = {"x": "required", "memory": None}
            self.hear(body)
        if scope.chance(0.3):
            self.share_in(body, node)
        if shape == "two" or not scope.chance(0.04):
            body.grow(scope.one(1, 1, 2, 2, 3))
        if number and scope.chance(0.5):
            body.use_one()
        last = self.end(body, x)
        results, node["outputs"] = self.results(body, x, last)
        if not node["outputs"]:
            del node["outputs"]
        self.define(number, node, body, Block(
            "block", f"block{number}", x.kind, scope, tuple(value.ref for value in inputs), shape == "memory",
            results, named="outputs" in node,
        ))  # fmt: skip

    def define(self, number: int, node: Node, body: UsingBody, block: Block) -> None:
        """Adds a block to the spec."""
        params = block.scope.params
        keep_needed(params, reads({key: value for key, value in node.items() if key != "params"}))
        self.spec["blocks"][block.name] = {
            key: value for key, value in node.items() if value or key != "params"
        }
        block.inside = {value.ref: value for value in body.pool if value.ref in body.nodes}
        if block.is_plain and not body.called:
            self.file.kinds.append(block.name)
        self.used |= body.called
        self.blocks.append(block)

    def end(self, body: UsingBody, x: Value) -> Value:
        """What a block gives: mostly a value like its input, of its width or another."""
        scope = body.scope
        if not body.nodes and len(body.inputs) == 1 and scope.chance(0.5):
            return x
        width = scope.one("channels(x)", "channels(x)", body.known())
        last = body.recent()
        if scope.chance(0.1):
            last = body.close(last, last.width if last.is_known else width)
        elif scope.chance(0.15):  # beside the input, as in DenseNet
            last = body.close(x, scope.name("width"))
            both = replace(x, width=scope.sum(x.width, last.width))
            last = body.add({"merge": "concatenate"}, [x, last], both, "grown")
        else:
            last = body.close(x, width)
        if scope.chance(0.1) and last.is_known and scope.name("act") in scope.params:
            node = {"layer": "Dense", "units": written(last.width), "activation": "$act"}
            last = body.add(node, [last], replace(last, ending="$act"))
        elif scope.chance(0.15):
            ending = scope.one("softmax", "sigmoid")
            last = body.add(
                {"layer": "Activation", "activation": ending}, [last], replace(last, ending=ending)
            )
        return last

    def results(self, body: UsingBody, x: Value, last: Value) -> tuple[dict[str, Value], Any]:
        """The outputs of a block, and what it says of them: nothing where the last node is the only one."""
        scope, others = (
            body.scope,
            [value for value in body.pool if value.ref in body.nodes and value.ref != last.ref],
        )
        if last.ref not in body.nodes:
            return {"x": last}, {"x": last.ref}
        if not others or scope.chance(0.6):
            body.nodes[last.ref] = body.nodes.pop(last.ref)
            return {"x": last}, None
        second = scope.one(*others)
        if len(body.inputs) > 1 and last.like(x):
            second = next(filter(x.like, others), last)
        if scope.chance(0.2) and second is not last:
            return {last.ref: last, second.ref: second}, [last.ref, second.ref]
        key = scope.one("y" if len(body.inputs) > 1 and second.like(x) else "skip", "skip", "state")
        return {"x": last, key: second}, {"x": last.ref, key: second.ref}

    def hear(self, body: UsingBody) -> None:
        """Reads the optional input of a block."""
        x = body.inputs[0]
        if body.chance(0.3):  # as it is, or nothing
            joined = replace(x, ref="", width=body.scope.fresh())
            body.add({"merge": "concatenate", "from": ["x", "memory"]}, [x], joined, "heard")
            return
        condition = "$(given(memory))"
        body.nodes["told"] = {
            "layer": "Dense",
            "from": "memory",
            "units": "$(channels(x))",
            "when": condition,
            "else": None,
        }
        merge = body.scope.one("add", "maximum")
        body.add({"merge": merge, "from": ["x", "told"]}, [x], replace(x, ref=""), "heard")

    def share_in(self, body: UsingBody, node: Node) -> None:
        """Something that all calls in one instance of a block share."""
        scope, x = body.scope, body.inputs[0]
        width = scope.one("channels(x)", scope.name("width"))
        plain = [block for block in self.blocks if block.is_plain]
        entry: Node = {"layer": "Dense", "units": written(width), "activation": scope.activation()}
        if plain and scope.chance(0.3):
            entry = {"block": scope.one(*plain).name}
            self.used.add(entry["block"])
        results = {"x": Value("", "any", "@x", width)}
        form = next(iter(entry))
        made = Block("call", "common", "any", scope, results=results, width=width, form=form)
        node["shared"] = {"common": entry}
        body.blocks = [*body.blocks, made]
        first = body.fitted(x, width)
        for _ in range(scope.one(1, 2)):
            if scope.chance(0.6):
                body.use(made)
        if "common" not in body.called:
            body.add({"call": "common"}, [first], replace(first, ending=None))

    def strided(self, number: int) -> None:
        """A residual block of images, with a projection where strides or widths need one."""
        scope = Scope(self.random, self.file)
        scope.params["strides"] = 1
        x = Value("x", "image", "@x", "channels(x)")
        body = UsingBody(scope, [], [x])
        width = scope.name("width")
        less = replace(x, space="@x/strides", width=width)
        conv = {
            "layer": "Conv2D",
            "filters": written(width),
            "kernel_size": 3,
            "strides": "$strides",
            "padding": "same",
        }
        project = {**conv, "kernel_size": 1, "when": f"$(strides > 1 or channels(x) != {width})"}
        short = body.add(project, [x], less, "shortcut")
        main = body.add(conv, [x], less, "conv")
        norm = body.add(
            {"layer": "BatchNormalization", "when": written(scope.condition())}, [main], main, "norm"
        )
        last = body.add({"merge": "add"}, [short, norm], less, "sum")
        node: Node = {"params": scope.params, "inputs": ["x"], "nodes": body.nodes}
        self.define(number, node, body, Block("block", f"block{number}", "image", scope, results={"x": last}))

    def light(self, number: int) -> None:
        """A block without weights."""
        scope = Scope(self.random, self.file)
        x = Value("x", "any", "@x", "channels(x)")
        body = UsingBody(scope, [], [x])
        for _ in range(scope.one(1, 1, 2)):
            source, act = body.recent(), scope.activation()
            factor = f"${scope.name('factor')}"
            node = scope.one(
                {"layer": "Activation", "activation": act}, {"op": "tanh"}, {"op": "multiply", "x2": factor}
            )
            if scope.chance(0.3):
                node["when"] = written(scope.condition())
            body.add(node, [source], source)
        last = body.pool[-1]
        loose = [value for value in body.loose() if value.ref != last.ref]
        last = body.add({"merge": "add"}, [*loose, last], last, "end") if loose else last
        node = {"params": scope.params, "inputs": ["x"], "nodes": body.nodes}
        self.define(number, node, body, Block("block", f"block{number}", "any", scope, results={"x": last}))

    # --- the file

    def share_layer(self) -> None:
        width, kind = self.one("2", "4", self.file.name("width")), self.one("any", "image", "sequence")
        source = Value("x", kind, "@x", width)
        node, value = layer(self.file, source, lambda: width)
        if "layer" in node and "from" not in node and value.kind == kind:
            self.shared(
                node,
                Block(
                    "call",
                    "",
                    kind,
                    self.file,
                    results={"x": replace(value, ending=None)},
                    width=width,
                    form="layer",
                ),
            )

    def share_block(self) -> None:
        width = self.one("2", "4", self.file.name("width"))
        block = self.one(*self.blocks)
        if block.key == "block" and not block.optional:
            source = Value("x", block.kind, "@x", width)
            body = UsingBody(self.file, [], [source])
            node: Node = {"block": block.name}
            results = body.result(block, source, body.arguments(block, node, False, source))
            self.used.add(block.name)
            self.shared(
                node,
                Block(
                    "call",
                    "",
                    block.kind,
                    self.file,
                    block.inputs,
                    False,
                    results,
                    width,
                    "block",
                    block.named,
                ),
            )

    def shared(self, node: Node, block: Block) -> None:
        block.name = f"common{len(self.spec['shared'])}"
        self.spec["shared"][block.name] = node | ({"trainable": False} if self.chance(0.1) else {})
        self.blocks.append(block)

    def input(self, kind: str, width: str) -> Value:
        """A new input of the file."""
        name = f"in{len(self.spec['inputs'])}"
        image = self.one([4, 4], [4, 4], [6, 4], ["height", "height"])
        space: list[Any] = {"vector": [], "sequence": [self.one("length", "length", 5)], "image": image}[kind]
        entry: Spec = {"shape": [*space, written(width)]}
        if kind == "image" and self.chance(0.1):
            entry = {"shape": [written(width), *space], "data_format": "channels_first"}
        self.spec["inputs"][name] = entry
        return Value(name, kind, kind[0] + str(space) if space else "", width)

    def main(self) -> None:
        inputs = []
        for _ in range(self.one(1, 2, 2)):
            width = self.one("2", "4", "4", "6", self.file.name("width"))
            inputs.append(self.input(self.one("vector", "sequence", "image"), width))
        body = UsingBody(self.file, self.blocks, inputs)
        body.nodes, body.called = self.spec["nodes"], self.used
        if self.chance(0.1):
            self.tokens(body)
        body.grow(self.one(1, 2, 3, 4))
        for block in self.blocks:
            if block.name not in body.called or self.chance(0.25):
                if not body.sources(block):
                    value = self.input("vector" if block.kind == "any" else block.kind, block.width or "4")
                    body.pool.append(value)
                    body.inputs.append(value)
                body.use(block)
        for value in body.loose():
            if value.ref in self.spec["inputs"]:
                body.add({"layer": "Dense", "units": 2}, [value], replace(value, width="2"))
        self.outputs(body)

    def tokens(self, body: UsingBody) -> None:
        """Words and their vectors."""
        name, width = f"in{len(self.spec['inputs'])}", body.known()
        self.spec["inputs"][name] = {"shape": ["length"], "dtype": "int64"}
        node: Node = {"layer": "Embedding", "input_dim": 7, "output_dim": written(width), "from": name}
        body.pool.append(Value(body.put(node, [], "words"), "sequence", "s['length']", width))

    def outputs(self, body: UsingBody) -> None:
        ends = [value for value in body.loose() if value.ref.split(".")[0] in body.nodes]
        listed = [value for value in body.pool if value.ref.split(".")[0] in body.nodes]
        for value in [*ends, self.one(*listed)]:
            name = value.ref if "." not in value.ref else f"given{len(self.spec['outputs'])}"
            judged: Spec = {} if name == value.ref else {"from": value.ref}
            losses = {"softmax": "categorical_crossentropy", "sigmoid": "binary_crossentropy"}
            if value.ending in losses and self.chance(0.7):
                judged["loss"] = losses[value.ending]
            self.spec["outputs"][name] = judged
