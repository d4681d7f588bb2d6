"""Read checkpoints of other libraries as arrays by name, in the file's layout. Nothing in a file is ever executed.

Formats: files of torch.save (.pth, .pt), safetensors, numpy's .npz, and the pickles of Detectron2's model zoo (.pkl).
Neither torch nor Detectron2 is needed. A pickle is a program. The reader of pickles knows tensors only and refuses any
other name: see `restricted_pickle`.
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
        path: The file.
        format: The format of the content: "pth", "safetensors", "npz" or "pkl". The file's suffix is ignored.
        arrays: The weights by the file's keys, without the prefixes `module.` (DataParallel) and `_orig_mod.`
            (torch.compile), in the file's layout: torch's kernels are [out, in, height, width], its dense weights
            [out, in]. Floating point of any precision is float32. Integers and booleans are as stored. Do not write to
            them: arrays may share memory.
    """

    path: Path
    format: Format
    arrays: dict[str, np.ndarray]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the weights of a .pth, .pt, .safetensors, .npz or .pkl file.

    The content decides the format. The file may be a state dict, or a training checkpoint with a state dict under
    `model`, `state_dict` or `model_state_dict`.

    Args:
        path: The file.

    Returns:
        The weights and the format.

    Raises:
        InputError: The file does not exist; it holds no weights (an LFS pointer, a web page, TorchScript, ...); it is
            cut off or damaged; it is a pickle that holds anything but data; a weight is NaN or infinite. Or the package
            `safetensors` is missing.

    Example:
        arrays = read_checkpoint("resnet50-0676ba61.pth").arrays
        arrays["layer1.0.conv1.weight"].shape  # (64, 64, 1, 1)
    """
    path = Path(path)
    try:
        file_format, read = _READERS[recognise(path)]
        arrays = _guarded(read, path)
        if file_format != "npz":
            _check_size(arrays, path.stat().st_size)
        return Checkpoint(path, file_format, clean(arrays))
    except InputError as error:
        raise InputError(f"{path}: {one_line(error, 500)}") from error


def _guarded(read: _Reader, path: Path) -> dict[str, np.ndarray]:
    """Turn any error that zipfile, numpy or safetensors raise for a damaged file into an `InputError`."""
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"expected a whole file, found a damaged one ({type(error).__name__}: {one_line(error)})"
        ) from error


# Half precision that became float32 takes twice its bytes in the file; the rest is for tied weights.
_MAX_SHARING = 8


def _check_size(arrays: dict[str, np.ndarray], file_size: int) -> None:
    """Check that the arrays are in proportion to their file, before they are converted.

    Names may share an array, as tied weights do. A small file in which thousands of names share a large one would take
    the memory and time of a large file.
    """
    total = sum(array.nbytes for array in arrays.values())
    if total > _MAX_SHARING * file_size:
        raise InputError(
            f"expected weights in proportion to the file's {file_size} bytes, found {total} bytes in {len(arrays)} "
            "arrays: many names share one array"
        )


# Weights hardly compress. An archive that inflates more is made to fill the memory.
_MAX_INFLATION = 100


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        inflated = sum(info.file_size for info in archive.infolist())
    if inflated > _MAX_INFLATION * path.stat().st_size:
        raise InputError(f"expected weights, found an archive that inflates {_MAX_INFLATION} times and more")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy returns the bytes of an entry without the mark of an array
            raise InputError(f"expected an array at {name!r}, found other bytes")
    return arrays


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
    tensors = deserialize(path.read_bytes())  # type: ignore[no-untyped-call]  # the package has no types for it
    return {name: _safetensor(name, tensor) for name, tensor in tensors}


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
