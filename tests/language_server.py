"""A client of the YAML language server that editors run: over its standard streams, one request at a time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SERVER = shutil.which("yaml-language-server")
"""The server of this machine, if it has one: npm's package yaml-language-server."""
CURSOR = "¦"


class Server:
    """The server, with one schema for all files."""

    def __init__(self, process: subprocess.Popen[bytes], schema: Path):
        self._process, self._count, self._opened = process, 0, 0
        self._settings = {
            "schemas": {schema.as_uri(): "*.yaml"},
            "validate": True,
            "hover": True,
            "completion": True,
            "schemaStore": {"enable": False},
        }
        self._diagnostics: dict[str, list[dict[str, Any]]] = {}
        document = {
            "hover": {"contentFormat": ["markdown"]},
            "completion": {"completionItem": {"documentationFormat": ["markdown"], "snippetSupport": True}},
        }
        capabilities = {"textDocument": document, "workspace": {"configuration": True}}
        self._call("initialize", processId=os.getpid(), rootUri=None, capabilities=capabilities)
        self._notify("initialized")
        self._notify("workspace/didChangeConfiguration", settings={"yaml": self._settings})

    def messages(self, text: str) -> list[str]:
        """What it finds wrong with a file."""
        uri = self._open(text)
        while uri not in self._diagnostics:
            self._next()
        return [each["message"] for each in self._diagnostics[uri]]

    def hover(self, text: str) -> str:
        """What it says where the mouse rests: at the cursor in the text."""
        found = self._at("textDocument/hover", text)
        return "" if found is None else found["contents"]["value"]

    def completions(self, text: str) -> list[str]:
        """What it offers at the cursor, in the order in which editors show it."""
        found = self._at("textDocument/completion", text)
        items = found["items"] if isinstance(found, dict) else found
        return [item["label"] for item in sorted(items, key=lambda item: item.get("sortText", item["label"]))]

    def _at(self, method: str, text: str) -> Any:
        before, after = text.split(CURSOR)
        uri = self._open(before + after)
        position = {"line": before.count("\n"), "character": len(before) - before.rfind("\n") - 1}
        return self._call(method, textDocument={"uri": uri}, position=position)

    def _open(self, text: str) -> str:
        self._opened += 1
        uri = f"file:///specs/{self._opened}.yaml"
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._notify("textDocument/didOpen", textDocument=document)
        return uri

    def _send(self, **message: Any) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._process.stdin.flush()

    def _notify(self, method: str, **params: Any) -> None:
        self._send(method=method, params=params)

    def _call(self, method: str, **params: Any) -> Any:
        self._count += 1
        self._send(id=self._count, method=method, params=params)
        while True:
            message = self._next()
            if message.get("id") == self._count and "method" not in message:
                assert "error" not in message, message["error"]
                return message["result"]

    def _next(self) -> dict[str, Any]:
        stream, length = self._process.stdout, 0
        assert stream is not None
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        assert length, "the server has gone"
        message: dict[str, Any] = json.loads(stream.read(length))
        if message.get("method") == "workspace/configuration":
            sections = [item.get("section") for item in message["params"]["items"]]
            answer = [self._settings if section == "yaml" else {} for section in sections]
            self._send(id=message["id"], result=answer)
        elif "id" in message and "method" in message:
            self._send(id=message["id"], result=None)
        elif message.get("method") == "textDocument/publishDiagnostics":
            self._diagnostics[message["params"]["uri"]] = message["params"]["diagnostics"]
        return message


@contextmanager
def language_server(schema: Path) -> Iterator[Server]:
    """A server of its own."""
    assert SERVER is not None
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    process = subprocess.Popen([SERVER, "--stdio"], stdin=pipe, stdout=pipe, stderr=quiet)
    try:
        yield Server(process, schema)
    finally:
        process.kill()
        process.communicate()
