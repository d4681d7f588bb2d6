"""Stand-ins for the names in pickles of numpy arrays, as in Detectron2's model zoo: plain numbers only.

numpy pickles an array as `_reconstruct(ndarray, (0,), b"b")`, followed by its state (version, shape, dtype, whether the
order is Fortran's, bytes). Protocol 5 has `_frombuffer(bytes, dtype, shape, order)`. A dtype is
`dtype("f4", ...)` with the state (version, byte order, ...).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrcnn.errors import InputError
from tfrcnn.weights.restricted_pickle import Call, Lazy, Sealed, is_count

_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


class Dtype(Sealed):
    """A stand-in for `numpy.dtype`: numbers only, so never objects."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *flags: object) -> None:
        # A hash or a text of nested tuples that share their items can take for ever.
        if not isinstance(code, str) or code not in _NUMBERS:
            kind = repr(code) if isinstance(code, str) else f"given by a {type(code).__name__}"
            raise InputError(f"expected arrays of numbers, found numpy type {kind}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|"):
            raise InputError("expected a byte order, found another value")
        self.dtype = self.dtype.newbyteorder(order)


class Array(Lazy):
    """A stand-in for `numpy.ndarray`, empty until its state is set."""

    __slots__ = ("_array",)

    def __init__(self, *kind: object) -> None:
        self._array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        self._array = _filled(data, dtype, shape, "F" if fortran else "C")

    def array(self) -> np.ndarray:
        if self._array is None:
            raise InputError("expected an array, found one without content")
        return self._array


def _filled(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Make the array if shape and bytes agree. So it is never larger than the bytes in the file."""
    if isinstance(data, str):  # bytes that Python 2 wrote, read as latin1
        data = data.encode("latin1")
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes | bytearray) or order not in ("C", "F"):
        raise InputError("expected arrays of numbers, found another kind of array")
    if not (isinstance(shape, tuple) and len(shape) <= 32 and all(map(is_count, shape))):
        raise InputError("expected an array's shape as whole numbers, found other values")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise InputError(f"expected {math.prod(shape)} numbers of an array, found {len(data)} bytes")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _scalar(dtype: Any, data: Any) -> Array:
    return _from_buffer(data, dtype, (), "C")


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes: protocol 2 has none, so Python 3 writes them as a text to encode."""
    if encoding != "latin1":
        raise InputError("expected bytes written as latin1, found another encoding")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """Return empty bytes, for which protocol 2 writes a call."""
    return b""


# numpy.core became numpy._core with numpy 2.
NUMPY_GLOBALS: Mapping[str, Any] = {
    "numpy.ndarray": Array,
    "numpy.dtype": Dtype,
    "_codecs.encode": Call(_encode),
    "__builtin__.bytes": Call(_no_bytes),
    **{
        f"numpy.{core}.{name}": stand_in
        for core in ("core", "_core")
        for name, stand_in in {
            "multiarray._reconstruct": Call(Array),
            "multiarray.scalar": Call(_scalar),
            "numeric._frombuffer": Call(_from_buffer),
        }.items()
    },
}
