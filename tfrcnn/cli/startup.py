"""Importing TensorFlow when a command needs it, and keeping its log lines that mean nothing out of the output.

TF_CPP_MIN_LOG_LEVEL=2 silences what TensorFlow says below an error. The lines of `NOISE` come all the same: some are
written before it reads that variable, some call themselves errors. They are written by C++, so they are taken out of
file descriptor 2, and by a process of its own: whatever else is written there arrives at once, also when TensorFlow
brings this process down. What Python writes to `sys.stderr` does not go that way.

TF_CPP_MIN_LOG_LEVEL=0 shows everything.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from contextlib import suppress

NOISE = (
    "All log messages before absl::InitializeLog() is called",
    "oneDNN custom operations are on.",
    "oneDNN supports DT_UINT8 only on platforms with AVX-512. Falling back",  # turning pictures upright
    "NodeDef mentions attribute use_unbounded_threadpool which is not in the op definition",  # repeatable tf.data
    "Created TensorFlow Lite XNNPACK delegate for CPU.",  # LiteRT
)

_FILTER = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin.buffer:
    if not any(text in line for text in {tuple(text.encode() for text in NOISE)}):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def load_tensorflow() -> None:
    """Import TensorFlow; a command calls this before it imports what needs it."""
    if "tensorflow" in sys.modules:
        return
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else ~/.keras/keras.json says
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") != "0":
        filter_stderr()
    import tensorflow  # noqa: F401


def filter_stderr() -> None:
    """Take `NOISE` out of file descriptor 2 from now on, and let `sys.stderr` go past the filter."""
    filtering = subprocess.Popen([sys.executable, "-I", "-S", "-c", _FILTER], stdin=subprocess.PIPE)
    assert filtering.stdin is not None
    sys.stderr.flush()
    real = os.dup(2)
    os.dup2(filtering.stdin.fileno(), 2)
    filtering.stdin.close()
    sys.stderr = open(real, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)  # noqa: SIM115
    atexit.register(_end, filtering, real)


def _end(filtering: subprocess.Popen[bytes], real: int) -> None:
    """Let the filter write its last line before this process ends."""
    os.dup2(real, 2)
    with suppress(subprocess.TimeoutExpired):  # a process that was started here may still hold the pipe
        filtering.wait(timeout=2)
