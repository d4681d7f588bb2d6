"""The boxes and labels of a data set to train on, inside tf.data."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of, owners_of


class TargetBoxes:
    """Looks up the boxes [N, 4] and labels [N] to train on at a position of a data set."""

    def __init__(self, dataset: Dataset) -> None:
        boxes, labels, crowd, difficult = (
            column_of(dataset.examples, name) for name in ("boxes", "labels", "crowd", "difficult")
        )
        # The readers drop boxes without an extent. One from elsewhere would make the loss NaN: log(0).
        target = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & ~crowd & ~difficult
        counts = np.bincount(owners_of(dataset.examples)[target], minlength=len(dataset))
        with tf.device("CPU:0"):
            self._boxes = tf.constant(boxes[target], tf.float32)
            self._labels = tf.constant(labels[target], tf.int32)
            self._splits = tf.constant(np.concatenate([[0], np.cumsum(counts)]), tf.int32)

    def __call__(self, index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        start, end = self._splits[index], self._splits[index + 1]
        return self._boxes[start:end], self._labels[start:end]
