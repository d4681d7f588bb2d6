"""Augmentation: TensorFlow ops that move boxes with pixels, one image at a time; they run eagerly and in tf.data.

Legend: (H, W) the input image, (h, w) the result, N boxes. Boxes are [y1, x1, y2, x2] in pixels, continuous: pixel
(i, j) covers [i, j, i + 1, j + 1]. A crop from row 3 on moves boxes by exactly 3, and mirroring sends x to W - x (not
W - 1 - x).

Every augmentation takes (image, boxes, labels, seed) and returns (image, boxes, labels):
    image: [H, W, 3] uint8 or float32, 0..255.
    boxes: [N, 4] float32, inside the image; N may be 0.
    labels: [N] int32.
    seed: [2] int32; the result is a pure function of the arguments, so the same seed gives the same result.
None of them removes all boxes of an image that has some: where a draw would, the image is left as it is.

To add an augmentation, write such a function, give `TrainingConfig` a field for it, and add it to `augmentations`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from tfrcnn.config import ImageConfig, TrainingConfig
from tfrcnn.data.augment.color import blur, color_jitter, noise
from tfrcnn.data.augment.common import Augmentation, Sample
from tfrcnn.data.augment.geometry import (
    horizontal_flip,
    quarter_turns,
    random_crop,
    resize,
    rotation,
    scale_jitter,
    shear,
    vertical_flip,
)
from tfrcnn.data.augment.mixing import copy_paste, cutout, draw_partner, mixup, mosaic


def augmentations(
    training: TrainingConfig,
    image: ImageConfig,
    load: Callable[[tf.Tensor], Sample],
    count: int,
    custom: Augmentation | None = None,
) -> dict[str, Augmentation]:
    """List the steps from a decoded image to the network's frame, in order.

    Args:
        training: which augmentations are on, and how strong they are.
        image: the network's frame.
        load: reads the image and targets at a position of the data set, for those that mix images.
        count: images of the data set.
        custom: the user's own step; it comes first and has a uint8 image.

    Returns:
        The steps by name. The name also names the step's random stream (`tfrcnn.seeds.stream_seed`).
    """
    steps: dict[str, Augmentation] = {}
    if custom is not None:
        steps["custom"] = custom
    if training.horizontal_flip:
        steps["horizontal_flip"] = horizontal_flip
    if training.vertical_flip:
        steps["vertical_flip"] = vertical_flip
    if training.quarter_turns:
        steps["quarter_turns"] = quarter_turns
    if training.random_crop > 0:
        steps["random_crop"] = partial(random_crop, probability=training.random_crop)
    draw = partial(draw_partner, load=load, count=count, steps=dict(steps))
    partner = tf.function(draw, autograph=False)  # traced once for all that mix images
    if training.scale_jitter == (1.0, 1.0):
        steps["resize"] = lambda pixels, boxes, labels, _: (*resize(pixels, boxes, image), labels)
    else:
        steps["scale_jitter"] = partial(scale_jitter, config=image, factors=training.scale_jitter)
    # After resizing, so that the cost depends on the network's frame, not on the size of the files.
    fill = min(max(sum(image.mean) / 3, 0.0), 255.0)
    if training.mosaic > 0:
        steps["mosaic"] = partial(mosaic, partner=partner, probability=training.mosaic)
    if training.rotation > 0:
        steps["rotation"] = partial(rotation, degrees=training.rotation, fill=fill)
    if training.shear > 0:
        steps["shear"] = partial(shear, degrees=training.shear, fill=fill)
    if training.copy_paste > 0:
        steps["copy_paste"] = partial(copy_paste, partner=partner, config=image, probability=training.copy_paste)
    if training.mixup > 0:
        steps["mixup"] = partial(mixup, partner=partner, config=image, probability=training.mixup)
    if training.color_jitter > 0:
        steps["color_jitter"] = partial(color_jitter, strength=training.color_jitter)
    if training.blur > 0:
        steps["blur"] = partial(blur, sigma=training.blur)
    if training.noise > 0:
        steps["noise"] = partial(noise, sigma=training.noise)
    if training.cutout > 0:
        steps["cutout"] = partial(cutout, probability=training.cutout, fill=fill)
    return steps
