"""Write files as torch.save does, without torch: classes of this file take torch's names while pickling.

test_read_live.py has the same files written by torch itself.
"""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    "<f8": "DoubleStorage",
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "<i4": "IntStorage",
    "<i2": "ShortStorage",
    "|i1": "CharStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
    "bfloat16": "BFloat16Storage",
}
NAMES = [
    *(f"torch.{name}" for name in STORAGES.values()),
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.nn.parameter.Parameter",
]


class Storage:
    """A flat array. `kind` "BFloat16" marks bfloat16, which is stored as 16-bit integers here."""

    def __init__(self, values: np.ndarray, kind: str = "") -> None:
        self.values, self.kind = values, kind or values.dtype.str


class Tensor:
    """A view of a storage, by default of the whole storage."""

    def __init__(self, storage: Any, offset: Any = 0, size: Any = None, stride: Any = None) -> None:
        storage = Storage(storage.ravel()) if isinstance(storage, np.ndarray) else storage
        size = (storage.values.size,) if size is None else size
        self.arguments = storage, offset, size, row_major(size) if stride is None else stride

    def __reduce__(self) -> Any:
        return named("torch._utils._rebuild_tensor_v2"), (*self.arguments, False, OrderedDict())


def of(array: np.ndarray) -> Tensor:
    """Return a tensor that has its own storage."""
    return Tensor(array, size=array.shape)


def row_major(size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(size[i + 1 :], dtype=object)) for i in range(len(size)))


def named(full: str) -> Any:
    """Return the class that has this full name while a file is written."""
    module, _, name = full.rpartition(".")
    return getattr(sys.modules[module], name)


@contextmanager
def names_of_torch() -> Iterator[None]:
    """Make classes importable by torch's names, because pickle writes only names that it can import."""
    modules: dict[str, Any] = {"torch": types.ModuleType("torch")}
    for full in NAMES:
        module, _, name = full.rpartition(".")
        modules.setdefault(module, types.ModuleType(module))
        setattr(modules[module], name, type(name, (), {"__module__": module}))
    with mock.patch.dict(sys.modules, modules):
        yield


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int, stream: bool) -> None:
        super().__init__(file, protocol)
        self.stream = stream
        self.storages: list[Storage] = []

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        if value not in self.storages:
            self.storages.append(value)
        kind = named(f"torch.{STORAGES[value.kind]}")
        part = (None,) if self.stream else ()
        return ("storage", kind, str(self.storages.index(value)), "cuda:0", value.values.size, *part)


def dump(value: Any, protocol: int = 2, stream: bool = False) -> tuple[bytes, list[Storage]]:
    file = io.BytesIO()
    with names_of_torch():
        pickler = _Pickler(file, protocol, stream)
        pickler.dump(value)
    return file.getvalue(), pickler.storages


def write_zip(path: Path, value: Any, protocol: int = 2, order: str | None = "little") -> Path:
    content, storages = value if isinstance(value, tuple) else dump(value, protocol)
    entries = {"data.pkl": content, "version": b"3\n"} | ({"byteorder": order.encode()} if order else {})
    for key, storage in enumerate(storages):
        swapped = storage.values.astype(storage.values.dtype.newbyteorder(">" if order == "big" else "<"))
        entries[f"data/{key}"] = swapped.tobytes()
    return write_entries(path, {f"{path.stem}/{name}": data for name, data in entries.items()})


def write_entries(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def write_stream(path: Path, value: Any, protocol: int = 2) -> Path:
    content, storages = dump(value, protocol, stream=True)
    facts = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    data = b"".join(pickle.dumps(part, protocol) for part in (MAGIC, VERSION, facts)) + content
    data += pickle.dumps([str(key) for key in range(len(storages))], protocol)
    for storage in storages:
        data += storage.values.size.to_bytes(8, "little") + storage.values.tobytes()
    path.write_bytes(data)
    return path
