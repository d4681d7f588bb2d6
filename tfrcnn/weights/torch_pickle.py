"""Read files of torch.save without torch: zip archives (torch 1.6 and later) and streams of pickles (before).

A tensor is pickled as `_rebuild_tensor_v2(storage, offset, size, stride, ...)`: a strided view of a flat storage, which
several tensors may share. The pickle refers to a storage by ("storage", type, key, location, number of elements). The
bytes of the storage lie elsewhere:

- zip: `NAME/data.pkl` is the pickle, `NAME/data/KEY` the bytes of a storage, `NAME/byteorder` says "little" or "big".
- stream: pickles of a magic number, a version, facts about the machine, the object, and a list of storage keys. For
  each key follow the number of elements (int64) and the bytes, always little endian.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.errors import InputError
from tfrcnn.weights.numpy_pickle import NUMPY_GLOBALS
from tfrcnn.weights.restricted_pickle import COMMON_GLOBALS, Call, Lazy, Sealed, is_count, load
from tfrcnn.weights.state_dict import bfloat16_to_float32, standard, state_dict_arrays

MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a stream
_VERSION = 1001  # the second

_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}


class StorageType(Sealed):
    """A stand-in for `torch.FloatStorage` and torch's other storage types."""

    __slots__ = ("bfloat16", "dtype")

    def __init__(self, code: str) -> None:
        self.bfloat16 = code == "bfloat16"  # numpy does not know it: read as 16 bits
        self.dtype = np.dtype("u2" if self.bfloat16 else code)


class Storage(Sealed):
    """A flat storage. `read` returns its bytes when they are needed."""

    __slots__ = ("_values", "count", "read", "type")

    def __init__(self, kind: StorageType, count: int) -> None:
        self.type, self.count = kind, count
        self.read: Callable[[], tuple[bytes | memoryview, str]] | None = None
        self._values: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return self.count * self.type.dtype.itemsize

    def values(self) -> np.ndarray:
        """Return all numbers, [count], floating point as float32. The tensors in the storage share this array."""
        if self._values is None:
            if self.read is None:
                raise InputError("expected the bytes of every storage, found one without")
            data, order = self.read()
            values = np.frombuffer(data, self.type.dtype.newbyteorder(">" if order == "big" else "<"))
            self._values = bfloat16_to_float32(values) if self.type.bfloat16 else standard(values)
        return self._values


class Tensor(Lazy):
    """A strided view of a storage. The constructor checks that it lies within the storage."""

    __slots__ = ("_offset", "_size", "_storage", "_stride")

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        if not isinstance(storage, Storage):
            raise InputError("expected a tensor's storage, found another object")
        if not (isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 32):
            raise InputError("expected a tensor's size and strides, found other values")
        # At most as many elements as the storage has: the size of the file bounds the memory.
        count, last = 1, offset
        for side, step in zip(size, stride):
            if not is_count(side) or not is_count(step):
                raise InputError("expected sizes and strides of 0 or more, found others")
            count, last = count * side, last + (side - 1) * step
        if not is_count(offset) or count > storage.count or (count and last >= storage.count):
            raise InputError(f"expected a tensor within its storage of {storage.count}, found size {size} at {offset}")
        self._storage, self._offset, self._size, self._stride = storage, offset, size, stride

    def __setstate__(self, state: object) -> None:
        """Drop what torch 0.1 to 0.3 stored with a parameter's values: whether it is trained, and hooks."""

    def array(self) -> np.ndarray:
        flat = self._storage.values()[self._offset :]
        strides = tuple(step * flat.itemsize for step in self._stride) if 0 not in self._size else None
        return np.ndarray(self._size, flat.dtype, flat, strides=strides)


class Parameter(Sealed):
    """A stand-in for `torch.nn.Parameter`. It is replaced by its tensor."""

    __slots__ = ()

    def __new__(cls, data: Any, *facts: object) -> Any:
        if not isinstance(data, Tensor):
            raise InputError("expected a parameter's tensor, found another object")
        return data


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *facts: Any) -> Tensor:
    """Make a tensor.

    `facts` are requires_grad, hooks, and a dict of flags for tensors that are negated or conjugated when read.
    """
    if len(facts) > 2 and facts[2]:
        raise InputError("expected plain tensors, found one that is negated or conjugated when read")
    return Tensor(storage, offset, size, stride)


TORCH_GLOBALS: Mapping[str, Any] = {
    **COMMON_GLOBALS,
    **NUMPY_GLOBALS,
    **{f"torch.{name}": StorageType(code) for name, code in _STORAGES.items()},
    "torch._utils._rebuild_tensor": Call(_rebuild_tensor),  # torch 0.1
    "torch._utils._rebuild_tensor_v2": Call(_rebuild_tensor),
    "torch._utils._rebuild_parameter": Parameter,
    "torch.nn.parameter.Parameter": Parameter,  # torch 0.1 to 0.3
}


def read_zip(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a zip archive. An optimizer's arrays next to the state dict are not read."""
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if sum(info.file_size for info in entries.values()) > path.stat().st_size:
            raise InputError("expected entries stored as they are, as torch writes them, found a compressed archive")
        pickles = [name for name in entries if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise InputError(f"expected one data.pkl in the archive, found {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        order = archive.read(f"{root}byteorder").decode("ascii") if f"{root}byteorder" in entries else "little"
        if order not in ("little", "big"):
            raise InputError(f"expected the byte order little or big, found {order[:20]!r}")
        storages = _Storages(fields=5)

        def persistent_load(reference: Any) -> Storage:
            key, storage = storages.refer(reference)
            entry = entries.get(f"{root}data/{key}")
            if entry is None:
                raise InputError(f"expected storage {key!r} in the archive, found none")
            if entry.file_size != storage.nbytes:
                raise InputError(f"expected {storage.nbytes} bytes of storage {key!r}, found {entry.file_size}")
            storage.read = lambda: (archive.read(entry), order)
            return storage

        return state_dict_arrays(load(BytesIO(archive.read(pickles[0])), TORCH_GLOBALS, persistent_load))


def read_stream(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a stream of pickles."""
    return state_dict_arrays(_load_stream(path.read_bytes()))


def read_plain(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a pickle of Detectron2: numpy arrays, or tensors each with a stream as storage."""
    names = {**TORCH_GLOBALS, "torch.storage._load_from_bytes": Call(_load_stream)}
    return state_dict_arrays(load(BytesIO(path.read_bytes()), names))


def _load_stream(content: bytes) -> Any:
    file = BytesIO(content)
    head = load(file, {}), load(file, {})
    if head != (MAGIC, _VERSION):
        raise InputError("expected the magic number and version of a file of torch.save, found others")
    load(file, {})
    storages = _Storages(fields=6)
    value = load(file, TORCH_GLOBALS, lambda reference: storages.refer(reference)[1])
    for key in load(file, {}):
        storage = storages.by_key.get(key)
        if storage is None:
            raise InputError("expected the keys of the storages, found another")
        count = int.from_bytes(file.read(8), "little", signed=True)
        data = memoryview(content)[file.tell() : file.tell() + storage.nbytes]
        if count != storage.count or len(data) != storage.nbytes:
            raise InputError(f"expected {storage.nbytes} bytes of storage {key!r}, found {len(data)}: it is cut off")
        file.seek(storage.nbytes, 1)
        storage.read = lambda data=data: (data, "little")
    return value


class _Storages:
    """The storages that a pickle refers to, each made once."""

    def __init__(self, fields: int) -> None:
        self.fields = fields  # a stream's references have one more: a part of the storage
        self.by_key: dict[str, Storage] = {}

    def refer(self, reference: Any) -> tuple[str, Storage]:
        """Return the key and the storage of ("storage", type, key, location, count[, part])."""
        if not isinstance(reference, tuple) or len(reference) != self.fields or reference[0] != "storage":
            raise InputError("expected references to storages, found another kind")
        _, kind, key, _, count, *part = reference
        if not isinstance(kind, StorageType) or not isinstance(key, str) or not is_count(count):
            raise InputError("expected a storage's type, key and number of elements, found other values")
        if part and part[0] is not None:
            raise InputError("expected whole storages, found a part of one, which torch 0.3 wrote for several GPUs")
        storage = self.by_key.setdefault(key, Storage(kind, count))
        if (storage.type, storage.count) != (kind, count):
            raise InputError(f"expected one type and size of storage {key!r}, found two")
        return key, storage
