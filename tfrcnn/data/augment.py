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

import math
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import tensorflow as tf

from tfrcnn import images
from tfrcnn.boxes import area, clip
from tfrcnn.config import ImageConfig, TrainingConfig

Sample: TypeAlias = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
Augmentation: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Sample]

# A crop must show this share of at least one object, drawn at random (SSD, Liu et al., arXiv 1512.02325, section 2.2).
_MIN_OBJECT_COVERED = (0.1, 0.3, 0.5, 0.7, 0.9)
# A cut box is kept if its centre and this share of its area are visible (TF Object Detection API: overlap_thresh).
_MIN_VISIBLE = 0.3
_MIN_SIDE = 1.0  # pixels of the result; a shorter object could not be found (torchvision: SanitizeBoundingBoxes)

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's greyscale
_RGB_TO_YIQ = np.array([_LUMA, [0.59590059, -0.27455667, -0.32134392], [0.21153661, -0.52273617, 0.31119955]])


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


def resize(
    image: tf.Tensor, boxes: tf.Tensor, config: ImageConfig, scale_factor: tf.Tensor | float = 1.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale an image to the network's frame (`tfrcnn.images.resize`), and its boxes by h / H and w / W.

    Returns:
        image: [h, w, 3] float32, 0..255.
        boxes: [N, 4] in pixels of that image.
    """
    resized = images.resize(image, config, scale_factor)
    # Multiply first, so that a box that ends with the image still does: W * w / W == w, but W * (w / W) may differ.
    return resized, boxes * tf.tile(_size(resized), [2]) / tf.tile(_size(image), [2])


def horizontal_flip(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Mirror every second image, at random: x -> W - x.

    Args, Returns: see the head of the file.
    """

    def mirrored() -> tuple[tf.Tensor, tf.Tensor]:
        y1, x1, y2, x2 = tf.unstack(boxes, axis=-1)
        width = _size(image)[1]
        return tf.reverse(image, [1]), tf.stack([y1, width - x2, y2, width - x1], axis=-1)

    flip = tf.random.stateless_uniform([], seed) < 0.5
    image, boxes = tf.cond(flip, mirrored, lambda: (image, boxes))
    return image, boxes, labels


def random_crop(
    image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, probability: float = 1.0
) -> Sample:
    """Crop a random part that shows some object, as SSD does (arXiv 1512.02325, section 2.2).

    The crop has 0.1 to 1 of the image's area and sides in a ratio of 0.5 to 2. It holds at least 0.1, 0.3, 0.5, 0.7
    or 0.9 (drawn per call) of the area of one object, or of the image if it has no objects. Boxes are clipped to the
    crop. Boxes are dropped if their centre is cut off, if less than 0.3 of their area is left, or if a side is shorter
    than a pixel.

    Args:
        probability: of cropping, in [0, 1].

    Returns:
        See the head of the file; boxes are relative to the crop's corner.
    """
    whether, covered, where = tf.unstack(tf.random.split(seed, 3))
    size = _size(image)
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        clip(boxes, size)[None] / tf.tile(size, [2]),
        seed=where,
        min_object_covered=_choice(_MIN_OBJECT_COVERED, covered),
        aspect_ratio_range=(0.5, 2.0),
        area_range=(0.1, 1.0),
        max_attempts=50,
        use_image_if_no_bounding_boxes=True,
    )
    begin, extent = begin[:2], extent[:2]
    cut_boxes, keep = crop_boxes(boxes, begin, extent)
    crop = (tf.random.stateless_uniform([], whether) < probability) & _some_left(keep)
    image, boxes, labels = tf.cond(
        crop,
        lambda: (_cut(image, begin, extent), tf.boolean_mask(cut_boxes, keep), tf.boolean_mask(labels, keep)),
        lambda: (image, boxes, labels),
    )
    return image, boxes, labels


def scale_jitter(
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    config: ImageConfig,
    factors: tuple[float, float],
) -> Sample:
    """Resize by the network's rule times a random factor; replaces `resize`.

    The factors (0.1, 2.0) make it the large-scale jitter of Ghiasi et al. (arXiv 2012.07177). A result that is larger
    than the image's padded frame without jitter is cropped to that frame, at a random position, so that a batch never
    takes more memory than without jitter. Boxes are clipped and dropped as in `random_crop`.

    Args:
        config: the resize rule.
        factors: (low, high) of the uniform factor.

    Returns:
        See the head of the file; image float32, boxes in pixels of the network's frame.
    """
    scale_seed, position_seed = tf.unstack(tf.random.split(seed, 2))
    factor = tf.random.stateless_uniform([], scale_seed, *factors)
    scaled, scaled_boxes = resize(image, boxes, config, factor)
    frame = images.padded_size(images.resized_size(tf.shape(image)[:2], config), config)
    extent = tf.minimum(tf.shape(scaled)[:2], frame)
    positions = tf.cast(tf.shape(scaled)[:2] - extent + 1, tf.float32)
    begin = tf.cast(tf.floor(tf.random.stateless_uniform([2], position_seed) * positions), tf.int32)
    cut_boxes, keep = crop_boxes(scaled_boxes, begin, extent)
    image, boxes, labels = tf.cond(
        _some_left(keep),
        lambda: (_cut(scaled, begin, extent), tf.boolean_mask(cut_boxes, keep), tf.boolean_mask(labels, keep)),
        lambda: (*resize(image, boxes, config), labels),
    )
    return image, boxes, labels


def color_jitter(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, strength: float) -> Sample:
    """Change brightness, contrast, saturation and hue at random, as SimCLR does (arXiv 2002.05709, appendix A).

    The first three change by factors in 1 +- 0.8 s, the hue by up to 0.2 s of a turn.

    Args:
        strength: s in [0, 1].

    Returns:
        See the head of the file; image float32, boxes and labels unchanged.
    """
    draws = tf.random.stateless_uniform([4], seed, -strength, strength)
    brightness, contrast, saturation = tf.unstack(1.0 + 0.8 * draws[:3])
    return adjust_color(image, brightness, contrast, saturation, 0.2 * draws[3]), boxes, labels


def adjust_color(
    image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, hue: tf.Tensor
) -> tf.Tensor:
    """Change brightness, contrast, saturation and hue in one linear map, then clip to 0..255.

        x -> contrast * brightness * (P + saturation * R(2 pi hue) (1 - P)) x + (1 - contrast) * brightness * m,
    where P is the projection on grey (luma Y), m the mean luma and R(t) the turn of the chroma plane in YIQ.
    Brightness, contrast and saturation act as in PIL.ImageEnhance; turning the hue in YIQ keeps the luma.

    Args:
        image: [H, W, 3], 0..255.
        brightness: scalar, at least 0; 1 changes nothing.
        contrast: scalar, at least 0; 1 changes nothing.
        saturation: scalar, at least 0; 1 changes nothing.
        hue: scalar, in turns; 0 changes nothing.

    Returns:
        [H, W, 3] float32, 0..255.
    """
    to_rgb = np.linalg.inv(_RGB_TO_YIQ)
    # Transpose each map, since a pixel is a row of the image.
    grey, in_phase, quadrature = (
        tf.constant((to_rgb @ np.array(map_yiq, np.float64) @ _RGB_TO_YIQ).T, tf.float32)
        for map_yiq in (np.diag([1, 0, 0]), np.diag([0, 1, 1]), [[0, 0, 0], [0, 0, -1], [0, 1, 0]])
    )
    angle = 2 * math.pi * hue
    chroma = saturation * (tf.cos(angle) * in_phase + tf.sin(angle) * quadrature)
    image = tf.cast(image, tf.float32)
    mean_luma = tf.tensordot(tf.reduce_mean(image, axis=[0, 1]), tf.constant(_LUMA, tf.float32), 1)
    mapped = tf.tensordot(image, contrast * brightness * (grey + chroma), 1)
    return tf.clip_by_value(mapped + (1.0 - contrast) * brightness * mean_luma, 0.0, 255.0)


def crop_boxes(boxes: tf.Tensor, begin: tf.Tensor, extent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Move and clip boxes for a crop.

    Args:
        boxes: [N, 4] in pixels of the image.
        begin: [2] int32 (y, x), the first pixel of the crop.
        extent: [2] int32 (height, width) of the crop.

    Returns:
        boxes: [N, 4] in pixels of the crop, clipped to it.
        keep: [N] bool, the boxes that are still objects.
    """
    size = tf.cast(extent, tf.float32)
    moved = boxes - tf.tile(tf.cast(begin, tf.float32), [2])
    cut = clip(moved, size)
    center = (moved[:, :2] + moved[:, 2:]) / 2
    shown = tf.reduce_all((center >= 0) & (center < size) & (cut[:, 2:] - cut[:, :2] >= _MIN_SIDE), axis=-1)
    return cut, shown & (area(cut) >= _MIN_VISIBLE * area(moved))


def _size(image: tf.Tensor) -> tf.Tensor:
    """Return (H, W), [2] float32."""
    return tf.cast(tf.shape(image)[:2], tf.float32)


def _choice(values: tuple[float, ...], seed: tf.Tensor) -> tf.Tensor:
    return tf.gather(values, tf.random.stateless_uniform([], seed, 0, len(values), tf.int32))


def _cut(image: tf.Tensor, begin: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Crop the part that starts at `begin` [2] and is `extent` [2] pixels large."""
    return tf.slice(image, tf.pad(begin, [[0, 1]]), tf.pad(extent, [[0, 1]], constant_values=3))


def _some_left(keep: tf.Tensor) -> tf.Tensor:
    """Return a scalar bool: a box is kept, or there was none."""
    return tf.reduce_any(keep) | tf.equal(tf.size(keep), 0)
