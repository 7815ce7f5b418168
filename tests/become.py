"""What a process of `tests/processes.py` runs: `python become.py TOLD` becomes the command that TOLD says."""

import atexit
import json
import os
import runpy
import sys
import threading
from typing import Any


def become(told: dict[str, Any]) -> None:
    """Takes the folder, the environment and the terminal, and runs the command."""
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environment"])
    if told["terminal"]:
        terminal = os.open(told["terminal"], os.O_RDWR | os.O_NOCTTY)
        for standard in range(3):
            os.dup2(terminal, standard)
        os.close(terminal)
    first, *rest = told["command"]
    path = [told["folder"], *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    sys.path[:0] = [part for part in path if part and part not in sys.path]
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = [first, *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")


def exit_code(end: SystemExit) -> int:
    if isinstance(end.code, str):
        print(end.code, file=sys.stderr)
        return 1
    return end.code or 0


def main() -> None:
    code = 0
    try:
        become(json.loads(sys.argv[1]))
    except SystemExit as end:
        code = exit_code(end)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # half a second of taking torch apart is left out


if __name__ == "__main__":
    main()
