"""Fit a detector's anchors to the objects of a data set, and say which objects anchors miss by their size or shape.

Legend: N objects, L levels, m sizes per level, r ratios; k = m r anchors per cell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrcnn.config import AnchorConfig, DetectorConfig, ImageConfig
from tfrcnn.data.anchors import CEILINGS, Objects, best_anchors, ceilings, network_objects
from tfrcnn.data.example import Dataset
from tfrcnn.data.faults import Fault
from tfrcnn.errors import InputError
from tfrcnn.seeds import check_seed, stream_seed

SMALL_SIDE = 8.0  # pixels: two cells of the finest usual map, on which little of an object is left
LONG_RATIO = 4.0  # presets have anchors of at most 1:2, whose IoU with a box of 1:4 and the same area is 0.55
MIN_RECALL = 0.7  # at IoU 0.5; mobilenet_v2_fpn reaches 0.79 of COCO's objects
_MAX_OBJECTS = 5_000  # that the fit looks at
_STARTS, _ROUNDS = 4, 20
_MIN_GAP = np.log(1.25)  # between neighbouring ratios, and sizes of a level; closer anchors would do the same work
_MAX_SPREAD = np.log(16.0)  # by such gaps
_MAX_LOG_RATIO = np.log(50.0)  # a line of no width has no ratio
_MIN_SIZE = 2.0  # pixels
_MIN_GAIN = 0.02  # of mean IoU and recall ceilings together, for which trained anchors are worth changing
# A level's sizes in cells. Smaller anchors of a coarse level would stand too far apart to meet an object but by luck,
# and a fine level sees too little of a larger object.
_CELLS = (2.0, 32.0)
_WORTH_IT = 0.05  # of recall, for which a remedy is named
_SCALES = (1.5, 2.0, 3.0, 4.0)  # of the image size, tried for objects that anchors miss


@dataclass(frozen=True, eq=False)
class AnchorFit:
    """Anchors before and after a fit, with the IoU of each object's best anchor.

    Attributes:
        before: the detector's anchors.
        after: the fitted anchors; `before` if none of the same number fit better.
        iou_before: [N] in [0, 1].
        iou_after: [N] in [0, 1].
    """

    before: AnchorConfig
    after: AnchorConfig
    iou_before: np.ndarray
    iou_after: np.ndarray

    @property
    def improved(self) -> bool:
        """True if the fitted anchors are better."""
        return self.after != self.before

    def fragment(self) -> dict[str, Any]:
        """Return the fields of `AnchorConfig` that change, for a preset file or `--set detector.anchors=...`."""
        before, after = self.before.to_dict(), self.after.to_dict()
        return {name: value for name, value in after.items() if value != before[name]}

    def summary(self) -> dict[str, Any]:
        """Return the fitted anchors and their recall ceilings for a report; nothing if they are not better."""
        if not self.improved:
            return {}
        return {"recall_ceiling_of_fitted_anchors": ceilings(self.iou_after), "fitted_anchors": self.fragment()}

    def render(self) -> str:
        """Describe the fit on one line."""
        if not self.improved:
            return "Anchors: none of the same number fit the objects better"
        pairs = zip(ceilings(self.iou_before).items(), ceilings(self.iou_after).values())
        gains = ", ".join(f"{before:.3f} to {after:.3f} at {name}" for (name, before), after in pairs)
        return f"Anchors fitted to the objects: recall ceiling {gains}; {json.dumps(self.fragment())}"


def fit_anchors(dataset: Dataset, config: DetectorConfig, strides: tuple[int, ...], seed: int = 0) -> AnchorFit:
    """Fit sizes and ratios of anchors to the objects of a data set, at the network's size.

    k-means with 1 - IoU as the distance, as YOLO's anchors are made (Redmon and Farhadi, arXiv 1612.08242). The IoU is
    with the nearest anchor on the grid of each level, so a size moves to the level whose anchors meet its objects. The
    centres are the products of each level's sizes with the ratios of all levels, and a size or ratio moves to the
    geometric mean of its objects. The best round of several starts counts, by mean IoU plus the recall ceilings.

    There are as many sizes and ratios as before, so that trained weights still fit. A size that is the best for no
    object stays as it was.

    Args:
        dataset: the training data.
        config: `image` and `anchors` are used.
        strides: of the anchor levels, in pixels.
        seed: of the starts, and of the objects that are looked at if there are more than 5,000.

    Raises:
        InputError: there are no objects, or the seed is negative.
    """
    check_seed(seed)
    objects = network_objects(dataset, config.image)
    if not len(objects.boxes):
        raise InputError(f"{dataset.source}: expected objects to fit anchors to, found none")
    rng = np.random.default_rng(stream_seed(seed, "anchors"))
    chosen = np.sort(rng.permutation(len(objects.boxes))[:_MAX_OBJECTS])
    after = _Fitter(objects.part(chosen), config.anchors, strides).fit(rng)
    before = best_anchors(objects, config.anchors, strides).iou
    fitted = best_anchors(objects, after, strides).iou
    if _score(fitted) < _score(before) + _MIN_GAIN:
        return AnchorFit(config.anchors, config.anchors, before, before)
    return AnchorFit(config.anchors, after, before, fitted)


def _score(iou: np.ndarray) -> float:
    return float(iou.mean() + sum((iou >= ceiling).mean() for ceiling in CEILINGS))


class _Fitter:
    """Runs k-means on the objects; sizes [L, m] and ratios [r] are logarithms."""

    def __init__(self, objects: Objects, anchors: AnchorConfig, strides: tuple[int, ...]) -> None:
        self._objects = objects
        self._anchors = anchors
        self._strides = strides
        heights, widths = np.maximum(objects.sides, 1e-3).T
        self._sizes = np.log(heights * widths) / 2
        self._ratios = np.clip(np.log(heights / widths), -_MAX_LOG_RATIO, _MAX_LOG_RATIO)
        lowest, highest = (np.array(strides, np.float64)[:, None] * cells for cells in _CELLS)
        lowest[0], highest[-1] = _MIN_SIZE, np.inf
        self._lowest, self._highest = np.log(lowest), np.log(highest)
        self._ascending = bool((np.diff(np.ravel(anchors.sizes)) >= 0).all())  # some presets repeat them per level

    def fit(self, rng: np.random.Generator) -> AnchorConfig:
        """Return the best anchors of all starts and rounds."""
        best, best_score, unused = self._anchors, -1.0, np.zeros(0)
        for start in range(_STARTS):
            sizes, ratios = self._start(rng if start else None)
            for _ in range(_ROUNDS):
                sizes, ratios = self._placed(sizes, ratios)
                anchors = self._config(sizes, ratios)
                matches = best_anchors(self._objects, anchors, self._strides)
                score = _score(matches.iou)
                # a shape's position in its cell is ratio-major
                size = matches.level * sizes.shape[1] + matches.shape % sizes.shape[1]
                if score > best_score:
                    best, best_score, unused = anchors, score, np.bincount(size, minlength=sizes.size) == 0
                moved = _means(self._sizes, size, sizes.ravel()).reshape(sizes.shape)
                moved_ratios = _means(self._ratios, matches.shape // sizes.shape[1], ratios)
                if np.allclose(moved, sizes, atol=1e-3) and np.allclose(moved_ratios, ratios, atol=1e-3):
                    break
                sizes, ratios = moved, moved_ratios
        sizes = np.where(unused.reshape(sizes.shape), np.log(self._anchors.sizes), np.log(best.sizes))
        return self._config(*self._placed(sizes, np.log(best.ratios)))

    def _start(self, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        """Start at the detector's anchors, or at random objects."""
        sizes, ratios = np.log(self._anchors.sizes), np.log(self._anchors.ratios)
        if rng is None:
            return sizes, ratios
        drawn = np.sort(rng.choice(self._sizes, sizes.size)).reshape(sizes.shape)
        return drawn, rng.choice(self._ratios, ratios.size)

    def _placed(self, sizes: np.ndarray, ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Put sizes within the limits of their levels, and neighbours apart."""
        if self._ascending:
            sizes = np.sort(sizes, axis=None).reshape(sizes.shape)
        sizes = np.clip(sizes, self._lowest, self._highest)
        return np.stack([_apart(level) for level in sizes]), _apart(ratios)

    def _config(self, sizes: np.ndarray, ratios: np.ndarray) -> AnchorConfig:
        """Round to three digits; small anchors are exact, since half a pixel counts."""
        rounded = [[float(f"{np.exp(value):.3g}") for value in row] for row in (*sizes, ratios)]
        levels = tuple(tuple(row) for row in rounded[:-1])
        return self._anchors.replace(sizes=levels, ratios=tuple(rounded[-1]), rounding="none")


def _means(values: np.ndarray, owners: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return the mean of each centre's values; a centre without values stays."""
    counts = np.bincount(owners, minlength=len(centers))
    sums = np.bincount(owners, values, minlength=len(centers))
    return np.where(counts > 0, sums / np.maximum(counts, 1), centers)


def _apart(values: np.ndarray) -> np.ndarray:
    """Sort values, and push neighbours apart around their common mean until `_MIN_GAP` is between them."""
    values, gap = np.sort(values), min(_MIN_GAP, _MAX_SPREAD / len(values))
    pushed = values.copy()
    for i in range(1, len(pushed)):
        pushed[i] = max(pushed[i], pushed[i - 1] + gap)
    return pushed - (pushed.mean() - values.mean()) if len(pushed) > 1 else pushed


def check_shapes(dataset: Dataset, config: DetectorConfig, strides: tuple[int, ...]) -> list[Fault]:
    """Warn of objects that anchors miss: under 8 pixels, beyond 1:4, or else for want of any anchor near them.

    Args:
        dataset: its boxes in pixels of the original images.
        config: `image` and `anchors` are used.
        strides: of the anchor levels, in pixels.

    Returns:
        At most one fault of each kind, with the recall that is lost and what would help.
    """
    objects = network_objects(dataset, config.image)
    iou = best_anchors(objects, config.anchors, strides).iou
    heights, widths = np.maximum(objects.sides, 1e-3).T
    groups = {
        "small-objects": (f"objects of at least {SMALL_SIDE:g} px", np.sqrt(heights * widths) < SMALL_SIDE),
        "long-objects": (f"objects within 1:{LONG_RATIO:g}", abs(np.log(heights / widths)) > np.log(LONG_RATIO)),
    }
    faults = []
    low, high = CEILINGS
    for kind, (expected, chosen) in groups.items():
        reached, rest = _recall(iou[chosen], high), _recall(iou[~chosen], high)
        if not chosen.any() or reached >= (rest if len(iou[~chosen]) else 1.0):
            continue
        others = f" and {rest:.0%} of the others" if len(iou[~chosen]) else ""
        remedies = _remedies(dataset, config, strides, chosen, high)
        message = (
            f"expected {expected} in the network's input, found {chosen.sum():,} of {len(iou):,} ({chosen.mean():.0%}) "
            f"that are not: anchors reach {reached:.0%} of them at IoU {high}{others}; "
            f"{' or '.join(remedies) or 'neither fitted anchors nor a larger image would help'}"
        )
        faults.append(Fault(kind, dataset.source, "", message))
    if not faults and len(iou) and (reached := _recall(iou, low)) < MIN_RECALL:
        remedies = _remedies(dataset, config, strides, np.ones(len(iou), bool), low)
        message = f"expected anchors of IoU {low} with the objects, found them for {reached:.0%} of {len(iou):,}"
        if remedies:
            faults.append(Fault("unlike-anchors", dataset.source, "", f"{message}; {' or '.join(remedies)}"))
    return faults


def _recall(iou: np.ndarray, ceiling: float) -> float:
    return float((iou >= ceiling).mean()) if len(iou) else 0.0


def _remedies(
    dataset: Dataset, config: DetectorConfig, strides: tuple[int, ...], chosen: np.ndarray, ceiling: float
) -> list[str]:
    """Say how many of the chosen objects fitted anchors would reach, and the same anchors in a larger image."""
    fit = fit_anchors(dataset, config, strides)
    reached, fitted = (_recall(iou[chosen], ceiling) for iou in (fit.iou_before, fit.iou_after))
    remedies = [f"{fitted:.0%} with --anchors auto"] if fitted >= reached + _WORTH_IT else []
    recalls = {}
    for scale in _SCALES:
        image = scaled(config.image, scale)
        larger = network_objects(dataset, image).part(chosen)
        recalls[image] = _recall(best_anchors(larger, config.anchors, strides).iou, ceiling)
    # the smallest size that is nearly as good as the best: larger ones cost time
    image, recall = next((i, r) for i, r in recalls.items() if r >= max(recalls.values()) - _WORTH_IT)
    if recall >= reached + _WORTH_IT:
        sizes = f"--set detector.image.min_size={image.min_size} --set detector.image.max_size={image.max_size}"
        remedies.append(f"{recall:.0%} with {f'--image-size {image.static_size[0]}' if image.static_size else sizes}")
    return remedies


def scaled(image: ImageConfig, scale: float) -> ImageConfig:
    """Return a larger network input; a static one becomes square, as `--image-size` makes it."""
    if image.static_size is None:
        return image.replace(min_size=round(image.min_size * scale), max_size=round(image.max_size * scale))
    side = -int(-max(image.static_size) * scale // image.divisor) * image.divisor
    return image.replace(static_size=(side, side))
