"""Old public names: each works for one minor release and warns."""

from __future__ import annotations

import warnings


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
