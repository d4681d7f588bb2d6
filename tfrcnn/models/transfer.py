"""Make a detector from another: for other categories, or with a separate network for the RPN."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from tfrcnn.config import Category, ImageConfig, as_categories
from tfrcnn.errors import InputError, check_type
from tfrcnn.kernels import Kernels, find_kernels
from tfrcnn.layers import BoxHead
from tfrcnn.models.backbones.loading import finalize_normalization
from tfrcnn.models.build import build_blank_detector, build_detector
from tfrcnn.models.faster_rcnn import FasterRCNN


def with_categories(
    detector: FasterRCNN,
    categories: tuple[Category, ...],
    image: ImageConfig | None = None,
    precision: str = "float32",
    kernels: Kernels | str = "tensorflow",
    roi_align: str | None = None,
    **changes: Any,
) -> tuple[FasterRCNN, tuple[str, ...]]:
    """Make a detector for other categories, with the weights of this one.

    Backbone, pyramid, RPN and the hidden layers of the box head are copied. The outputs for the background, and for
    each category of the same name, are copied too, with the category's score threshold. The outputs for new categories
    are random, as in a new detector. So are the RPN's outputs if the number of anchors at each position changes.

    A stage of a cascade that this detector lacks starts from the last that it has, with random box outputs: at first
    it hardly moves the boxes of the stage before. If the new detector is class-agnostic and this one is not, its box
    outputs start from the mean over the categories.

    Args:
        detector: whose weights to copy; it stays as it is.
        categories: what the new detector detects.
        image: other preprocessing, for example another size; None keeps it.
        precision: as in `build_detector`.
        kernels: as in `build_detector`.
        roi_align: deprecated name of `kernels`.
        changes: other `DetectorConfig` fields to replace. They must not change the shape of a weight, except by the
            number of anchors.

    Returns:
        detector: the new detector.
        names: the categories that were kept.

    Raises:
        InputError: a change does not fit the weights.

    Example:
        detector, kept = tfrcnn.with_categories(tfrcnn.load_detector("runs/coco"), dataset.categories)
    """
    check_type(detector, FasterRCNN, "detector", 'tfrcnn.load_detector("runs/coco")')
    categories = as_categories(categories)
    changes = {"detections": detector.config.detections.for_names([c.name for c in categories]), **changes}
    config = detector.config.replace(categories=categories, image=image or detector.config.image, **changes)
    new = build_detector(config, "none", precision, find_kernels(roi_align or kernels), backbone=detector.backbone_spec)
    for name in ("backbone", "fpn", "rpn_backbone", "rpn_fpn", "roi_pooling"):
        copy_part(detector, name, new, name)
    if config.anchors.per_cell == detector.config.anchors.per_cell:
        copy_part(detector, "rpn_head", new, "rpn_head")
    else:
        for old_layer, new_layer in zip(detector.rpn_head.convs, new.rpn_head.convs):
            _copy(old_layer, new_layer)
    position = {category.name: label for label, category in enumerate(detector.config.categories)}
    kept = [(label, position[c.name]) for label, c in enumerate(categories) if c.name in position]
    background = (len(categories), detector.config.num_classes)
    sources = detector.stages.heads
    for stage, head in enumerate(new.stages.heads):
        source = sources[min(stage, len(sources) - 1)]
        for part in ("convs", "blocks", "hidden"):
            for old_layer, new_layer in zip(getattr(source, part), getattr(head, part)):
                _copy(old_layer, new_layer)
        _copy_outputs(source.classifier, head.classifier, [*kept, background], 1)
        if stage < len(sources):
            _copy_boxes(source, head, kept)
    return new, tuple(categories[label].name for label, _ in kept)


def _copy_boxes(source: BoxHead, target: BoxHead, kept: list[tuple[int, int]]) -> None:
    """Copy the outputs of boxes, by category if both heads have one box per category."""
    if source.config.class_agnostic:
        kept = [(new, 0) for new in range(target.box_classes)]
    elif target.config.class_agnostic:  # what the categories have in common
        weights = source.regressor.get_weights()
        target.regressor.set_weights([x.reshape(*x.shape[:-1], -1, 4).mean(axis=-2) for x in weights])
        return
    _copy_outputs(source.regressor, target.regressor, kept, 4)


def unshare(detector: FasterRCNN, proposer: FasterRCNN | None = None) -> FasterRCNN:
    """Make a detector whose RPN has its own backbone and pyramid: the paper's "unshared" networks of table 2.

    The weights are copied: training the new detector changes neither of the two.

    Args:
        detector: gives backbone, pyramid and box head.
        proposer: gives the RPN, and the backbone and pyramid that the RPN sees. It must have the same input, backbone,
            pyramid, anchors and RPN; its categories may differ. None takes `detector`, so that both networks start
            from the same weights.

    Returns:
        The new detector, with `config.shared_features` False.

    Raises:
        InputError: the proposer's configuration differs.

    Example:
        detector = tfrcnn.unshare(tfrcnn.build_detector(preset.detector, "imagenet"))
    """
    proposer = proposer or detector
    for field in ("image", "backbone", "fpn", "anchors", "rpn"):
        expected, actual = (getattr(one.config, field) for one in (detector, proposer))
        if expected != actual:
            raise InputError(f"the network that proposes must have the detector's {field} {expected}, found {actual}")
    config = detector.config.replace(shared_features=False)
    new = build_blank_detector(config, detector.dtype_policy.name, detector.kernels, backbone=detector.backbone_spec)
    for name in ("backbone", "fpn", "roi_pooling", "box_head", "cascade"):
        copy_part(detector, name, new, name)
    prefix = "" if proposer.config.shared_features else "rpn_"
    for name in ("backbone", "fpn"):
        copy_part(proposer, prefix + name, new, f"rpn_{name}")
    copy_part(proposer, "rpn_head", new, "rpn_head")
    return new


def copy_weights(source: FasterRCNN, target: FasterRCNN) -> None:
    """Copy all weights of a detector to another with the same configuration."""
    target.set_weights(source.get_weights())
    renew_statistics(target)


def renew_statistics(detector: FasterRCNN) -> None:
    """Let a detector normalise with the statistics that were set, see `finalize_normalization`."""
    for backbone in (detector.backbone, detector.rpn_backbone):
        if backbone is not None:
            finalize_normalization(backbone)


def copy_part(source: FasterRCNN, name: str, target: FasterRCNN, target_name: str) -> None:
    """Copy the weights of a part, for example "fpn", to a part of another detector; do nothing if neither has it."""
    part, target_part = getattr(source, name), getattr(target, target_name)
    if part is None and target_part is None:
        return
    _copy(part, target_part)
    if isinstance(target_part, keras.Model):
        finalize_normalization(target_part)


def _copy(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    try:
        target.set_weights(source.get_weights())
    except ValueError as error:
        raise InputError(f"the weights of {source.name} do not fit the changed detector: {error}") from error


def _copy_outputs(
    source: keras.layers.Dense, target: keras.layers.Dense, pairs: list[tuple[int, int]], width: int
) -> None:
    """Copy groups of `width` outputs: target group new = source group old, for each (new, old)."""
    weights = target.get_weights()
    for old_array, new_array in zip(source.get_weights(), weights):
        old_groups = old_array.reshape(*old_array.shape[:-1], -1, width)
        new_groups = np.reshape(new_array, (*new_array.shape[:-1], -1, width))  # a view
        for new, old in pairs:
            new_groups[..., new, :] = old_groups[..., old, :]
    target.set_weights(weights)
