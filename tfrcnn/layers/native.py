"""Operators that a runtime has of its own, in place of TensorFlow's while an export traces a detector for it.

ONNX, for one, has a RoIAlign and an NMS of many sets; converted from TensorFlow's graph they would be four gathers and
a loop. A layer that can be replaced asks `native` for the function to call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_OPERATORS: ContextVar[dict[str, Callable[..., Any]] | None] = ContextVar("operators", default=None)


def native(name: str) -> Callable[..., Any] | None:
    """What takes the place of the operator of this name, or None: TensorFlow's, almost always."""
    return (_OPERATORS.get() or {}).get(name)


@contextmanager
def native_operators(**operators: Callable[..., Any]) -> Iterator[None]:
    """Whatever this thread traces within has these.

    Args:
        nms: of `batched_nms`' kernel, with boxes [S, P, 4], ranks [S, P], max_output_size, iou_threshold and
            score_threshold; only ranks above that take part.
        roi_align, roi_pool: of `RoIAlign._gather` and `RoIPool._pool`, with the layer before their arguments.
        normalize: of `Normalizer.call`, with the layer's configuration behind its arguments.
        upsample: of the feature pyramid's, with its arguments.
    """
    token = _OPERATORS.set(operators)
    try:
        yield
    finally:
        _OPERATORS.reset(token)
