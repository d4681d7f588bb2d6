"""Recall of proposals against hand-counted cases and pycocotools on its own, without classes.

Boxes are [y1, x1, y2, x2].
"""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, ImageProposals
from tfrcnn.drawing import plot_recall
from tfrcnn.errors import InputError
from tfrcnn.evaluation.proposals import THRESHOLDS, evaluate_proposals
from tfrcnn.evaluation.report import render_proposals, write_json

from .examples import example

BOX = [0, 0, 100, 100]
SHIFTED = [0, 25, 100, 125]  # IoU with BOX is 75 / 125 = 0.6
HALF = [0, 0, 50, 100]  # IoU with BOX is 0.5


def dataset(*examples):
    return Dataset("hand", (Category(1, "thing"),), examples)


def proposed(image_id, boxes, scores=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.1, len(boxes)) if scores is None else scores
    return ImageProposals(image_id, boxes, np.array(scores, np.float32))


def test_a_proposal_finds_an_object_up_to_their_iou():
    evaluation = evaluate_proposals(dataset(example(1, [BOX])), [proposed(1, [SHIFTED])], (1,))
    # 0.6 is 75 / 125 in float64, and so is the third threshold
    np.testing.assert_array_equal(evaluation.recall, [[1, 1, 1] + [0] * 8])
    assert evaluation.average_recall["AR@1"] == 0.3


def test_an_object_met_exactly_is_found_at_every_iou_and_one_half_is_enough_for_the_first():
    evaluation = evaluate_proposals(
        dataset(example(1, [BOX]), example(2, [BOX])), [proposed(1, [BOX]), proposed(2, [HALF])]
    )
    np.testing.assert_array_equal(evaluation.recall, [[1] + [0.5] * 10] * 4)


def test_only_the_best_so_many_proposals_of_an_image_take_part():
    image = proposed(1, [[150, 150, 160, 160], SHIFTED, BOX], scores=[0.9, 0.1, 0.5])
    evaluation = evaluate_proposals(dataset(example(1, [BOX])), [image], (3, 1, 2))
    assert evaluation.limits == (1, 2, 3)
    np.testing.assert_array_equal(evaluation.recall[:, 0], [0, 1, 1])
    np.testing.assert_array_equal(evaluation.recall[:, -1], [0, 1, 1])


def test_a_proposal_finds_one_object_only_and_that_is_the_one_it_overlaps_most():
    objects = [BOX, [0, 10, 100, 110]]
    evaluation = evaluate_proposals(dataset(example(1, objects)), [proposed(1, [BOX])], (1,))
    np.testing.assert_array_equal(evaluation.recall, [[0.5] * 11])


def test_a_proposal_whose_best_object_is_taken_finds_its_next_best():
    objects = [BOX, [0, 20, 100, 120]]  # IoU 80 / 120
    evaluation = evaluate_proposals(dataset(example(1, objects)), [proposed(1, [BOX, BOX])], (1, 2))
    np.testing.assert_array_equal(evaluation.recall[1], [1, 1, 1, 1] + [0.5] * 7)


def test_a_better_scored_proposal_comes_first_even_where_it_fits_worse():
    # the first takes the object at IoU 0.6, so the second, which fits exactly, finds nothing there
    objects, boxes = [BOX, [0, 60, 100, 160]], [SHIFTED, BOX]
    evaluation = evaluate_proposals(dataset(example(1, objects)), [proposed(1, boxes)], (1, 2))
    np.testing.assert_array_equal(evaluation.recall[1][:4], [0.5, 0.5, 0.5, 0.5])
    np.testing.assert_array_equal(evaluation.recall[0][:4], [0.5, 0.5, 0.5, 0])


def test_crowd_and_difficult_objects_are_neither_to_be_found_nor_in_the_way():
    examples = example(1, [BOX, SHIFTED, BOX], crowd=[1, 0, 0], difficult=[0, 0, 1])
    evaluation = evaluate_proposals(dataset(examples), [proposed(1, [BOX])], (1,))
    assert (evaluation.counts["ground_truth"], evaluation.counts["ignored"]) == (1, 2)
    np.testing.assert_array_equal(evaluation.recall, [[1, 1, 1] + [0] * 8])


def test_areas_are_the_objects_own_and_the_bounds_belong_to_both():
    examples = example(1, [BOX, [0, 150, 10, 160], [150, 0, 160, 10]], area=[32.0**2, 1.0, 96.0**2 + 1])
    average = evaluate_proposals(dataset(examples), [proposed(1, [BOX])], (5,)).average_recall
    assert average == {"AR@5": pytest.approx(1 / 3), "ARs@5": 0.5, "ARm@5": 1.0, "ARl@5": 0.0}


def test_without_proposals_recall_is_zero_and_without_objects_it_is_not_defined(tmp_path):
    nothing = evaluate_proposals(dataset(example(1, [BOX])), [], (10,))
    np.testing.assert_array_equal(nothing.recall, np.zeros((1, 11)))
    undefined = evaluate_proposals(dataset(example(1, [])), [proposed(1, [BOX])], (10,))
    assert undefined.recall is None
    assert set(undefined.average_recall.values()) == {None}
    assert undefined.to_dict()["recall"] == {"10": None}
    assert render_proposals(undefined).splitlines()[3].split() == ["10", *"-------"]
    plot_recall(undefined, tmp_path / "a.png")
    assert (tmp_path / "a.png").is_file()


@pytest.mark.parametrize(
    ("proposals", "limits", "message"),
    [
        ([], (), r"limits must be .* positive numbers of proposals, found \[\]"),
        ([], (0, 5), r"found \[0, 5\]"),
        ([proposed(2, [BOX])], (5,), "proposals for hand: image_id 2: expected an image of the data set"),
        ([proposed(1, [BOX]), proposed(1, [BOX])], (5,), "expected one entry per image, found two"),
        ([proposed(1, [BOX], [np.nan])], (5,), r"scores\[0\]: expected finite numbers, found nan"),
        ([proposed(1, [BOX], [0.1, 0.2])], (5,), r"boxes \[N, 4\] and scores \[N\], found \[1, 4\] and \[2\]"),
    ],
)
def test_what_does_not_fit_is_refused(proposals, limits, message):
    with pytest.raises(InputError, match=message):
        evaluate_proposals(dataset(example(1, [BOX])), proposals, limits)


def pycocotools_average_recall(data, proposals, limits):
    """AR by size at each limit, by pycocotools with useCats = 0."""

    def index(annotations):
        coco = COCO()
        images = [{"id": number} for number in range(len(data))]
        numbered = [{"id": i, "category_id": 1, **entry} for i, entry in enumerate(annotations, start=1)]
        coco.dataset = {"images": images, "categories": [{"id": 1}], "annotations": numbered}
        coco.createIndex()
        return coco

    def xywh(box):
        y1, x1, y2, x2 = map(float, box)
        return [x1, y1, x2 - x1, y2 - y1]

    truths = [
        {"image_id": i, "bbox": xywh(box), "area": float(area), "iscrowd": int(crowd)}
        for i, e in enumerate(data.examples)
        for box, area, crowd in zip(e.boxes, e.area, e.crowd)
    ]
    results = [
        {"image_id": i, "bbox": xywh(box), "area": 1.0, "iscrowd": 0, "score": float(score)}
        for i, image in enumerate(proposals)
        for box, score in zip(image.boxes, image.scores)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        judge = COCOeval(index(truths), index(results), "bbox")
        judge.params.useCats = 0
        judge.params.maxDets = list(limits)
        judge.evaluate()
        judge.accumulate()
    recall = judge.eval["recall"][:, 0]  # [T, areas, limits]; -1 = no object
    return {
        f"AR{name}@{limit}": None if recall[0, a, k] < 0 else recall[:, a, k].mean()
        for k, limit in enumerate(limits)
        for a, name in enumerate(("", "s", "m", "l"))
    }


def crowded(seed, images=8, objects=14, count=150):
    """Objects that overlap each other and proposals around them, on a coarse grid so that IoUs and scores are tied."""
    rng = np.random.default_rng(seed)
    examples, proposals = [], []
    for i in range(images):
        corners = rng.integers(0, 12, (objects, 2)) * 10.0
        boxes = np.concatenate([corners, corners + rng.integers(1, 13, (objects, 2)) * 10.0], -1)
        around = boxes[rng.integers(0, objects, count)] + rng.integers(-2, 3, (count, 4)) * 5.0
        around = np.concatenate([np.minimum(around[:, :2], around[:, 2:] - 5), around[:, 2:]], -1)
        examples.append(
            example(i, boxes, crowd=rng.random(objects) < 0.15, area=np.prod(boxes[:, 2:] - boxes[:, :2], 1))
        )
        proposals.append(proposed(i, around, np.sort(rng.integers(0, 40, count) / 40)[::-1]))
    return dataset(*examples), proposals


@pytest.mark.parametrize("seed", range(4))
def test_average_recall_is_that_of_pycocotools_without_classes(seed):
    data, proposals = crowded(seed)
    limits = (10, 50, 150)
    expected = pycocotools_average_recall(data, proposals, limits)
    actual = evaluate_proposals(data, proposals, limits).average_recall
    assert list(actual) == list(expected)
    assert 0.1 < actual["AR@10"] < actual["AR@50"] < actual["AR@150"] < 1
    # both count the same objects; only the order in which ten quotients are added differs
    for name, value in expected.items():
        assert actual[name] == pytest.approx(value, abs=1e-12), name


def test_the_report_has_a_row_for_each_limit_and_json_all_of_it(tmp_path):
    data, proposals = crowded(0)
    evaluation = evaluate_proposals(data, proposals, (10, 100))
    text = render_proposals(evaluation).splitlines()
    assert text[0].startswith("Recall of proposals: 8 images, ")
    assert text[2].split() == ["proposals", "IoU", "0.50", "IoU", "0.70", "IoU", "0.90", "AR", "ARs", "ARm", "ARl"]
    assert text[4].split()[:2] == ["100", f"{evaluation.recall[1, 0]:.3f}"]
    write_json(tmp_path / "a.json", evaluation, {"model": "m"})
    content = (tmp_path / "a.json").read_text()
    assert '"iou_thresholds": [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]' in content
    plot_recall(evaluation, tmp_path / "recall.png")
    with Image.open(tmp_path / "recall.png") as picture:
        assert picture.size == (960, 660)


def test_thresholds_are_pycocotools_ten_and_one():
    np.testing.assert_array_equal(THRESHOLDS[:10], COCOeval(iouType="bbox").params.iouThrs)
    assert THRESHOLDS[10] == 1
