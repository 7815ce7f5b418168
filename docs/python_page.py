"""Writes docs/python.md: `python docs/python_page.py`. Its texts are the docstrings, its examples are run by
a test.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphspec
from graphspec.export import Exported, export
from graphspec.train.custom_loop import Metrics
from graphspec.train.progress import Result
from graphspec.view.summary import Summary

PAGE = Path(__file__).parent / "python.md"

START = """\
# From Python

Python does everything that the commands do. `import graphspec` is fast: torch is only imported when a module
is created. `python docs/python_page.py` writes this page from the docstrings.

```python
import graphspec
import torch

spec = {
    "inputs": {"x": {"shape": [4]}},
    "nodes": {
        "hidden": {"layer": "Dense", "units": 16, "activation": "relu"},
        "kind": {"layer": "Dense", "units": 3, "activation": "softmax"},
    },
    "outputs": {"kind": {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}},
    "train": {"optimizer": "adam", "epochs": 2},
}
program = graphspec.compile(spec)
print(program.summary())
```

A custom training loop:

```python
module = program.module(seed=7)
optimizer = torch.optim.Adam(module.parameters())
metrics = program.metrics(logits=True)
for step in range(3):
    x, kind = torch.randn(8, 4), torch.randint(0, 3, (8,))
    outputs = module(x, logits=True)
    loss = program.loss(outputs, kind, logits=True)["loss"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    metrics.update(outputs, kind)
print(metrics.compute())
```

The output of a node, and the module as a file that needs only torch:

```python
hidden = program.activations(module, torch.randn(2, 4), ["hidden"])["hidden"]
with open("model.py", "w") as stream:
    stream.write(program.source)
```

Training as the command does it, and the run that it writes:

```python
import numpy as np

data = {"x": np.random.rand(64, 4).astype("float32"), "kind": np.random.randint(0, 3, 64)}
result = program.fit(data, run_dir="run", device="cpu")
run = graphspec.Run("run")
print(run.evaluate(data), run.predict(data).num_rows)
again = program.module(weights="run/last.safetensors")
```

Errors raise `graphspec.SpecError`; its `diagnostics` have a code, a place and a remedy:

```python
try:
    graphspec.compile({**spec, "nodes": {"kind": {"layer": "Dens", "units": 3}}})
except graphspec.SpecError as error:
    print(error.diagnostics[0].code, error.diagnostics[0].help)
```
"""


def page() -> str:
    """The page as text."""
    parts = [START, "## Functions\n", _function("graphspec.compile", graphspec.compile)]
    parts += [
        _function("graphspec.from_keras", graphspec.from_keras),
        _function("graphspec.from_torch", graphspec.from_torch),
        _function("graphspec.export.export", export),
    ]
    for title, cls in (
        ("Program", graphspec.Program),
        ("Run", graphspec.Run),
        ("Summary", Summary),
        ("Metrics", Metrics),
        ("Result", Result),
        ("Exported", Exported),
        ("SpecError", graphspec.SpecError),
    ):
        parts += [f"## {title}\n", _text(cls), *_members(cls)]
    return "\n".join(parts)


def _members(cls: type[Any]) -> Iterator[str]:
    """The fields, methods and properties of a class that have a name for users, in the order of its file,
    those of its base first.
    """
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("graphspec"):
            kept = {name: member for name, member in members.items() if name not in vars(base)}
            members = {**kept, **(fields := _fields(base)), **vars(base), **fields}
    for name, member in members.items():
        if name.startswith("_") or name == "to_json":
            continue
        if isinstance(member, str):
            yield member
            continue
        getter = getattr(member, "fget", None) or getattr(member, "func", None)
        if getter is not None:
            kind = inspect.signature(getter).return_annotation
            yield f"### `.{name}`: `{kind}`\n\n{_text(getter)}"
        elif inspect.isfunction(member):
            yield _function(f".{name}", member)


def _fields(cls: type[Any]) -> dict[str, str]:
    """What a class says of its fields that have a sentence, by their names."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: f"### `.{field.target.id}`: `{ast.unparse(field.annotation)}`\n\n{_filled(said)}"
        for field, after in itertools.pairwise(body.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(after, ast.Expr) and isinstance(said := ast.literal_eval(after.value), str)
    }


def _function(name: str, function: Callable[..., Any]) -> str:
    signature = inspect.signature(function)
    shown = [_unquoted(str(each)) for each in signature.parameters.values() if each.name != "self"]
    stars = [n for n, each in enumerate(signature.parameters.values()) if each.kind is each.KEYWORD_ONLY]
    if stars:
        shown.insert(stars[0] - (len(signature.parameters) - len(shown)), "*")
    head, tail = name.removeprefix("."), f") -> {signature.return_annotation}"
    text = f"{head}({', '.join(shown)}{tail}"
    if len(text) > 100:  # one argument a line
        text = f"{head}(\n" + "".join(f"    {each},\n" for each in shown) + tail
    return f"### `{name}`\n\n```\n{text}\n```\n\n{_text(function)}"


def _unquoted(parameter: str) -> str:
    """`x: 'str' = 'cpu'` as people write it."""
    return re.sub(r": '([^']*)'", r": \1", parameter, count=1).replace("'", '"')


def _text(thing: Any) -> str:
    return _filled(inspect.getdoc(thing) or "")


def _filled(doc: str) -> str:
    paragraphs = [" ".join(part.split()) for part in doc.split("\n\n")]
    return (
        "\n\n".join(
            textwrap.fill(part, 120, break_long_words=False, break_on_hyphens=False) for part in paragraphs
        )
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
