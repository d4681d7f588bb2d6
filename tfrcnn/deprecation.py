"""Old public names: each works for one minor release and warns."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def warn_deprecated(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that a public name has been replaced.

    Args:
        old: the name that the caller used.
        new: what to use instead, as code.
        stacklevel: frames between this function and the caller's code, as of `warnings.warn`. 3 is the caller of the
            function that calls this one.

    Example:
        warn_deprecated("build_detector(roi_align=...)", "kernels=...")
    """
    warnings.warn(
        f"{old} is deprecated and will be removed in tfrcnn 0.3.0; use {new} instead", DeprecationWarning, stacklevel
    )


def moved(module: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a module whose names have moved: each is imported from its new home, with a warning.

    Args:
        module: `__name__` of the old module.
        homes: new module of each name.

    Example:
        __getattr__ = moved(__name__, {"draw_detections": "tfrcnn.drawing"})
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_deprecated(f"{module}.{name}", f"{homes[name]}.{name}")
        return getattr(importlib.import_module(homes[name]), name)

    return get
