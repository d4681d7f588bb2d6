"""The COCO metric against hand-counted cases, published figures and pycocotools on its own.

Boxes are [y1, x1, y2, x2].
"""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.coco import HEADLINE, evaluate_coco, to_coco_results, write_coco_results
from tfrcnn.evaluation.evaluate import evaluate
from tfrcnn.evaluation.inputs import relabelled
from tfrcnn.evaluation.limits import applied, limited
from tfrcnn.evaluation.report import render

from .examples import detected, example

CATEGORIES = (Category(70, "cat"), Category(7, "dog"))  # descending ids: sorting them would swap the labels


BOX = [10, 20, 30, 50]  # 20 high, 30 wide
DATASET = Dataset("hand", CATEGORIES, (example(5, [BOX], [0]), example("b", [], [])))


def test_perfect_detection_has_average_precision_one():
    evaluation = evaluate_coco(DATASET, [detected(5, [BOX], [0.9], [0])])
    assert evaluation.headline["AP"] == pytest.approx(1.0)
    assert evaluation.primary == evaluation.headline["AP"]
    assert list(evaluation.headline) == list(HEADLINE)
    assert evaluation.counts == {"images": 2, "ground_truth": 1, "ignored": 0, "detections": 1}


def test_metric_without_objects_is_none_not_minus_one():
    headline = evaluate_coco(DATASET, [detected(5, [BOX], [0.9], [0])]).headline
    assert headline["APs"] == pytest.approx(1.0)  # 20 * 30 = 600 < 32^2
    assert headline["APm"] is None
    assert headline["ARl"] is None


def test_class_without_objects_has_no_curve_and_counts_its_detections():
    dog = evaluate_coco(DATASET, [detected(5, [BOX, BOX], [0.9, 0.8], [0, 1])]).per_class[1]
    assert dog.category.name == "dog"
    assert dog.metrics == {"AP": None, "AP50": None, "AP75": None}
    assert (dog.ground_truth, dog.detections, dog.curve) == (0, 1, None)


def test_iou_of_two_thirds_counts_at_four_of_ten_thresholds():
    shifted = [10, 26, 30, 56]  # intersection 24 of 30 wide: IoU 24 / 36 = 0.667, over .50, .55, .60 and .65
    cat = evaluate_coco(DATASET, [detected(5, [shifted], [0.9], [0])]).per_class[0]
    assert cat.metrics == pytest.approx({"AP": 0.4, "AP50": 1.0, "AP75": 0.0})


def test_curve_of_half_found_class_falls_to_zero_at_half_recall():
    dataset = Dataset("hand", CATEGORIES, (example(1, [BOX, [50, 50, 90, 90]], [0, 0]),))
    curve = evaluate_coco(dataset, [detected(1, [BOX], [0.75], [0])]).per_class[0].curve
    assert curve.recall.shape == curve.precision.shape == curve.score.shape == (101,)
    np.testing.assert_allclose(curve.precision, np.where(curve.recall <= 0.5, 1.0, 0.0))
    np.testing.assert_allclose(curve.score, np.where(curve.recall <= 0.5, 0.75, 0.0))


def test_data_set_without_any_detection_has_average_precision_zero():
    evaluation = evaluate_coco(DATASET, [])
    assert evaluation.headline["AP"] == 0.0
    assert evaluation.counts["detections"] == 0


def test_images_without_objects_give_none_everywhere():
    evaluation = evaluate_coco(Dataset("empty", CATEGORIES, (example(1, [], []),)), [])
    assert set(evaluation.headline.values()) == {None}
    assert json.loads(json.dumps(evaluation.to_dict()))["headline"]["AP"] is None


def test_detection_in_crowd_is_neither_right_nor_wrong():
    dataset = Dataset("crowd", CATEGORIES, (example(1, [BOX, [0, 50, 100, 100]], [0, 0], crowd=[False, True]),))
    boxes, scores = [[40, 60, 60, 80], BOX], [0.9, 0.8]
    evaluation = evaluate_coco(dataset, [detected(1, boxes, scores, [0, 0])])
    assert evaluation.headline["AP"] == pytest.approx(1.0)
    assert (evaluation.counts["ground_truth"], evaluation.counts["ignored"]) == (1, 1)


def test_size_class_goes_by_the_area_of_the_example():
    dataset = Dataset("area", CATEGORIES, (example(1, [BOX], [0], area=[40.0**2]),))
    headline = evaluate_coco(dataset, [detected(1, [BOX], [0.9], [0])]).headline
    assert headline["APs"] is None
    assert headline["APm"] == pytest.approx(1.0)


def test_order_of_images_in_detections_does_not_matter():
    dataset = Dataset("two", CATEGORIES, (example("b", [BOX], [0]), example("a", [BOX], [0])))
    detections = [detected("a", [BOX], [0.5], [0]), detected("b", [[0, 0, 5, 5]], [0.9], [0])]
    assert evaluate_coco(dataset, detections).headline == evaluate_coco(dataset, detections[::-1]).headline


def test_results_carry_the_data_sets_own_ids_and_xywh():
    assert to_coco_results(DATASET, [detected(5, [BOX], [0.5], [1])]) == [
        {"image_id": 5, "category_id": 7, "bbox": [20.0, 10.0, 30.0, 20.0], "score": 0.5}
    ]


def test_failed_write_leaves_the_old_results(tmp_path):
    path = tmp_path / "new" / "results.json"
    write_coco_results(path, DATASET, [detected(5, [BOX], [0.5], [1])])
    before = path.read_text()
    with pytest.raises(InputError):
        write_coco_results(path, DATASET, [detected(6, [BOX], [0.5], [1])])
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]


def test_nothing_is_printed(capsys):
    evaluate_coco(DATASET, [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("detections", "message"),
    [
        ([detected(6, [BOX], [0.5], [0])], "hand: image_id 6: .* no such image"),
        ([detected(5, [], [], []), detected(5, [], [], [])], "image_id 5: .* found two"),
        ([detected(5, [BOX], [np.nan], [0])], r"scores\[0\]: expected finite numbers, found nan"),
        ([detected(5, [BOX, [0, 0, np.inf, 1]], [0.5, 0.4], [0, 0])], r"boxes\[1\]: expected finite numbers"),
        ([detected(5, [[5, 5, 4, 6]], [0.5], [0])], r"boxes\[0\]: expected \[y1, x1, y2, x2\]"),
        ([detected(5, [BOX], [0.5], [2])], r"labels\[0\]: expected labels in 0..1, found 2"),
        ([detected(5, [BOX], [0.5], [-1])], r"labels\[0\]: expected labels in 0..1, found -1"),
        ([detected(5, [BOX], [0.5, 0.4], [0])], r"found \[1, 4\] and \[2\] and \[1\]"),
    ],
)
def test_detections_that_do_not_fit_are_refused(detections, message):
    with pytest.raises(InputError, match=message):
        evaluate_coco(DATASET, detections)


def from_coco(truth):
    """A COCO dictionary as a Dataset, without the checks of the real reader."""
    labels = {category["id"]: label for label, category in enumerate(truth["categories"])}
    examples = []
    for image in truth["images"]:
        objects = [a for a in truth["annotations"] if a["image_id"] == image["id"]]
        xywh = np.array([a["bbox"] for a in objects], np.float64).reshape(-1, 4)
        yxyx = np.concatenate([xywh[:, 1::-1], xywh[:, 1::-1] + xywh[:, :1:-1]], axis=1)
        examples.append(
            example(
                image["id"],
                yxyx,
                [labels[a["category_id"]] for a in objects],
                [a["iscrowd"] for a in objects],
                area=[a["area"] for a in objects],
            )
        )
    return Dataset("coco", tuple(Category(c["id"], c["name"]) for c in truth["categories"]), tuple(examples))


def from_results(dataset, results):
    labels = {category.id: label for label, category in enumerate(dataset.categories)}
    by_image = {}
    for result in results:
        by_image.setdefault(result["image_id"], []).append(result)
    detections = []
    for image_id, group in by_image.items():
        x, y, w, h = np.array([r["bbox"] for r in group], np.float64).T
        boxes = np.stack([y, x, y + h, x + w], axis=1)
        detections.append(
            detected(image_id, boxes, [r["score"] for r in group], [labels[r["category_id"]] for r in group])
        )
    return detections


def test_published_figures_of_one_hundred_coco_images_are_reproduced(data_root):
    folder = data_root / "eval_golden/review_object_detection_metrics_tests/test_coco_eval"
    dataset = from_coco(json.loads((folder / "gts/sampled_gts_bbox_area.json").read_text()))
    results = json.loads((folder / "dets/sampled_bbox_results.json").read_text())["annotations"]
    evaluation = evaluate_coco(dataset, from_results(dataset, results))
    expected = (0.503647, 0.696973, 0.571667, 0.593252, 0.557991, 0.489363)
    expected += (0.386813, 0.593680, 0.595353, 0.654764, 0.603130, 0.553744)
    assert list(evaluation.headline.values()) == pytest.approx(expected, abs=1e-6)
    assert (evaluation.counts["images"], evaluation.counts["detections"]) == (100, 734)
    assert evaluation.counts["ground_truth"] + evaluation.counts["ignored"] == 830


def test_equals_pycocotools_run_on_the_files(data_root, tmp_path):
    path = data_root / "coco_val2017_66/instances.json"
    truth = json.loads(path.read_text())
    dataset = from_coco(truth)
    rng = np.random.default_rng(0)
    detections = []
    for image in dataset.examples[1:]:  # the first image goes without
        near = np.repeat(image.boxes, 2, axis=0)
        sides = np.tile(near[:, 2:] - near[:, :2], 2)
        boxes = near + rng.normal(0, 0.08, near.shape) * sides
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
        labels = np.repeat(image.labels, 2)
        wrong = rng.random(len(labels)) < 0.2
        labels[wrong] = rng.integers(0, len(dataset.categories), wrong.sum())
        scores = np.sort(rng.integers(1, 20, len(labels)) / 20)[::-1]  # coarse: many ties
        detections.append(detected(image.image_id, boxes, scores, labels))
    write_coco_results(tmp_path / "results.json", dataset, detections)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(path)
        peer = COCOeval(coco, coco.loadRes(str(tmp_path / "results.json")), "bbox")
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
    evaluation = evaluate_coco(dataset, detections)
    assert 0.2 < evaluation.headline["AP"] < 0.8
    assert list(evaluation.headline.values()) == pytest.approx(peer.stats.tolist(), abs=1e-9)
    order = peer.params.catIds
    for row in evaluation.per_class:
        precision = peer.eval["precision"][:, :, order.index(row.category.id), 0, -1]
        if row.ground_truth:
            assert row.metrics["AP"] == pytest.approx(precision.mean(), abs=1e-9)
            np.testing.assert_allclose(row.curve.precision, precision[0], atol=1e-9)
        else:
            assert (row.metrics["AP"], precision.max()) == (None, -1)


def test_both_forms_of_the_toy_example_agree(data_root):
    """The same boxes as COCO json and as plain text lines with corners, or with width and height."""
    folder = data_root / "eval_golden/toyexample"
    truth = json.loads((folder / "gts_coco_format/toy_example_coco.JSON").read_text())
    dataset = from_coco(truth)
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    results = json.loads((folder / "dets_coco_format/coco_dets.json").read_text())["annotations"]
    from_json = evaluate_coco(dataset, from_results(dataset, results)).to_dict()

    def from_lines(kind, corners):
        detections = []
        for image_id, name in names.items():
            lines = (folder / kind / name).with_suffix(".txt").read_text().split("\n")
            rows = np.array([line.split()[1:] for line in lines if line], np.float64).reshape(-1, 5)
            score, x, y, *end = rows.T
            x2, y2 = end if corners else (x + end[0], y + end[1])
            detections.append(detected(image_id, np.stack([y, x, y2, x2], axis=1), score, np.zeros(len(rows))))
        return evaluate_coco(dataset, detections).to_dict()

    assert from_json["headline"]["AP"] > 0.3
    assert from_lines("dets_classname_abs_xyx2y2", corners=True) == from_json
    assert from_lines("dets_classname_abs_xywh", corners=False) == from_json


MANY = np.array([[y * 16, x * 16, y * 16 + 12, x * 16 + 12] for y in range(15) for x in range(10)], np.float32)


def many(count=150):
    """An image with 150 objects of one class, and `count` perfect detections."""
    dataset = Dataset("many", CATEGORIES, (example(5, MANY, np.zeros(len(MANY), int)),))
    return dataset, [detected(5, MANY[:count], np.linspace(0.99, 0.5, count), np.zeros(count, int))]


def test_the_table_says_that_100_detections_are_judged_and_what_they_leave_out():
    evaluation = evaluate(*many())
    assert evaluation.headline["AP"] < 0.7
    assert evaluation.limits == {"detections_per_image_and_class": 100, "objects_out_of_reach": 50}
    assert render(evaluation).endswith(
        "\nLimits: at most 100 detections per image and class are judged.\n"
        "These limits leave 50 objects undetected at best: raise --max-detections.\n"
    )
    assert evaluation.to_dict()["limits"] == evaluation.limits


def test_the_limits_of_the_metric_follow_the_detector_s():
    evaluation = evaluate(*many(), limits=DetectionConfig(max_detections=300, score_threshold=0.25))
    assert evaluation.headline["AP"] == pytest.approx(1.0)
    assert evaluation.headline["AR300"] == pytest.approx(1.0)
    assert "AR100" not in evaluation.headline
    text = render(evaluation)
    assert "AR300  1.000  recall with 300 detections per image" in text
    assert text.endswith(
        "\nLimits: at most 300 detections per image and class are judged, the detector returns at most 300 per image, "
        "of scores above 0.25.\n"
    )


@pytest.mark.parametrize(("metric", "out_of_reach"), [("coco", 130), ("voc", 130), ("voc07", 130)])
def test_a_detector_that_returns_fewer_than_the_objects_is_mentioned_by_every_metric(metric, out_of_reach):
    evaluation = evaluate(*many(20), metric, DetectionConfig(max_detections=20))
    assert evaluation.limits["objects_out_of_reach"] == out_of_reach
    assert ("detections_per_image_and_class" in evaluation.limits) == (metric == "coco")
    if metric == "coco":
        assert list(evaluation.headline) == list(HEADLINE)  # comparable with COCO's


def test_limits_within_reach_are_only_named():
    evaluation = evaluate(DATASET, [detected(5, [BOX], [0.9], [0])])
    assert render(evaluation).endswith("\nLimits: at most 100 detections per image and class are judged.\n")


def test_fewer_detections_than_coco_s_are_no_limit_of_the_metric():
    with pytest.raises(InputError, match="max_detections: expected at least 100, found 50"):
        evaluate_coco(DATASET, [], 50)


def test_detections_are_limited_as_by_a_detector_with_these_limits():
    detections = [detected(5, [BOX] * 4, [0.9, 0.8, 0.5, 0.3], [0, 1, 0, 1])]
    assert limited(detections, DetectionConfig(max_detections=2))[0].scores == pytest.approx([0.9, 0.8])
    kept = limited(detections, DetectionConfig(score_threshold=0.5))[0]
    assert (kept.image_id, kept.labels.tolist(), kept.boxes.shape) == (5, [0, 1], (2, 4))


@pytest.mark.parametrize(
    ("dataset", "detections", "message"),
    [
        ("cells.json", [], r"dataset must be a Dataset of tfrcnn\.load_dataset, found str"),
        (DATASET, None, "detections must be a list of ImageDetections, found NoneType"),
        (DATASET, [{"boxes": []}], "detections must be a list of ImageDetections, found dict in it"),
        (
            DATASET,
            [ImageDetections(5, [BOX], [0.9], [0])],
            "image_id 5: expected NumPy arrays of boxes, scores and labels, found other types",
        ),
    ],
)
def test_arguments_of_other_types_are_named(dataset, detections, message):
    with pytest.raises(InputError, match=message):
        evaluate(dataset, detections)


def test_detections_of_a_detector_with_its_classes_in_another_order_are_refused():
    image = ImageDetections(5, np.array([BOX]), np.array([0.9]), np.array([1]), CATEGORIES[::-1])
    with pytest.raises(InputError, match=r"the classes cat, dog, found dog, cat: load .* categories=predictor\.cat"):
        evaluate(DATASET, [image])
    (same,) = relabelled([image], CATEGORIES[::-1], CATEGORIES, "detector")
    assert evaluate(DATASET, [same]).headline["AP"] == pytest.approx(1.0)


@pytest.mark.parametrize(("metric", "out_of_reach"), [("coco", 4), ("voc", 3)])
def test_objects_out_of_reach_are_counted_per_image_without_those_that_the_metric_ignores(metric, out_of_reach):
    # of 4 objects and a crowd, 2 are out of reach; of 3 objects and a difficult one, 2 of COCO's and 1 of VOC's
    flags = [([0, 0, 0, 1, 1], [3], []), ([], [], []), ([1, 1, 1, 1], [], [2])]
    examples = []
    for i, (labels, crowds, difficult) in enumerate(flags):
        boxes = np.tile(np.float32([0, 0, 5, 5]), (len(labels), 1))
        crowd, hard = (np.isin(np.arange(len(labels)), chosen) for chosen in (crowds, difficult))
        numbers = np.arange(len(labels))
        examples.append(
            Example(i, Path(f"{i}.jpg"), 10, 10, boxes, np.int32(labels), crowd, hard, boxes[:, 2] * 5, 1, numbers)
        )
    dataset = Dataset("cells", (Category(1, "red"), Category(2, "white")), tuple(examples))
    assert applied(dataset, metric, DetectionConfig(max_detections=2))["objects_out_of_reach"] == out_of_reach
    nothing = Dataset("cells", dataset.categories, ())
    assert "objects_out_of_reach" not in applied(nothing, metric, DetectionConfig(max_detections=2))


def test_limits_of_another_type_are_refused():
    limits = "limits must be a DetectionConfig, for example detector.config.detections, found int"
    with pytest.raises(InputError, match=limits):
        evaluate(None, [], limits=5)
