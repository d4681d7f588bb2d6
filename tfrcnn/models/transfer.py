"""A detector as the start of another: for other categories, or with a network of its own for the RPN."""

from __future__ import annotations

import keras
import numpy as np

from tfrcnn.config import Category, ImageConfig
from tfrcnn.errors import InputError
from tfrcnn.kernels import Kernels, find_kernels
from tfrcnn.models.backbones.applications import finalize_normalization
from tfrcnn.models.build import build_blank_detector, build_detector
from tfrcnn.models.faster_rcnn import FasterRCNN


def with_categories(
    detector: FasterRCNN,
    categories: tuple[Category, ...],
    image: ImageConfig | None = None,
    precision: str = "float32",
    kernels: Kernels | str = "tensorflow",
    roi_align: str | None = None,
) -> tuple[FasterRCNN, tuple[str, ...]]:
    """A detector for other categories, with the weights of this one.

    Backbone, pyramid, RPN and the hidden layers of the box head are copied. Of the predictors the background is, and
    each category that is there by the same name; the outputs for new ones are random, as in a new detector.

    Args:
        image: other preprocessing, e.g. another size; None keeps it.
        precision: as `build_detector`.
        kernels: as `build_detector`.
        roi_align: deprecated name of `kernels`.

    Returns:
        the new detector, and the names of the categories that were kept.
    """
    config = detector.config.replace(categories=categories, image=image or detector.config.image)
    new = build_detector(config, "none", precision, find_kernels(roi_align or kernels))
    for name in ("backbone", "fpn", "rpn_backbone", "rpn_fpn", "rpn_head"):
        copy_part(detector, name, new, name)
    for part in ("convs", "hidden"):
        for old_layer, new_layer in zip(getattr(detector.box_head, part), getattr(new.box_head, part)):
            _copy(old_layer, new_layer)

    position = {category.name: label for label, category in enumerate(detector.config.categories)}
    kept = [(label, position[c.name]) for label, c in enumerate(categories) if c.name in position]
    background = (len(categories), detector.config.num_classes)
    _copy_outputs(detector.box_head.classifier, new.box_head.classifier, [*kept, background], 1)
    _copy_outputs(detector.box_head.regressor, new.box_head.regressor, kept, 4)
    return new, tuple(categories[label].name for label, _ in kept)


def unshare(detector: FasterRCNN, proposer: FasterRCNN | None = None) -> FasterRCNN:
    """A detector whose RPN has a backbone (and pyramid) of its own: the paper's "unshared" networks of table 2.

    Backbone, pyramid and box head are those of `detector`; the RPN and the features that it sees are those of
    `proposer`. Of the two networks only the weights are copied: neither is changed by training the new one.

    Args:
        proposer: any detector with the same input, backbone, pyramid, anchors and RPN, for whatever categories; None
            takes `detector`, so that both networks start from the same weights.

    Raises:
        InputError: the proposer is of another form.
    """
    proposer = proposer or detector
    for field in ("image", "backbone", "fpn", "anchors", "rpn"):
        expected, found = (getattr(one.config, field) for one in (detector, proposer))
        if expected != found:
            raise InputError(f"the network that proposes must have the detector's {field} {expected}, found {found}")
    config = detector.config.replace(shared_features=False)
    new = build_blank_detector(config, detector.dtype_policy.name, detector.kernels)
    for name in ("backbone", "fpn", "box_head"):
        copy_part(detector, name, new, name)
    own = "" if proposer.config.shared_features else "rpn_"
    for name in ("backbone", "fpn"):
        copy_part(proposer, own + name, new, f"rpn_{name}")
    copy_part(proposer, "rpn_head", new, "rpn_head")
    return new


def copy_weights(source: FasterRCNN, target: FasterRCNN) -> None:
    """Give a detector all weights of another of the same form."""
    target.set_weights(source.get_weights())
    renew_statistics(target)


def renew_statistics(detector: FasterRCNN) -> None:
    """Let a detector normalise with the statistics it was given, see `finalize_normalization`."""
    for backbone in (detector.backbone, detector.rpn_backbone):
        if backbone is not None:
            finalize_normalization(backbone)


def copy_part(source: FasterRCNN, name: str, target: FasterRCNN, target_name: str) -> None:
    """Give a part of one detector, e.g. "fpn", the weights of a part of another; nothing where neither has it."""
    part, target_part = getattr(source, name), getattr(target, target_name)
    if part is None and target_part is None:
        return
    _copy(part, target_part)
    if isinstance(target_part, keras.Model):
        finalize_normalization(target_part)


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
