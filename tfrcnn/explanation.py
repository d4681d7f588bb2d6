"""Explain one detection: the pixels that moved its class score, and the proposal that it came from.

The class logit of a proposal is z = head(RoIAlign(A)), for the feature maps A [rows, columns, K] that boxes are pooled
from. Both methods weigh the channels of A:

    Grad-CAM   heat = relu(sum_k w_k A_k),  w_k = mean of dz / dA_k over the cells R    (arXiv 1610.02391, equation 2)
    Eigen-CAM  heat = relu(A v),            v = first right singular vector of A at R   (arXiv 2008.00299)

R are the cells with a gradient: those that RoIAlign samples for the proposal, at the level of its size. The heat is 0
outside R, because a cell there cannot change z. Eigen-CAM needs R from the gradient and nothing else.

Legend: N detections, P proposals, K channels, H, W pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args

import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

from tfrcnn import boxes as box_ops
from tfrcnn.config import DetectionConfig
from tfrcnn.data.inputs import read_input
from tfrcnn.drawing import draw_detections
from tfrcnn.errors import InputError
from tfrcnn.models.faster_rcnn import FasterRCNN

Method = Literal["grad-cam", "eigen-cam"]
Maps = Literal["pooled", "backbone"]
OPACITY = 0.75  # of the hottest pixel in the overlay
SAME_BOX, SAME_SCORE = 1e-3, 1e-6  # pixels and score: rounding of the same numbers computed twice
MIN_SIDE = 640  # of the overlay's longer side, so that a small object can be seen


@dataclass(frozen=True)
class Explanation:
    """Why a detector detects one object.

    Attributes:
        heat: [H, W] float32 in [0, 1], per pixel of the upright picture; its maximum is 1, or all is 0.
        overlay: the picture with the heat, the detection and its proposal (white); a small picture is enlarged.
        box: [4] float32 yxyx pixels of the picture, the detection.
        label: 0..C-1.
        score: in (0, 1).
        logit: the class logit of the proposal; the mean of the stages of a cascade.
        proposal: [4] float32 yxyx pixels of the picture, the RPN's box.
        proposal_score: in (0, 1), the RPN's.
        proposal_rank: its position among the proposals, 0 is the best.

    Example:
        explanation = tfrcnn.explain(detector, "picture.jpg")
        explanation.overlay.save("why.png")
    """

    heat: np.ndarray
    overlay: Image.Image
    box: np.ndarray
    label: int
    score: float
    logit: float
    proposal: np.ndarray
    proposal_score: float
    proposal_rank: int


def explain(
    detector: Any, image: Any, detection: int = 0, method: Method = "grad-cam", maps: Maps = "pooled"
) -> Explanation:
    """Explain one detection of a Keras detector.

    Args:
        detector: a `FasterRCNN`, or the `Predictor` of one. An exported file has no gradients.
        image: as for `Predictor.detect`.
        detection: its position among the detections of the image, 0 is the best.
        method: "grad-cam" or "eigen-cam".
        maps: "pooled" explains by the maps that boxes are pooled from, with a feature pyramid one level of it;
            "backbone" by the maps of the backbone, whose heat reaches as far as the pyramid's convolutions look.

    Returns:
        The heat, a picture of it, and the proposal that the detection came from.

    Raises:
        InputError: the detector is an exported file, the image has no such detection, or an option is unknown.

    Example:
        tfrcnn.explain(detector, "picture.jpg", detection=2).proposal_score
    """
    network = getattr(detector, "detector", detector)
    if not isinstance(network, FasterRCNN):
        raise InputError(
            f"detector must be a FasterRCNN or its Predictor, found {type(detector).__name__}: an exported file has no "
            "gradients, explain the run folder that it was exported from"
        )
    for name, value, expected in (("method", method, get_args(Method)), ("maps", maps, get_args(Maps))):
        if value not in expected:
            raise InputError(f"{name} must be one of {', '.join(expected)}, found {value!r}")
    pixels, _ = read_input(image, "")
    prepared = network.get_layer("preprocessor")(tf.cast(pixels, tf.float32)[None])
    trace = _trace(network, prepared["images"], prepared["image_sizes"], detection)
    frame = np.array(prepared["images"].shape[1:3])
    ratio = pixels.shape[:2] / prepared["image_sizes"][0].numpy()  # picture pixels per pixel of the network input
    logit, activations = _gradients(network, trace, maps)
    heat = np.zeros(pixels.shape[:2], np.float32)
    for values, gradients in activations:
        cam = class_activation(values, gradients, method)
        heat += resample(cam, pixels.shape[:2], frame / cam.shape, ratio, network.config.head.aligned)
    heat /= heat.max() or 1.0
    scale = np.tile(ratio, 2).astype(np.float32)
    box, proposal = trace.box * scale, trace.proposal * scale
    picture, enlarged = _blend(pixels, heat)
    _outline(picture, proposal * enlarged)
    names = [category.name for category in network.config.categories]
    overlay = draw_detections(picture, box[None] * enlarged, np.array([trace.label]), np.array([trace.score]), names)
    return Explanation(
        heat, overlay, box, trace.label, trace.score, logit, proposal, trace.proposal_score, trace.proposal_rank
    )


@dataclass(frozen=True)
class _Trace:
    """The way of one detection through the network; boxes in pixels of the network input."""

    pixels: tf.Tensor
    maps: list[tf.Tensor]
    regions: list[tf.Tensor]
    box: np.ndarray
    label: int
    score: float
    proposal: np.ndarray
    proposal_score: float
    proposal_rank: int


def _trace(network: FasterRCNN, images: tf.Tensor, sizes: tf.Tensor, detection: int) -> _Trace:
    """Detect, and find the proposal whose box of the label is the detection's."""
    stages = network.stages
    features = stages.features(images, sizes, training=False)
    proposals = stages.propose(stages.rpn(features.rpn, images), sizes)
    outputs = stages.second_stage(features.head, proposals, sizes, training=False)
    last = outputs.proposals[-1]
    detections = stages.decode(outputs.class_logits, outputs.deltas[-1], last, sizes)
    count = int(detections["num_detections"][0])
    if isinstance(detection, bool) or not isinstance(detection, Integral) or not 0 <= detection < count:
        raise InputError(f"detection must be 0..{count - 1}, found {detection!r}" if count else "nothing is detected")
    box, label = detections["boxes"][0, detection], int(detections["labels"][0, detection])
    deltas = outputs.deltas[-1][0]
    deltas = deltas[:, min(label, deltas.shape[1] - 1)]  # one range of deltas may hold for all classes
    boxes = box_ops.clip(box_ops.decode(deltas, last["boxes"][0], stages.decoder.box_weights), sizes[0])
    scores = tf.add_n([stages.decoder.scores_of(logits)[0, :, label] for logits in outputs.class_logits])
    scores /= len(outputs.class_logits)
    index = source_of(boxes, scores, last["valid"][0], box, detections["scores"][0, detection], stages.decoder.config)
    return _Trace(
        features.pixels,
        list(features.head),
        [stage["boxes"][:, index : index + 1] for stage in outputs.proposals],
        box.numpy(),
        label,
        float(detections["scores"][0, detection]),
        proposals["boxes"][0, index].numpy(),
        float(proposals["scores"][0, index]),
        index,
    )


def source_of(
    boxes: tf.Tensor, scores: tf.Tensor, valid: tf.Tensor, box: tf.Tensor, score: tf.Tensor, config: DetectionConfig
) -> int:
    """Find the proposal that a detection came from.

    Proposals at the border can have equal boxes after clipping: the one of the highest score is the detection. A fused
    box is no proposal's box, but it has the score of its best member.

    Args:
        boxes: [P, 4], the proposals' boxes for the detection's class.
        scores: [P], their scores for it.
        valid: [P] bool.
        box: [4], the detection's.
        score: the detection's, scalar.
        config: of the detector.

    Returns:
        A position among the proposals.
    """
    distance = tf.where(valid, tf.reduce_max(tf.abs(boxes - box), axis=-1), np.inf)
    if config.nms == "weighted_fusion":
        gap = tf.where(valid, tf.abs(scores - score), np.inf)
        distance = tf.where(gap <= tf.reduce_min(gap) + SAME_SCORE, distance, np.inf)
    near = distance <= tf.reduce_min(distance) + SAME_BOX
    return int(tf.argmax(tf.where(near, scores, -1.0)))


def _gradients(network: FasterRCNN, trace: _Trace, maps: Maps) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """Return the class logit, and the values and gradients [rows, columns, K] of each map that it depends on."""
    stages, extractor = network.stages, network.stages.extractor
    fpn = extractor.fpn if maps == "backbone" else None  # without a pyramid, boxes are pooled from the backbone
    values = tf.nest.flatten(extractor.backbone(trace.pixels, training=False)) if fpn else trace.maps
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(values)
        head = list(fpn(values, training=False)) if fpn else values
        logits = [
            stages.classify(stages.pool(head, region), False, stage)[0][0, 0, trace.label]
            for stage, region in enumerate(trace.regions)
        ]
        logit = tf.add_n(logits) / len(logits)
    pairs = [
        (tf.cast(value[0], tf.float32).numpy(), tf.cast(gradient[0], tf.float32).numpy())
        for value, gradient in zip(values, tape.gradient(logit, values))
        if gradient is not None
    ]
    return float(logit), [(value, gradient) for value, gradient in pairs if gradient.any()]


def class_activation(values: np.ndarray, gradients: np.ndarray, method: Method = "grad-cam") -> np.ndarray:
    """Compute the heat of a map; see the equations on top.

    Args:
        values: [rows, columns, K] float32, the map.
        gradients: [rows, columns, K] float32, of the class logit by the map.
        method: "grad-cam" or "eigen-cam".

    Returns:
        [rows, columns] float32, at least 0; 0 where no gradient is.

    Example:
        class_activation(np.ones((4, 4, 8), np.float32), np.ones((4, 4, 8), np.float32))
    """
    reached = np.any(gradients != 0, axis=-1)
    cam = np.zeros(reached.shape, np.float32)
    if not reached.any():
        return cam
    inside = values[reached]  # [cells, K]
    if method == "grad-cam":
        heat = inside @ gradients[reached].mean(axis=0)
    else:
        heat = inside @ np.linalg.svd(inside, full_matrices=False)[2][0]
        heat *= np.sign(heat.sum()) or 1.0  # the sign of a singular vector means nothing
    cam[reached] = np.maximum(heat, 0)
    return cam


def resample(
    cam: np.ndarray, size: Sequence[int], stride: np.ndarray, ratio: np.ndarray, aligned: bool = False
) -> np.ndarray:
    """Interpolate the heat of a map at the pixels of the picture, in RoIAlign's coordinates.

    Args:
        cam: [rows, columns], the heat.
        size: (H, W) of the picture.
        stride: [2] pixels of the network input per cell.
        ratio: [2] pixels of the picture per pixel of the network input.
        aligned: whether the value of cell j lies at j + 1/2 in place of j, see `RoIAlign`.

    Returns:
        [H, W] float32, bilinear; the values at the border go on beyond it.

    Example:
        resample(np.eye(2), (4, 4), np.array([2, 2]), np.array([1, 1]))
    """
    weights = []
    for axis in (0, 1):
        cells = (np.arange(size[axis]) + 0.5) / ratio[axis] / stride[axis] - 0.5 * aligned
        distance = np.abs(cells.clip(0, cam.shape[axis] - 1)[:, None] - np.arange(cam.shape[axis]))
        weights.append(np.maximum(1 - distance, 0).astype(np.float32))  # [pixels, cells], two per row
    heat: np.ndarray = weights[0] @ cam.astype(np.float32) @ weights[1].T
    return heat


def color_heat(heat: np.ndarray) -> np.ndarray:
    """Color heat to lay it over a picture: [H, W] in [0, 1] -> [H, W, 4] uint8 RGBA, transparent where it is 0.

    Example:
        color_heat(np.zeros((4, 4)))[..., 3]  # all 0
    """
    from matplotlib import colormaps

    colors: np.ndarray = colormaps["inferno"](heat, bytes=True)
    colors[..., 3] = np.rint(255 * OPACITY * heat)
    return colors


def _blend(pixels: np.ndarray, heat: np.ndarray) -> tuple[Image.Image, float]:
    """Lay the heat over a picture, enlarge it if it is small, and return it with the factor."""
    colors = color_heat(heat).astype(np.float32)
    opacity = colors[..., 3:] / 255
    mixed = (1 - opacity) * pixels + opacity * colors[..., :3]
    picture = Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))
    factor = max(1, MIN_SIDE / max(picture.size))
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC), factor


def _outline(picture: Image.Image, box: np.ndarray) -> None:
    y1, x1, y2, x2 = box.tolist()
    ImageDraw.Draw(picture).rectangle((x1, y1, max(x2, x1), max(y2, y1)), outline="white", width=3)
