"""How many of the objects an RPN's proposals find: recall against IoU (figure 4 of the paper), and COCO's AR.

Legend: T IoU thresholds, K limits of proposals, M objects of the data set, E pairs (proposal, object) of one image that
overlap enough to match.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrcnn.data.example import Dataset, ImageProposals
from tfrcnn.errors import InputError
from tfrcnn.evaluation.inputs import align_proposals, pairwise_iou

# COCO's ten, by which AR is a mean, and 1, where figure 4 ends
THRESHOLDS = np.append(np.linspace(0.5, 0.95, 10), 1.0)
COCO_THRESHOLDS = 10
LIMITS = (100, 300, 1000, 2000)  # 300, 1000 and 2000 are those of figure 4; 100 and 1000, COCO's
# Least and largest area of an object in pixels^2, both inclusive as in pycocotools: small, medium, large
AREAS = {"": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}


@dataclass(frozen=True, eq=False)
class ProposalEvaluation:
    """Proposals of a whole data set, judged.

    Attributes:
        limits: K numbers of proposals an image, ascending; of each image the best so many take part.
        iou_thresholds: [T].
        recall: [K, T] share of the objects that are found, None where there is no object.
        average_recall: AR@N and, of small, medium and large objects, ARs@N, ARm@N, ARl@N, for each limit N: the mean
            of the recalls at IoU 0.50, 0.55, ... 0.95; None where there is no such object.
        counts: "images", "ground_truth" (to be found), "ignored" (crowd or difficult), "proposals".
    """

    limits: tuple[int, ...]
    iou_thresholds: np.ndarray
    recall: np.ndarray | None
    average_recall: dict[str, float | None]
    counts: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON values."""
        rows = [None] * len(self.limits) if self.recall is None else self.recall.tolist()
        return {
            "metric": "proposals",
            "iou_thresholds": np.round(self.iou_thresholds, 2).tolist(),
            "recall": {str(limit): row for limit, row in zip(self.limits, rows)},
            "average_recall": dict(self.average_recall),
            "counts": dict(self.counts),
        }


class _Pairs(NamedTuple):
    """proposal and truth [E] int64: numbers over the data set; rank [E]: of the proposal in its image; iou [E]."""

    proposal: np.ndarray
    truth: np.ndarray
    rank: np.ndarray
    iou: np.ndarray


def evaluate_proposals(
    dataset: Dataset, proposals: Sequence[ImageProposals], limits: Sequence[int] = LIMITS
) -> ProposalEvaluation:
    """Recall of proposals, whatever the classes of the objects.

    As pycocotools with useCats = 0 counts: in the order of their scores, each proposal takes the object that overlaps
    it most of those that are still to be had, if their IoU is at least the threshold; an object that is taken is found.
    Crowd regions and difficult objects are not to be found.

    Args:
        proposals: at most one entry for each image, in any order; images without one have no proposals.
        limits: numbers of proposals an image.

    Raises:
        InputError: a limit is not positive, or the proposals do not fit the data set (see `align_proposals`).
    """
    limits = tuple(sorted(set(limits)))
    if not limits or limits[0] < 1:
        raise InputError(f"limits must be one or more positive numbers of proposals, found {list(limits)}")
    found = align_proposals(dataset, proposals)
    ignored = _joined([example.crowd | example.difficult for example in dataset.examples], bool)
    area = _joined([example.area for example in dataset.examples], np.float64)
    pairs = _pairs(dataset, found, limits[-1])
    recall, average = None, {}
    for name, (least, largest) in AREAS.items():
        wanted = ~ignored & (area >= least) & (area <= largest)
        of_area = _recall(pairs, wanted, limits) if wanted.any() else None
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
            "proposals": sum(len(image.scores) for image in found),
        },
    )


def _pairs(dataset: Dataset, found: Sequence[ImageProposals], most: int) -> _Pairs:
    """All pairs that match at the lowest threshold, of the best `most` proposals of each image: proposal after proposal
    by rank, and of one proposal the largest IoU first (of equal ones the last object's, as in pycocotools)."""
    parts, first = [], 0
    for number, (example, image) in enumerate(zip(dataset.examples, found)):
        best = np.argsort(-image.scores, kind="stable")[:most]
        iou = pairwise_iou(image.boxes[best], example.boxes)
        rank, truth = np.nonzero(iou >= THRESHOLDS[0])
        parts.append((number * most + rank, first + truth, rank, iou[rank, truth]))
        first += len(example.boxes)
    proposal, truth, rank = (_joined([part[i] for part in parts], np.int64) for i in range(3))
    iou = _joined([part[3] for part in parts], np.float64)
    order = np.lexsort((-truth, -iou, proposal))
    _, proposal = np.unique(proposal[order], return_inverse=True)
    return _Pairs(proposal, truth[order], rank[order], iou[order])


def _recall(pairs: _Pairs, wanted: np.ndarray, limits: tuple[int, ...]) -> np.ndarray:
    """[K, T] recall of the objects that are `wanted` [M].

    The others are left out before proposals choose: one takes them only where it can have none of these. And what the
    best k proposals find is what they find among more, since none of them waits for a worse one.
    """
    recall = np.zeros((len(limits), len(THRESHOLDS)))
    for t, threshold in enumerate(THRESHOLDS):
        matching = wanted[pairs.truth] & (pairs.iou >= min(threshold, 1 - 1e-10))  # pycocotools' allowance at 1
        chosen = _first_come_first_served(pairs.proposal[matching], pairs.truth[matching])
        ranks = pairs.rank[matching][chosen]
        recall[:, t] = (ranks[None] < np.array(limits)[:, None]).sum(axis=1) / wanted.sum()
    return recall


def _first_come_first_served(proposal: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of pairs in their order, each is chosen unless its proposal or its object is in an earlier chosen one.

    In each round all pairs are chosen that are the first left of their proposal and of their object, which no later
    choice can change; as many rounds as the longest chain of pairs that wait for each other, a dozen or so.

    Args:
        proposal, truth: [E] int64.

    Returns:
        positions of the chosen pairs.
    """
    members = (proposal, truth)
    first = [np.zeros(ids.max(initial=-1) + 1, np.int64) for ids in members]
    taken = [np.zeros(ids.max(initial=-1) + 1, bool) for ids in members]
    left, chosen = np.arange(len(proposal)), [np.zeros(0, np.int64)]
    while len(left):
        is_first = np.ones(len(left), bool)
        for ids, earliest in zip(members, first):
            earliest[ids[left[::-1]]] = left[::-1]  # of several values assigned to one place the last one stays
            is_first &= earliest[ids[left]] == left
        chosen.append(left[is_first])
        for ids, gone in zip(members, taken):
            gone[ids[chosen[-1]]] = True
        left = left[~taken[0][proposal[left]] & ~taken[1][truth[left]]]
    return np.concatenate(chosen)


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)
