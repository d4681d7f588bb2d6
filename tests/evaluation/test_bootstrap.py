"""The bootstrap: its values are those of pycocotools, its draws are what repeating the images gives."""

from dataclasses import replace

import numpy as np
import pytest

from tfrcnn.data.example import Dataset
from tfrcnn.evaluation.bootstrap import IOUS, _classes, _resampled_ap, compare_detections
from tfrcnn.evaluation.coco import evaluate_coco


def test_the_values_are_those_of_pycocotools(golden):
    dataset, detections = golden
    half = [replace(image, labels=np.zeros_like(image.labels)) for image in detections]
    result = compare_detections(dataset, detections, half, resamples=100)
    headline = evaluate_coco(dataset, detections).headline
    for name, row in result["metrics"].items():
        assert row["first"]["value"] == pytest.approx(headline[name], abs=1e-12)
        assert row["difference"]["value"] == pytest.approx(row["second"]["value"] - row["first"]["value"])
        assert row["real"]
        low, high = row["first"]["interval"]
        assert low < row["first"]["value"] < high
    assert compare_detections(dataset, detections, half, resamples=100) == result  # the same seed


def test_a_detector_is_not_better_than_itself(golden):
    row = compare_detections(*golden, golden[1], resamples=100)["metrics"]["AP"]
    assert row["difference"] == {"value": 0.0, "interval": [0.0, 0.0]}
    assert not row["real"]


def test_a_draw_is_the_data_set_with_its_images_repeated(random_pairs):
    rng = np.random.default_rng(0)
    for seed in range(6):
        dataset, detections = random_pairs(seed)
        detections = [
            replace(
                image,
                boxes=image.boxes + rng.random(image.boxes.shape).astype(np.float32) / 100,
                scores=np.sort(rng.random(len(image.scores)))[::-1],  # no ties, which pycocotools breaks by image
            )
            for image in detections
        ]
        counts = rng.multinomial(len(dataset), np.full(len(dataset), 1 / len(dataset)), 1).astype(np.int32)
        by_image = {image.image_id: image for image in detections}
        examples, copies = [], []
        for number, count in enumerate(counts[0]):
            for copy in range(count):
                image_id = 100 * number + copy
                examples.append(replace(dataset.examples[number], image_id=image_id))
                if number in by_image:
                    copies.append(replace(by_image[number], image_id=image_id))
        expected = evaluate_coco(Dataset("draw", dataset.categories, tuple(examples)), copies)
        for entry, row in zip(_classes(dataset, detections, 100), expected.per_class):
            values = _resampled_ap(entry, counts.T)[:, 0]
            assert values.shape == IOUS.shape
            if row.metrics["AP50"] is None:
                assert np.isnan(values).all()
            else:
                assert values[0] == pytest.approx(row.metrics["AP50"], abs=1e-9)


def test_no_objects_have_no_difference(random_pairs):
    dataset, detections = random_pairs(0)
    empty = np.zeros(0, np.int64)
    examples = tuple(
        replace(e, boxes=e.boxes[:0], labels=empty, crowd=empty > 0, difficult=empty > 0, area=empty)
        for e in dataset.examples
    )
    result = compare_detections(Dataset("empty", dataset.categories, examples), detections, [], resamples=100)
    assert set(result["metrics"].values()) == set(result["per_class"]) == {None}
