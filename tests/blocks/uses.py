"""Random uses of blocks and of shared entries: once, in chains, side by side, at each step of a sequence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.blocks.bodies import Block, Body, Node, Tower
from tests.blocks.scopes import KINDS, Value, atom, written

Given = dict[str, str | None]
"""What the params of a block and the widths of its inputs are, as texts of the scope of its use; None where
no text says it.
"""
Results = dict[str, Value]


class UsingBody(Body):
    """A body that uses blocks."""

    def actions(self) -> list[Any]:
        found = super().actions()
        if any(map(self.sources, self.blocks)):
            found += [*16 * [self.use], *4 * [self.fan_of_kinds], *2 * [self.fan_of_sources]]
        if any(value.kind == "sequence" for value in self.pool):
            found += 2 * [self.steps]
        found += 3 * [self.over_tower] if self.towers else []
        return [*found, *2 * [self.kind]] if self.scope.root.kinds else found

    # --- what a use reads

    def sources(self, block: Block) -> list[Value]:
        """The values that a block takes; of the width that it needs, if there are any."""
        fit = [value for value in self.pool if block.kind in ("any", value.kind)]
        if block.width is None:
            return fit
        width = self.said_width(block)
        return [value for value in fit if value.width == width] or (fit if width is not None else [])

    def said_width(self, block: Block) -> str | None:
        """The one width that an entry of `shared` takes, if it can be said here."""
        assert block.width is not None
        found = block.width if self.scope is block.scope else self.scope.said(block.width, {}, block.scope)
        return None if found.startswith("?") else found

    def entered(self, block: Block) -> Value:
        """A value for a block, which may need a layer to fit."""
        fit = self.sources(block)
        source: Value = self.one(*fit[-3:]) if self.chance(0.8) else self.one(*fit)
        width = self.said_width(block) if block.width is not None else None
        return source if width in (None, source.width) else self.fitted(source, width)

    def arguments(self, block: Block, node: Node, index: bool, source: Value) -> Given:
        """Gives a node its params. `index` says whether they may differ between instances."""
        given: Given = {}
        if block.key == "block":
            for name, default in block.scope.params.items():
                if default == "required" or self.chance(0.45):
                    given[name], node[name] = self.argument(KINDS[name], index)
        return given | {f"channels({name})": source.width for name in block.inputs}

    def argument(self, kind: str, index: bool) -> tuple[str | None, Any]:
        """A value for a param, and its text where it can become part of a width."""
        scope = self.scope
        if kind == "width":
            text = self.known()
            return (
                (None, written(f"{atom(text)} + 2 * index"))
                if index and self.chance(0.3)
                else (text, written(text))
            )
        if kind == "count":
            text = str(self.one("1", "2", "3", scope.name("count"), f"{scope.name('count')} + 1"))
            return (None, "$(index + 1)") if index and self.chance(0.3) else (text, written(text))
        if kind == "flag":
            constant = self.chance(0.4) and not index
            return None, self.one(True, False) if constant else written(scope.condition(index))
        if kind == "list":
            name = scope.name("list")
            found = scope.literal("list")
            return (name, f"${name}") if self.chance(0.4) else (str(found), found)
        if kind == "act":
            activation = scope.activation()
            return None if "$" in activation else activation, activation
        found = scope.literal(kind)
        return str(found), found

    def result(self, block: Block, source: Value, given: Given) -> Results:
        """What a use gives."""
        found = {}
        for name, value in block.results.items():
            space = value.space.replace("@x", source.space).replace(
                "strides", given.get("strides") or "strides"
            )
            if (
                "halves" in space or "strides" in space
            ):  # texts of the block's scope, which may mean another thing here
                space = self.scope.fresh()
            local = self.scope is block.scope
            width = value.width if local else self.scope.said(value.width, given, block.scope)
            kind = source.kind if value.kind == "any" else value.kind
            found[name] = Value("", kind, space, width, ending_of(block, value, given))
        return found

    def placed(self, block: Block, node: Node, source: Value, results: Results) -> str:
        """Adds a use with all that it reads."""
        values = [source, *(self.one(*filter(source.like, self.pool)) for _ in block.inputs[1:])]
        references = [value.ref for value in values]
        if len(values) == 2 and "repeat" in node:
            fit = [t for t in self.towers if t.value.like(source) and written(t.count) == node["repeat"]]
            if fit and self.chance(0.8):
                tower = self.one(*fit)
                place = self.one(f"$({tower.count} - 1 - index)", "$index")
                references[1] = f"{tower.name}.{place}{tower.suffix}"
                values[1] = replace(tower.value, ref=tower.name)
        if block.optional and self.chance(0.6):
            memory = self.one(*self.beside(source))
            memory = self.maybe(memory) if memory.is_known and self.chance(0.3) else memory
            values.append(memory)
            references.append(memory.ref)
        named = dict(zip([*block.inputs, "memory"], references, strict=False))
        node["from"] = references[0] if len(references) == 1 else self.one(references, references, named)
        if block.form == "block" and self.chance(0.12):
            node["checkpoint"] = True
        if block.key == "block" and self.chance(0.05):
            node["trainable"] = False
        name = self.put(node, values, self.one(None, "use", "tower"))
        first = next(iter(results))
        self.pool.append(replace(results[first], ref=name))
        for key, value in results.items():
            if key != first and self.chance(0.7):
                self.pool.append(replace(value, ref=f"{name}.{key}"))
        return name

    # --- uses

    def use(self, block: Block | None = None) -> None:
        fit = [each for each in self.blocks if self.sources(each)]
        block = block or self.one(*fit[-3:], *fit)
        source = self.entered(block)
        how = self.one(self.once, self.once, self.chain, self.chain, self.lists, self.left_out)
        if not how(block, source):
            self.once(block, source)

    def use_one(self) -> None:
        """Uses a block, if there is one that fits."""
        if any(self.sources(block) for block in self.blocks):
            self.use()

    def once(self, block: Block, source: Value) -> bool:
        node: Node = {block.key: block.name}
        given = self.arguments(block, node, False, source)
        name = self.placed(block, node, source, self.result(block, source, given))
        if block.key == "block" and block.inside and self.chance(0.1):
            inner = self.one(*block.inside.values())
            inside = replace(block, results={inner.ref: inner})
            (value,) = self.result(inside, source, given).values()
            self.pool.append(replace(value, ref=f"{name}.{inner.ref}"))
        return True

    def left_out(self, block: Block, source: Value) -> bool:
        node: Node = {block.key: block.name}
        results = self.result(block, source, self.arguments(block, node, False, source))
        if len(results) > 1 or not all(map(source.like, results.values())):
            return False
        node["when"] = written(self.scope.condition())
        self.placed(block, node, source, without_ending(results))
        return True

    def chain(self, block: Block, source: Value) -> bool:
        """A repeated use, if what it gives fits what it takes."""
        node: Node = {block.key: block.name}
        count, least = self.scope.count()
        given = self.arguments(block, node, True, source)
        first = next(iter(block.results))
        results, value = list[Results](), source
        for _ in range(4):
            given |= {key: value.width for key in given if key.startswith("channels")}
            results.append(self.result(block, value, given))
            value = replace(results[-1][first], ref=source.ref)
            fits = block.kind in ("any", value.kind) and (block.width is None or value.width == source.width)
            others = [name for name in block.inputs[1:]]
            if not fits or (
                others and not all(results[-1].get(name, value).like(source) for name in ("x", *others))
            ):
                return False
        stays = results[0][first].like(source)
        settles = all(a.like(b) for a, b in zip(results[0].values(), results[1].values(), strict=True))
        if least == 0 and not (stays and len(block.results) == 1):
            return False
        if not count.isdigit() and not settles:
            return False
        if stays and len(block.results) == 1 and self.chance(0.25):
            node["when"] = written(self.scope.condition(index=True))
        node["repeat"] = written(count)
        given_out = results[max(0, int(count) - 1)] if count.isdigit() else results[0]
        if "when" in node or not least:
            given_out = without_ending(given_out)
        name = self.placed(block, node, source, given_out)
        if least and "when" not in node:
            self.all_of(name, block, results, count, least)
        return True

    def all_of(self, name: str, block: Block, results: list[Results], count: str, least: int) -> None:
        """Reads what all instances of a chain give, or one of them."""
        first, key = next(iter(results[0])), self.one(*results[0])
        suffix = "" if key == first and (not block.named or self.chance(0.7)) else f".{key}"
        a, b = results[0][key], results[1][key]
        if a.like(b) and results[2][key].like(a):
            self.towers.append(Tower(name, count, suffix, a))
        if self.chance(0.5):
            return
        values = replace(a, ref=f"{name}.*{suffix}", ending=None)
        if self.chance(0.3):
            number = self.one(*range(least))
            self.pool.append(replace(results[number][key], ref=f"{name}.{number}{suffix}"))
        elif a.like(b) and a.is_known and results[2][key].like(a):
            base = next(filter(a.like, reversed(self.pool)), None)
            self.add({"merge": "average"}, [values] if base is None else [base, values], values)
        elif (a.kind, a.space) == (b.kind, b.space):
            self.add({"merge": "concatenate"}, [values], replace(values, width=self.scope.fresh()))

    def over_tower(self) -> None:
        """Layers or blocks side by side, each on one instance of a chain."""
        tower = self.one(*self.towers)
        place = self.one(f"$({tower.count} - 1 - index)", "$index")
        value = replace(tower.value, ending=None)
        plain = [block.name for block in self.blocks if block.is_plain]
        node: Node = {"layer": "Dense", "units": 4}
        if plain and self.chance(0.5):
            node = {"block": self.one(*plain)}
        else:
            value = replace(value, width="4")
        node |= {"from": f"{tower.name}.{place}{tower.suffix}", "parallel": written(tower.count)}
        self.reads(tower.name)
        self.joined(self.put(node, [], "each"), [value])

    def lists(self, block: Block, source: Value) -> bool:
        """A repeated use with an argument for each instance, if what it gives fits what it takes."""
        node: Node = {block.key: block.name}
        kinds = ("width", "flag", "act", "count", "how")
        names = [name for name in block.scope.params if KINDS[name] in kinds]
        if block.key == "call" or not names or len(block.inputs) > 1:
            return False
        given = self.arguments(block, node, False, source)
        chosen = self.scope.random.sample(names, min(len(names), self.one(1, 1, 2)))
        length, value, results = self.one(1, 2, 3, 3), source, Results()
        repeat: Node = {name: [self.scope.literal(KINDS[name]) for _ in range(length)] for name in chosen}
        texts: list[Given] = [
            {
                name: str(repeat[name][number]) if KINDS[name] in ("width", "count") else None
                for name in chosen
            }
            for number in range(length)
        ]
        if len(chosen) == 1 and KINDS[chosen[0]] == "width" and self.chance(0.5):
            widths = self.scope.name("list")
            repeat, texts = {chosen[0]: f"${widths}"}, [{chosen[0]: f"{widths}[-1]"} for _ in range(2)]
        steps = []
        for text in texts:
            given |= {key: value.width for key in given if key.startswith("channels")} | text
            steps.append(results := self.result(block, value, given))
            value = replace(next(iter(results.values())), ref=source.ref)
            if block.kind not in ("any", value.kind) or value.space != source.space:
                return False
        if "$" in str(repeat) and not all(
            a.like(b) for a, b in zip(*(s.values() for s in steps), strict=True)
        ):
            return False
        for name in chosen:
            node.pop(name, None)
        self.placed(block, node | {"repeat": repeat}, source, without_ending(results))
        return True

    def kind(self) -> None:
        """A block whose name is a param."""
        source = self.recent()
        node: Node = {"block": f"${self.scope.name('kind')}"}
        if self.chance(0.4):
            node["repeat"] = written(self.scope.count()[0])
        self.add(node, [source], replace(source, ending=None), "kind")

    def fan_of_kinds(self) -> None:
        """Blocks of several kinds side by side."""
        source = self.recent()
        fit = [
            block
            for block in self.blocks
            if block.key == "block"
            and block.is_free
            and block.inputs == ("x",)
            and block.kind in ("any", source.kind)
        ]
        if fit:
            chosen = [self.one(*fit) for _ in range(self.one(2, 2, 3))]
            given: Given = {"channels(x)": source.width}
            values = [next(iter(self.result(each, source, given).values())) for each in chosen]
            node = {"block": f"$({[each.name for each in chosen]}[index])", "parallel": len(chosen)}
            self.joined(self.put(node | {"from": source.ref}, [source], "kinds"), values)

    def fan_of_sources(self) -> None:
        """One block, or one shared entry, on several values."""
        block = self.one(*(each for each in self.blocks if self.sources(each)))
        source = self.entered(block)
        fit = [value for value in self.sources(block) if block.width is None or value.width == source.width]
        if block.inputs == ("x",) and fit:
            chosen, node = [source, self.one(*fit)], {block.key: block.name}
            given = self.arguments(block, node, False, source)
            results = [self.result(block, each, given | {"channels(x)": each.width}) for each in chosen]
            name = self.put(node | {"parallel": {"from": [each.ref for each in chosen]}}, [], "heads")
            self.reads(*(each.ref for each in chosen))
            self.joined(name, [next(iter(each.values())) for each in results])

    def joined(self, name: str, values: list[Value]) -> None:
        """Merges what instances give, where a merge takes it."""
        first = replace(values[0], ref=f"{name}.*", ending=None)
        if all(value.like(first) for value in values) and first.is_known:
            self.add({"merge": self.one("add", "average")}, [first], first)
        elif all((value.kind, value.space) == (first.kind, first.space) for value in values):
            width = self.scope.sum(*(value.width for value in values))
            self.add({"merge": "concatenate"}, [first], replace(first, width=width))
        else:
            self.pool += [replace(value, ref=f"{name}.{number}") for number, value in enumerate(values)]

    def steps(self) -> None:
        """Something at each step of a sequence."""
        source = self.recent("sequence")
        fit = [
            block
            for block in self.blocks
            if block.kind in ("any", "vector") and block.inputs == ("x",) and not block.optional
            if block.is_free and len(block.results) == 1
            if block.width is None or self.said_width(block) == source.width
        ]
        if fit and self.chance(0.7):
            block = self.one(*fit)
            step = replace(source, kind="vector", space="")
            (made,) = self.result(block, step, {"channels(x)": source.width}).values()
            if made.kind == "vector":
                node = {"layer": "TimeDistributed", "wraps": {block.key: block.name}}
                self.add(node, [source], replace(source, width=made.width, ending=None), "steps")
            return
        width = self.known()
        wraps = {"layer": "Dense", "units": written(width), "activation": self.scope.activation()}
        self.several(
            {"layer": "TimeDistributed", "wraps": wraps}, replace(source, width=width, ending=None), source
        )


def ending_of(block: Block, value: Value, given: Given) -> str | None:
    """The activation that a result of a use ends in, if it is known."""
    if value.ending != "$act":
        return value.ending
    found = given["act"] if "act" in given else block.scope.params.get("act")
    return found if found in ("softmax", "sigmoid") else None


def without_ending(results: Results) -> Results:
    """The values where nothing is known of the last activation."""
    return {key: replace(value, ending=None) for key, value in results.items()}
