"""The VOC metric against hand-counted cases, published figures and the devkit's loop written out.

`brute_force` follows VOCevaldet.m line by line on 1-based inclusive boxes; it shares no code with tfrcnn.
"""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset
from tfrcnn.errors import InputError
from tfrcnn.evaluation.voc import average_precision, evaluate_voc

from .examples import detected, example


def one_class(*examples):
    return Dataset("hand", (Category(1, "thing"),), examples)


def from_inclusive(xyxy):
    """1-based inclusive [xmin, ymin, xmax, ymax] -> continuous yxyx."""
    xmin, ymin, xmax, ymax = np.array(xyxy, np.float64).reshape(-1, 4).T
    return np.stack([ymin - 1, xmin - 1, ymax, xmax], axis=1)


A, B, C = [0, 0, 10, 10], [0, 20, 10, 30], [0, 40, 10, 50]


def test_precision_and_recall_of_right_wrong_right():
    dataset = one_class(example("i", [A, B, C], [0, 0, 0]))
    row = evaluate_voc(dataset, [detected("i", [A, [50, 50, 60, 60], B], [0.9, 0.8, 0.7])]).per_class[0]
    np.testing.assert_allclose(row.curve.recall, [1 / 3, 1 / 3, 2 / 3])
    np.testing.assert_allclose(row.curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_allclose(row.curve.score, [0.9, 0.8, 0.7], rtol=1e-6)
    assert row.metrics == pytest.approx({"AP": 1 / 3 + 1 / 3 * 2 / 3, "recall": 2 / 3})


def test_eleven_points_of_right_wrong_right():
    dataset = one_class(example("i", [A, B, C], [0, 0, 0]))
    detections = [detected("i", [A, [50, 50, 60, 60], B], [0.9, 0.8, 0.7])]
    # 0, .1, .2, .3 are reached with precision 1; .4, .5, .6 with 2/3; the rest is not
    assert evaluate_voc(dataset, detections, metric="voc07").primary == pytest.approx((4 + 3 * 2 / 3) / 11)


def test_recall_of_exactly_three_tenths_reaches_the_point_three_tenths():
    recall, precision = np.array([0.1, 0.2, 3 / 10]), np.ones(3)
    assert average_precision(recall, precision, "voc07") == pytest.approx(4 / 11)


def test_second_detection_of_an_object_is_wrong_whatever_its_iou():
    dataset = one_class(example("i", [A], [0]))
    curve = evaluate_voc(dataset, [detected("i", [[0, 0, 10, 9], A], [0.9, 0.8])]).per_class[0].curve
    np.testing.assert_allclose(curve.precision, [1, 1 / 2])


def test_duplicate_does_not_fall_back_to_the_next_object():
    dataset = one_class(example("i", [A, [0, 2, 10, 12]], [0, 0]))  # IoU of the two objects: 8 / 12
    curve = evaluate_voc(dataset, [detected("i", [A, A], [0.9, 0.8])]).per_class[0].curve
    np.testing.assert_allclose(curve.recall, [1 / 2, 1 / 2])


def test_iou_equal_to_the_threshold_is_enough():
    dataset = one_class(example("i", [A], [0]))
    assert evaluate_voc(dataset, [detected("i", [[0, 0, 10, 5]], [0.9])]).primary == 1.0
    assert evaluate_voc(dataset, [detected("i", [[0, 0, 10, 4.99]], [0.9])]).primary == 0.0


@pytest.mark.parametrize("kind", ["difficult", "crowd"])
def test_ignored_object_is_not_to_be_found_and_its_detections_do_not_count(kind):
    dataset = one_class(example("i", [A, B], [0, 0], **{kind: [True, False]}))
    evaluation = evaluate_voc(dataset, [detected("i", [A, A, B], [0.9, 0.8, 0.7])])
    assert evaluation.per_class[0].curve.precision.tolist() == [1.0]
    assert evaluation.per_class[0].ground_truth == 1
    assert evaluation.counts == {"images": 1, "ground_truth": 1, "ignored": 1, "detections": 3}


def test_class_with_difficult_objects_only_is_not_in_the_mean():
    categories = (Category(1, "a"), Category(2, "b"))
    dataset = Dataset("hand", categories, (example("i", [A, B], [0, 1], difficult=[False, True]),))
    evaluation = evaluate_voc(dataset, [detected("i", [A, C], [0.9, 0.8], [0, 1])])
    assert evaluation.primary == 1.0
    assert evaluation.per_class[1].metrics == {"AP": None, "recall": None}
    assert evaluation.per_class[1].detections == 1


def test_detection_of_another_class_is_wrong():
    dataset = Dataset("hand", (Category(1, "a"), Category(2, "b")), (example("i", [A], [1]),))
    assert evaluate_voc(dataset, [detected("i", [A], [0.9], [0])]).primary == 0.0


def test_no_detections_and_no_objects():
    assert evaluate_voc(one_class(example("i", [A], [0])), []).per_class[0].metrics == {"AP": 0.0, "recall": 0.0}
    assert evaluate_voc(one_class(example("i", [], [])), []).primary is None


@pytest.mark.parametrize(("threshold", "metric"), [(0.0, "voc"), (1.1, "voc"), (float("nan"), "voc"), (0.5, "coco")])
def test_arguments_out_of_range_are_refused(threshold, metric):
    with pytest.raises(InputError):
        evaluate_voc(one_class(), [], threshold, metric)


def brute_force(truths, detections, threshold, metric):
    """AP of one class. truths: {image: [(box, difficult)]}, detections: [(image, score, box)], inclusive xyxy."""
    count = sum(not difficult for objects in truths.values() for _, difficult in objects)
    taken, tp, fp = set(), [], []
    for image, _, (x1, y1, x2, y2) in sorted(detections, key=lambda d: -d[1]):
        best, chosen = -np.inf, None
        for number, ((gx1, gy1, gx2, gy2), difficult) in enumerate(truths.get(image, [])):
            width, height = min(x2, gx2) - max(x1, gx1) + 1, min(y2, gy2) - max(y1, gy1) + 1
            if width > 0 and height > 0:
                union = (x2 - x1 + 1) * (y2 - y1 + 1) + (gx2 - gx1 + 1) * (gy2 - gy1 + 1) - width * height
                if width * height / union > best:
                    best, chosen, is_difficult = width * height / union, number, difficult
        if best >= threshold and is_difficult:
            tp.append(0), fp.append(0)
        elif best >= threshold and (image, chosen) not in taken:
            taken.add((image, chosen))
            tp.append(1), fp.append(0)
        else:
            tp.append(0), fp.append(1)
    if count == 0:
        return None
    tp, fp = np.cumsum(tp), np.cumsum(fp)
    recall, precision = tp / count, tp / np.maximum(tp + fp, 1)
    if metric == "voc07":
        return sum(max(precision[recall >= k / 10], default=0) for k in range(11)) / 11
    recall, precision = [0, *recall, 1], [0, *precision, 0]
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def compare(dataset, detections, threshold, metric):
    """AP of tfrcnn and of the devkit's loop, on the same boxes in the devkit's coordinates."""
    evaluation = evaluate_voc(dataset, detections, threshold, metric)
    inclusive = lambda box: (box[1] + 1, box[0] + 1, box[3], box[2])  # noqa: E731
    for label, row in enumerate(evaluation.per_class):
        truths = {
            e.image_id: [
                (inclusive(box), difficult)
                for box, its, difficult in zip(e.boxes.tolist(), e.labels, e.difficult)
                if its == label
            ]
            for e in dataset.examples
        }
        by_image = {d.image_id: d for d in detections}
        boxes = [
            (e.image_id, score, inclusive(box))
            for e in dataset.examples
            if e.image_id in by_image
            for box, score, its in zip(
                by_image[e.image_id].boxes.tolist(), by_image[e.image_id].scores, by_image[e.image_id].labels
            )
            if its == label
        ]
        expected = brute_force(truths, boxes, threshold, metric)
        assert row.metrics["AP"] == (None if expected is None else pytest.approx(expected, abs=1e-12))
    return evaluation


coordinate = st.integers(0, 8)
side = st.integers(1, 6)
box = st.tuples(coordinate, coordinate, side, side).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
truth = st.lists(st.tuples(box, st.integers(0, 1), st.booleans()), max_size=5)
detection = st.lists(st.tuples(box, st.integers(0, 1), st.integers(0, 4)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(truth, detection), max_size=3),
    st.sampled_from([0.3, 0.5, 1.0]),
    st.sampled_from(["voc", "voc07"]),
)
def test_equals_the_devkits_loop(images, threshold, metric):
    examples, detections = [], []
    for number, (objects, boxes) in enumerate(images):
        examples.append(
            example(number, *([o[i] for o in objects] for i in range(2)), difficult=[o[2] for o in objects])
        )
        detections.append(detected(number, [b[0] for b in boxes], [b[2] / 4 for b in boxes], [b[1] for b in boxes]))
    compare(Dataset("random", (Category(1, "a"), Category(2, "b")), tuple(examples)), detections, threshold, metric)


def padillas_case(data_root):
    """The corpus counts [x, y, w, h] as the inclusive corners [x, y, x + w, y + h]."""
    folder = data_root / "eval_golden/review_object_detection_metrics_tests/test_case_1"

    def rows(path, columns):
        values = np.array([line.split()[1:] for line in path.read_text().split("\n") if line], np.float64)
        values = values.reshape(-1, columns)
        values[:, -2:] += values[:, -4:-2]
        return values

    examples, detections = [], []
    for path in sorted((folder / "gts").glob("*.txt")):
        boxes = from_inclusive(rows(path, 4))
        examples.append(example(path.stem, boxes, [0] * len(boxes)))
        lines = rows(folder / "dets" / path.name, 5)
        detections.append(detected(path.stem, from_inclusive(lines[:, 1:]), lines[:, 0]))
    return one_class(*examples), detections


@pytest.mark.parametrize(
    ("metric", "threshold", "expected"),
    [("voc07", 0.3, 0.268398), ("voc07", 0.5, 0.030303), ("voc", 0.3, 0.245687), ("voc", 0.5, 0.022222)],
)
def test_published_figures_of_seven_images_are_reproduced(data_root, metric, threshold, expected):
    dataset, detections = padillas_case(data_root)
    evaluation = compare(dataset, detections, threshold, metric)
    assert evaluation.primary == pytest.approx(expected, abs=1e-6)
    assert (evaluation.counts["ground_truth"], evaluation.counts["detections"]) == (15, 24)


@pytest.mark.parametrize("metric", ["voc", "voc07"])
def test_equals_the_devkits_loop_on_eighty_five_images_of_many_classes(data_root, metric):
    folder = data_root / "eval_golden/cartucho_map_input"
    lines = {
        kind: {
            p.stem: [line.split() for line in p.read_text().split("\n") if line] for p in (folder / kind).glob("*.txt")
        }
        for kind in ("ground-truth", "detection-results")
    }
    names = sorted({row[0] for files in lines.values() for rows in files.values() for row in rows})
    examples, detections = [], []
    for image, rows in sorted(lines["ground-truth"].items()):
        boxes = from_inclusive([row[1:5] for row in rows])
        difficult = np.arange(len(rows)) % 7 == 3  # the files mark none as difficult; mark some to test the rule
        examples.append(example(image, boxes, [names.index(row[0]) for row in rows], difficult=difficult))
        rows = lines["detection-results"].get(image, [])
        boxes, scores = from_inclusive([row[2:6] for row in rows]), [float(row[1]) for row in rows]
        detections.append(detected(image, boxes, scores, [names.index(row[0]) for row in rows]))
    categories = tuple(Category(number, name) for number, name in enumerate(names))
    evaluation = compare(Dataset("cartucho", categories, tuple(examples)), detections, 0.5, metric)
    assert len(examples) == 85
    assert 0.1 < evaluation.primary < 0.5
    assert any(row.metrics["AP"] is None for row in evaluation.per_class)


def test_toy_example_gives_the_same_from_voc_and_coco_ground_truth(data_root):
    """Its COCO file uses the VOC corners as continuous ones; read so, both hold the same boxes."""
    folder = data_root / "eval_golden/toyexample"
    coco = json.loads((folder / "gts_coco_format/toy_example_coco.JSON").read_text())
    from_coco, from_voc, detections = [], [], []
    for image in coco["images"]:
        stem = Path(image["file_name"]).stem
        xywh = [a["bbox"] for a in coco["annotations"] if a["image_id"] == image["id"]]
        x, y, w, h = np.array(xywh, np.float64).reshape(-1, 4).T
        from_coco.append(example(stem, np.stack([y, x, y + h, x + w], axis=1), [0] * len(x)))
        tree = ElementTree.parse(folder / "gts_vocpascal_format" / f"{stem}.xml")
        cats = [thing.find("bndbox") for thing in tree.iter("object") if thing.findtext("name") == "cat"]
        corners = [[float(cat.findtext(k)) for k in ("ymin", "xmin", "ymax", "xmax")] for cat in cats]
        from_voc.append(example(stem, corners, [0] * len(corners)))
        rows = (folder / "dets_classname_abs_xyx2y2" / f"{stem}.txt").read_text().split("\n")
        values = np.array([row.split()[1:] for row in rows if row], np.float64).reshape(-1, 5)
        detections.append(detected(stem, values[:, [2, 1, 4, 3]], values[:, 0]))
    for threshold in (0.3, 0.5, 0.75):
        one = compare(one_class(*from_coco), detections, threshold, "voc")
        other = compare(one_class(*from_voc), detections, threshold, "voc")
        assert one.to_dict() == other.to_dict()
        assert one.primary > 0.2


def test_the_number_of_pairs_that_are_compared_at_once_changes_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    corners = rng.integers(0, 60, (40, 2))
    boxes = np.concatenate([corners, corners + rng.integers(5, 30, (40, 2))], axis=1)
    labels, scores = rng.integers(0, 2, 40), rng.uniform(0, 1, 40)
    dataset = Dataset(
        "hand", (Category(1, "a"), Category(2, "b")), (example(1, boxes[:25], labels[:25]), example(2, []))
    )
    detections = [detected(1, boxes + rng.integers(-3, 3, boxes.shape), scores, labels), detected(2, boxes[:1], [0.5])]
    whole = evaluate_voc(dataset, detections).to_dict()
    for pairs in (1, 60, 999):  # of 25 objects: 1, 2 and 39 detections at once
        monkeypatch.setattr("tfrcnn.evaluation.voc._MAX_PAIRS", pairs)
        assert evaluate_voc(dataset, detections).to_dict() == whole
    assert 0 < whole["headline"]["mAP"] < 1
