"""A trained detector as the start of another: everything but the outputs for its categories is kept."""

from __future__ import annotations

import keras
import numpy as np

from tfrcnn.config import Category, ImageConfig
from tfrcnn.models.build import build_detector
from tfrcnn.models.faster_rcnn import FasterRCNN


def with_categories(
    detector: FasterRCNN,
    categories: tuple[Category, ...],
    image: ImageConfig | None = None,
    precision: str = "float32",
    roi_align: str = "crop_and_resize",
) -> tuple[FasterRCNN, tuple[str, ...]]:
    """A detector for other categories, with the weights of this one.

    Backbone, pyramid, RPN and the hidden layers of the box head are copied. Of the predictors the background is, and
    each category that is there by the same name; the outputs for new ones are random, as in a new detector.

    Args:
        image: other preprocessing, e.g. another size; None keeps it.
        precision, roi_align: as of `build_detector`.

    Returns:
        the new detector, and the names of the categories that were kept.
    """
    config = detector.config.replace(categories=categories, image=image or detector.config.image)
    new = build_detector(config, "none", precision, roi_align)
    _copy(detector.backbone, new.backbone)
    if detector.fpn is not None:
        _copy(detector.fpn, new.fpn)
    _copy(detector.rpn_head, new.rpn_head)
    for part in ("convs", "hidden"):
        for old_layer, new_layer in zip(getattr(detector.box_head, part), getattr(new.box_head, part)):
            _copy(old_layer, new_layer)

    position = {category.name: label for label, category in enumerate(detector.config.categories)}
    kept = [(label, position[c.name]) for label, c in enumerate(categories) if c.name in position]
    background = (len(categories), detector.config.num_classes)
    _copy_outputs(detector.box_head.classifier, new.box_head.classifier, [*kept, background], 1)
    _copy_outputs(detector.box_head.regressor, new.box_head.regressor, kept, 4)
    return new, tuple(categories[label].name for label, _ in kept)


def _copy(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    target.set_weights(source.get_weights())


def _copy_outputs(
    source: keras.layers.Dense, target: keras.layers.Dense, pairs: list[tuple[int, int]], width: int
) -> None:
    """Groups of `width` outputs: target group new = source group old, for each (new, old)."""
    weights = target.get_weights()
    for old_array, new_array in zip(source.get_weights(), weights):
        old_groups = old_array.reshape(*old_array.shape[:-1], -1, width)
        new_groups = np.reshape(new_array, (*new_array.shape[:-1], -1, width))  # a view
        for new, old in pairs:
            new_groups[..., new, :] = old_groups[..., old, :]
    target.set_weights(weights)
