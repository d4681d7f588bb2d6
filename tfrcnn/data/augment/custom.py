"""A user's own augmentation: a TensorFlow function, or Albumentations through an adapter. Legend: see the package."""

from __future__ import annotations

import copy
import inspect
import threading
import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from tfrcnn.boxes import clip
from tfrcnn.data.augment.common import MIN_SIDE, MIN_VISIBLE, Augmentation, Sample, size_of
from tfrcnn.data.calls import counted
from tfrcnn.errors import InputError

_ARGUMENTS = (
    tf.TensorSpec([None, None, 3], tf.uint8),
    tf.TensorSpec([None, 4], tf.float32),
    tf.TensorSpec([None], tf.int32),
    tf.TensorSpec([2], tf.int32),
)


def custom_step(function: Augmentation, num_classes: int) -> Augmentation:
    """Make a step of a user's function: check its results, and clip its boxes to the image.

    Boxes without an extent are dropped. An image that would lose all boxes is left as it is.

    Args:
        function: takes (image, boxes, labels, seed) and returns (image, boxes, labels), see the package. AutoGraph
            converts its Python branches and loops over tensors.
        num_classes: labels are 0 .. num_classes - 1.

    Raises:
        InputError: the function takes or returns something else.
        tf.errors.InvalidArgumentError: while batches are made, if the values are wrong. See `image_errors`.
    """
    try:
        inspect.signature(function).bind(*_ARGUMENTS)
    except TypeError as error:
        raise InputError(f"augment must take (image, boxes, labels, seed): {error}") from error
    traced = tf.function(function, input_signature=_ARGUMENTS)
    _check_result(traced.get_concrete_function().structured_outputs)

    def augment(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
        result, new_boxes, new_labels = traced(image, boxes, labels, seed)
        new_boxes, new_labels = tf.cast(new_boxes, tf.float32), tf.cast(new_labels, tf.int32)
        counts = tf.shape(new_boxes)[0], tf.shape(new_labels)[0]
        message = f"{InputError.__name__}: augment must return "
        with tf.control_dependencies(
            [
                tf.debugging.assert_equal(*counts, message + "one label for each box"),
                tf.debugging.assert_non_negative(new_labels, message + "labels of at least 0"),
                tf.debugging.assert_less(new_labels, num_classes, message + f"labels below {num_classes}"),
            ]
        ):
            cut = clip(new_boxes, size_of(result))
        keep = tf.reduce_all(cut[:, 2:] > cut[:, :2], axis=1)
        lost = ~tf.reduce_any(keep) & (tf.size(labels) > 0)
        image, boxes, labels = tf.cond(
            lost,
            lambda: (tf.cast(image, result.dtype), boxes, labels),
            lambda: (result, tf.boolean_mask(cut, keep), tf.boolean_mask(new_labels, keep)),
        )
        return image, boxes, labels

    return augment


def _check_result(result: Any) -> None:
    """Check the types and shapes that a user's function returns, as far as they are known before it runs."""
    if not isinstance(result, tuple | list) or len(result) != 3 or not all(map(tf.is_tensor, result)):
        raise InputError(f"augment must return three tensors (image, boxes, labels), found {result!r}")
    kinds: tuple[tuple[str, list[int | None], tuple[str, ...]], ...] = (
        ("image", [None, None, 3], ("uint8", "float32")),
        ("boxes", [None, 4], ("float32", "float64", "int32", "int64")),
        ("labels", [None], ("int32", "int64")),
    )
    for value, (name, shape, dtypes) in zip(result, kinds):
        if value.dtype.name not in dtypes or not value.shape.is_compatible_with(shape):
            sizes = ", ".join("any" if size is None else str(size) for size in shape)
            expected = f"{' or '.join(dtypes)} of shape [{sizes}]"
            raise InputError(f"augment must return {name} as {expected}, found {value.dtype.name} of {value.shape}")


def from_albumentations(transforms: Any) -> Augmentation:
    """Adapt transforms of Albumentations for `augment=` of `tfrcnn.train`, `tfrcnn.Recipe.run` and `training_data`.

    Each image has a seed of its own, so a run repeats and resumes exactly. Boxes are clipped to the image. A box is
    dropped if less than 0.3 of its area is visible or a side is shorter than a pixel. An image that would lose all
    boxes is left as it is.

    Args:
        transforms: a transform, a list of transforms, or an `albumentations.Compose` without bbox_params. They return
            uint8 RGB: leave Normalize, ToFloat and ToTensorV2 out.

    Returns:
        A function of (image, boxes, labels, seed). It runs in Python, in the threads of tf.data.

    Raises:
        InputError: the Compose has bbox_params.

    Example:
        import albumentations

        weather = tfrcnn.from_albumentations([albumentations.RandomRain(), albumentations.RandomFog()])
        data = tfrcnn.training_data(dataset, preset.detector.image, preset.training, augment=weather)
    """
    import albumentations

    if isinstance(transforms, albumentations.Compose) and transforms.processors.get("bboxes"):
        raise InputError("from_albumentations: leave bbox_params out of the Compose; tfrcnn sets them")
    box_parameters = albumentations.BboxParams(
        format="pascal_voc",  # x1, y1, x2, y2 in pixels
        label_fields=["labels"],
        min_visibility=MIN_VISIBLE,
        min_width=MIN_SIDE,
        min_height=MIN_SIDE,
        clip=True,
    )
    transforms = transforms if isinstance(transforms, list | tuple) else [transforms]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Got processor for bboxes")  # transforms of pixels alone
        compose = albumentations.Compose(transforms, bbox_params=box_parameters)
    copies = threading.local()  # a Compose keeps state while it runs

    def apply(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, seed: np.ndarray) -> tuple[np.ndarray, ...]:
        if not hasattr(copies, "compose"):
            copies.compose = copy.deepcopy(compose)
        copies.compose.set_random_seed(int(seed.view(np.uint32)[0]))
        result = copies.compose(image=image.copy(), bboxes=boxes[:, [1, 0, 3, 2]], labels=labels)
        pixels = np.asarray(result["image"])
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise InputError(
                f"from_albumentations: expected uint8 of shape [any, any, 3], found {pixels.dtype} of "
                f"{list(pixels.shape)}: leave Normalize, ToFloat and ToTensorV2 out"
            )
        moved = np.asarray(result["bboxes"], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
        return np.ascontiguousarray(pixels), moved, np.asarray(result["labels"], np.int32)

    def albumentations_step(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
        # "stateless": the same for the same seed, so that repeatable pipelines still run it in parallel
        types = (tf.uint8, tf.float32, tf.int32)
        pixels, moved, kept = tf.numpy_function(counted(apply), [image, boxes, labels, seed], types, stateful=False)
        return (
            tf.ensure_shape(pixels, [None, None, 3]),
            tf.ensure_shape(moved, [None, 4]),
            tf.ensure_shape(kept, [None]),
        )

    return albumentations_step
