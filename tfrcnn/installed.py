"""Checks of the installation. Imports no TensorFlow.

Two distributions hold the package `tfrcnn`: `tfrcnn`, and `tfrcnn-runtime`, which installs no TensorFlow. pip writes
one over the other without a word, and removing one then removes files of the other.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from tfrcnn.errors import InputError

PACKAGES = Path(__file__).parent.parent  # where pip keeps a record of each distribution
RUNTIME = "tfrcnn_runtime"


def distributions(folder: Path = PACKAGES) -> list[str]:
    """List the distributions of tfrcnn that pip installed into a folder.

    Args:
        folder: of installed packages.

    Returns:
        Names as in their files, "tfrcnn" and "tfrcnn_runtime". Empty in a clone.
    """
    names = {path.name.partition("-")[0] for path in folder.glob("tfrcnn*.dist-info")}
    return sorted(names & {"tfrcnn", RUNTIME})


def check_distribution(folder: Path = PACKAGES) -> None:
    """Check that one distribution of tfrcnn is installed.

    Args:
        folder: of installed packages.

    Raises:
        InputError: two are.
    """
    if len(distributions(folder)) > 1:
        raise InputError(
            f"{folder}: found both tfrcnn and tfrcnn-runtime, which hold the same files: pip uninstall -y tfrcnn "
            "tfrcnn-runtime, then install one of them again"
        )


def check_tensorflow(name: str) -> None:
    """Check that TensorFlow is installed.

    Args:
        name: what needs it, the start of the message.

    Raises:
        InputError: it is not.
    """
    if "tensorflow" in sys.modules or importlib.util.find_spec("tensorflow") is not None:
        return
    advice = "pip install tensorflow"
    if RUNTIME in distributions():
        advice = "pip uninstall tfrcnn-runtime, then install tfrcnn"
    raise InputError(f"{name} needs TensorFlow, which is not installed: {advice}")
