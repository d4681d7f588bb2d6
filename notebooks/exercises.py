"""Check the answers to the exercises of the course.

    from exercises import check

    check("3a", 22500)

Numbers are computed from the library when they are needed, functions are compared on random inputs, and letters are
stored as hashes. So this file does not show the answers. The folder `solutions` does.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfrcnn
from tfrcnn import boxes as box_ops
from tfrcnn.evaluation.voc import average_precision
from tfrcnn.images import resized_size
from tfrcnn.layers import RPNHead
from tfrcnn.models.backbones import build_backbone
from tfrcnn.training.losses import smooth_l1
from tfrcnn.training.schemes import SCHEMES

NO_ANSWER = "no answer yet / 아직 답이 없습니다"
RIGHT = "right / 맞았습니다"
WRONG = "not yet / 다시 생각해 보세요"

# exercise -> (whether an answer is right, hint)
EXERCISES: dict[str, tuple[Callable[[Any], bool], str]] = {}


def check(exercise: str, answer: Any) -> None:
    """Print whether an answer is right, and a hint if it is not.

    Args:
        exercise: number of the notebook and a letter, for example "3a".
        answer: a number, a tuple, a letter, a configuration or a function, as the exercise says. None is no answer.

    Example:
        check("3a", 22500)
    """
    if answer is None:
        print(f"{exercise}: {NO_ANSWER}")
    elif is_right(exercise, answer):
        print(f"{exercise}: {RIGHT}")
    else:
        print(f"{exercise}: {WRONG}. Hint: {EXERCISES[exercise][1]}")


def is_right(exercise: str, answer: Any) -> bool:
    """Return whether an answer is right. An answer of another type is wrong."""
    if exercise not in EXERCISES:
        raise KeyError(f"no exercise {exercise!r}; the exercises are {', '.join(sorted(EXERCISES))}")
    try:
        return bool(EXERCISES[exercise][0](answer))
    except (TypeError, ValueError, AttributeError, IndexError, tf.errors.OpError):
        return False


def number(exercise: str, reference: Callable[[], Any], hint: str, tolerance: float = 0.0) -> None:
    """Add an exercise whose answer is a number or a tuple of numbers, up to a relative tolerance."""
    once = functools.cache(reference)
    EXERCISES[exercise] = (lambda answer: _close(answer, once(), tolerance), hint)


def letter(exercise: str, digest: str, hint: str) -> None:
    """Add an exercise whose answer is one of several letters."""
    EXERCISES[exercise] = (lambda answer: hashed(exercise, answer) == digest, hint)


def function(exercise: str, reference: Callable[..., Any], inputs: Callable[[Any], tuple[Any, ...]], hint: str) -> None:
    """Add an exercise whose answer is a function. It is compared with a reference on five random inputs.

    The answer gets copies: it may change its inputs.
    """

    def is_equal(answer: Any) -> bool:
        cases = [inputs(np.random.default_rng(seed)) for seed in range(5)]
        return all(_close(answer(*copy.deepcopy(case)), reference(*case), 1e-4) for case in cases)

    EXERCISES[exercise] = (is_equal, hint)


def hashed(exercise: str, answer: Any) -> str:
    """Return the hash of a letter, which differs from exercise to exercise. "a", "A" and "(A)" are the same letter."""
    return hashlib.sha256(f"{exercise}:{str(answer).strip().strip(' ().').upper()}".encode()).hexdigest()[:12]


def _close(answer: Any, reference: Any, tolerance: float) -> bool:
    answer, reference = np.asarray(answer, np.float64), np.asarray(reference, np.float64)
    return answer.shape == reference.shape and np.allclose(answer, reference, rtol=max(tolerance, 1e-9), atol=1e-6)


def _some_boxes(random: Any, count: int | None = None) -> np.ndarray:
    """Return random boxes: [count, 4], or [4] if count is None."""
    corners = np.sort(random.uniform(0, 100, (count or 1, 2, 2)), axis=1)
    corners[:, 1] += 5  # no side is 0
    return np.float32(corners.reshape(-1, 4) if count else corners.reshape(4))


# 0. What is improved
number(
    "0a", lambda: 2000 * 224**2 / (600 * 1000), "count the pixels of all inputs; a whole number is near enough", 0.02
)


def _fully_connected_of_vgg16(regions: int = 300, classes: int = 21) -> float:
    head = tfrcnn.preset("vgg16").detector.head
    sides = (head.pool_size**2 * 512, *head.units, 5 * classes)  # scores and boxes at once
    return regions * sum(a * b for a, b in itertools.pairwise(sides)) / 1e9


number("0b", _fully_connected_of_vgg16, "the model returns three counts; divide the second by 1e9", 0.01)
letter("0c", "cb09e1dd05ef", "which of the two marks of Fast R-CNN is the higher one?")

# 1. Pyramids
number("1a", lambda: sum(0.5**k for k in range(3)), "halving the area halves the cost", 0.01)


def _has_twelve_anchors(config: tfrcnn.AnchorConfig) -> bool:
    nine = tfrcnn.preset("zf").detector.anchors
    return config == nine.replace(sizes=((64.0, *nine.sizes[0]),))


EXERCISES["1b"] = _has_twelve_anchors, "change `sizes` alone; it has one tuple per feature map"
letter("1c", "141876c565af", "how many cells has a window of 128, 256 and 512 pixels?")

# 2. One image through the network
number(
    "2a",
    lambda: resized_size(tf.constant([300, 900]), tfrcnn.preset("vgg16").detector.image),
    "compute both quotients of k, take the smaller one, and round down",
)


def _pooled_by_vgg16() -> tuple[int, ...]:
    config = tfrcnn.preset("vgg16").detector
    channels = tf.nest.flatten(build_backbone(config.backbone).model.output)[0].shape[-1]
    return 1, config.test_proposals.post_nms_top_n, config.head.pool_size, config.head.pool_size, channels


number("2b", _pooled_by_vgg16, "the batch, the proposals, the bins twice, and the channels of the last shared map")
letter("2c", "be49c8499ace", "compare the side of these anchors with the digits in the picture")

# 3. Anchors
number(
    "3a",
    lambda: (800 // 16) ** 2 * tfrcnn.preset("vgg16").detector.anchors.per_cell,
    "first the cells of the map, then the anchors of a cell",
)


def _encode_as_in_the_paper(box: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """Return the deltas in the paper's order: x, y, w, h."""
    return box_ops.encode(box, anchor).numpy()[[1, 0, 3, 2]]


function("3b", _encode_as_in_the_paper, lambda r: (_some_boxes(r), _some_boxes(r)), "the order is t_x, t_y, t_w, t_h")
letter("3c", "095584429585", "what would the curve look like if you moved every k-means anchor by one stride?")


# 4. The RPN
def _weights_of_the_rpn() -> int:
    config = tfrcnn.preset("zf").detector
    head = RPNHead(config.rpn, anchors_per_cell=config.anchors.per_cell)
    head.build([(None, None, None, 256)])
    return int(head.count_params())


number("4a", _weights_of_the_rpn, "three convolutions, each with its biases")


def _nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> np.ndarray:
    return tf.image.non_max_suppression(boxes, scores, len(boxes), threshold).numpy()


function(
    "4b",
    _nms,
    lambda r: (_some_boxes(r, 40), np.float32(r.permutation(40)), 0.3),
    "keep the best box, drop those with an IoU above the threshold, and go on; return positions, the best one first",
)
letter("4c", "54e17006040b", "do more proposals help at this IoU?")

# 5. The loss of the RPN
number(
    "5a",
    lambda: keras.losses.binary_crossentropy(np.repeat([1.0, 0.0], 128), np.full(256, 0.01)).numpy(),
    "the mean of -log p over the positives and of -log(1 - p) over the negatives",
    0.005,
)
function("5b", lambda x: smooth_l1(x, 1.0).numpy(), lambda r: (np.float32(r.normal(0, 2, 50)),), "two cases: |x| < 1")
letter("5c", "15f39e10317f", "read the second column of numbers in 5.1: which kind do these anchors become?")

# 6. Sharing features
number(
    "6a",
    lambda: sum(18 * phase.share for phase in SCHEMES["alternating"] if "head" in phase.losses and not phase.fixed),
    "which steps train the backbone that the detector keeps, and with which share of the budget?",
)


def _trained_with_a_frozen_stage() -> int:
    preset = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(1, "digit"),))
    backbone = tfrcnn.BackboneConfig("tiny", taps=("stage2_out",))
    anchors = tfrcnn.AnchorConfig(sizes=((16.0, 28.0, 48.0),))
    config = preset.detector.replace(preset="custom", backbone=backbone, fpn=None, anchors=anchors)
    detector = tfrcnn.build_detector(config)
    tfrcnn.freeze(detector, preset.training.replace(frozen_stages=1))
    return sum(int(np.prod(weight.shape)) for weight in detector.backbone.trainable_weights)


number("6b", _trained_with_a_frozen_stage, "run the cells of 6.2 again, with the changed line before `tfrcnn.freeze`")
letter("6c", "d6dc41e18f00", "6.2 says from which weights step 3 starts, and what it trains")

# 7. The detector head
number("7a", lambda: 32 * 0.5, "half a cell, in pixels")


def _curve(random: Any) -> tuple[np.ndarray, np.ndarray]:
    right = random.uniform(size=30) < 0.6
    return np.cumsum(right) / 20, np.cumsum(right) / np.arange(1, 31)


function(
    "7b",
    lambda recall, precision: average_precision(recall, precision, "voc07"),
    _curve,
    "at each of the eleven recalls, the highest precision at this recall or a higher one, or 0",
)
letter("7c", "88596074ac59", "read the labels of the two boxes")

# 8. Fine-tune
number("8a", lambda: len({"seven", "cat", "nine"} & {"seven", "eight", "nine"}), "which names does the start know?")
function(
    "8b",
    lambda bbox: np.array([bbox[1], bbox[0], bbox[1] + bbox[3], bbox[0] + bbox[2]]),
    lambda r: (r.integers(1, 100, 4).tolist(),),
    "a COCO box is x, y, width, height",
)
letter("8c", "6acbd326a43e", "read the validation scores of 8.5, and what 8.5 says about the folder")

# 9. Export and deploy
number(
    "9a",
    lambda: resized_size(tf.constant([192, 160]), tfrcnn.ImageConfig(static_size=(128, 128)))[1],
    "the longer side decides the scale; round down",
)
function(
    "9b",
    lambda boxes, height, width: boxes * [height, width, height, width],
    lambda r: (r.uniform(size=(3, 4)), 480, 640),
    "y is relative to the height, and x to the width",
)
letter("9c", "0588b4270813", "(0.1 + 0.2) + 0.3 == 0.1 + (0.2 + 0.3) in Python?")

# 10. Implementation details
number("10a", lambda: 1 / (1 - tfrcnn.preset("vgg16").training.momentum), "1 + 0.9 + 0.81 + ...", 0.01)
function(
    "10b",
    lambda steps: np.where(steps < 60_000, 1e-3, 1e-4),
    lambda r: (np.array([0, 59_999, 60_000, *r.integers(0, 80_000, 5)]),),
    "10.5 quotes the schedule",
)
letter("10c", "046ec56b34bc", "what does NMS remove at 0.3 that it keeps at 0.7?")
