"""The server in an editor that people have: Neovim, without a window, with the lines of docs/editors.md."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ENDLESS

NEOVIM = shutil.which("nvim")
PAGE = Path(__file__).parents[2] / "docs" / "editors.md"
SPEC = """\
inputs:
  x: {shape: [4]}
nodes:
  y: {layer: Dens, units: 2}
outputs: [y]
"""
STEPS = """
local buffer = vim.api.nvim_get_current_buf()
local ready = vim.wait(60000, function() return #vim.diagnostic.get(buffer) > 0 end, 50)
local before = vim.diagnostic.get(buffer)
local client = vim.lsp.get_clients({ bufnr = buffer })[1]
local range = { start = { line = 3, character = 0 }, ["end"] = { line = 3, character = 20 } }
local document = vim.lsp.util.make_text_document_params(buffer)
local actions = client.request_sync("textDocument/codeAction",
  { textDocument = document, range = range, context = { diagnostics = {} } }, 60000, buffer)
vim.lsp.util.apply_workspace_edit(actions.result[1].edit, client.offset_encoding)
vim.wait(60000, function() return #vim.diagnostic.get(buffer) == 0 end, 50)
local asked = { textDocument = document, range = range }
local hints = client.request_sync("textDocument/inlayHint", asked, 60000, buffer)
local result = {
  ready = ready,
  code = before[1] and before[1].code,
  line = vim.api.nvim_buf_get_lines(buffer, 3, 4, false)[1],
  left = #vim.diagnostic.get(buffer),
  hint = hints.result[1] and hints.result[1].label,
}
vim.fn.writefile({ vim.json.encode(result) }, vim.env.RESULT)
vim.cmd("qa!")
"""


@pytest.mark.skipif(NEOVIM is None, reason="Neovim is not installed")
def test_neovim_shows_mistakes_and_applies_a_fix(tmp_path: Path) -> None:
    assert NEOVIM is not None
    (tmp_path / "spec.yaml").write_text(SPEC)
    blocks = re.findall(r"```lua\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (started,) = [block for block in blocks if '"graphspec", "server"' in block]
    started = started.replace('"graphspec", "server"', f'"{sys.executable}", "-m", "graphspec", "server"')
    (tmp_path / "init.lua").write_text(started)
    (tmp_path / "steps.lua").write_text(STEPS)
    result = tmp_path / "result.json"
    command = [NEOVIM, "--headless", "-u", "init.lua", "-i", "NONE", "spec.yaml", "-c", "luafile steps.lua"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "RESULT": str(result)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, timeout=ENDLESS, stdin=subprocess.DEVNULL
    )
    assert result.exists(), done.stderr.decode()
    assert json.loads(result.read_text()) == {
        "ready": True,
        "code": "unknown-layer",
        "line": "  y: {layer: Dense, units: 2}",
        "left": 0,
        "hint": "-> [batch, 2]",
    }
