"""Refuse an installation without TensorFlow, and other backends of Keras; then import both.

Import this module before anything that imports Keras, which would load another backend.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tfrcnn.errors import InputError
from tfrcnn.installed import check_distribution, check_tensorflow, collector_paused


def check_backend() -> None:
    """Check the backend that Keras uses, or will use once it is imported.

    Raises:
        InputError: it is not TensorFlow.
    """
    config = getattr(sys.modules.get("keras"), "config", None)
    backend = config.backend() if config else _configured()
    if backend != "tensorflow":
        raise InputError(
            f"tfrcnn needs Keras with the backend tensorflow, found {backend!r} (from KERAS_BACKEND or "
            "~/.keras/keras.json): set the environment variable KERAS_BACKEND=tensorflow before Keras is imported"
        )


def _configured() -> str:
    """Return the backend that Keras takes from the environment or its file, in this order."""
    if backend := os.environ.get("KERAS_BACKEND"):
        return backend
    try:
        home = os.path.expanduser(os.environ.get("KERAS_HOME") or "~/.keras")
        return str(json.loads(Path(home, "keras.json").read_text())["backend"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "tensorflow"


check_distribution()
check_tensorflow("this part of tfrcnn")
check_backend()
with collector_paused():
    import keras  # noqa: F401
    import tensorflow  # noqa: F401
