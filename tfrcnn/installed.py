"""Checks of the installation, and a pause of the garbage collector for imports. Imports no TensorFlow.

Two distributions hold the package `tfrcnn`: `tfrcnn`, and `tfrcnn-runtime`, which installs no TensorFlow. pip writes
one over the other without a word, and removing one then removes files of the other.
"""

from __future__ import annotations

import gc
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfrcnn.errors import InputError

PACKAGES = Path(__file__).parent.parent  # where pip keeps a record of each distribution
RUNTIME = "tfrcnn_runtime"
NAMES = {"tensorflow": "TensorFlow"}  # of packages, where they differ from the names for pip


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
    """Check that TensorFlow is installed; see `check_package`."""
    check_package("tensorflow", name)


def check_package(package: str, name: str) -> None:
    """Check that a package is installed.

    Args:
        package: its name in imports, and for pip.
        name: what needs it, the start of the message.

    Raises:
        InputError: it is not.
    """
    if package not in sys.modules and importlib.util.find_spec(package) is None:
        raise InputError(missing(package, name))


def missing(package: str, name: str) -> str:
    """Say that a package is not installed, and what to do; see `check_package`."""
    advice = f"pip install {package}"
    if package == "tensorflow" and RUNTIME in distributions():
        advice = "pip uninstall tfrcnn-runtime, then install tfrcnn"
    return f"{name} needs {NAMES.get(package, package)}, which is not installed: {advice}"


@contextmanager
def collector_paused() -> Iterator[None]:
    """Run code that makes many objects and leaves few unused, without Python's searches for unused ones.

    The searches find next to nothing, and take a quarter of the import of TensorFlow and Keras.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
