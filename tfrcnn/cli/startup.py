"""Import TensorFlow if a command needs it, and keep meaningless log lines of it and LiteRT out of the output.

TF_CPP_MIN_LOG_LEVEL=2 silences TensorFlow's messages below errors. The lines of `NOISE` still come: some are written
before TensorFlow reads that variable, some are logged as errors. C++ writes them to file descriptor 2, so a separate
process filters that descriptor. All other lines pass at once, even if TensorFlow kills this process. Python's
`sys.stderr` is not filtered.

TF_CPP_MIN_LOG_LEVEL=0 shows everything.
"""

from __future__ import annotations

import atexit
import gc
import os
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tfrcnn.cli.console import safe
from tfrcnn.errors import InputError

NOISE = (
    "All log messages before absl::InitializeLog() is called",
    "oneDNN custom operations are on.",
    "oneDNN supports DT_UINT8 only on platforms with AVX-512. Falling back",  # while turning pictures upright
    "NodeDef mentions attribute use_unbounded_threadpool which is not in the op definition",  # repeatable tf.data
    "Created TensorFlow Lite XNNPACK delegate for CPU.",  # LiteRT
    "has constructor arguments in the object store and max_restarts > 0",  # Ray Data; they stay there
)

# TensorFlow and Keras import these packages for helpers that no command uses. They take up to a third of the start.
UNUSED = ("IPython", "cv2", "matplotlib", "pandas", "scipy", "sklearn")

KERAS_CONFIGS = ("config", "backend_config", "backend")  # modules that read keras.json, of Keras 3 and 2

_FILTER = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
for line in sys.stdin.buffer:
    if not any(text in line for text in {tuple(text.encode() for text in NOISE)}):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def start_detector(model: str | Path) -> Path:
    """Import TensorFlow if a detector runs in it, and nothing heavy if it runs elsewhere.

    Args:
        model: a run folder, an exported file, the address of one, or the name of a published detector.

    Returns:
        The run folder or the file; for a published name or an address the one in the cache. A path that does not exist
        stays, for the command to report after its options.

    Raises:
        InputError: the path is not a detector; or it needs TensorFlow, which is not installed.
    """
    # here, so that --help is quick and a file that exists needs no list of published names, which imports HTTP clients
    from tfrcnn.buckets.models import local_model
    from tfrcnn.export.runtimes import needs_tensorflow

    model = local_model(model)
    if not model.exists():
        from tfrcnn.weights.published import is_published

        if is_published(model, "detector"):
            load_tensorflow(str(model))
            from tfrcnn.weights.importing import published_run

            return published_run(str(model))
        return model
    if needs_tensorflow(model):
        load_tensorflow(str(model))
    else:
        filter_log()
    return model


def load_tensorflow(name: str = "this command") -> None:
    """Import TensorFlow; a command calls this before its other heavy imports.

    Args:
        name: what needs it, for the message.

    Raises:
        InputError: it is not installed, or Keras does not take its keras.json.
    """
    if "tensorflow" in sys.modules:
        return
    from tfrcnn.installed import check_tensorflow, collector_paused

    check_tensorflow(name)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # overrides ~/.keras/keras.json
    filter_log()
    with _hidden(UNUSED), collector_paused():
        try:
            import keras  # noqa: F401
        except Exception as error:  # several kinds where Keras reads its file, others if a package is damaged
            *_, (frame, _) = traceback.walk_tb(error.__traceback__)
            if Path(frame.f_code.co_filename).stem not in KERAS_CONFIGS:
                raise
            file = Path(os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")) / "keras.json"
            raise InputError(f"{file}: Keras does not take it: {error}; correct or delete the file") from error
        import tensorflow  # noqa: F401
    gc.freeze()  # what the imports made stays until the process ends: do not search it again


@contextmanager
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Make imports of packages fail while the block runs, as if they were not installed."""
    names = [name for name in packages if name not in sys.modules]
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # Python's way to make an import fail
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


@cache
def filter_log() -> None:
    """Filter `NOISE` once, unless TensorFlow has started or the user asked for all of its messages."""
    if "tensorflow" not in sys.modules and os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") != "0":
        filter_stderr()


def filter_stderr() -> None:
    """Filter `NOISE` out of file descriptor 2 from now on; `sys.stderr` bypasses the filter."""
    filtering = subprocess.Popen([sys.executable, "-I", "-S", "-c", _FILTER], stdin=subprocess.PIPE)
    assert filtering.stdin is not None
    sys.stderr.flush()
    real = os.dup(2)
    os.dup2(filtering.stdin.fileno(), 2)
    filtering.stdin.close()
    sys.stderr = safe(open(real, "w", encoding=sys.stderr.encoding, buffering=1))  # noqa: SIM115
    atexit.register(_end, filtering, real)


def _end(filtering: subprocess.Popen[bytes], real: int) -> None:
    """Wait for the filter's last line before this process ends."""
    os.dup2(real, 2)
    with suppress(subprocess.TimeoutExpired):  # a child process may still hold the pipe
        filtering.wait(timeout=2)
