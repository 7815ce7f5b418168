"""The tools for programs that write specs: bounded, in one folder, and by their protocol."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from graphspec.server.tools import ToolError, Tools

SPEC = """\
inputs:
  x: {shape: [4]}
nodes:
  y: {layer: Dens, units: 2}
outputs:
  y: {loss: mse}
train: {epochs: 5}
"""


REFUSED: dict[str, dict[str, object]] = {
    "summary": {"spec": SPEC},
    "layers": {"name": "Dens"},
    "explain": {"code": "nope"},
    "train": {"path": "../spec.yaml"},
}


def test_a_spec_is_checked_mended_and_summarised(tmp_path: Path) -> None:
    tools = Tools(tmp_path)
    (tmp_path / "spec.yaml").write_text(SPEC)
    told = tools.check("spec.yaml")
    assert not told["ok"] and told["diagnostics"][0]["fix"]["edits"][0]["content"] == "Dense"
    assert tools.fix(SPEC)["ok"] and (tmp_path / "spec.yaml").read_text() == SPEC
    mended = tools.fix("spec.yaml", write=True)
    assert mended["fixed"] == 1 and (tmp_path / "spec.yaml").read_text() == mended["spec"]
    assert "Total params: 10" in tools.summary("spec.yaml")
    assert "units" in tools.layers("Dense") and "Dense" in tools.layers()
    assert "Corrected" in tools.explain("unknown-layer")
    assert "## Five specs" in tools.language()


def test_data_need_not_be_there(tmp_path: Path) -> None:
    text = SPEC.replace("Dens,", "Dense,") + "data: {train: absent.csv}\n"
    told = Tools(tmp_path).check(text)
    assert [each["code"] for each in told["diagnostics"]] == ["data-missing"] and "not_checked" not in told
    assert Tools(tmp_path).check(text, data=False) == {"ok": True, "not_checked": ["data"], "diagnostics": []}


def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "spec.yaml").write_text(SPEC)
    (inside / "link.yaml").symlink_to(tmp_path / "spec.yaml")
    for path in ("../spec.yaml", str(tmp_path / "spec.yaml"), "link.yaml"):
        with pytest.raises(ToolError, match="outside of the working directory"):
            Tools(inside).check(path)
    with pytest.raises(ToolError, match="cannot be read"):
        Tools(inside).check("absent.yaml")
    with pytest.raises(ToolError, match="unknown-layer"):
        Tools(inside).summary(SPEC)
    with pytest.raises(ToolError, match="did you mean"):
        Tools(inside).layers("Dens")
    with pytest.raises(ToolError, match="after 1 seconds"):
        (inside / "good.yaml").write_text(SPEC.replace("Dens,", "Dense,"))
        Tools(inside).train("good.yaml", seconds=1)


def test_runs_that_lie_elsewhere_are_neither_written_nor_read(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    (inside / "runs").mkdir(parents=True)
    (tmp_path / "one").mkdir()
    (inside / "good.yaml").write_text(SPEC.replace("Dens,", "Dense,"))
    (inside / "runs" / "one").symlink_to(tmp_path / "one")
    with pytest.raises(ToolError, match="outside"):
        Tools(inside).runs()
    (inside / "runs" / "one").unlink()
    (inside / "runs").rmdir()
    (inside / "runs").symlink_to(tmp_path)
    for tool in (Tools(inside).runs, lambda: Tools(inside).train("good.yaml")):
        with pytest.raises(ToolError, match="outside"):
            tool()


def test_a_file_that_is_mended_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    path.chmod(0o600)
    assert Tools(tmp_path).fix("spec.yaml", write=True)["fixed"] == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_spec_comes_back_whole_or_not_at_all(tmp_path: Path) -> None:
    assert Tools(tmp_path).fix(SPEC + "#" * 30_000 + "\n")["spec"] is None


def test_a_text_may_name_models_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.replace("Dens,", "Dense,"))
    text = "inputs: {x: {shape: [4]}}\nnodes:\n  y: {model: spec.yaml}\noutputs: [y]\n"
    assert Tools(tmp_path).check(text)["ok"]
    assert "Total params: 10" in Tools(tmp_path).summary(text)
    with pytest.raises(ToolError, match="not a path"):
        Tools(tmp_path).check("spec\0.yaml")


@pytest.mark.parametrize(
    "path", ["x" * 5000, "a/" * 5000, "absent", ".", "", "\ud800", "a\0b", "link", "pipe"]
)
def test_what_is_no_file_is_refused_in_few_words(path: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("link")
    os.mkfifo(tmp_path / "pipe")
    tools = Tools(tmp_path)
    for tool in (tools.train, tools.check, tools.fix, tools.summary):
        with pytest.raises(ToolError, match=r"cannot be read|is not a path") as error:
            tool(path)
        assert len(str(error.value)) < 400


def test_numbers_and_words_of_any_size_are_refused_or_bounded(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    tools = Tools(tmp_path)
    for tool in (tools.layers, tools.explain):
        with pytest.raises(ToolError):
            tool("x" * 100_000)
    told = tools.train("spec.yaml", epochs=10**5000, limit=-(10**5000), seconds=60)
    assert told["diagnostics"][0]["code"] == "unknown-layer"
    nodes = "".join(f"  n{number}: {{layer: Dens, units: 2}}\n" for number in range(70))
    told = tools.check(f"inputs: {{x: {{shape: [4]}}}}\nnodes:\n{nodes}outputs: [n1]\n")
    assert len(told["diagnostics"]) == 50 and told["more"] == 20


def test_tools_are_called_by_their_protocol(tmp_path: Path) -> None:
    from mcp import ClientSession, StdioServerParameters, stdio_client

    (tmp_path / "spec.yaml").write_text(SPEC.replace("Dens,", "Dense,"))
    command = StdioServerParameters(
        command=sys.executable, args=["-P", "-m", "graphspec", "mcp"], cwd=str(tmp_path)
    )

    async def run() -> tuple[list[str], str, str, list[str]]:
        async with stdio_client(command) as streams, ClientSession(*streams) as session:
            await session.initialize()
            names = [tool.name for tool in (await session.list_tools()).tools]
            dense = await session.call_tool("layers", {"name": "Dense"})
            assert "nn.Linear" in dense.content[0].text  # type: ignore[union-attr]
            checked = await session.call_tool("check", {"spec": "spec.yaml"})
            trained = await session.call_tool("train", {"path": "spec.yaml", "epochs": 2})
            refused = [
                (await session.call_tool(tool, arguments)).content[0].text  # type: ignore[union-attr]
                for tool, arguments in REFUSED.items()
            ]
            return names, checked.content[0].text, trained.content[0].text, refused  # type: ignore[union-attr]

    names, checked, trained, refused = asyncio.run(run())
    assert names == ["language", "check", "fix", "summary", "layers", "explain", "train", "runs"]
    assert json.loads(checked)["ok"] is True
    assert json.loads(trained)["epochs"] == 2
    for told, word in zip(refused, ("unknown-layer", "did you mean", "no code", "outside"), strict=True):
        assert word in told
