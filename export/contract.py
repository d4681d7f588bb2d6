"""What every exported file promises, whatever runs it.

Input: images [B, H, W, 3], RGB 0..255. Outputs, in TensorFlow's Object Detection API's names and order, D = the most
detections of an image:

    detection_boxes    [B, D, 4] float32   [y1, x1, y2, x2] over the height and width of the image as given, in [0, 1]
    detection_classes  [B, D] float32      the data set's category ids; in TFLite 0..C-1, the lines of its label file
    detection_scores   [B, D] float32      in (0, 1), descending
    num_detections     [B] float32         slots from there on hold zeros

Resizing, padding, normalising, NMS and the categories are inside the file, which needs nothing of this package to run.
"""

from __future__ import annotations

import datetime
from typing import Any

import tensorflow as tf

from ..config import DetectorConfig
from ..errors import InputError
from ..kernels import Kernels
from ..models import FasterRCNN, build_blank_detector
from ..models.build import package_version
from ..models.transfer import copy_weights

OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
FORMAT = 1  # of the description inside each file
FORMATS = ("saved_model", "tflite", "onnx")
PRECISIONS = ("float32", "float16", "dynamic", "int8")


def prepare(
    detector: FasterRCNN,
    image_size: tuple[int, int] | None = None,
    max_detections: int | None = None,
    score_threshold: float | None = None,
    kernels: Kernels | str = "portable",
) -> FasterRCNN:
    """A float32 copy of a detector, with the options of an export.

    Args:
        image_size: (height, width) makes the network's input static (letterbox); None keeps the detector's.
        max_detections, score_threshold: None keeps the detector's.
        kernels: the copy's operators, see `tfrcnn.kernels`.

    Raises:
        InputError: a size that is not a positive multiple of the detector's divisor, or an option out of range.
    """
    config = detector.config
    if image_size is not None:
        if any(side < 1 or side % config.image.divisor for side in image_size):
            raise InputError(f"image size must be positive multiples of {config.image.divisor}, found {image_size}")
        config = config.replace(image=config.image.replace(static_size=tuple(image_size)))
    changes = {"max_detections": max_detections, "score_threshold": score_threshold}
    asked = {name: value for name, value in changes.items() if value is not None}
    config = config.replace(detections=config.detections.replace(**asked))
    copy = build_blank_detector(config, kernels=kernels, backbone=detector.backbone_spec)
    copy_weights(detector, copy)
    return copy


def category_ids(config: DetectorConfig) -> tf.Tensor:
    """[C] float32: the category id of each label."""
    return tf.constant([float(category.id) for category in config.categories])


def to_contract(
    found: dict[str, tf.Tensor], original_sizes: tf.Tensor, classes: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """A detector's outputs, boxes in pixels of the original images, as the contract has them.

    Args:
        found: outputs of `FasterRCNN`.
        original_sizes: [B, 2] float32 (H, W).
        classes: [C] float32 that stand for the labels (`category_ids`); None gives the labels themselves.

    Returns:
        by `OUTPUTS`, in that order.
    """
    present = tf.range(tf.shape(found["labels"])[1])[None] < found["num_detections"][:, None]
    labels = tf.cast(found["labels"], tf.float32) if classes is None else tf.gather(classes, found["labels"])
    return {
        "detection_boxes": found["boxes"] / tf.tile(original_sizes, [1, 2])[:, None],
        "detection_classes": tf.where(present, labels, 0.0),
        "detection_scores": found["scores"],
        "num_detections": tf.cast(found["num_detections"], tf.float32),
    }


def describe(config: DetectorConfig, form: str, precision: str) -> dict[str, Any]:
    """What is written into a file about itself, JSON values.

    Args:
        form: one of `FORMATS`; precision: one of `PRECISIONS`.
    """
    versions = {package: package_version(package) for package in ("tfrcnn", "tensorflow", "keras")}
    return {
        "tfrcnn_export": FORMAT,
        "format": form,
        "precision": precision,
        "categories": [category.to_dict() for category in config.categories],
        "image": config.image.to_dict(),
        "detections": config.detections.to_dict(),
        "preset": config.preset,
        "classes": "labels" if form == "tflite" else "category ids",
        "versions": versions,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
