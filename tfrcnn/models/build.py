"""Make a detector, save it to a folder, load it from one.

A folder holds `config.json` (the `DetectorConfig` with categories and preprocessing, versions, the name of the weights
file) and that weights file. `config.json` is replaced last and atomically, and old weights are removed after that. So
the folder loads, even if the process was killed while it saved.
"""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.buckets.models import local_model
from tfrcnn.config import Category, DetectorConfig
from tfrcnn.errors import InputError, check_type
from tfrcnn.files import atomic, check_local, check_path, reserve, write_json
from tfrcnn.installed import collector_paused
from tfrcnn.kernels import Kernels, find_kernels
from tfrcnn.models.backbones import BackboneSpec
from tfrcnn.models.faster_rcnn import FasterRCNN
from tfrcnn.run_description import CONFIG as CONFIG
from tfrcnn.run_description import FORMAT as FORMAT
from tfrcnn.run_description import read_description as read_description


def build_detector(
    config: DetectorConfig,
    backbone_weights: str | Path = "none",
    precision: str = "float32",
    kernels: Kernels | str = "tensorflow",
    roi_align: str | None = None,
    backbone: BackboneSpec | keras.Model | None = None,
) -> FasterRCNN:
    """Make a detector with fresh heads.

    Args:
        config: the detector, for example `preset("mobilenet_v2_fpn", categories).detector`.
        backbone_weights: "none", "imagenet" (downloaded by Keras) or a file in keras.applications' layout. fc6 and
            fc7 of VGG-16 start from them too if they have a classifier (include_top=True), and the residual blocks of
            a C4 head from a ResNet's last stage.
        precision: Keras dtype policy, "float32", "mixed_bfloat16" or "mixed_float16"; geometry stays float32.
        kernels: a set of operators or its name, see `tfrcnn.kernels`; XLA needs "portable".
        roi_align: deprecated name of `kernels`.
        backbone: a backbone of your own: a `BackboneSpec`, or a functional `keras.Model`, which is copied with its
            weights. Set `config.backbone.name` to a name that the library does not use, and pass the same backbone to
            `load_detector`. See `tfrcnn.register_backbone`.

    Returns:
        The detector.

    Raises:
        InputError: see `FasterRCNN`.

    Example:
        preset = tfrcnn.preset("mobilenet_v2_fpn", data.categories)
        detector = tfrcnn.build_detector(preset.detector, backbone_weights="imagenet")
    """
    _check_config(config)
    with collector_paused():
        return FasterRCNN(config, backbone_weights, find_kernels(roi_align or kernels), precision, backbone=backbone)


def build_blank_detector(
    config: DetectorConfig,
    precision: str = "float32",
    kernels: Kernels | str = "tensorflow",
    roi_align: str | None = None,
    backbone: BackboneSpec | keras.Model | None = None,
) -> FasterRCNN:
    """Make a detector whose weights are zero, for callers who then set all of them.

    It computes no random values first: those take up to three times the memory of the largest kernel, 411 MB in VGG-16.
    Variables of other types than float, such as the state of random numbers, are as usual.

    Set the weights by `load_weights`, `copy_weights` or `restore_state`. Keras' Normalization computes with copies of
    its statistics, which `set_weights` does not update.

    Args:
        config: the detector.
        precision: Keras dtype policy, as in `build_detector`.
        kernels: a set of operators or its name, as in `build_detector`.
        roi_align: deprecated name of `kernels`.
        backbone: a backbone of your own, as in `build_detector`.

    Returns:
        The detector, all weights zero.

    Raises:
        InputError: see `FasterRCNN`.

    Example:
        copy = tfrcnn.models.build_blank_detector(detector.config)
        copy.load_weights("detector.weights.h5")
    """
    _check_config(config)
    with tf.variable_creator_scope(_zeros), collector_paused():
        return FasterRCNN(config, "none", find_kernels(roi_align or kernels), precision, backbone=backbone)


def _check_config(config: Any) -> None:
    if not isinstance(config, dict):  # the values of one
        check_type(config, DetectorConfig, "config", 'tfrcnn.preset("mobilenet_v2_fpn", categories).detector')


def _zeros(next_creator: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
    """Make a variable for Keras, of zeros in place of its initializer's values."""
    initialize = options["initial_value"]
    if callable(initialize):
        with tf.Graph().as_default():  # where it computes nothing
            like = tf.convert_to_tensor(initialize())
        if like.dtype.is_floating:  # others, such as the state of random numbers, are not weights
            options["initial_value"] = lambda: tf.zeros(like.shape, like.dtype)
    return next_creator(**options)


def save_detector(detector: FasterRCNN, folder: str | Path, extra: dict[str, Any] | None = None) -> None:
    """Write a detector to a folder, replacing a detector that is there.

    Args:
        detector: the detector.
        folder: the folder, made if it does not exist.
        extra: JSON values to store with the configuration, for example how it was trained and what it scored.

    Raises:
        InputError: `detector` is no detector.

    Example:
        tfrcnn.save_detector(detector, "runs/cells")
        tfrcnn.load_detector("runs/cells")
    """
    folder = check_local(check_path(folder, "folder"))
    check_type(detector, FasterRCNN, "detector", "model.detector of a TrainingModel")
    folder.mkdir(parents=True, exist_ok=True)
    taken = {path.name for path in folder.glob("model-*.weights.h5")}
    name = next(f"model-{i}.weights.h5" for i in range(len(taken) + 1) if f"model-{i}.weights.h5" not in taken)
    with atomic(folder / name) as temporary:
        reserve(temporary, _size_of_weights(detector))
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


def _size_of_weights(detector: FasterRCNN) -> int:
    """Return the size of a weights file in bytes, a little more than it takes."""
    sizes: list[int] = [math.prod(weight.shape) * 4 + 4096 for weight in detector.weights]
    return sum(sizes) + 2**20


def load_detector(
    folder: str | Path,
    precision: str = "float32",
    kernels: Kernels | str = "tensorflow",
    roi_align: str | None = None,
    backbone: BackboneSpec | keras.Model | None = None,
    **changes: Any,
) -> FasterRCNN:
    """Load a detector from a folder that `save_detector` or `train` wrote, on any machine.

    Args:
        folder: the folder, with `config.json` in it, or its address, for example "s3://bucket/runs/cells".
        precision: as `build_detector`.
        kernels: as `build_detector`; a folder does not store them.
        roi_align: deprecated name of `kernels`.
        backbone: the backbone of your own that the detector was built with.
        changes: `DetectorConfig` fields to replace that hold no weights: image, test_proposals, detections.

    Returns:
        The detector.

    Raises:
        InputError: the folder holds no detector, or a file of another format; names the file and the field.

    Example:
        detector = tfrcnn.load_detector("runs/cells", detections=tfrcnn.DetectionConfig(max_detections=20))
    """
    check_path(folder, "folder")
    folder, kernels = local_model(folder), find_kernels(roi_align or kernels)
    config = DetectorConfig.from_dict(read_description(folder)["detector"]).replace(**changes)
    try:
        detector = build_blank_detector(config, precision, kernels, backbone=backbone)
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from error
    restore_detector(detector, folder)
    return detector


def restore_detector(detector: FasterRCNN, folder: str | Path) -> None:
    """Load the weights of a saved detector into one of the same configuration.

    Raises:
        InputError: the folder holds no detector, or weights of another configuration; names the file.
    """
    folder = Path(folder)
    weights = folder / read_description(folder)["weights"]
    if not weights.is_file():
        raise InputError(f"{folder / CONFIG} names {weights.name!r}, but there is no such file next to it")
    try:
        with collector_paused():
            detector.load_weights(weights)
    except Exception as error:  # h5py and Keras raise several kinds
        raise InputError(f"{weights} does not hold the weights that {CONFIG} describes: {error}") from error


def anchor_strides(config: DetectorConfig) -> tuple[int, ...]:
    """Return the strides of a detector's anchor levels; its categories may be empty.

    Args:
        config: of the detector, which is built to find out.
    """
    blank = build_blank_detector(config.replace(categories=config.categories or (Category(1, "object"),)))
    return blank.level_strides


def package_version(package: str) -> str | None:
    """Return the version of an installed package, or of its CPU build; None if neither is installed."""
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None
