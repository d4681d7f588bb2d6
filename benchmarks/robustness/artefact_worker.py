"""The process in which `artefacts.py` loads damaged files, so that a crash ends it and not the fuzzer.

Standard input has a line for each file: [path, runtime, whether to use the command line]. Standard output has its
outcome.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import sys
from pathlib import Path

MEMORY = 12 << 30  # a damaged size must not take the machine's


def work(picture: str) -> None:
    """Judge the paths on standard input."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the runtimes print there
    for line in sys.stdin:
        path, runtime, use_cli = json.loads(line)
        outcome = _predict(path, picture) if use_cli else _detect(path, picture, runtime)
        print(json.dumps(outcome), file=answers, flush=True)


def _detect(path: str, picture: str, runtime: str) -> str:
    from tfrcnn.errors import InputError
    from tfrcnn.export import load

    try:
        load(path, runtime=runtime or None).detect(picture)
    except InputError as error:
        return f"ESCAPED: several lines: {error}" if "\n" in str(error) else f"refused: {error}"
    except Exception as error:
        return f"ESCAPED: {type(error).__name__}: {error}"
    return "works"


def _predict(path: str, picture: str) -> str:
    from tfrcnn.cli.main import main as tfrcnn

    out, printed = Path(path).parent / "predictions", io.StringIO()
    shutil.rmtree(out, ignore_errors=True)
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
            code = tfrcnn(["predict", picture, "--model", path, "--out", str(out)])
    except BaseException as error:
        return f"ESCAPED: {type(error).__name__}: {error}"
    errors = [line for line in printed.getvalue().splitlines() if line.startswith("error: ")]
    if code == 0:
        return "works"
    return f"refused: {errors[0]}" if code == 2 and len(errors) == 1 else f"ESCAPED: exit code {code}: {errors}"


if __name__ == "__main__":
    work(sys.argv[1])
