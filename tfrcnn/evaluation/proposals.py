"""Recall of an RPN's proposals against IoU (figure 4 of the paper), and COCO's AR.

Legend: T IoU thresholds, K limits of proposals per image, M objects of the data set, E pairs (proposal, object) that
overlap enough to match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrcnn.data.example import Dataset, ImageProposals
from tfrcnn.data.example_table import column_of, objects_of
from tfrcnn.errors import InputError
from tfrcnn.evaluation.inputs import align_proposals, joined
from tfrcnn.overlap import pairwise_iou

# COCO's ten thresholds, whose mean is AR, and 1, where figure 4 ends
THRESHOLDS = np.append(np.linspace(0.5, 0.95, 10), 1.0)
COCO_THRESHOLDS = 10
LIMITS = (100, 300, 1000, 2000)  # figure 4 has 300, 1000 and 2000; COCO has 100 and 1000
# Minimum and maximum area of small, medium and large objects in pixels^2, both inclusive as in pycocotools
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}


@dataclass(frozen=True, eq=False)
class ProposalEvaluation:
    """Recall of the proposals for a data set.

    Attributes:
        limits: K numbers of proposals per image, ascending. The best N proposals count at limit N.
        iou_thresholds: [T] in (0, 1].
        recall: [K, T] share of the objects that are found; None without objects.
        average_recall: mean recall over IoU 0.50, 0.55, ... 0.95 at limit N, by name: AR@N, and ARs@N, ARm@N, ARl@N for
            small, medium and large objects; None without such objects.
        counts: number of "images", "ground_truth" objects, "ignored" objects (crowd or difficult), "proposals".

    Example:
        evaluation = tfrcnn.evaluate_proposals(dataset, predictor.propose_dataset(dataset))
        evaluation.average_recall["AR@300"]
    """

    limits: tuple[int, ...]
    iou_thresholds: np.ndarray
    recall: np.ndarray | None
    average_recall: dict[str, float | None]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        rows = [None] * len(self.limits) if self.recall is None else self.recall.tolist()
        return {
            "metric": "proposals",
            "iou_thresholds": np.round(self.iou_thresholds, 2).tolist(),
            "recall": {str(limit): row for limit, row in zip(self.limits, rows)},
            "average_recall": dict(self.average_recall),
            "counts": dict(self.counts),
        }


class _Pairs(NamedTuple):
    """Pairs of a proposal and an object that overlap enough to match.

    Attributes:
        proposal: [E] int64, number of the proposal in the data set.
        truth: [E] int64, number of the object in the data set.
        rank: [E] int64, position of the proposal in its image by score.
        iou: [E] float64.
    """

    proposal: np.ndarray
    truth: np.ndarray
    rank: np.ndarray
    iou: np.ndarray


def evaluate_proposals(
    dataset: Dataset, proposals: Sequence[ImageProposals], limits: Sequence[int] = LIMITS
) -> ProposalEvaluation:
    """Compute the recall of proposals over objects of all classes, as pycocotools does with useCats = 0.

    In the order of their scores, each proposal takes the free object that it overlaps most, if their IoU reaches the
    threshold. Objects that are taken are found. Crowd regions and difficult objects do not count.

    Args:
        dataset: images with ground truth.
        proposals: at most one entry per image, in any order. An image without an entry has no proposals.
        limits: numbers of proposals per image to evaluate.

    Returns:
        Recall per limit and IoU, and average recall by size of object.

    Raises:
        InputError: a limit is not positive, or the proposals do not fit the data set; see `align_proposals`.

    Example:
        tfrcnn.evaluate_proposals(dataset, predictor.propose_dataset(dataset), limits=[300]).recall
    """
    limits = tuple(sorted(set(limits)))
    if not limits or limits[0] < 1:
        raise InputError(f"limits must be one or more positive numbers of proposals, found {list(limits)}")
    aligned = align_proposals(dataset, proposals)
    ignored = ~objects_of(dataset.examples)
    area = column_of(dataset.examples, "area").astype(np.float64)
    pairs = _pairs(dataset, aligned, limits[-1])
    recall, average = None, {}
    for name, (smallest, largest) in AREAS.items():
        counted = ~ignored & (area >= smallest) & (area <= largest)
        of_area = _recall(pairs, counted, limits) if counted.any() else None
        recall = of_area if name == "" else recall
        for k, limit in enumerate(limits):
            average[f"AR{name}@{limit}"] = None if of_area is None else float(of_area[k, :COCO_THRESHOLDS].mean())
    return ProposalEvaluation(
        limits=limits,
        iou_thresholds=THRESHOLDS,
        recall=recall,
        average_recall={f"AR{name}@{limit}": average[f"AR{name}@{limit}"] for limit in limits for name in AREAS},
        counts={
            "images": len(dataset),
            "ground_truth": int(np.sum(~ignored)),
            "ignored": int(np.sum(ignored)),
            "proposals": sum(len(image.scores) for image in aligned),
        },
    )


def _pairs(dataset: Dataset, proposals: Sequence[ImageProposals], limit: int) -> _Pairs:
    """Return the pairs that match at the lowest threshold, for the best `limit` proposals per image.

    They are sorted by image, rank of the proposal and descending IoU. Ties of IoU put the last object first, as in
    pycocotools.
    """
    parts, first = [], 0
    for number, (example, image) in enumerate(zip(dataset.examples, proposals)):
        best = np.argsort(-image.scores, kind="stable")[:limit]
        iou = pairwise_iou(image.boxes[best], example.boxes)
        rank, truth = np.nonzero(iou >= THRESHOLDS[0])
        parts.append((number * limit + rank, first + truth, rank, iou[rank, truth]))
        first += len(example.boxes)
    proposal, truth, rank = (joined([part[i] for part in parts], np.int64) for i in range(3))
    iou = joined([part[3] for part in parts], np.float64)
    order = np.lexsort((-truth, -iou, proposal))
    _, proposal = np.unique(proposal[order], return_inverse=True)
    return _Pairs(proposal, truth[order], rank[order], iou[order])


def _recall(pairs: _Pairs, counted: np.ndarray, limits: tuple[int, ...]) -> np.ndarray:
    """Return the recall [K, T] of the objects that are `counted` [M].

    The other objects are removed before proposals choose, because a proposal takes one of them only if it can take no
    counted object. One pass serves all limits: a proposal's choice does not depend on proposals of lower scores.
    """
    recall = np.zeros((len(limits), len(THRESHOLDS)))
    for t, threshold in enumerate(THRESHOLDS):
        matching = counted[pairs.truth] & (pairs.iou >= min(threshold, 1 - 1e-10))  # pycocotools' tolerance at IoU 1
        chosen = _first_come_first_served(pairs.proposal[matching], pairs.truth[matching])
        ranks = pairs.rank[matching][chosen]
        recall[:, t] = (ranks[None] < np.array(limits)[:, None]).sum(axis=1) / counted.sum()
    return recall


def _first_come_first_served(proposal: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Choose pairs in their order, skipping those whose proposal or object is in an earlier chosen pair.

    Each round chooses every pair that is the first remaining one of its proposal and of its object: no other choice can
    affect it. A dozen rounds are usually enough, one per link in the longest chain of pairs that share a member.

    Args:
        proposal: [E] int64.
        truth: [E] int64.

    Returns:
        Positions of the chosen pairs.
    """
    members = (proposal, truth)
    first = [np.zeros(ids.max(initial=-1) + 1, np.int64) for ids in members]
    taken = [np.zeros(ids.max(initial=-1) + 1, bool) for ids in members]
    left, chosen = np.arange(len(proposal)), [np.zeros(0, np.int64)]
    while len(left):
        is_first = np.ones(len(left), bool)
        for ids, earliest in zip(members, first):
            earliest[ids[left[::-1]]] = left[::-1]  # numpy keeps the last value assigned to a place
            is_first &= earliest[ids[left]] == left
        chosen.append(left[is_first])
        for ids, gone in zip(members, taken):
            gone[ids[chosen[-1]]] = True
        left = left[~taken[0][proposal[left]] & ~taken[1][truth[left]]]
    return np.concatenate(chosen)
