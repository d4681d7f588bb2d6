"""The input and outputs of every exported file.

Input: images [B, H, W, 3], RGB 0..255. Outputs, with the names and order of TensorFlow's Object Detection API; D is the
most detections per image:

    detection_boxes    [B, D, 4] float32   [y1, x1, y2, x2] over the original image's height and width, in [0, 1]
    detection_classes  [B, D] float32      the data set's category ids; in TFLite 0..C-1, the lines of its label file
    detection_scores   [B, D] float32      in (0, 1), descending
    num_detections     [B] float32         the slots after that are zero

Resizing, padding, normalising, NMS and the categories are inside the file. It runs without this package.

Line N of a label file is class N in every format, see `text.label_lines`.
"""

from __future__ import annotations

import datetime
import math
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from ..compat import path_of
from ..config import DetectorConfig
from ..errors import InputError
from ..kernels import Kernels
from ..models import FasterRCNN, build_blank_detector
from ..models.build import package_version
from ..models.transfer import copy_weights
from .artefact import VERSION

MAX_BYTES = 2**31 - 1  # of a protobuf message and of a flatbuffer
FLOAT32_BITS = 24  # of a whole number that float32 holds exactly
# (height, width) of the network's input, detections per image and score threshold; None keeps the detector's.
Limits = tuple[tuple[int, int] | None, int | None, float | None]


def prepare(
    detector: FasterRCNN,
    image_size: tuple[int, int] | None = None,
    max_detections: int | None = None,
    score_threshold: float | None = None,
    kernels: Kernels | str = "portable",
) -> FasterRCNN:
    """Copy a detector in float32, with the options of an export.

    Args:
        detector: The detector.
        image_size: (height, width) of the network's input, made static (letterbox); None keeps the detector's.
        max_detections: The most detections per image; None keeps the detector's.
        score_threshold: Scores of all classes exceed it; None keeps the detector's thresholds.
        kernels: The copy's kernels, see `tfrcnn.kernels`.

    Raises:
        InputError: The size is not a positive multiple of the detector's divisor, or an option is out of range; a
            weight is not finite; or the export is called where it cannot run, see `check_surroundings`.
    """
    check_surroundings()
    check_weights(detector)
    return copy_with(detector, config_of_export(detector.config, image_size, max_detections, score_threshold), kernels)


def config_of_export(
    config: DetectorConfig,
    image_size: tuple[int, int] | None,
    max_detections: int | None,
    score_threshold: float | None,
) -> DetectorConfig:
    """Return a detector's configuration with the options of an export, see `prepare`."""
    if image_size is not None:
        if any(side < 1 or side % config.image.divisor for side in image_size):
            raise InputError(f"image size must be positive multiples of {config.image.divisor}, found {image_size}")
        config = config.replace(image=config.image.replace(static_size=tuple(image_size)))
    limits = config.detections.with_thresholds(score_threshold, {})
    if max_detections is not None:
        limits = limits.replace(max_detections=max_detections)
    return config.replace(detections=limits)


def copy_with(detector: FasterRCNN, config: DetectorConfig, kernels: Kernels | str) -> FasterRCNN:
    """Copy a detector in float32, with another configuration of the same weights."""
    copy = build_blank_detector(config, kernels=kernels, backbone=detector.backbone_spec)
    copy_weights(detector, copy)
    return copy


def check_surroundings() -> None:
    """Check the state of TensorFlow and Keras that the caller's code left.

    Raises:
        InputError: The caller is inside another default graph, a `tf.function` or a strategy's scope, or Keras' data
            format is not "channels_last".
    """
    if not tf.executing_eagerly():
        raise InputError("exports run eagerly: call them outside tf.function and tf.Graph().as_default()")
    if tf.distribute.has_strategy():
        strategy = type(tf.distribute.get_strategy()).__name__
        raise InputError(f"exports run on one device: call them outside strategy.scope(), found {strategy}")
    if keras.backend.image_data_format() != "channels_last":
        raise InputError(
            "exports need Keras' data format 'channels_last', found "
            f"{keras.backend.image_data_format()!r}: call keras.backend.set_image_data_format('channels_last')"
        )


def check_weights(detector: FasterRCNN) -> None:
    """Check that all weights are finite: with NaN or infinity a detector and its file agree, as neither detects.

    Raises:
        InputError: A weight is not finite; the message has its name.
    """
    for weight in detector.weights:
        values = tf.convert_to_tensor(weight)
        if values.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(values)):
            count = int(tf.reduce_sum(tf.cast(~tf.math.is_finite(values), tf.int32)))
            raise InputError(
                f"weight {path_of(weight)}: expected finite numbers, found {count} NaN or infinite of "
                f"{tf.size(values)}: the training diverged; use a detector from before that"
            )


def check_size(detector: FasterRCNN) -> None:
    """Check that the weights fit into one file: the converters hold them in float32, in any precision.

    Raises:
        InputError: They do not.
    """
    size = sum(4 * math.prod(weight.shape) for weight in detector.weights)
    if size > MAX_BYTES:
        raise InputError(
            f"the detector has {size / 1e9:.1f} GB of weights, and an ONNX or TFLite file holds "
            f"{MAX_BYTES / 1e9:.1f} GB: export it to saved_model"
        )


def category_ids(config: DetectorConfig) -> tf.Tensor:
    """Return the category id of each label, [C] float32.

    Raises:
        InputError: float32 does not hold an id exactly; the message has the id and the name.
    """
    for category in config.categories:
        if int(np.float32(category.id)) != category.id:
            raise InputError(
                f"category id {category.id} of {category.name!r}: detection_classes are float32, which holds whole "
                f"numbers up to {2**FLOAT32_BITS} exactly; give the category a smaller id, or export to tflite, "
                "whose classes are lines of the label file"
            )
    return tf.constant([float(category.id) for category in config.categories])


def to_contract(
    detections: dict[str, tf.Tensor], original_sizes: tf.Tensor, classes: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Convert a detector's outputs to an exported file's.

    Args:
        detections: Outputs of `FasterRCNN`, boxes in pixels of the original images.
        original_sizes: [B, 2] float32 (H, W).
        classes: [C] float32 to return in place of the labels, for example `category_ids`; None returns labels.

    Returns:
        The outputs by `artefact.OUTPUTS`, in that order.
    """
    present = tf.range(tf.shape(detections["labels"])[1])[None] < detections["num_detections"][:, None]
    labels = tf.cast(detections["labels"], tf.float32) if classes is None else tf.gather(classes, detections["labels"])
    return {
        "detection_boxes": detections["boxes"] / tf.tile(original_sizes, [1, 2])[:, None],
        "detection_classes": tf.where(present, labels, 0.0),
        "detection_scores": detections["scores"],
        "num_detections": tf.cast(detections["num_detections"], tf.float32),
    }


def describe(
    config: DetectorConfig, format: str, precision: str, classes: Literal["category ids", "labels"] = "category ids"
) -> dict[str, Any]:
    """Describe a file, for `artefact.parse_description` to read.

    Args:
        config: The detector's.
        format: The name of the `Target`.
        precision: The file's precision.
        classes: The content of `detection_classes`.

    Returns:
        JSON values.
    """
    versions = {package: package_version(package) for package in ("tfrcnn", "tensorflow", "keras")}
    return {
        "tfrcnn_export": VERSION,
        "format": format,
        "precision": precision,
        "categories": [category.to_dict() for category in config.categories],
        "image": config.image.to_dict(),
        "detections": config.detections.to_dict(),
        "preset": config.preset,
        "classes": classes,
        "versions": versions,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
