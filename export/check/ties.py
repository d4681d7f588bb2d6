"""Ties: detections that round-off decides, because two candidates have equal scores.

A network sees nothing beyond the border of an image. Its features are zero there, and the logits of many anchors are
equal to the bit. The order of a runtime's additions decides which of them are the last proposals, and so may change the
detections. Noise in the image does not reach these anchors and shows no ties. Noise as small as round-off in the
outputs of the RPN and the head does.

If a head is certain, scores are 1 or the next number below, depending on how a runtime's softmax rounds. Noise in the
logits does not change that; noise in the scores' last bits does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ...data.example import ImageDetections
from ...models import FasterRCNN

ROUND_OFF = 1e-5  # of the largest value: a few times the differences of logits and deltas measured between formats
LAST_BITS = 2.0**-23  # of a score: the largest difference between two softmaxes
TRIES = 32  # each of ten equal candidates for one place wins in one of these with a probability of 97 %


def replays(detector: FasterRCNN, picture: np.ndarray, tries: int = TRIES) -> Iterator[ImageDetections]:
    """Detect in a picture [H, W, 3] with noise of round-off in the outputs of the RPN and the head and in the scores.

    Each result has another noise; every call repeats the same ones.
    """
    image = tf.cast(picture, tf.float32)[None]
    prepared = detector.get_layer("preprocessor")(image)
    sizes = prepared["image_sizes"]
    stages = detector.stages
    features = stages.features(prepared["images"], sizes, training=False)
    rpn = stages.rpn(features.rpn, prepared["images"])
    for seed in range(tries):
        noise = tf.random.Generator.from_seed(seed)
        logits, deltas = ([_with_noise(level, noise) for level in levels] for levels in (rpn.logits, rpn.deltas))
        proposals = stages.propose(rpn._replace(logits=logits, deltas=deltas), sizes)
        scores = []
        for stage in range(len(stages.heads)):
            outputs = stages.classify(stages.pool(features.head, proposals["boxes"]), False, stage)
            class_logits, box_deltas = (_with_noise(values, noise) for values in outputs)
            scores.append(_with_last_bits(stages.decoder.scores_of(class_logits)[..., :-1], noise))
            if stage + 1 < len(stages.heads):
                proposals = {**proposals, "boxes": stages.refine(box_deltas, proposals["boxes"], sizes, stage)}
        detections = stages.decode(scores, box_deltas, proposals, sizes, from_logits=False)
        detections = detector.rescaler(detections, sizes, prepared["original_sizes"])
        count = int(detections["num_detections"][0])
        boxes, scores, labels = (detections[name][0, :count].numpy() for name in ("boxes", "scores", "labels"))
        yield ImageDetections("", boxes, scores, labels)


def _with_last_bits(scores: tf.Tensor, noise: tf.random.Generator) -> tf.Tensor:
    """Change the last bits of scores [B, P, C], and pad them with the background's, which decides nothing."""
    scores = tf.minimum(scores * (1.0 + noise.uniform(tf.shape(scores), -LAST_BITS, LAST_BITS)), 1.0)
    return tf.pad(scores, [[0, 0], [0, 0], [0, 1]])


def _with_noise(values: tf.Tensor, noise: tf.random.Generator) -> tf.Tensor:
    limit = ROUND_OFF * tf.reduce_max(tf.abs(values))
    return values + noise.uniform(tf.shape(values), -1.0, 1.0) * limit
