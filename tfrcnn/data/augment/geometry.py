"""Augmentations that move pixels and boxes. Legend: see the package."""

from __future__ import annotations

import math

import tensorflow as tf

from tfrcnn import images
from tfrcnn.boxes import clip
from tfrcnn.config import ImageConfig
from tfrcnn.data.augment.common import Sample, crop_boxes, cut_image, happens, size_of, some_left

# A crop must show this share of at least one object, drawn at random (SSD, Liu et al., arXiv 1512.02325, section 2.2).
_MIN_OBJECT_COVERED = (0.1, 0.3, 0.5, 0.7, 0.9)


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
    return resized, boxes * tf.tile(size_of(resized), [2]) / tf.tile(size_of(image), [2])


def horizontal_flip(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Mirror every second image, at random: x -> W - x.

    Args, Returns: see the package.
    """
    return _flip(image, boxes, labels, seed, axis=1)


def vertical_flip(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Turn every second image upside down, at random: y -> H - y.

    Args, Returns: see the package.
    """
    return _flip(image, boxes, labels, seed, axis=0)


def _flip(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, axis: int) -> Sample:
    def mirrored() -> tuple[tf.Tensor, tf.Tensor]:
        sides, length = tf.unstack(boxes, axis=-1), size_of(image)[axis]
        sides[axis], sides[axis + 2] = length - sides[axis + 2], length - sides[axis]
        return tf.reverse(image, [axis]), tf.stack(sides, axis=-1)

    image, boxes = tf.cond(happens(seed, 0.5), mirrored, lambda: (image, boxes))
    return image, boxes, labels


def quarter_turns(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
    """Turn an image by 0, 90, 180 or 270 degrees, at random. An odd number of quarters swaps H and W.

    Args, Returns: see the package.
    """
    image, boxes = turn(image, boxes, tf.random.stateless_uniform([], seed, 0, 4, tf.int32))
    return image, boxes, labels


def turn(image: tf.Tensor, boxes: tf.Tensor, quarters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn an image counter-clockwise by quarters, exactly. One quarter sends (y, x) to (W - x, y).

    Args:
        image: [H, W, 3].
        boxes: [N, 4].
        quarters: scalar int32 in 0..3.

    Returns:
        image: [H, W, 3] or [W, H, 3], same dtype.
        boxes: [N, 4] in pixels of that image.
    """
    height, width = tf.unstack(size_of(image))
    y1, x1, y2, x2 = tf.unstack(boxes, axis=-1)
    turned = [
        boxes,
        tf.stack([width - x2, y1, width - x1, y2], axis=-1),
        tf.stack([height - y2, width - x2, height - y1, width - x1], axis=-1),
        tf.stack([x1, height - y2, x2, height - y1], axis=-1),
    ]
    return tf.image.rot90(image, quarters), tf.stack(turned)[quarters]


def rotation(
    image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, degrees: float, fill: float
) -> Sample:
    """Rotate an image about its centre by up to `degrees` in either direction; see `warp`.

    Args:
        degrees: largest angle, in [0, 180].
        fill: grey level of pixels that come from outside the image, 0..255.

    Returns:
        See the package; image float32 of the same size.
    """
    limit = math.radians(degrees)
    angle = tf.random.stateless_uniform([], seed, -limit, limit)
    return warp(image, boxes, labels, rotation_matrix(angle), fill)


def rotation_matrix(angle: tf.Tensor) -> tf.Tensor:
    """Return the matrix of a counter-clockwise rotation, for `warp`.

    Args:
        angle: scalar float32 in radians.

    Returns:
        [2, 2] that maps (y, x).
    """
    cos, sin = tf.cos(angle), tf.sin(angle)
    return tf.reshape(tf.stack([cos, -sin, sin, cos]), [2, 2])


def shear(
    image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, degrees: float, fill: float
) -> Sample:
    """Shear an image about its centre along both axes, by up to `degrees` in either direction; see `warp`.

        x' = x + tan(a) y,  y' = y + tan(b) x

    Args:
        degrees: largest angle, in [0, 45).
        fill: grey level of pixels that come from outside the image, 0..255.

    Returns:
        See the package; image float32 of the same size.
    """
    limit = math.radians(degrees)
    along_x, along_y = tf.unstack(tf.tan(tf.random.stateless_uniform([2], seed, -limit, limit)))
    matrix = tf.reshape(tf.stack([1.0, along_y, along_x, 1.0]), [2, 2])
    return warp(image, boxes, labels, matrix, fill)


def warp(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, matrix: tf.Tensor, fill: float) -> Sample:
    """Map an image linearly about its centre: p -> A (p - c) + c, with c = (H, W) / 2. Its size stays.

    Pixels are interpolated bilinearly. A box becomes the box around its mapped corners, clipped to the image, and is
    dropped as in `random_crop`. An image that would lose all boxes is left as it is.

    Args:
        matrix: A, [2, 2], maps (y, x); not singular.
        fill: grey level of pixels that come from outside the image, 0..255.

    Returns:
        See the package; image float32.
    """
    image = tf.cast(image, tf.float32)
    shape = tf.shape(image)[:2]
    middle = size_of(image) / 2
    # The corners of a box lie at its centre +- half its sides, so the mapped corners reach |A| half away.
    center = tf.matmul((boxes[:, :2] + boxes[:, 2:]) / 2 - middle, matrix, transpose_b=True) + middle
    half = tf.matmul((boxes[:, 2:] - boxes[:, :2]) / 2, tf.abs(matrix), transpose_b=True)
    cut_boxes, keep = crop_boxes(tf.concat([center - half, center + half], axis=1), tf.zeros_like(shape), shape)

    def warped() -> tf.Tensor:
        # The operator maps output to input, takes (x, y), and counts from the centre of pixel (0, 0).
        (yy, yx), (xy, xx) = (tf.unstack(row) for row in tf.unstack(tf.linalg.inv(matrix)))
        y, x = tf.unstack(middle - 0.5)
        transform = tf.stack([xx, xy, x - xx * x - xy * y, yx, yy, y - yx * x - yy * y, 0.0, 0.0])
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=image[None],
            transforms=transform[None],
            output_shape=shape,
            fill_value=fill,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )[0]

    image, boxes, labels = tf.cond(
        some_left(keep),
        lambda: (warped(), tf.boolean_mask(cut_boxes, keep), tf.boolean_mask(labels, keep)),
        lambda: (image, boxes, labels),
    )
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
        See the package; boxes are relative to the crop's corner.
    """
    whether, covered, where = tf.unstack(tf.random.split(seed, 3))
    size = size_of(image)
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
    crop = happens(whether, probability) & some_left(keep)
    image, boxes, labels = tf.cond(
        crop,
        lambda: (cut_image(image, begin, extent), tf.boolean_mask(cut_boxes, keep), tf.boolean_mask(labels, keep)),
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
        See the package; image float32, boxes in pixels of the network's frame.
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
        some_left(keep),
        lambda: (cut_image(scaled, begin, extent), tf.boolean_mask(cut_boxes, keep), tf.boolean_mask(labels, keep)),
        lambda: (*resize(image, boxes, config), labels),
    )
    return image, boxes, labels


def _choice(values: tuple[float, ...], seed: tf.Tensor) -> tf.Tensor:
    return tf.gather(values, tf.random.stateless_uniform([], seed, 0, len(values), tf.int32))
