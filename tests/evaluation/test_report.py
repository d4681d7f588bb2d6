"""Tables and JSON of evaluations, and the confusion matrix."""

import json

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset
from tfrcnn.evaluation.confusion import confusion_matrix
from tfrcnn.evaluation.report import render, write_json
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation

from .examples import detected, example

CAT, DOG = Category(70, "cat"), Category(7, "dog")
A, B, C = [0, 0, 10, 10], [0, 20, 10, 30], [0, 40, 10, 50]


def evaluation_of(num_classes=2, headline=None):
    """An evaluation whose last class has no objects."""
    curve = Curve(np.array([0.5, 1.0]), np.array([1.0, 2 / 3]), np.array([0.9, 0.8]))
    rows = [
        ClassResult(Category(n, f"class {n}"), {"AP": n / num_classes}, 3, 4, curve) for n in range(num_classes - 1)
    ]
    rows.append(ClassResult(Category(99, "a name that is longer than thirty characters"), {"AP": None}, 0, 1, None))
    counts = {"images": 5, "ground_truth": 3 * (num_classes - 1), "ignored": 2, "detections": 12}
    return Evaluation("voc", 0.5, {"mAP": 0.25} if headline is None else headline, tuple(rows), counts)


def test_table_is_aligned_and_names_what_it_shows():
    assert render(evaluation_of()) == (
        "VOC metric (area under the curve) at IoU 0.5: 5 images, 3 objects and 2 ignored, 12 detections\n"
        "\n"
        "mAP  0.250  mean over the classes\n"
        "\n"
        "class                              AP  objects  detections\n"
        "class 0                         0.000        3           4\n"
        "a name that is longer than th…      -        0           1\n"
    )


def test_json_has_extra_entries_first_and_null_where_undefined(tmp_path):
    path = tmp_path / "a" / "metrics.json"
    write_json(path, evaluation_of(headline={"mAP": None}), {"model": "run [\n1, 2\n]"})
    content = json.loads(path.read_text())
    assert list(content) == ["model", "metric", "iou_threshold", "headline", "counts", "per_class"]
    assert content["model"] == "run [\n1, 2\n]"
    assert content["headline"] == {"mAP": None}
    assert content["per_class"][0]["curve"]["precision"] == [1.0, 0.666667]
    assert content["per_class"][1]["curve"] is None
    assert '"recall": [0.5, 1.0]' in path.read_text()  # one line for a curve, not one for a point


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, evaluation_of(), {"seconds": float("nan")})
    assert path.read_text() == "old"


def test_confusion_of_right_wrong_missed_and_false_alarm():
    dataset = Dataset("hand", (CAT, DOG), (example(1, [A, B, C], [0, 0, 1]),))
    detections = [detected(1, [A, B, [50, 50, 60, 60]], [0.9, 0.8, 0.7], [0, 1, 1])]
    # rows: cat, dog, background; A is right, B taken for a dog, C missed, the third detection is a false alarm
    assert confusion_matrix(dataset, detections).tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_object_is_taken_by_the_highest_score_and_others_are_false_alarms():
    dataset = Dataset("hand", (CAT, DOG), (example(1, [A], [0]),))
    detections = [detected(1, [A, A], [0.6, 0.9], [0, 1])]
    assert confusion_matrix(dataset, detections).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_scores_below_the_threshold_and_difficult_objects_are_left_out():
    dataset = Dataset("hand", (CAT, DOG), (example(1, [A, B], [0, 1], difficult=[True, False]),))
    detections = [detected(1, [A, A, B], [0.9, 0.8, 0.4], [0, 0, 1])]
    assert confusion_matrix(dataset, detections).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_confusion_counts_every_object_and_every_detection_once():
    rng = np.random.default_rng(0)

    def boxes(count):
        corner = rng.uniform(0, 60, (count, 2))
        return np.concatenate([corner, corner + rng.uniform(5, 30, (count, 2))], axis=1)

    dataset = Dataset("random", (CAT, DOG), (example(1, boxes(40), rng.integers(0, 2, 40)),))
    detections = [detected(1, boxes(50), np.linspace(1, 0.6, 50), rng.integers(0, 2, 50))]
    matrix = confusion_matrix(dataset, detections, iou=0.3)
    assert matrix[:2].sum() == 40
    assert matrix[:, :2].sum() == 50
    assert 0 < matrix[:2, :2].sum() < 40
