"""Turn the content of a file into arrays by name: unwrapped, renamed, in float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrcnn.errors import InputError
from tfrcnn.weights.restricted_pickle import Lazy

# The keys that training scripts use: torchvision and Detectron2; Lightning and MMDetection; torch's tutorial.
_WRAPPERS = ("model", "state_dict", "model_state_dict")

# The prefixes that wrappers add to every key: DataParallel and DistributedDataParallel; torch.compile.
_PREFIXES = ("module.", "_orig_mod.")
MAX_WRAPPERS = 4  # of a model


def state_dict_arrays(value: Any) -> dict[str, np.ndarray]:
    """Return the arrays of an unpickled state dict, or of the state dict inside a training checkpoint.

    A state dict holds tensors only. So a dict under one of the known keys means a training checkpoint.

    Raises:
        InputError: The value is neither.
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
    """Convert floating point to float32, keep integers and booleans, and drop the prefixes of wrappers.

    Raises:
        InputError: There are no arrays, an array has another type, or a number is NaN or infinite.
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
    for _ in range(MAX_WRAPPERS):
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in arrays)), "")
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Convert bfloat16, given as 16 bits, to float32. The bits are its upper half, so the conversion is exact."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def standard(array: np.ndarray) -> np.ndarray:
    """Convert to float32 or this machine's byte order. An array that needs no conversion is returned itself."""
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which `clean` reports by its name
        return array.astype(np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="), copy=False)


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"
