"""Compare the sizes of the box losses, to choose `box_loss_weight`: the mean loss and the mean norm of its gradient.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/box_losses.py

Boxes are random. Regions are the boxes with random shifts and scales, and the predicted deltas are zero. It takes a few
seconds.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from tfrcnn.boxes import encode
from tfrcnn.config import BoxLossConfig
from tfrcnn.models import preset
from tfrcnn.training.losses import BOX_LOSSES, box_loss

COUNT = 10_000
STRENGTH = 0.107  # of shifts and scales; it leaves a mean IoU of 0.70


def regions(boxes: np.ndarray) -> np.ndarray:
    """Shift and scale boxes [N, 4] at random."""
    rng = np.random.default_rng(1)
    sizes, centers = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
    centers = centers + STRENGTH * sizes * rng.normal(size=sizes.shape)
    sizes = sizes * np.exp(STRENGTH * rng.normal(size=sizes.shape))
    return np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1).astype(np.float32)


def mean_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean IoU of pairs of boxes [N, 4]."""
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    overlap = np.maximum(sides, 0).prod(axis=1)
    areas = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1)
    return float((overlap / (areas - overlap)).mean())


def main() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 400, (COUNT, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 200, (COUNT, 2))], axis=1).astype(np.float32)
    detector = preset("resnet50_fpn").detector
    parts = {"head": (detector.head, detector.head.box_weights), "RPN": (detector.rpn, (1.0, 1.0, 1.0, 1.0))}
    rois = regions(boxes)
    print(f"Mean IoU {mean_iou(boxes, rois):.2f}\n\n| part | loss | value | gradient |\n|---|---|---|---|")
    for name, (config, weights) in parts.items():
        targets = encode(tf.constant(boxes), tf.constant(rois), weights)[None]
        for loss in BOX_LOSSES:
            function = box_loss(BoxLossConfig(loss, config.box_loss.beta), weights)
            deltas = tf.zeros_like(targets)
            with tf.GradientTape() as tape:
                tape.watch(deltas)
                values = function(deltas, targets, tf.constant(rois)[None])
            gradient = tf.reduce_mean(tf.norm(tape.gradient(values, deltas), axis=-1))
            print(f"| {name} | {loss} | {tf.reduce_mean(values):.2f} | {gradient:.2f} |")


if __name__ == "__main__":
    main()
