"""TIDE's error types: hand-made cases, and the numbers of the package `tidecv`."""

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.evaluation.outcomes import CORRECT, ERRORS, outcomes_of
from tfrcnn.evaluation.tide import error_costs

A, B = [0, 0, 10, 10], [0, 40, 10, 50]
NAMES = {"cls": "Cls", "loc": "Loc", "both": "Both", "dup": "Dupe", "bkg": "Bkg", "miss": "Miss"}


def judged(boxes, scores, labels, objects=(A,), classes=(0,), crowd=(False,)):
    boxes, objects = np.array(boxes, np.float32), np.array(objects, np.float32).reshape(-1, 4)
    crowd = np.array(crowd, bool)
    image = Example(
        image_id=1,
        path="1.png",
        height=100,
        width=100,
        boxes=objects,
        labels=np.array(classes, np.int32),
        crowd=crowd,
        difficult=np.zeros(len(objects), bool),
        area=np.prod(objects[:, 2:] - objects[:, :2], axis=1),
        orientation=1,
        annotation_ids=np.arange(len(objects)),
    )
    dataset = Dataset("hand", (Category(1, "cat"), Category(2, "dog")), (image,))
    return outcomes_of(dataset, [ImageDetections(1, boxes, np.array(scores, np.float32), np.array(labels, np.int32))])


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (A, 0, "correct"),
        (A, 1, "cls"),
        ([0, 0, 10, 4], 0, "loc"),
        ([0, 0, 10, 4], 1, "both"),
        ([50, 50, 60, 60], 0, "bkg"),
    ],
)
def test_a_detection_has_the_type_that_its_place_and_class_say(box, label, kind):
    outcomes = judged([box], [0.9], [label])
    assert (*ERRORS, "correct")[outcomes.kinds[0]] == kind
    assert outcomes.objects.missed.tolist() == [kind in ("both", "bkg")]


def test_a_second_detection_of_an_object_is_a_duplicate():
    outcomes = judged([A, A], [0.9, 0.8], [0, 0])
    assert outcomes.kinds.tolist() == [CORRECT, ERRORS.index("dup")]
    assert outcomes.targets.tolist() == [0, 0]


def test_a_detection_in_a_crowd_region_does_not_count():
    outcomes = judged([B, A], [0.9, 0.8], [0, 0], [A, B], [0, 0], [False, True])
    assert outcomes.ignored.tolist() == [True, False]
    assert error_costs(outcomes).counts == dict.fromkeys(ERRORS, 0)


def test_fixing_the_only_error_costs_all_that_is_missing():
    result = error_costs(judged([A, B], [0.9, 0.8], [0, 1], [A, B], [0, 0], [False, False]))
    assert result.costs["cls"] == pytest.approx(1 - result.ap)
    assert result.counts == {"cls": 1, "loc": 0, "both": 0, "dup": 0, "bkg": 0, "miss": 0}


def test_nothing_to_judge_costs_nothing():
    result = error_costs(outcomes_of(Dataset("none", (Category(1, "cat"),), ()), []))
    assert (result.ap, set(result.costs.values())) == (None, {0.0})


def test_the_golden_set_costs_what_tidecv_says(golden):
    """The numbers of `TIDE().evaluate(gt, preds).fix_main_errors()` of tidecv 1.0.1 on the same boxes, in percent."""
    result = error_costs(outcomes_of(*golden))
    assert 100 * result.ap == pytest.approx(64.20498881733425, abs=1e-9)
    costs = {
        "cls": 22.2460397441685,
        "loc": 0.22789102370710168,
        "dup": 0.018972971237033676,
        "miss": 8.523573787723365,
    }
    assert {name: 100 * cost for name, cost in result.costs.items()} == pytest.approx(
        {"both": 0, "bkg": 0, **costs}, abs=1e-9
    )
    assert 100 * result.false_positives == pytest.approx(6.821587524510463, abs=1e-9)
    assert 100 * result.false_negatives == pytest.approx(17.684978535217184, abs=1e-9)
    assert result.counts == {"cls": 83, "loc": 1, "both": 0, "dup": 1, "bkg": 0, "miss": 97}


@pytest.mark.filterwarnings("ignore")  # of tidecv's own imports
@pytest.mark.slow
def test_random_data_cost_what_tidecv_says(random_pairs):
    tidecv = pytest.importorskip("tidecv", reason="tidecv is not installed: pip install tidecv")
    for seed in range(15):
        dataset, detections = random_pairs(seed)
        truth, predictions = tidecv.Data("truth"), tidecv.Data("predictions")
        for image in dataset.examples:
            truth.add_image(image.image_id, "")
            for (y1, x1, y2, x2), label, crowd in zip(image.boxes.tolist(), image.labels.tolist(), image.crowd):
                add = truth.add_ignore_region if crowd else truth.add_ground_truth
                add(image.image_id, label, [x1, y1, x2 - x1, y2 - y1])
        for image in detections:
            for (y1, x1, y2, x2), score, label in zip(*(v.tolist() for v in (image.boxes, image.scores, image.labels))):
                predictions.add_detection(image.image_id, label, score, [x1, y1, x2 - x1, y2 - y1])
        run = tidecv.TIDE().evaluate(truth, predictions)
        expected = {kind.short_name: cost for kind, cost in run.fix_main_errors().items()}
        result = error_costs(outcomes_of(dataset, detections))
        assert 100 * result.ap == pytest.approx(run.ap, abs=1e-9)
        assert {NAMES[name]: 100 * cost for name, cost in result.costs.items()} == pytest.approx(expected, abs=1e-9)
