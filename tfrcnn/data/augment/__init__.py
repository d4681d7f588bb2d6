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

from functools import partial

from tfrcnn.config import ImageConfig, TrainingConfig
from tfrcnn.data.augment.color import color_jitter
from tfrcnn.data.augment.common import Augmentation
from tfrcnn.data.augment.geometry import horizontal_flip, random_crop, resize, scale_jitter


def augmentations(training: TrainingConfig, image: ImageConfig) -> dict[str, Augmentation]:
    """List the steps from a decoded image to the network's frame, in order.

    Args:
        training: which augmentations are on, and how strong they are.
        image: the network's frame.

    Returns:
        The steps by name. The name also names the step's random stream (`tfrcnn.seeds.stream_seed`).
    """
    steps: dict[str, Augmentation] = {}
    if training.horizontal_flip:
        steps["horizontal_flip"] = horizontal_flip
    if training.random_crop > 0:
        steps["random_crop"] = partial(random_crop, probability=training.random_crop)
    if training.scale_jitter == (1.0, 1.0):
        steps["resize"] = lambda pixels, boxes, labels, _: (*resize(pixels, boxes, image), labels)
    else:
        steps["scale_jitter"] = partial(scale_jitter, config=image, factors=training.scale_jitter)
    if training.color_jitter > 0:  # after resizing, which leaves fewer pixels to colour
        steps["color_jitter"] = partial(color_jitter, strength=training.color_jitter)
    return steps
