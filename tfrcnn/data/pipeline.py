"""From a data set in memory to batches for the network: read, decode, augment, resize, pad, batch, prefetch.

Legend: B batch, n images of the data set, N boxes of an image, M padded boxes, (H, W) the original upright image,
(h, w) resized, (N_h, N_w) the padded network input.

Every random number is a function of (seed, name of the stream, step, position in the batch), never of timing or of
what ran before: a run resumed at step s gets the batch s of an uninterrupted run. Python runs per image only to decode
it: Pillow does so outside Python's lock, on all cores.

An image that cannot be read fails the batch that holds it, with a message that names the file and its position in the
data set. `image_errors` makes an `InputError` of TensorFlow's error.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrcnn.config import ImageConfig, TrainingConfig
from tfrcnn.data.augment import augmentations
from tfrcnn.data.augment.common import Augmentation, Sample
from tfrcnn.data.augment.custom import custom_step
from tfrcnn.data.augment.geometry import resize
from tfrcnn.data.calls import counted
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of
from tfrcnn.data.feeders import check_feeders, check_without_python, fed
from tfrcnn.data.graph_pixels import GraphPixels
from tfrcnn.data.image_source import CachedPixels, Pixels, repeatable
from tfrcnn.data.sampler import epoch_batches, repeat_factors, steps_per_epoch
from tfrcnn.data.target_boxes import TargetBoxes
from tfrcnn.errors import InputError
from tfrcnn.images import pad, padded_size
from tfrcnn.seeds import stream_seed

# Batches prepared ahead of the training step: enough to absorb uneven decoding times, few enough to bound memory (a
# batch of four at 800 x 1344 is 52 MB), which AUTOTUNE would not.
_PREFETCH = 2


def training_data(
    dataset: Dataset,
    image: ImageConfig,
    training: TrainingConfig,
    cache: bool = False,
    augment: Augmentation | None = None,
    feeders: Sequence[str] = (),
) -> TrainingData:
    """Make the training batches of a data set, shuffled, augmented and padded.

    Args:
        dataset: what to train on; crowd and difficult boxes are left out, images without boxes are kept.
        image: the network's frame.
        training: batch size, seed and augmentation.
        cache: decode every image now and keep it in memory: 3 H W bytes each, 0.9 MB at 640 x 480, twice as much
            while reading. Each epoch is still augmented differently.
        augment: an augmentation of your own, the first one: a TensorFlow function that takes (image [H, W, 3] uint8,
            boxes [N, 4] float32 yxyx pixels, labels [N] int32, seed [2] int32) and returns (image, boxes, labels). All
            its draws must come from `seed`, for example by `tf.random.stateless_uniform`, so that a run repeats and
            resumes exactly. Boxes are clipped, and an image that would lose all boxes is left as it is. See
            `tfrcnn.from_albumentations` for transforms of Albumentations.
        feeders: "HOST:PORT" of each `tfrcnn feed` that makes batches instead of this process. The batches are the same,
            and end after `training.epochs`. JPEG, PNG, BMP and GIF images, and augmentations of TensorFlow ops alone.

    Returns:
        A `TrainingData`: `steps_per_epoch`, and `batches(start_step)` as a `tf.data.Dataset`.

    Raises:
        InputError: the data set is empty; with `cache`, an image cannot be read; `augment` takes or returns something
            else; a feeder does not answer, or cannot decode an image.
        tf.errors.OpError: without `cache`, an image cannot be read: the batch that holds it raises this. See
            `image_errors`.

    Example:
        data = tfrcnn.training_data(dataset, detector.config.image, preset.training)
        model.fit(data.batches(), steps_per_epoch=data.steps_per_epoch, epochs=12)
    """
    if not dataset.examples:
        raise InputError(f"{dataset.source}: expected at least one image, found none")
    return TrainingData(dataset, image, training, cache, augment, check_feeders(feeders, cache))


class Share(NamedTuple):
    """The part of each batch that one of several machines makes.

    Attributes:
        worker: which machine, from 0.
        workers: how many machines; each makes as many rows, those of machine 0 first.
        replicas: the devices of all machines; a machine's rows come as one batch per device.
    """

    worker: int = 0
    workers: int = 1
    replicas: int = 1


class TrainingData:
    """An endless sequence of batches that can start at any step; `training_data` makes it.

    Attributes:
        steps_per_epoch: whole batches per epoch, n // B; 1 if there are fewer images than B. Images that are repeated
            (`TrainingConfig.repeat_factor_threshold`) count as often as they come.
    """

    def __init__(
        self,
        dataset: Dataset,
        image: ImageConfig,
        training: TrainingConfig,
        cache: bool,
        augment: Augmentation | None,
        feeders: Sequence[str],
    ) -> None:
        self._repeats = repeat_factors(dataset, training.repeat_factor_threshold)
        self.steps_per_epoch = steps_per_epoch(self._repeats.sum(), training.batch_size)
        self._examples = dataset.examples
        self._heights, self._widths = (column_of(dataset.examples, name) for name in ("height", "width"))
        self._image = image
        self._training = training
        self._feeders = feeders
        self._pixels = GraphPixels(dataset) if feeders else CachedPixels(dataset) if cache else Pixels(dataset)
        self._targets = TargetBoxes(dataset)
        custom = augment and custom_step(augment, len(dataset.categories))
        self._augmentations = augmentations(training, image, self._sample, len(dataset), custom)
        if feeders:
            step = tf.zeros([training.batch_size], tf.int32), tf.zeros([], tf.int64)
            check_without_python(self._batches(tf.data.Dataset.from_tensors(step), Share()))

    def batches(self, start_step: int = 0, share: Share | None = None) -> tf.data.Dataset:
        """Return the batches of steps start_step, start_step + 1, ... without end (with feeders, to the last epoch).

        No image of an earlier step is read.

        Args:
            start_step: at least 0.
            share: the part of each batch to make; None makes all.

        Returns:
            Batches of the same element_spec for all data:
                images: [B, N_h, N_w, 3] float32 RGB 0..255, resized, zero-padded at the bottom and right.
                image_sizes: [B, 2] float32 (h, w), what of it is not padding.
                boxes: [B, M, 4] float32 yxyx in pixels of the network's frame, zero-padded; M at least 1.
                labels: [B, M] int32 in 0..C-1, padded with -1.
                image_index: [B] int32, position in dataset.examples.
            (N_h, N_w) is static if `ImageConfig.static_size` is set, else the largest image of the batch decides.
        """
        share = share or Share()
        if self._feeders:
            per_step = share.replicas // share.workers
            order = self._order_from(start_step)
            batches = fed(self._feeders, order, start_step, lambda steps: self._batches(steps, share), per_step)
        else:
            epoch, skipped = divmod(start_step, self.steps_per_epoch)
            epochs = tf.data.Dataset.counter(epoch).flat_map(self._epoch).skip(skipped)
            batches = self._batches(tf.data.Dataset.zip(epochs, tf.data.Dataset.counter(start_step)), share)
            batches = batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
        return batches.prefetch(_PREFETCH).with_options(repeatable())

    def _batches(self, steps: tf.data.Dataset, share: Share) -> tf.data.Dataset:
        """Make the batches of steps (images [B] int32, number int64)."""
        rows = self._training.batch_size // share.workers
        part = slice(share.worker * rows, (share.worker + 1) * rows)
        examples = steps.map(lambda *step: _rows(self._seeded(*step), part)).unbatch()
        examples = examples.map(self._example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        padding = {"images": 0.0, "image_sizes": 0.0, "boxes": 0.0, "labels": -1, "image_index": 0}
        size = self._training.batch_size // share.replicas
        return examples.padded_batch(size, padding_values=padding, drop_remainder=True).with_options(repeatable())

    def files_of_step(self, step: int) -> list[Path]:
        """Return the B image files of one step, in batch order: the images to look at if its loss is NaN.

        Images that mosaic, mixup and copy_paste mix in are not listed.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        return [self._examples[index].path for index in self._epoch_batches(epoch)[position]]

    @property
    def augmentation_names(self) -> tuple[str, ...]:
        """The augmentations that are on, in their order."""
        return tuple(self._augmentations)

    def _epoch_batches(self, epoch: int | np.ndarray) -> np.ndarray:
        training = self._training
        # a static size pads every image to the same frame: grouping would save nothing
        group_by_aspect = self._image.static_size is None
        seed = stream_seed(training.seed, "epoch_order")
        sides = self._widths, self._heights
        return epoch_batches(*sides, training.batch_size, seed, int(epoch), group_by_aspect, self._repeats)

    def _order_from(self, start_step: int) -> np.ndarray:
        """Return the [S, B] image indices of the steps from one on to the end of the last epoch."""
        epoch, skipped = divmod(start_step, self.steps_per_epoch)
        orders = [self._epoch_batches(each) for each in range(epoch, self._training.epochs)]
        empty = np.empty([0, self._training.batch_size], np.int32)
        return np.concatenate([*orders, empty])[skipped:].astype(np.int32)

    def _epoch(self, epoch: tf.Tensor) -> tf.data.Dataset:
        """Return the [B] image indices of each step of an epoch; Python runs once per epoch."""
        indices = tf.numpy_function(counted(self._epoch_batches), [epoch], tf.int32)
        indices = tf.ensure_shape(indices, [self.steps_per_epoch, self._training.batch_size])
        return tf.data.Dataset.from_tensor_slices(indices)

    def _seeded(self, indices: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Return indices [B] with the seeds [B, 2] of their images in this step, by augmentation."""
        shape = [self._training.batch_size, 2]
        seeds = {
            name: tf.random.stateless_uniform(
                shape, [stream_seed(self._training.seed, name), step], None, None, tf.int32
            )
            for name in self._augmentations
        }
        return indices, seeds

    def _sample(self, index: tf.Tensor) -> Sample:
        """Read the image and targets at a position of the data set."""
        return (self._pixels(index), *self._targets(index))

    # no Python branch here is over a tensor, so nothing has to be converted
    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def _example(self, index: tf.Tensor, seeds: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        sample = self._sample(index)
        for name, augment in self._augmentations.items():
            sample = augment(*sample, seeds[name])
        image, boxes, labels = sample
        missing = tf.maximum(1 - tf.shape(labels)[0], 0)  # a row of padding if there is no box, so that M >= 1
        return {
            **_framed(image, self._image),
            "boxes": tf.pad(boxes, [[0, missing], [0, 0]]),
            "labels": tf.pad(labels, [[0, missing]], constant_values=-1),
            "image_index": index,
        }


def inference_data(dataset: Dataset, image: ImageConfig, batch_size: int = 1) -> tf.data.Dataset:
    """Make batches of the images of a data set, once each, in order; the last batch may be smaller.

    Args:
        dataset: whose images to read.
        image: the network's frame.
        batch_size: B.

    Returns:
        Batches of
            images: [B, N_h, N_w, 3] float32 RGB 0..255, resized, zero-padded at the bottom and right.
            image_sizes: [B, 2] float32 (h, w), what of it is not padding.
            original_sizes: [B, 2] float32 (H, W).
            image_index: [B] int32, position in dataset.examples.

    Raises:
        InputError: the data set is empty.

    Example:
        for batch in tfrcnn.inference_data(dataset, detector.config.image, batch_size=4):
            detections = detector.network([batch["images"], batch["image_sizes"]])
    """
    if not dataset.examples:
        raise InputError(f"{dataset.source}: expected at least one image, found none")
    pixels = Pixels(dataset)

    def example(index: tf.Tensor) -> dict[str, tf.Tensor]:
        original = pixels(index)
        resized, _ = resize(original, tf.zeros([0, 4]), image)
        return {
            **_framed(resized, image),
            "original_sizes": tf.cast(tf.shape(original)[:2], tf.float32),
            "image_index": index,
        }

    examples = tf.data.Dataset.range(len(dataset), output_type=tf.int32)
    examples = examples.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return examples.padded_batch(batch_size).prefetch(_PREFETCH).with_options(repeatable())


def _rows(values: Any, rows: slice) -> Any:
    """Return these rows of nested tensors."""
    return tf.nest.map_structure(lambda value: value[rows], values)


def _framed(image: tf.Tensor, config: ImageConfig) -> dict[str, tf.Tensor]:
    """Pad a resized image to the frame that holds it; batching pads further, to the largest of the batch."""
    size = tf.shape(image)[:2]
    padded = tf.ensure_shape(pad(image, padded_size(size, config)), [*(config.static_size or (None, None)), 3])
    return {"images": padded, "image_sizes": tf.cast(size, tf.float32)}
