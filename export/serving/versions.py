"""A folder of versions: one folder for each, named by its number, as TensorFlow Serving and Triton expect them.

    DIR/3/saved_model.pb, variables/    or DIR/3/model.onnx, or DIR/3/model.tflite

Other names are ignored, for example names of unfinished versions. This file needs nothing of tfrcnn.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SAVED_MODEL = "saved_model.pb"
STEM = "model"  # of a version's file


def is_number(name: str) -> bool:
    """Return whether a folder of this name is a version."""
    return name.isascii() and name.isdecimal()


def model_in(folder: Path) -> Path | None:
    """Return what a version's folder holds: the folder itself if it is a SavedModel, or its file; None if neither."""
    if (folder / SAVED_MODEL).is_file():
        return folder
    return min(folder.glob(f"{STEM}.*"), default=None)


def models_in(folder: Path) -> Iterator[Path]:
    """Yield the models of all versions that are complete, the highest version first."""
    versions = (path for path in folder.glob("*") if is_number(path.name))
    for version in sorted(versions, key=lambda path: int(path.name), reverse=True):
        model = model_in(version)
        if model is not None:
            yield model


def newest_model(folder: Path) -> Path | None:
    """Return the model of the highest version that is complete; None if there is none."""
    return next(models_in(folder), None)


def version_of(path: Path) -> str:
    """Return the version of a model: the number of its folder, or 1 if the folder has another name."""
    folder = path.parent if path.match(f"{STEM}.*") else path
    return str(int(folder.name)) if is_number(folder.name) else "1"
