"""Recognise a checkpoint by its first bytes. Suffixes say little (.pth, .pt, .bin, .tar, .ckpt)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from tfrcnn.errors import InputError
from tfrcnn.weights.torch_pickle import MAGIC

Content = Literal["torch zip", "torch stream", "safetensors", "npz", "pickle"]

_EXPECTED = "expected weights as .pth, .safetensors, .npz or .pkl"
# The limit of the safetensors library. The header starts after 8 bytes that hold its length.
_MAX_HEADER = 100_000_000

# Files that users mistake for weights, by their first bytes in lower case, in the order of the test.
_OTHERS = {
    b"\x89hdf\r\n": "an HDF5 file, perhaps weights of Keras",
    b"\x93numpy": "a single numpy array; save arrays by name with numpy.savez",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"<!doctype": "a web page: the download gave a page instead of the file",
    b"<html": "a web page: the download gave a page instead of the file",
    b"<?xml": "XML: the download gave an error message instead of the file",
}


def recognise(path: Path) -> Content:
    """Recognise the format of a file from its first bytes.

    Raises:
        InputError: The file holds no weights. The message says what it is instead, if that is known.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except FileNotFoundError as error:
        raise InputError("no such file") from error
    except OSError as error:
        raise InputError(f"{_EXPECTED}, found a file that cannot be read: {error.strerror}") from error
    if not head:
        raise InputError(f"{_EXPECTED}, found an empty file")
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_content(path)
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:  # the opcode PROTO and the protocol's number
        magic = MAGIC.to_bytes(10, "little")
        return "torch stream" if magic in head[:32] else "pickle"
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header <= _MAX_HEADER:
        return "safetensors"
    raise InputError(f"{_EXPECTED}, found {_describe(head)}")


def _zip_content(path: Path) -> Content:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError("expected a whole zip archive, found a damaged one: the file may be cut off") from error
    folders = {name.split("/")[1] for name in names if "/" in name}
    if "data.pkl" in folders and folders & {"constants.pkl", "code"}:
        raise InputError(
            "expected a state dict, found a TorchScript archive, which holds code; in Python, save its weights with "
            "torch.save(torch.jit.load(FILE).state_dict(), ...)"
        )
    if "data.pkl" in folders:
        return "torch zip"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise InputError(f"{_EXPECTED}, found a zip archive with neither data.pkl nor .npy files in it")


def _describe(head: bytes) -> str:
    if head.startswith(b"version https://git-lfs"):
        return "a git LFS pointer, a text that stands for the file; fetch the file itself with: git lfs pull"
    if head[257:262] == b"ustar":
        return "a tar archive; if torch 0.1 wrote it, load and save it with a newer torch"
    start = head.lstrip().lower()
    known = (text for magic, text in _OTHERS.items() if start.startswith(magic))
    return next(known, f"a file that begins with {head[:16]!r}")
