"""One bad spec for every code, each with what must be said: `# error: [code] column=7` on its line."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graphspec.compiler import check
from graphspec.diagnostics import CODES, Diagnostic, Diagnostics, render
from graphspec.elaborate import context
from tests import ROOT, bundled

BAD = ROOT / "tests" / "bad"
SPECS = sorted(BAD.glob("*.yaml"))
EXPECTED = re.compile(r"# error: \[([a-z-]+)\](?: column=(\d+))?")

ELSEWHERE = {
    # of data, weights, building, training and devices, which have their own tests
    "data-missing",
    "data-outside",
    "data-format",
    "data-column",
    "data-empty",
    "data-shape",
    "data-dtype",
    "data-range",
    "data-nonfinite",
    "data-gap",
    "data-order",
    "data-space",
    "cannot-adapt",
    "nothing-to-train",
    "device-missing",
    "non-finite-loss",
    "no-gradient",
    "dead-units",
    "run-directory",
    "resume-failed",
    "build-failed",
    "emission-failed",
    "run-failed",
    "prompt-misfit",  # tests/generate/test_generate.py
    "export-failed",
    "fold-differs",
    "export-differs",
    "score-falls",
    "package-missing",
    "nothing-to-tune",
    "tune-storage",
    "tune-differs",
    "tune-fails",
    "run-missing",
    "usage",
    "output-file",
    # warnings of rows: tests/train/test_batch_inspection.py
    "losses-apart",
    "unscaled",
    "target-beyond",
    "time-split",
    # warnings: tests/language/test_warnings.py
    "softmax-of-one",
    "softmax-twice",
    "accuracy-misfit",
    "dropout-last",
    "flatten-missing",
    "channels-first",
    "momentum-low",
    "unused-ok",
    "synthetic-data",
    # of modules of one's own: tests/custom/test_custom_code.py
    "module-not-allowed",
    "address-not-allowed",
    "module-missing",
    "module-differs",
    "bundle-misfit",
    # of imported models: tests/convert/test_convert.py and its neighbours
    "import-format",
    "import-unsafe",
    "import-unsupported",
    "import-differs",
    "weights-misfit",
    "weights-missing",
    "weights-ambiguous",
    "rules-missing",
}

HEAD = "inputs:\n  x: {shape: [4]}\nnodes:\n"
WITHOUT_COMMENTS: dict[str, tuple[bytes, str, int]] = {
    # texts that can hold no comment of ours, or are too long to keep: the code and the line
    "byte": (b"inputs: \xff\n", "encoding", 1),
    "utf-16": ("inputs: {}\n".encode("utf-16"), "encoding", 1),
    "zero-width": ("inputs: {}\nno\u200bdes: {}\n".encode(), "control-character", 2),
    "bidirectional": ("inputs: {}\nname: \u202eabc\n".encode(), "control-character", 2),
    "control": (b"inputs: {}\nname: a\x07b\n", "control-character", 2),
    "escaped": (
        b'name: "\\e"\n' + (HEAD + "  a: {layer: Dense, units: 1}\noutputs: [a]\n").encode(),
        "control-character",
        1,
    ),
    "large": (b"# " + b"x" * 2**20, "file-too-large", 1),
    "empty": (b"", "empty-document", 1),
    "comment": (b"# nothing\n", "empty-document", 1),
    "deep": (b"a: " + b"[" * 3000 + b"]" * 3000, "too-deep", 1),
    "deep-block": (b"".join(b" " * i + b"a:\n" for i in range(1400)), "too-deep", 101),
    "digits": (
        (HEAD + f"  a: {{layer: Dense, units: {'9' * 5000}}}\noutputs: [a]\n").encode(),
        "number-too-large",
        4,
    ),
    "exponent": (
        (HEAD + "  a: {layer: Dropout, rate: 1e999}\noutputs: [a]\n").encode(),
        "number-too-large",
        4,
    ),
    "aliases": (
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
        ).encode(),
        "too-many-aliases",
        5,
    ),
}

Expectation = tuple[int, str, int | None]


def expectations(text: str) -> list[Expectation]:
    """Line, code and (where it is written) column of each diagnostic that the comments of a spec ask for."""
    return [
        (number, match[1], int(match[2]) if match[2] else None)
        for number, line in enumerate(text.splitlines(), 1)
        for match in EXPECTED.finditer(line)
    ]


def diagnose(spec: Path | str, **given: Any) -> tuple[list[Diagnostic], dict[str, str]]:
    """What a check says, by place, and the texts that it points into."""
    diagnostics, sources = Diagnostics(), dict[str, str]()
    check(spec, diagnostics, sources, **given)
    return diagnostics.sorted(), sources


def written() -> Iterator[str]:
    for path in SPECS:
        yield from (code for _, code, _ in expectations(path.read_text()))


@bundled(16, "path", SPECS, ids=lambda path: path.stem)
def test_bad_spec(path: Path) -> None:
    found, sources = diagnose(path)
    expected = expectations(path.read_text())
    shown = "\n\n".join(render(diagnostic, sources) for diagnostic in found)
    assert expected and len(found) == len(expected), shown
    for diagnostic, (line, code, column) in zip(found, expected, strict=True):
        span = diagnostic.span
        assert span is not None, shown
        assert (span.line, diagnostic.code) == (line, code), shown
        assert column is None or span.column == column, shown
        assert Path(span.file) == path, shown
        assert span.end_line == span.line, shown
    for word in ("MISSING", "object at 0x", "None", "Failed", "Traceback", "PydanticUndefined"):
        assert word not in re.sub(r"(?m)^ *\d+ \|.*", "", shown)


def test_files_are_named_after_what_they_show() -> None:
    for path in SPECS:
        codes = {code for _, code, _ in expectations(path.read_text())}
        assert any(path.stem.startswith(code) for code in codes) or path.stem in GENERAL, path


GENERAL = {
    "all-errors-in-one-pass",
    "all-errors-in-all-sections",
    "all-errors-of-training",
    "one-error-for-one-mistake",
}


@pytest.mark.parametrize("name", WITHOUT_COMMENTS)
def test_text_without_comments(name: str, tmp_path: Path) -> None:
    data, code, line = WITHOUT_COMMENTS[name]
    path = tmp_path / "spec.yaml"
    path.write_bytes(data)
    start = time.process_time()
    found, sources = diagnose(path)
    assert [d.code for d in found] == [code], "\n".join(render(d, sources) for d in found)
    assert found[0].span is not None and found[0].span.line == line
    assert time.process_time() - start < 2


GIVEN: dict[str, tuple[dict[str, Any], str, str]] = {
    "preset": ({"preset": "wdie"}, "unknown-preset", "did you mean `wide`?"),
    "param": ({"params": {"widht": 3}}, "unknown-param", "did you mean `width`?"),
    "setting": ({"settings": {"trian.epochs": 3}}, "unknown-key", "did you mean `train`?"),
    "type": ({"params": {"width": "wide"}}, "wrong-type", "write a number, such as 3"),
}


@pytest.mark.parametrize("name", GIVEN)
def test_values_from_outside_the_file(name: str) -> None:
    given, code, help = GIVEN[name]
    found, _ = diagnose(BAD / "parts" / "dense.yaml", **given)
    assert [(d.code, d.help) for d in found] == [(code, help)]


def test_missing_spec_names_its_neighbour() -> None:
    found, _ = diagnose(BAD / "parts" / "dens.yaml")
    assert [d.code for d in found] == ["spec-missing"]
    assert found[0].help == f"did you mean `{BAD / 'parts' / 'dense.yaml'}`?"


def test_a_folder_is_answered_with_the_spec_in_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for help in ("a spec is a file of this folder", f"a spec is a file: `{run / 'spec.yaml'}`"):
        diagnostics = Diagnostics()
        assert check(run, diagnostics, {}) is None
        assert [found.help for found in diagnostics.sorted()] == [help]
        (run / "spec.yaml").write_text("inputs: {x: {shape: [1]}}\noutputs: [x]\n")


def test_the_directory_of_a_run_is_answered_with_its_spec_and_its_weights(tmp_path: Path) -> None:
    for name in ("spec.yaml", "block.yaml", "environment.json", "best.safetensors"):
        (tmp_path / name).touch()
    diagnostics = Diagnostics()
    assert check(tmp_path, diagnostics, {}) is None
    (found,) = diagnostics.sorted()
    spec, weights = tmp_path / "spec.yaml", tmp_path / "best.safetensors"
    assert found.help == f"it is a run's directory: its spec is `{spec}`, its weights are `{weights}`"


def test_every_code_has_a_bad_spec() -> None:
    shown = {*written(), *(code for _, code, _ in WITHOUT_COMMENTS.values()), "spec-missing"}
    assert shown == CODES.keys() - ELSEWHERE


def test_budgets_end_in_one_diagnostic(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lines that stand for very many instances, or for very deep ones."""
    monkeypatch.setattr(context, "MAX_INSTANCES", 1_000)  # of 50,000, which take seconds
    towers = "".join(
        f"  b{i}: {{inputs: [x], nodes: {{n: {{block: b{i - 1}, repeat: 100}}}}}}\n" for i in range(1, 5)
    )
    wide = (
        "inputs: {x: {shape: [4]}}\nblocks:\n  b0: {inputs: [x], nodes: {n: {layer: Dense, units: 4}}}\n"
        f"{towers}nodes: {{o: {{block: b4}}}}\noutputs: [o]\n"
    )
    chain = "".join(f"  n{i}: {{layer: Dense, units: 4, from: n$(e){i + 1}}}\n" for i in range(3_000))
    deep = (
        "params: {e: ''}\ninputs: {x: {shape: [4]}}\nnodes:\n"
        f"{chain}  n3000: {{layer: Dense, units: 4, from: x}}\noutputs: [n0]\n"
    )
    assert [d.code for d in diagnose(wide)[0]] == ["out-of-range"]
    assert [d.code for d in diagnose(deep)[0]] == ["too-deep"]
