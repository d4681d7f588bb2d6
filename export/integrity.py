"""Files that were damaged or changed since tfrcnn wrote them: one clear line, in place of a runtime's crash.

LiteRT and TensorFlow trust their files: one wrong byte in a .tflite file or in saved_model.pb can end the process. So
their descriptions hold the SHA-256 of the graph. ONNX Runtime checks what it parses, and tools that change an ONNX file
keep its description, so it has none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ..config import Category, DetectionConfig, ImageConfig
from ..errors import InputError
from .artefact import OUTPUTS
from .target import Runtime, Target

SHA256 = "sha256"  # its key in the description


def sha256(content: bytes) -> str:
    """Return the checksum of a graph."""
    return hashlib.sha256(content).hexdigest()


def check_unchanged(path: Path, description: dict[str, Any], graph: bytes) -> None:
    """Compare a graph with the checksum in its description; files of earlier versions have none.

    Raises:
        InputError: They differ.
    """
    expected = description.get(SHA256)
    if expected is not None and sha256(graph) != expected:
        raise InputError(f"{path}: damaged or changed since tfrcnn wrote it (SHA-256): copy or export it again")


def check_description(path: Path, description: dict[str, Any], target: Target) -> None:
    """Check the fields of a description that detection reads.

    Args:
        path: The file, for error messages.
        description: See `contract.describe`.
        target: The format that loaded the file.

    Raises:
        InputError: A field is missing or has another type or value.
    """
    try:
        allowed = {
            "format": (target.name,),
            "precision": target.precisions,
            "classes": ("category ids", "labels"),
        }
        for field, values in allowed.items():
            if description.get(field) not in values:
                raise InputError(f"{field}: expected one of {', '.join(values)}, found {description.get(field)!r}")
        categories = description.get("categories")
        if not isinstance(categories, list) or not categories:
            raise InputError(f"categories: expected a list, found {categories!r}")
        ids = [Category.from_dict(category).id for category in categories]
        if len(set(ids)) < len(ids):
            raise InputError(f"categories: expected distinct ids, found {ids}")
        for field in ("detections", "image"):
            if field not in description:
                raise InputError(f"{field} is missing")
        DetectionConfig.from_dict(description["detections"])
        ImageConfig.from_dict(description["image"])
    except InputError as error:
        raise InputError(f"{path}: its description is damaged: {str(error)[:200]}") from error


def run(runtime: Runtime, images: np.ndarray, ids: frozenset[int]) -> dict[str, np.ndarray]:
    """Detect, see `Runtime.run`, and check the outputs.

    Args:
        runtime: The file, loaded.
        images: [B, H, W, 3] uint8.
        ids: The values that `detection_classes` may have.

    Raises:
        InputError: The graph cannot be run, or returns other outputs than `contract` has.
    """
    try:
        outputs = runtime.run(images)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # the runtimes' exceptions have no common base
        message = " ".join(str(error).split())[:200]
        raise InputError(f"{runtime.path}: cannot be run, it is damaged or was changed: {message}") from error
    problem = _problem(outputs, len(images), ids)
    if problem:
        raise InputError(f"{runtime.path}: damaged or changed since tfrcnn wrote it: {problem}")
    return outputs


def _problem(outputs: dict[str, np.ndarray], batch: int, ids: frozenset[int]) -> str | None:
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        return f"it has no output {missing[0]}"
    boxes, classes, scores, counts = (outputs[name] for name in OUTPUTS)
    slots = boxes.shape[1] if boxes.ndim == 3 else 0
    if (
        boxes.shape != (batch, slots, 4)
        or {classes.shape, scores.shape} != {(batch, slots)}
        or counts.shape != (batch,)
    ):
        return f"its outputs have the shapes {[list(outputs[name].shape) for name in OUTPUTS]}"
    if not np.all((counts >= 0) & (counts <= slots) & (counts == np.rint(counts))):
        return f"num_detections is {counts.tolist()}"
    for i, count in enumerate(counts.astype(int).tolist()):
        unknown = set(classes[i, :count].tolist()) - ids
        if unknown:
            return f"detection_classes has {min(unknown)}, which is no category"
    return None
