"""The extension in VS Code itself, packaged and installed there: in code-server, VS Code in a browser, where
npm's package is installed, and the extension's own packages: `npm install` in editors/vscode.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests import ROOT
from tests.browser import CHROMIUM, Page, browser
from tests.processes import ENDLESS

CODE = shutil.which("code-server")
EXTENSION = ROOT / "editors" / "vscode"
VSCE = EXTENSION / "node_modules" / ".bin" / "vsce"
"""What packages an extension."""
SPEC = """\
inputs:
  x: {shape: [4]}
nodes:
  y: {layer: Dens, units: 2}
outputs: [y]
"""
CONTROL = 2

pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(
        CODE is None or CHROMIUM is None or not VSCE.exists(),
        reason="code-server, a browser or the extension's packages are not installed",
    ),
]


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """VS Code with the extension."""
    assert CODE is not None
    settings = tmp_path / "data" / "User" / "settings.json"
    settings.parent.mkdir(parents=True)
    command = [sys.executable, "-m", "graphspec", "server"]
    settings.write_text(json.dumps({"graphspec.command": command, "workbench.startupEditor": "none"}))
    package = tmp_path / "graphspec.vsix"
    packed = [str(VSCE), "package", "--no-git-tag-version", "-o", str(package)]
    subprocess.run(packed, cwd=EXTENSION, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = ["--user-data-dir", tmp_path / "data", "--extensions-dir", tmp_path / "extensions"]
    install = [CODE, *map(str, folders), "--install-extension", str(package)]
    subprocess.run(install, check=True, capture_output=True)
    quiet = ["--disable-telemetry", "--disable-update-check", "--disable-workspace-trust"]
    listen = ["--auth", "none", "--bind-addr", f"127.0.0.1:{port}", "--config", tmp_path / "config.yaml"]
    process = subprocess.Popen(
        list(map(str, [CODE, *listen, *folders, *quiet])),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait(lambda: answers(port))
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + ENDLESS
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def press(page: Page, key: str, code: str, number: int, modifiers: int = 0, text: str = "") -> None:
    params = {"key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": modifiers}
    page.call("Input.dispatchKeyEvent", type="keyDown", text=text, **params)
    page.call("Input.dispatchKeyEvent", type="keyUp", **params)


def test_the_extension_shows_a_mistake_and_applies_its_fix(tmp_path: Path, address: str) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "spec.yaml").write_text(SPEC)
    opened = json.dumps([["openFile", f"vscode-remote://{address}{folder}/spec.yaml"]])
    with browser(tmp_path / "profile") as page:
        page.call("Page.navigate", url=f"http://{address}/?folder={folder}&payload={quote(opened)}")
        wrong = "document.querySelector('.squiggly-error')"
        wait(lambda: page.evaluate(f"{wrong} !== null"))
        x, y = page.evaluate(
            f"(() => {{ const b = {wrong}.getBoundingClientRect(); return [b.x + b.width / 2, b.y + 8]; }})()"
        )
        page.click(x, y)
        press(page, ".", "Period", 190, CONTROL)
        found = "[...document.querySelectorAll('.action-widget .action')].map((each) => each.innerText)"
        wait(lambda: page.evaluate(f"{found}.length"))
        assert any("Replace by `Dense`" in text for text in page.evaluate(found))
        press(page, "Enter", "Enter", 13, text="\r")
        lines = "[...document.querySelectorAll('.view-line')].map((each) => each.innerText).join(' ')"
        wait(lambda: "Dense" in page.evaluate(lines) and page.evaluate(f"{wrong} === null"))
        wait(lambda: "[batch, 2]" in page.evaluate(lines).replace("\N{NO-BREAK SPACE}", " "))
