"""Augmentations that cover parts of an image, or mix it with other images of the data set. Legend: see the package.

A partner is an image that is mixed in. It is drawn with the seed of the augmentation, so it depends only on the run's
seed, the step and the position in the batch. Crowd and difficult boxes of partners are no targets, and are not pasted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from tfrcnn.boxes import area
from tfrcnn.config import ImageConfig
from tfrcnn.data.augment.common import (
    MIN_VISIBLE,
    Augmentation,
    Sample,
    crop_boxes,
    cut_image,
    happens,
    size_of,
    some_left,
)
from tfrcnn.data.augment.geometry import resize
from tfrcnn.seeds import stream_seed

Partner: TypeAlias = Callable[[tf.Tensor], Sample]  # from a seed [2] int32

# Random erasing of object detection, Zhong et al., arXiv 1708.04896: share of the image's area, and the ratio
# of the longer side to the shorter.
_ERASED_AREA = (0.02, 0.2)
_MAX_ERASED_RATIO = 1 / 0.3
_PASTED_SCALES = (0.5, 1.5)  # half to one and a half of the partner's size in the network's frame
_MOSAIC_CENTER = (0.25, 0.75)  # of the image's sides, so that each part has at least a sixteenth of its area
_MIXED_SHARE = (0.4, 0.6)  # near one half, since the losses weigh the objects of both images equally


def draw_partner(
    seed: tf.Tensor, load: Callable[[tf.Tensor], Sample], count: int, steps: dict[str, Augmentation]
) -> Sample:
    """Draw an image of the data set and prepare it as the others are, up to resizing.

    Args:
        seed: [2] int32.
        load: reads the image and targets at a position of the data set.
        count: images of the data set. The draw may be the image that it is mixed with.
        steps: the augmentations before resizing, by name. Each has a stream of draws that depends on its name only.

    Returns:
        The partner in pixels of its file.
    """
    sample = load(tf.random.stateless_uniform([], seed, 0, count, tf.int32))
    for name, augment in steps.items():
        sample = augment(*sample, tf.random.fold_in(seed, stream_seed(0, name)))
    return sample


def cutout(
    image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, probability: float, fill: float
) -> Sample:
    """Erase a random rectangle (random erasing, Zhong et al., arXiv 1708.04896).

    The rectangle has 0.02 to 0.2 of the image's area, and sides in a ratio of 0.3 to 3.3. Boxes keep their size. An
    object of which less than 0.3 is left is dropped. An image that would lose all boxes is left as it is.

    Args:
        probability: of erasing, in [0, 1].
        fill: grey level of the rectangle, 0..255.

    Returns:
        See the package; image float32.
    """
    whether, share_seed, ratio_seed, where = tf.unstack(tf.random.split(seed, 4))
    image = tf.cast(image, tf.float32)
    size = size_of(image)
    share = tf.random.stateless_uniform([], share_seed, *_ERASED_AREA)
    ratio = tf.exp(tf.random.stateless_uniform([], ratio_seed, -1, 1) * math.log(_MAX_ERASED_RATIO))
    sides = tf.sqrt(share * tf.reduce_prod(size) * tf.stack([ratio, 1 / ratio]))
    extent = tf.cast(tf.clip_by_value(tf.round(sides), 1.0, size), tf.int32)
    begin = _position(tf.shape(image)[:2] - extent, where)
    keep = area(boxes) - area(crop_boxes(boxes, begin, extent)[0]) >= MIN_VISIBLE * area(boxes)
    image, boxes, labels = tf.cond(
        happens(whether, probability) & some_left(keep),
        lambda: (
            _overlaid(image, tf.fill(tf.concat([extent, [3]], axis=0), fill), begin),
            tf.boolean_mask(boxes, keep),
            tf.boolean_mask(labels, keep),
        ),
        lambda: (image, boxes, labels),
    )
    return image, boxes, labels


def copy_paste(
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    partner: Partner,
    config: ImageConfig,
    probability: float,
) -> Sample:
    """Paste about half of a partner's objects, at least one (Ghiasi et al., arXiv 2012.07177).

    Ghiasi et al. paste masks. Boxes are all that is known here, so the whole content of a box is pasted. The partner is
    resized by the network's rule times a random factor of 0.5 to 1.5, and laid over the image at a random position; its
    boxes are clipped and dropped as in `random_crop`. An object of either image keeps its box if at least 0.3 of it is
    visible in the result.

    Args:
        partner: draws the other image.
        config: the network's frame.
        probability: of pasting, in [0, 1].

    Returns:
        See the package; image float32 of the same size.
    """
    whether, drawn, scale, position, which = tf.unstack(tf.random.split(seed, 5))
    image = tf.cast(image, tf.float32)

    def pasted() -> Sample:
        pixels, others, other_labels = partner(drawn)
        factor = tf.random.stateless_uniform([], scale, *_PASTED_SCALES)
        scaled = (*resize(pixels, others, config, factor), other_labels)
        pixels, others, other_labels = _laid_over(image, scaled, position)
        draws = tf.random.stateless_uniform(tf.shape(other_labels), which)
        chosen = draws <= tf.maximum(0.5, tf.reduce_min(draws))
        mask = _painted(tf.boolean_mask(others, chosen), tf.shape(image)[:2])
        shown = chosen | (_covered(others, mask) >= MIN_VISIBLE * area(others))
        left = _covered(boxes, 1.0 - mask) >= MIN_VISIBLE * area(boxes)
        return (
            tf.where(tf.tile(mask[:, :, None] > 0, [1, 1, 3]), pixels, image),
            tf.concat([tf.boolean_mask(boxes, left), tf.boolean_mask(others, shown)], axis=0),
            tf.concat([tf.boolean_mask(labels, left), tf.boolean_mask(other_labels, shown)], axis=0),
        )

    image, boxes, labels = tf.cond(happens(whether, probability), pasted, lambda: (image, boxes, labels))
    return image, boxes, labels


def mosaic(
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    partner: Partner,
    probability: float,
) -> Sample:
    """Put an image and three partners into the quarters of one image (YOLOv4, arXiv 2004.10934).

    The size stays. The quarters meet at a random point in the inner half of the image. Each image is scaled until it
    covers its quarter, and cut to it at a random position; boxes are clipped and dropped as in `random_crop`. An image
    that would lose all boxes is left as it is.

    Args:
        partner: draws another image.
        probability: of a mosaic, in [0, 1].

    Returns:
        See the package; image float32 of the same size.
    """
    whether, center_seed, *seeds = tf.unstack(tf.random.split(seed, 9))
    size = tf.shape(image)[:2]
    image = tf.cast(image, tf.float32)

    def joined() -> Sample:
        middle = tf.random.stateless_uniform([2], center_seed, *_MOSAIC_CENTER) * tf.cast(size, tf.float32)
        (y, x), (height, width) = (tf.unstack(tf.maximum(tf.cast(middle, tf.int32), 1)), tf.unstack(size))
        begins = [tf.stack(begin) for begin in ((0, 0), (0, x), (y, 0), (y, x))]
        extents = [tf.stack(extent) for extent in ((y, x), (y, width - x), (height - y, x), (height - y, width - x))]
        samples = [(image, boxes, labels), *map(partner, seeds[:3])]
        parts = [_covering(*arguments) for arguments in zip(samples, extents, seeds[3:])]
        moved = [part[1] + tf.tile(tf.cast(begin, tf.float32), [2]) for part, begin in zip(parts, begins)]
        rows = [tf.concat([left[0], right[0]], axis=1) for left, right in (parts[:2], parts[2:])]
        all_labels = tf.concat([part[2] for part in parts], axis=0)
        lost = (tf.size(all_labels) == 0) & (tf.size(labels) > 0)
        result: Sample = tf.cond(
            lost,
            lambda: (image, boxes, labels),
            lambda: (tf.concat(rows, axis=0), tf.concat(moved, axis=0), all_labels),
        )
        return result

    divisible = tf.reduce_all(size >= 2)
    image, boxes, labels = tf.cond(happens(whether, probability) & divisible, joined, lambda: (image, boxes, labels))
    return image, boxes, labels


def mixup(
    image: tf.Tensor,
    boxes: tf.Tensor,
    labels: tf.Tensor,
    seed: tf.Tensor,
    partner: Partner,
    config: ImageConfig,
    probability: float,
) -> Sample:
    """Blend an image with a partner, and keep the boxes of both (Zhang et al., arXiv 1902.04103).

    The image's share is 0.4 to 0.6, as the losses weigh all objects equally. The partner is resized by the network's
    rule and laid over the image at a random position; its boxes are clipped and dropped as in `random_crop`. The image
    stays as it is where the partner does not reach.

    Args:
        partner: draws the other image.
        config: the network's frame.
        probability: of blending, in [0, 1].

    Returns:
        See the package; image float32 of the same size.
    """
    whether, drawn, position, share_seed = tf.unstack(tf.random.split(seed, 4))
    image = tf.cast(image, tf.float32)

    def blended() -> Sample:
        pixels, others, other_labels = partner(drawn)
        scaled = (*resize(pixels, others, config), other_labels)
        pixels, others, other_labels = _laid_over(image, scaled, position)
        share = tf.random.stateless_uniform([], share_seed, *_MIXED_SHARE)
        mixed = share * image + (1.0 - share) * pixels
        return mixed, tf.concat([boxes, others], axis=0), tf.concat([labels, other_labels], axis=0)

    image, boxes, labels = tf.cond(happens(whether, probability), blended, lambda: (image, boxes, labels))
    return image, boxes, labels


def _position(room: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw a position [2] int32 in 0..room, with room [2] int32."""
    return tf.cast(tf.random.stateless_uniform([2], seed) * tf.cast(room + 1, tf.float32), tf.int32)


def _overlaid(image: tf.Tensor, patch: tf.Tensor, begin: tf.Tensor) -> tf.Tensor:
    """Put a patch [h, w, 3] over an image [H, W, 3], with its first pixel at `begin` [2]."""
    (top, left), (bottom, right) = tf.unstack(begin), tf.unstack(begin + tf.shape(patch)[:2])
    rows = image[top:bottom]
    rows = tf.concat([rows[:, :left], patch, rows[:, right:]], axis=1)
    return tf.concat([image[:top], rows, image[bottom:]], axis=0)


def _laid_over(image: tf.Tensor, sample: Sample, seed: tf.Tensor) -> Sample:
    """Lay a sample over an image at a random position; cut off what reaches over the image."""
    pixels, boxes, labels = sample
    size, whole = tf.shape(image)[:2], tf.shape(pixels)[:2]
    extent = tf.minimum(size, whole)
    first, begin = _position(whole - extent, seed), _position(size - extent, seed)
    boxes, keep = crop_boxes(boxes, first, extent)
    boxes = tf.boolean_mask(boxes, keep) + tf.tile(tf.cast(begin, tf.float32), [2])
    return _overlaid(image, cut_image(pixels, first, extent), begin), boxes, tf.boolean_mask(labels, keep)


def _covering(sample: Sample, extent: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Cut the largest part of the aspect of `extent` [2] from a sample, at a random position; scale it to `extent`."""
    image, boxes, labels = sample
    size, target = size_of(image), tf.cast(extent, tf.float32)
    part = tf.clip_by_value(tf.round(target * tf.reduce_min(size / target)), 1.0, size)
    begin = _position(tf.cast(size - part, tf.int32), seed)
    pixels = tf.image.resize(cut_image(image, begin, tf.cast(part, tf.int32)), extent)
    scale = target / part
    boxes, keep = crop_boxes(boxes * tf.tile(scale, [2]), tf.cast(begin, tf.float32) * scale, extent)
    return pixels, tf.boolean_mask(boxes, keep), tf.boolean_mask(labels, keep)


def _spans(low: tf.Tensor, high: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Compute how much of each pixel 0..length - 1 lies between `low` and `high`: [N], [N] -> [N, length]."""
    first = tf.range(tf.cast(length, tf.float32))
    return tf.maximum(tf.minimum(high[:, None], first + 1.0) - tf.maximum(low[:, None], first), 0.0)


def _painted(boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Return a mask [H, W] float32: 1 where a pixel lies in a box, to the nearest pixel, else 0."""
    spans = (_spans(boxes[:, i], boxes[:, i + 2], size[i]) for i in (0, 1))
    rows, columns = (tf.cast(span >= 0.5, tf.float32) for span in spans)
    return tf.minimum(tf.matmul(rows, columns, transpose_a=True), 1.0)


def _covered(boxes: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Compute the area of each box [N, 4] that lies in a mask [H, W]: [N]."""
    rows, columns = (_spans(boxes[:, i], boxes[:, i + 2], tf.shape(mask)[i]) for i in (0, 1))
    return tf.reduce_sum(tf.matmul(rows, mask) * columns, axis=1)
