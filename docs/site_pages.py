"""Pages of the site that are made: of the README, of the classes of layers, of the codes of diagnostics.

mkdocs calls these functions by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphspec.cli.worked_example import worked_example
from graphspec.diagnostics import CODES
from graphspec.reference import codes, layers
from graphspec.reference.entries import folded
from graphspec.settings import show

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages."""
    from mkdocs.structure.files import File

    for name, text in pages():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **options: Any) -> str:
    """Links to the README lead to its page, and those to files beside `docs` are names."""
    folder = (DOCS / page.file.src_uri).parent

    def name(match: re.Match[str]) -> str:
        return match[0] if (folder / match[2]).resolve().is_relative_to(DOCS) else match[1]

    markdown = re.sub(r"^```(\w+) \w+$", r"```\1", markdown, flags=re.MULTILINE)  # what is for tests
    markdown = markdown.replace("](../README.md", "](readme.md")
    markdown = re.sub(r"^### \[(\w+)\]\(\.\./specs/\1\.yaml\)$", _spec, markdown, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\((\.\./[^)]*)\)", name, markdown)


def _spec(heading: re.Match[str]) -> str:
    """The heading of a spec of the gallery, with its text to unfold."""
    text = (ROOT / "specs" / f"{heading[1]}.yaml").read_text(encoding="utf-8")
    folded = "\n".join(f"    {line}".rstrip() for line in f"```yaml\n{text.rstrip()}\n```".splitlines())
    return f'### {heading[1]}\n\n??? note "{heading[1]}.yaml"\n{folded}'


def pages() -> Iterator[tuple[str, str]]:
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    yield "readme.md", _named(readme)
    yield "layers.md", "\n\n".join(_layers())
    yield "codes.md", "\n\n".join(_codes())


def _named(text: str) -> str:
    """A text in which links to files that no page is are only names."""

    def name(match: re.Match[str]) -> str:
        target = match[2]
        leads = (
            target.startswith(("http", "#", "gallery/")) or (ROOT / "docs" / target.split("#")[0]).exists()
        )
        return match[0] if leads else match[1]

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)]*)\)", name, text)


def _layers() -> Iterator[str]:
    """A section for each family of layers, merges and ops, and for each other kind of word."""
    yield "# Layers, ops and other words"
    yield "What `graphspec layers NAME` prints: of layers, merges and ops with an example at work."
    found = [*layers.entries(), *(entry for entry in layers.others() if entry.parameters or entry.also)]
    for (kind, family), entries in groupby(found, key=lambda entry: (entry.kind, entry.family)):
        yield f"## {kind}: {family}" if kind != family else f"## {kind}"
        for entry in entries:
            yield f"### {entry.name} {{ #{kind.replace(' ', '-')}-{entry.name} }}"
            yield from _word(entry)


def _word(entry: layers.ReferenceEntry) -> Iterator[str]:
    """The page of a word: prose, lists that wrap, and the example as code."""
    yield entry.doc
    named = (("Inputs", entry.inputs), ("Outputs", entry.outputs), ("Also called", entry.also))
    told = [f"{title}: {', '.join(f'`{name}`' for name in names)}" for title, names in named if names]
    if told:
        yield ". ".join(told) + "."
    if entry.parameters:
        yield "\n".join(map(_argument, entry.parameters))
    if entry.example:
        yield f"```yaml\n{entry.example}\n```"
    if (example := worked_example(entry)) is not None:
        weights = f", {example.parameters:,} parameters" if example.parameters else ""
        yield f"`{example.shapes}`{weights}"
        yield "```python\n" + "\n".join(example.pytorch) + "\n```"


def _argument(each: layers.Parameter) -> str:
    given = "required" if each.required else f"default `{show(each.default)}`"
    return f"- `{each.name}`: {folded(each.type)}, {given}"


def _codes() -> Iterator[str]:
    """A section for each code."""
    yield "# Codes of diagnostics"
    yield "What `graphspec explain CODE` prints."
    for code in CODES:
        page = codes.page(code)
        yield f"## {code}"
        yield f"{page.meaning[:1].upper()}{page.meaning[1:]}. {page.why}"
        kind = "yaml" if page.of_specs else "text"
        yield f"```{kind}\n{page.wrong}\n```"
        yield "Corrected:"
        yield f"```{kind}\n{page.mended}\n```"
        if page.may_be_silenced:
            yield f"A comment on its line silences this warning: `# ok: {code}`."
        yield f"See {', '.join(f'[{name}]({page})' for name, page in see_also(code))}."


SUBJECTS: tuple[tuple[str, str], ...] = (
    (r"usage|address|package|output-file|spec-missing", "[Options](language/options.md)"),
    (r"-key$", "[The-file](language/spec-file.md)"),
    (r"weight-zero", "[Outputs](language/outputs.md)"),
    (r"windows|time-split|data-order", "[Forecasts](tasks/forecasts.md) [Windows](language/windows.md)"),
    (r"raw-pixels|channels-first|flatten", "[Pictures](tasks/pictures.md) [Layers](language/layers.md)"),
    (r"not-causal|prompt", "[Language-models](language-models.md) [Texts](language/generate.md)"),
    (r"vocabulary|mask-", "[Texts](tasks/texts.md) [Features](language/features.md)"),
    (r"data-|same-|synthetic|target-|unscaled", "[Tables](tasks/tables.md) [Data](language/data.md)"),
    (r"encoder|feature|adapt", "[Tables](tasks/tables.md) [Features](language/features.md)"),
    (r"weight|rules|shared-differs", "[Fine-tuning](fine-tuning.md) [Weights](weights.md)"),
    (r"import|module|bundle", "[Import](language/import.md) [Modules](language/modules.md)"),
    (r"export|build|emission|fold|score", "[Serving](serving.md) [Modules](language/modules.md)"),
    (r"tune|objective", "[Search](language/search.md)"),
    (r"^run-|resume|device|non-finite", "[Runs](language/runs.md) [Questions](questions.md)"),
    (r"loss|metric|accuracy|softmax|output|mode-", "[Outputs](language/outputs.md) [Tutorial](tutorial.md)"),
    (
        r"optimizer|schedule|callback|monitor|never|momentum|rate|nothing|gradient",
        "[Training](language/training.md)",
    ),
    (r"block|model|preset|param", "[Blocks](language/blocks.md) [Models](language/models.md)"),
    (r"input|size|shape|rank|dtype|default", "[Inputs](language/inputs.md) [Nodes](language/nodes.md)"),
    (
        r"expression|dollar|function|name|operand|number|index|value|division",
        "[The-file](language/spec-file.md)",
    ),
    (r"layer|merge|op$|units|linear|dropout|window-too", "[Layers](language/layers.md)"),
    (r"reference|cycle|node|edges|repeat|form|left-out|channels", "[Nodes](language/nodes.md)"),
    (r"", "[The-file](language/spec-file.md)"),
)
"""Where the subject of a code is explained: the first pattern that is found in it."""


def see_also(code: str) -> list[tuple[str, str]]:
    """The names and pages that a code links to: first the task, where it belongs to one."""
    links = next(links for pattern, links in SUBJECTS if re.search(pattern, code))
    return [(name.replace("-", " "), page) for name, page in re.findall(r"\[([^\]]*)\]\(([^)]*)\)", links)]
