"""README and docs/ say what is: commands run, quoted files compared, examples compiled, lists in step."""

from __future__ import annotations

import contextlib
import json
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torchvision
from jsonschema import Draft202012Validator
from typer.main import get_command
from typer.testing import CliRunner

import graphspec
from graphspec.cli.app import app
from graphspec.diagnostics import CODES, Diagnostics
from graphspec.fixing.checking import check_spec
from graphspec.reference import layers
from graphspec.reference.json_schema import json_schema
from graphspec.source import read
from graphspec.train.files import write_weights
from graphspec.transfer.rules import read_rules
from tests import ROOT
from tests.project.page_data import FILES, write_files

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("**/*.md"))]
FENCE = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Quote:
    """A fenced block: its language, what else its first line says, and its text."""

    page: str
    line: int
    language: str
    note: str
    text: str


def quotes(page: Path) -> Iterator[Quote]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Quote(
            page.relative_to(DOCS if DOCS in page.parents else ROOT).as_posix(), line, *match.groups()
        )


WALKS = ("tutorial.md", "fine-tuning.md", "language-models.md")
"""Pages whose blocks are steps of one way: each goes on where the one before it ended."""
PYTHON_PAGE = "python.md"
SERVING_PAGE = "serving.md"
"""Its examples need a trained run: `tests/serve/test_page.py` runs them."""
TASKS = sorted((DOCS / "tasks").glob("*.md"))
"""Pages of tasks: `test_tasks.py` walks them."""
QUOTES = [quote for page in PAGES if page.name not in WALKS and page not in TASKS for quote in quotes(page)]
EXAMPLES = [quote for quote in QUOTES if quote.language == "python"]


def place(quote: Quote) -> str:
    return f"{quote.page}:{quote.line}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory that holds specs/, where what commands write does no harm; images are not copied."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("digits"))
    (tmp_path / "specs/data/digits").symlink_to(ROOT / "specs/data/digits")
    return tmp_path


def sessions(text: str) -> Iterator[tuple[list[str], str]]:
    """The words of each command of a console block, without its comment, and what it prints."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield shlex.split(command, comments=True), output.strip()


def shows(expected: str, printed: str) -> bool:
    """Whether `expected` is what was printed; a line `...` stands for any lines."""
    parts = re.split(r"^\.\.\.\n", expected + "\n", flags=re.MULTILINE)
    return re.fullmatch("(?:.*\n)*?".join(map(re.escape, parts)), printed.strip() + "\n") is not None


def torchvision_weights(path: Path) -> None:
    """The checkpoint of a ResNet-18, not trained."""
    torch.save(torchvision.models.resnet18().state_dict(), path)


def shortened(quote: Quote) -> Quote:
    """With twelve epochs, in which each callback may act, where a page shows none of them."""
    training = re.compile(r"^\$ graphspec train \S+$(?=\n\.\.\.$)", re.MULTILINE)
    return replace(quote, text=training.sub(r"\g<0> --set train.epochs=12", quote.text))


CONSOLE = [quote for quote in QUOTES if quote.language == "console"]
WHOLE = [pytest.param(q, marks=pytest.mark.parity) for q in CONSOLE if q != shortened(q)]


@pytest.mark.parametrize("quote", [*map(shortened, CONSOLE), *WHOLE], ids=place)
def test_console_blocks_print_what_they_show(quote: Quote, directory: Path) -> None:
    if quote.note == "resnet18":
        torchvision_weights(directory / "resnet18.pth")
    run_console(quote, directory)


def run_console(quote: Quote, directory: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for (program, *arguments), expected in sessions(quote.text):
        if program == "make":
            assert arguments[0] in targets
        elif program == "pip":
            assert arguments == ["install", ".[text,images]"]  # `test_wheel.py` does it, without extras
        elif program == "python":
            run_python((directory / arguments[0]).read_text(encoding="utf-8"), directory)
        elif program == "cat":
            file = directory / arguments[0]
            if not file.exists():  # a file that only the page has
                file.write_text(expected + "\n", encoding="utf-8")
            assert file.read_text(encoding="utf-8").strip() == expected
        else:
            assert program == "graphspec"
            with contextlib.chdir(directory):
                done = CliRunner().invoke(app, arguments, prog_name="graphspec")
            printed = done.stdout + done.stderr
            assert shows(expected, printed), printed


def test_the_picture_of_an_error_is_what_the_terminal_shows() -> None:
    """Draw it anew with `python docs/pictures.py`."""
    pictures = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    found = pictures["shown"](pictures["PICTURE"].read_text(encoding="utf-8"))
    assert found.endswith("".join(pictures["printed"]().split()))


ALONE = [quote for quote in EXAMPLES if quote.page not in (PYTHON_PAGE, SERVING_PAGE)]


@pytest.mark.parametrize("quote", ALONE, ids=place)
def test_python_examples_run(quote: Quote) -> None:
    run_python(quote.text, ROOT)


def test_the_python_page_runs_from_its_beginning(directory: Path) -> None:
    """Its blocks go on from one another."""
    run_python("\n".join(quote.text for quote in EXAMPLES if quote.page == PYTHON_PAGE), directory)


def run_python(text: str, directory: Path) -> None:
    with contextlib.chdir(directory), pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(directory)
        patch.delitem(sys.modules, "model", raising=False)  # another test's
        exec(compile(text, "<example>", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(
    ("page", "epochs"),
    [
        (WALKS[0], "13 --limit 64"),
        (WALKS[2], "30 --limit 64"),
        pytest.param(WALKS[0], r"\g<0>", marks=pytest.mark.parity),
        pytest.param(WALKS[2], r"\g<0>", marks=pytest.mark.parity),
        pytest.param(WALKS[1], r"\g<0>", marks=pytest.mark.parity),
    ],
)
def test_a_walk_leads_to_its_end(page: str, epochs: str, directory: Path) -> None:
    """A block whose first line names a file is written there; the others are run."""
    found = [
        replace(quote, text=re.sub(r"(?<=train\.epochs=)\d+", epochs, quote.text))
        for quote in quotes(ROOT / "docs" / page)
    ]
    assert {quote.language for quote in found} <= {"console", "python", "yaml"}
    for quote in found:
        if quote.note:
            (directory / quote.note).write_text(quote.text, encoding="utf-8")
        elif quote.language == "console":
            run_console(quote, directory)
        else:
            run_python(quote.text, directory)


def test_every_code_leads_to_a_page_of_its_subject() -> None:
    site = runpy.run_path(str(DOCS / "site_pages.py"))
    pages = {page for code in CODES for _, page in site["see_also"](code)}
    assert len(pages) > 20 and all((DOCS / page).is_file() for page in pages)
    assert ("Forecasts", "tasks/forecasts.md") in site["see_also"]("windows-misfit")
    text = "\n".join(site["_codes"]())
    assert all(f"## {code}\n" in text + "\n" for code in CODES)
    entry = next(each for each in layers.entries() if each.name == "Dense")
    assert "`units`" in "\n".join(site["_word"](entry))


def test_words_of_pytorch_have_true_counterparts() -> None:
    """Each node of the tables is one that the schema knows, with its arguments."""
    schema = json_schema()
    node = Draft202012Validator({**schema["$defs"]["node"], "$defs": schema["$defs"]})
    text = (ROOT / "docs" / "coming-from-pytorch.md").read_text(encoding="utf-8")
    nodes = re.findall(r"`(\{(?:layer|merge|op|compute|parameter|constant|module): .*?\})`", text)
    assert len(nodes) > 35
    for each in nodes:
        document = read(f"node: {each}", "page", Diagnostics())
        assert document is not None and node.is_valid(document.value["node"]), each
    settings = re.findall(r"`((?:loss|optimizer|schedule): .*?)`[^`\n]*\|$", text, re.MULTILINE)
    assert len(settings) == 8
    for each in settings:
        for part in each.split("`, `"):
            document = read(part, "page", Diagnostics())
            assert document is not None
            ((key, value),) = document.value.items()
            known = Draft202012Validator({**schema["$defs"][key], "$defs": schema["$defs"]})
            assert known.is_valid(value), part


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """specs/ with the data that pages name, beside which each example is written in its turn."""
    folder = Path(shutil.copytree(ROOT / "specs", tmp_path_factory.mktemp("beside") / "specs"))
    write_files(folder)
    return folder


@pytest.mark.parametrize("quote", [q for q in QUOTES if q.language == "yaml"], ids=place)
def test_yaml_examples_compile(quote: Quote, beside: Path) -> None:
    path = beside / "example.yaml"
    path.write_text(quote.text, encoding="utf-8")
    if quote.note == "ensemble":
        from safetensors.torch import save_file

        state = graphspec.compile(beside / "dense.yaml").module().state_dict()
        for name in ("first", "second"):
            save_file(state, path.with_name(f"{name}.safetensors"))
    if quote.note == "start":
        settings = {"classes": 10}
        whole = graphspec.compile(beside / "torchvision_resnet.yaml", settings).module()
        write_weights(path.with_name("start.safetensors"), whole.state_dict())
    found = Diagnostics()
    program = check_spec(path, found, {}, data=True)
    assert program is not None and list(found) == []
    if quote.note == "start":
        program.module()
    compile(program.source, "<emitted>", "exec")


def test_each_file_of_data_is_named_on_a_page() -> None:
    text = "".join(quote.text for quote in QUOTES)
    assert [name for name in FILES if name not in text] == []


RUN_BY_OTHERS = {"py": "test_coming_from_keras", "sh": "test_coming_from_keras", "lua": "test_neovim"}
"""Languages whose examples tests of their rooms run."""
COMMAND = re.compile(r"(?:`|^\$? ?|-m )graphspec ([a-z][^`\n|]*)", re.MULTILINE)


def test_the_commands_that_pages_and_remedies_write_have_their_options() -> None:
    root, seen = get_command(app), 0
    texts = [page.read_text(encoding="utf-8") for page in (*PAGES, ROOT / "CONTRIBUTING.md")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "graphspec").rglob("*.py")]
    for text in (
        each for each in texts if "`graphspec " in each or "\ngraphspec " in each or "$ graphspec" in each
    ):
        for written in COMMAND.findall(re.sub(r"\\\n\s*|\"\s*\n\s*f?\"", " ", text)):
            words, command = re.sub(r"\$\(.*?\)", "", written).split(), root
            while words and words[0] in getattr(command, "commands", ()):
                command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
            options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
            for word in words if command is not root else ():
                if re.match(r"--?[a-z]", word):
                    assert re.split("[=:)]", word)[0] in {*options, "--help", "-h"}, written
            seen += command is not root
    assert seen > 400


SHOWN = {"bash", "csv", "elisp", "text", "yml"}
"""Languages of other programs, which are not run."""


def test_every_other_example_can_be_read() -> None:
    readers = {"json": json.loads, "toml": tomllib.loads}
    own = {"console", "python", "rules", "yaml"}
    assert {quote.language for quote in QUOTES} <= own | RUN_BY_OTHERS.keys() | SHOWN | readers.keys()
    for quote in QUOTES:
        if quote.language in readers:
            readers[quote.language](quote.text)


@pytest.mark.parametrize("quote", [q for q in QUOTES if q.language == "rules"], ids=place)
def test_rules_are_read(quote: Quote) -> None:
    assert read_rules(quote.text, quote.page).rules


def test_the_tables_of_the_language_are_those_of_the_code() -> None:
    """Write them anew with `python docs/tables.py`."""
    tables = runpy.run_path(str(DOCS / "tables.py"))
    texts = {page: page.read_text(encoding="utf-8") for page in sorted((DOCS / "language").glob("*.md"))}
    assert set(tables["tables"]()) == {
        name for text in texts.values() for name in re.findall("<!-- table: (.*) -->", text)
    }
    for page, text in texts.items():
        assert text == tables["current"](text), f"{page.name}: run `python docs/tables.py`"


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", head) for head in heads)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in plain}


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            file, _, anchor = target.partition("#")
            linked = page.parent / file if file else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"
