"""Arrays by name, out of what a file holds: unwrapped, renamed, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrcnn.errors import InputError
from tfrcnn.weights.restricted_pickle import Lazy

# Where training scripts put it: torchvision's and Detectron2's; Lightning's and MMDetection's; torch's tutorial.
_WRAPPERS = ("model", "state_dict", "model_state_dict")

# What wrappers put before every key: DataParallel and DistributedDataParallel, torch.compile.
_PREFIXES = ("module.", "_orig_mod.")


def state_dict_arrays(value: Any) -> dict[str, np.ndarray]:
    """The arrays of an unpickled state dict, or of the one inside a training checkpoint.

    A state dict holds tensors only, so that a dict under one of the known keys tells a training checkpoint.

    Raises:
        InputError: neither.
    """
    if isinstance(value, dict):
        value = next((value[key] for key in _WRAPPERS if isinstance(value.get(key), dict)), value)
    if not isinstance(value, dict):
        raise InputError(f"expected a state dict, that is tensors by name, found {_kind(value)}")
    for name, item in value.items():
        if not isinstance(name, str) or not isinstance(item, Lazy):
            where = repr(name) if isinstance(name, str) else _kind(name)
            raise InputError(
                f"expected a state dict, that is tensors by name, or one under {', '.join(_WRAPPERS)}; "
                f"found {_kind(item)} at {where}"
            )
    return {name: item.array() for name, item in value.items()}


def clean(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Floating point as float32, integers and booleans as they are, without the prefixes of wrappers.

    Raises:
        InputError: no arrays at all, another type, or a number that is NaN or infinite.
    """
    if not arrays:
        raise InputError("expected tensors by name, found none")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise InputError(f"expected numbers, found type {array.dtype} at {name!r}")
    arrays = {name: standard(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        bad = 0 if array.dtype.kind != "f" else array.size - int(np.isfinite(array).sum())
        if bad:
            raise InputError(f"expected finite weights, found {bad} of {array.size} NaN or infinite at {name!r}")
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in arrays)), ""):
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """bfloat16, as 16 bits, to float32: its upper half, so the conversion is exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def standard(array: np.ndarray) -> np.ndarray:
    """Floating point as float32, all in this machine's byte order; the array itself where it is so already."""
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is reported by its name
        return array.astype(np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="), copy=False)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
