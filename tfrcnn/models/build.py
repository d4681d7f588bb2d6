"""Make a detector, save it to a folder, load it from one.

A folder holds `config.json` (the `DetectorConfig` with categories and preprocessing, versions, the name of the
weights file) and that weights file. `config.json` is replaced last and atomically, and old weights are removed after
that: whenever the process is killed, the folder loads.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfrcnn.config import Category, DetectorConfig
from tfrcnn.errors import InputError
from tfrcnn.files import atomic, read_json, write_json
from tfrcnn.models.faster_rcnn import FasterRCNN

CONFIG = "config.json"
FORMAT = 2  # 1: before MobileNets were `FoldedModel`s, whose name is in the weights file


def build_detector(
    config: DetectorConfig,
    backbone_weights: str | Path = "none",
    precision: str = "float32",
    roi_align: str = "crop_and_resize",
) -> FasterRCNN:
    """Make a detector with fresh heads.

    Args:
        backbone_weights: "none", "imagenet" (downloaded by Keras) or a file in keras.applications' layout; behind
            VGG-16 fc6 and fc7 start from them too, where they have a classifier (include_top=True).
        precision: Keras dtype policy, "float32", "mixed_bfloat16" or "mixed_float16"; geometry stays float32.
        roi_align: implementation, see `tfrcnn.layers.RoIAlign`.

    Raises:
        InputError: see `FasterRCNN`.
    """
    return FasterRCNN(config, backbone_weights, roi_align, precision)


def build_blank_detector(
    config: DetectorConfig, precision: str = "float32", roi_align: str = "crop_and_resize"
) -> FasterRCNN:
    """Make a detector whose weights are zero, for those who then set every one of them.

    Random values are not computed first: that takes up to three times the memory of the largest kernel, which in VGG-16
    has 411 MB. Variables that are no floating point, such as the state of random numbers, are as ever.

    Set the weights by `load_weights`, `copy_weights` or `restore_state`: Keras' Normalization computes with copies of
    its statistics, which `set_weights` does not renew.

    Arguments and errors as of `build_detector`.
    """
    with tf.variable_creator_scope(_zeros):
        return build_detector(config, "none", precision, roi_align)


def _zeros(next_creator: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
    """A variable as Keras asks for it, of zeros in place of what its initializer gives."""
    initialize = options["initial_value"]
    if callable(initialize):
        with tf.Graph().as_default():  # where it computes nothing
            like = tf.convert_to_tensor(initialize())
        if like.dtype.is_floating:  # the others, such as the state of random numbers, are no weights
            options["initial_value"] = lambda: tf.zeros(like.shape, like.dtype)
    return next_creator(**options)


def save_detector(detector: FasterRCNN, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
    """Write a detector to a folder, replacing one that is there.

    Args:
        extra: JSON values to keep beside the configuration, e.g. how it was trained and what it scored.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    taken = {path.name for path in folder.glob("model-*.weights.h5")}
    name = next(f"model-{i}.weights.h5" for i in range(len(taken) + 1) if f"model-{i}.weights.h5" not in taken)
    with atomic(folder / name) as temporary:
        detector.save_weights(temporary)
    description = {
        "format": FORMAT,
        "weights": name,
        "versions": {package: package_version(package) for package in ("tfrcnn", "tensorflow", "keras")},
        "detector": detector.config.to_dict(),
        "extra": extra or {},
    }
    write_json(folder / CONFIG, description)
    for old in taken:
        (folder / old).unlink()


def load_detector(
    folder: str | Path, precision: str = "float32", roi_align: str = "crop_and_resize", **changes: Any
) -> FasterRCNN:
    """Load a detector from a folder that `save_detector` or `train` wrote, on any machine.

    Args:
        precision, roi_align: as of `build_detector`.
        changes: `DetectorConfig` fields to replace that hold no weights: image, test_proposals, detections.

    Raises:
        InputError: nothing to load there, or a file of another form; names the file and the field.
    """
    config = DetectorConfig.from_dict(read_description(folder)["detector"]).replace(**changes)
    detector = build_blank_detector(config, precision, roi_align)
    restore_detector(detector, folder)
    return detector


def restore_detector(detector: FasterRCNN, folder: str | Path) -> None:
    """Give a detector the weights of another of the same form, from the folder of that one.

    Raises:
        InputError: nothing to load there, or weights of another form; names the file.
    """
    folder = Path(folder)
    weights = folder / read_description(folder)["weights"]
    if not weights.is_file():
        raise InputError(f"{folder / CONFIG} names {weights.name!r}, but there is no such file beside it")
    try:
        detector.load_weights(weights)
    except Exception as error:  # h5py and Keras raise several kinds
        raise InputError(f"{weights} does not hold the weights that {CONFIG} describes: {error}") from error


def read_description(folder: str | Path) -> dict[str, Any]:
    """The content of a folder's `config.json`: format, weights, versions, detector, extra.

    Raises:
        InputError: no such folder or file, or of another form.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise InputError(f"no detector in {folder}: expected a folder with {CONFIG}, as written by tfrcnn train")
    description = read_json(path)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else description
        raise InputError(f"{path}: format must be {FORMAT} (this version of tfrcnn), found {found!r}")
    for key in ("weights", "detector"):
        if key not in description:
            raise InputError(f"{path}: {key} is missing")
    return description


def anchor_strides(config: DetectorConfig) -> tuple[int, ...]:
    """Return the strides of a detector's anchor levels; its categories may be empty.

    Args:
        config: of the detector, which is built to find out.
    """
    blank = build_blank_detector(config.replace(categories=config.categories or (Category(1, "object"),)))
    return blank.level_strides


def package_version(package: str) -> str | None:
    """The version of an installed package, or of its CPU build; None if there is none."""
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
