"""A server by hand for one model: it reads JSON, calls the module, writes JSON, and checks nothing."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import torch
import uvloop

from graphspec.runs.run import Run


class Answering(asyncio.Protocol):
    """Answers one request after another on a connection."""

    def __init__(self, run: Run):
        self.module, self.inputs = run.module(), [*run.program.inputs]
        self.output = next(iter(run.program.outputs))
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, _, body = self.data.partition(b"\r\n\r\n")
        if len(body) < int(head.rpartition(b"Content-Length: ")[2]):
            return
        self.data = b""
        row = json.loads(body)
        with torch.inference_mode():
            found = self.module(*[torch.tensor([row[name]]) for name in self.inputs])
        values = found if isinstance(found, dict) else {self.output: found}
        answer = json.dumps({name: value[0].tolist() for name, value in values.items()}).encode()
        start = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
        self.transport.write(start.encode() + answer)


async def main(spec: Path, weights: str) -> None:
    run = Run(spec, weights)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Answering(run), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2]))
