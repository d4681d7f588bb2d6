"""Runs pytest in forks of a process that has imported TensorFlow, so that a mutant costs its tests and no imports.

A fork after TensorFlow's first operation would lack the threads that the operation started, and hang. The server
therefore imports the libraries and runs no operation; each child imports tfrcnn itself, which is the mutated code.
"""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import signal
import socketserver
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

LIBRARIES = ("hypothesis", "keras", "numpy", "PIL.Image", "pytest", "tensorflow")
KILLED_BY_TIMEOUT = 124
# The limit is one of processor time, so that a busy machine kills no mutant. One that waits for ever uses none.
WALL_CLOCK = 20  # seconds per second of the limit
# pytest wants to import its plugins itself, to rewrite their asserts; hypothesis has none that these tests need.
PYTEST = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


class Handler(socketserver.StreamRequestHandler):
    """Answers a line of JSON, the tests and the limit in seconds, with a line of JSON: exit code and output."""

    def handle(self) -> None:
        request = json.loads(self.rfile.readline())
        code, output = run(request["tests"], request["timeout"])
        self.wfile.write(json.dumps({"code": code, "output": output}).encode() + b"\n")


class ExamplesFirst:
    """A plugin of pytest that runs the tests of properties last: they take longest, and examples fail sooner."""

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items.sort(key=lambda item: hasattr(item.function, "hypothesis"))


def run(tests: list[str], timeout: float) -> tuple[int, str]:
    """Run tests in a child process.

    Args:
        tests: arguments of pytest.
        timeout: seconds of processor time after which the child is killed; `WALL_CLOCK` times as many by the clock.

    Returns:
        code: the exit code of pytest; `KILLED_BY_TIMEOUT` or negative if the child was killed.
        output: the last 4000 characters that the tests printed.
    """
    log = Path(f"pytest-{os.getpid()}.log")
    child = os.fork()
    if not child:
        _child(tests, log, timeout)
    code, end = None, time.monotonic() + WALL_CLOCK * timeout
    while code is None and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
        time.sleep(0.02)
    if code is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        code = KILLED_BY_TIMEOUT
    return code, log.read_text(errors="replace")[-4000:]


def _child(tests: list[str], log: Path, timeout: float) -> Any:
    """Run pytest and end the process, without the server's clean-up."""
    code = 3
    try:
        os.setpgid(0, 0)  # a new session would drop the priority of `nice`
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(timeout), math.ceil(timeout)))
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.path.insert(0, os.getcwd())
        code = int(import_module("pytest").main([*PYTEST, "-m", "not slow", *tests], [ExamplesFirst()]))
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    # A mutant may have the size of the file before it and be written in the same second: a .pyc would look fresh.
    sys.dont_write_bytecode = True
    os.environ.update(TF_CPP_MIN_LOG_LEVEL="2", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    for library in LIBRARIES:
        import_module(library)
    # A failing example needs no simpler one, and the same examples for each mutant make the score the same each time.
    hypothesis = import_module("hypothesis")
    hypothesis.settings.register_profile("mutants", derandomize=True, phases=[hypothesis.Phase.generate])
    hypothesis.settings.load_profile("mutants")
    gc.freeze()  # the children's collections pass over the libraries' objects
    with socketserver.UnixStreamServer(sys.argv[1], Handler) as server:
        server.serve_forever()
