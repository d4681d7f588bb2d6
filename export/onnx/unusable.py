"""Why ONNX Runtime cannot run a file, in one line that says what to do. Imports no library."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import InputError

# TensorProto.external_data has an entry with the key "location": field 1, eight bytes
EXTERNAL_DATA = b"\x0a\x08location"
MAX_OPSET = 21  # ONNX Runtime 1.32 has no RoiAlign of opset 22


def unusable(path: Path, content: bytes, error: Exception) -> InputError:
    """Return the error for a file that ONNX Runtime refuses.

    Args:
        path: The file.
        content: Its bytes.
        error: ONNX Runtime's exception.
    """
    message = " ".join(str(error).split())
    if EXTERNAL_DATA in content:
        return InputError(
            f"{path}: its weights are in another file, which is not read since the model could name any; write one "
            f"file: onnx.save(onnx.load({str(path)!r}), NEW)"
        )
    operator = re.search(r"implementation for (\w+)\((\d+)\)", message)
    if operator:
        return InputError(
            f"{path}: ONNX Runtime has no {operator[1]} of opset {operator[2]}; keep the opset that tfrcnn writes, or "
            f"convert the file to {MAX_OPSET} at most"
        )
    return InputError(f"{path}: not an ONNX model, or truncated: {message[:200]}")
