"""The pages of codes: the spec of each provokes it, and the mended one has no fault at all."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from graphspec.cli.app import app
from graphspec.compiler import check
from graphspec.diagnostics import CODES, Diagnostics
from graphspec.reference.codes import page
from tests import bundled

OF_SPECS = [code for code in CODES if page(code).of_specs]


def codes(text: str) -> set[str]:
    diagnostics = Diagnostics()
    check(text + "\n", diagnostics, {})
    return {each.code for each in diagnostics}


@bundled(16, "code", OF_SPECS)
def test_the_spec_of_a_page_provokes_its_code_and_the_mended_one_none(code: str) -> None:
    assert (codes(page(code).wrong), codes(page(code).mended)) == ({code}, set())


def test_every_code_has_a_page_with_what_provokes_it_and_the_mended_form() -> None:
    for code in CODES:
        shown = page(code)
        assert len(shown.why) > 20 and shown.wrong and shown.mended and shown.wrong != shown.mended, code
        if not shown.of_specs:  # what a reader types, in a line or two
            assert len(shown.wrong.splitlines()) <= 4 and len(shown.mended.splitlines()) <= 2, code


def test_codes_are_explained_and_listed() -> None:
    done = CliRunner().invoke(app, ["explain", "unknown-layer"])
    assert done.exit_code == 0 and "  nodes: {a: {layer: Linear, units: 8}}" in done.output
    done = CliRunner().invoke(app, ["explain", "linear-stack", "--json"])
    assert json.loads(done.output)["codes"][0]["mended"].startswith("inputs: ")
    assert CliRunner().invoke(app, ["explain"]).output.count("\n") == len(CODES)
    assert "# ok: hidden-softmax" in CliRunner().invoke(app, ["explain", "hidden-softmax"]).output


def test_a_misspelt_code_has_a_remedy() -> None:
    done = CliRunner().invoke(app, ["explain", "unkown-layer"])
    assert done.exit_code == 1 and "did you mean `unknown-layer`?" in done.output
