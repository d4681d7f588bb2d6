"""Detections that round-off decides: which of two candidates of equal score is the last to be kept, or suppresses the
other.

Where a network sees nothing, as beyond the border of an image, its features are zero and the logits of many anchors are
equal to the bit. Which of them are the last of the proposals depends on the order of a runtime's additions, and so may
the detections. No noise in the image shows such ties, since it does not come through to there; noise in the RPN's and
the head's outputs, as small as round-off, does. Where a head is sure, scores are 1 or the next number below, whichever
a runtime's softmax rounds to; no noise in the logits changes that, and noise in the scores' last bits does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from ...data.example import ImageDetections
from ...models import FasterRCNN

ROUND_OFF = 1e-5  # of the largest value: a few times what formats' logits and deltas were seen to differ by
LAST_BITS = 2.0**-23  # of a score: as far as softmaxes round apart
TRIES = 32  # among ten equal candidates for one place, each gets it in one of these but for a chance of 3 %


def replays(detector: FasterRCNN, picture: np.ndarray, tries: int = TRIES) -> Iterator[ImageDetections]:
    """Detections in a picture [H, W, 3], with the outputs of RPN and head and the scores off by round-off, each time
    another; the same ones in every call."""
    image = tf.cast(picture, tf.float32)[None]
    prepared = detector.get_layer("preprocessor")(image)
    sizes = prepared["image_sizes"]
    features = detector.extract_features(prepared["images"], sizes, training=False)
    logits, deltas = detector.rpn_head(detector.extract_rpn_features(prepared["images"], sizes, training=False))
    anchors = detector.anchor_generator(features, prepared["images"])
    for seed in range(tries):
        noise = tf.random.Generator.from_seed(seed)
        proposals = detector.proposal_layer(
            [_off(level, noise) for level in logits], [_off(level, noise) for level in deltas], anchors, sizes
        )
        pooled = detector.roi_pooling(features[: len(detector.roi_pooling.strides)], proposals["boxes"])
        class_logits, box_deltas = (_off(values, noise) for values in detector.box_head(pooled, training=False))
        scores = tf.nn.softmax(class_logits)[..., :-1]
        scores = tf.minimum(scores * (1.0 + noise.uniform(tf.shape(scores), -LAST_BITS, LAST_BITS)), 1.0)
        found = detector.decoder.from_scores(scores, box_deltas, proposals["boxes"], proposals["valid"], sizes)
        found = detector.rescaler(found, sizes, prepared["original_sizes"])
        count = int(found["num_detections"][0])
        boxes, scores, labels = (found[name][0, :count].numpy() for name in ("boxes", "scores", "labels"))
        yield ImageDetections("", boxes, scores, labels)


def _off(values: tf.Tensor, noise: tf.random.Generator) -> tf.Tensor:
    limit = ROUND_OFF * tf.reduce_max(tf.abs(values))
    return values + noise.uniform(tf.shape(values), -1.0, 1.0) * limit
