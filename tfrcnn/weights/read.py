"""Reading checkpoints of other libraries, as arrays by name in their own layout; nothing in them is ever executed.

Formats: files of torch.save (.pth, .pt), safetensors, numpy's .npz, and the pickles of Detectron2's model zoo (.pkl).
Neither torch nor Detectron2 is needed. A pickle is a program, so both kinds are read by a reader that knows nothing
but tensors and refuses all else by its name: see `restricted_pickle`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfrcnn.errors import InputError
from tfrcnn.weights.content import Content, recognise
from tfrcnn.weights.restricted_pickle import one_line
from tfrcnn.weights.state_dict import bfloat16_to_float32, clean
from tfrcnn.weights.torch_pickle import read_plain, read_stream, read_zip

Format = Literal["pth", "safetensors", "npz", "pkl"]
_Reader = Callable[[Path], dict[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a file.

    Attributes:
        path: the file.
        format: what it was found to be, whatever its name says.
        arrays: by the file's own keys, less the prefixes `module.` (DataParallel) and `_orig_mod.` (torch.compile), in
            the file's layout: torch's kernels are [out, in, height, width], its dense weights [out, in].
            Floating point of any precision is float32; integers and booleans are as stored. Not to be written to:
            arrays may share memory.
    """

    path: Path
    format: Format
    arrays: dict[str, np.ndarray]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the weights of a .pth, .pt, .safetensors, .npz or .pkl file.

    The format is told from the content. A state dict is taken as it is; of a training checkpoint, the state dict under
    `model`, `state_dict` or `model_state_dict`.

    Raises:
        InputError: no such file; not weights (an LFS pointer, a web page, TorchScript, ...); cut off or damaged; a
            pickle that holds anything but data; safetensors without its package; weights that are NaN or infinite.
    """
    path = Path(path)
    try:
        form, read = _READERS[recognise(path)]
        return Checkpoint(path, form, clean(_guarded(read, path)))
    except InputError as error:
        raise InputError(f"{path}: {one_line(error, 500)}") from error


def _guarded(read: _Reader, path: Path) -> dict[str, np.ndarray]:
    """Whatever zipfile, numpy or safetensors raise over a damaged file, as the one error that users get."""
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"expected a whole file, found a damaged one ({type(error).__name__}: {one_line(error)})"
        ) from error


# What compression can save of weights: they are noise to it. More is an archive made to fill the memory.
_MOST_INFLATION = 100


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        inflated = sum(info.file_size for info in archive.infolist())
    if inflated > _MOST_INFLATION * path.stat().st_size:
        raise InputError(f"expected weights, found an archive that inflates {_MOST_INFLATION} times and more")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


_SAFETENSORS = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"},
}


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors import deserialize  # its numpy interface has no bfloat16
    except ImportError as error:
        raise InputError('reading .safetensors needs a package: pip install "tfrcnn[weights]"') from error
    return {name: _safetensor(name, tensor) for name, tensor in deserialize(path.read_bytes())}


def _safetensor(name: str, tensor: dict[str, Any]) -> np.ndarray:
    if tensor["dtype"] not in _SAFETENSORS:
        raise InputError(f"expected integers, or floats of 16 bits and more, found {tensor['dtype']} at {name!r}")
    values = np.frombuffer(tensor["data"], _SAFETENSORS[tensor["dtype"]])
    values = bfloat16_to_float32(values) if tensor["dtype"] == "BF16" else values
    return values.reshape(tensor["shape"])


_READERS: dict[Content, tuple[Format, _Reader]] = {
    "torch zip": ("pth", read_zip),
    "torch stream": ("pth", read_stream),
    "safetensors": ("safetensors", _read_safetensors),
    "npz": ("npz", _read_npz),
    "pickle": ("pkl", read_plain),
}
