"""`train --devices N`: torch's elastic launcher, in this process."""

from __future__ import annotations

import logging
import os
import signal
import socket
import uuid
from collections.abc import Sequence

import torch

from graphspec.data.memory import cores
from graphspec.diagnostics import fail
from graphspec.files.interpreter import PYTHON
from graphspec.train.parallel.launched import LAUNCHER


def launch(arguments: Sequence[str], processes: int, restarts: int) -> int:
    """Run graphspec with these arguments in several processes on this machine, which train together.

    They are restarted, all of them, up to `restarts` times where one fails. Returns the exit code; raises
    `SpecError` (device-missing) where there are GPUs, and fewer of them, and (run-failed) where processes of
    this machine cannot connect.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    available = torch.cuda.device_count()
    if _wants_gpus(arguments) and available < processes:
        message = f"`--devices {processes}` was asked for, and the number of GPUs is {available}"
        help = f"use `--devices {available}`, or `--device cpu`"
        raise fail("device-missing", message, help)
    _need_loopback()
    os.environ[LAUNCHER] = str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=restarts,
    )
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        elastic_launch(config, PYTHON[0])(*PYTHON[1:], "-m", "graphspec", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:  # it has said why
            return failure.exitcode
        message = f"process {rank} was ended by {signal.Signals(-failure.exitcode).name}"
        help = "if memory ran out, lower `train.batch_size`; `--resume` continues from the last checkpoint"
        raise fail("run-failed", message, help) from None
    except SignalException as error:
        return 128 + error.sigval
    return 0


def _need_loopback() -> None:
    """Raises `SpecError` where this machine cannot connect to itself, which torch would try for minutes."""
    try:
        with socket.create_server(("localhost", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        message = f"processes of this machine cannot connect to one another: {error.strerror or error}"
        help = "make `localhost` work (`ip link set lo up`), or train in one process, without `--devices`"
        raise fail("run-failed", message, help) from None


def _wants_gpus(arguments: Sequence[str]) -> bool:
    text = " ".join(arguments).replace("--device=", "--device ")
    return torch.cuda.is_available() and "--device cpu" not in text
