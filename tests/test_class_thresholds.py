"""Score thresholds of single classes: where they are kept, which of two rules wins, and who reads them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfrcnn import write_thresholds
from tfrcnn.categories import score_limits
from tfrcnn.cli.detecting import read_limits
from tfrcnn.cli.evaluate_checks import check_inputs
from tfrcnn.cli.predict import _check_class_thresholds, _selection
from tfrcnn.config import Category, DetectionConfig, DetectorConfig
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.limits import applied, describe, limited
from tfrcnn.export.check.partners import lowest_scores
from tfrcnn.export.runtimes import _lowered
from tfrcnn.locks import locked
from tfrcnn.models import preset
from tfrcnn.models.presets import preset_of_run
from tfrcnn.run_description import FORMAT, read_description

CATEGORIES = (Category(7, "red"), Category(3, "white"))
LIMITS = DetectionConfig(score_threshold=0.05, class_score_thresholds={"white": 0.6})


@pytest.fixture
def run(tmp_path):
    """A folder that describes a detector; its weights are not read."""
    config = preset("tiny_fpn", CATEGORIES).detector
    description = {"format": FORMAT, "weights": "model-0.weights.h5", "detector": config.to_dict()}
    (tmp_path / "config.json").write_text(json.dumps(description))
    return tmp_path


def detections(scores, labels):
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), [len(scores), 1])
    return ImageDetections("a", boxes, np.array(scores, np.float32), np.array(labels, np.int32), CATEGORIES)


def test_thresholds_survive_json_and_belong_to_names_in_any_order():
    assert DetectionConfig.from_dict(json.loads(json.dumps(LIMITS.to_dict()))) == LIMITS
    assert LIMITS.score_thresholds(["white", "red"]) == [0.6, 0.05]
    assert DetectionConfig(class_score_thresholds={"a": np.float32(0.5)}).class_score_thresholds == {"a": 0.5}


def test_one_number_replaces_all_thresholds_and_a_class_only_its_own():
    assert LIMITS.with_thresholds(0.3, {}).score_thresholds(["red", "white"]) == [0.3, 0.3]
    assert LIMITS.with_thresholds(None, {"red": 0.4}).score_thresholds(["red", "white"]) == [0.4, 0.6]
    assert LIMITS.with_thresholds(0.3, {"red": 0.4}).score_thresholds(["red", "white"]) == [0.4, 0.3]


def test_a_score_at_its_class_threshold_is_not_above_it():
    image = detections([0.9, 0.6, 0.6, 0.06], [1, 1, 0, 0])
    assert limited([image], LIMITS, CATEGORIES)[0].scores.tolist() == pytest.approx([0.9, 0.6, 0.06])
    assert limited([image], LIMITS, CATEGORIES)[0].labels.tolist() == [1, 0, 0]


def test_an_evaluation_names_the_thresholds_that_it_applied():
    dataset = Dataset("empty", CATEGORIES, ())
    text = describe(applied(dataset, "voc", LIMITS))
    assert text == "Limits: the detector returns at most 100 per image, of scores above 0.05 (white 0.6).\n"


def test_a_verification_asks_no_partner_of_scores_next_to_the_threshold_of_their_class():
    one, other = detections([0.62, 0.62, 0.2], [0, 1, 0]), detections([], [])
    floors, none = lowest_scores(one, other, LIMITS, 0.05)
    assert (one.scores > floors).tolist() == [True, False, True]
    assert none.tolist() == []
    assert score_limits(one.labels, LIMITS, CATEGORIES).dtype == np.float32


def test_thresholds_are_written_into_a_run_folder_and_removed(run):
    write_thresholds(run, {"white": 0.6, "red": 0.25})
    saved = DetectorConfig.from_dict(read_description(run)["detector"])
    assert saved.detections.score_thresholds(saved.names) == [0.25, 0.6]
    with pytest.raises(InputError, match=r"names of the detector's categories \('red, white'\), found 'blue'"):
        write_thresholds(run, {"blue": 0.5})
    write_thresholds(run, None)
    assert read_description(run)["detector"]["detections"]["class_score_thresholds"] is None


def test_thresholds_are_not_written_while_a_training_would_replace_them(run):
    before = (run / "config.json").read_bytes()
    with locked(run):
        with pytest.raises(InputError, match=f"{run} is in use by process"):
            write_thresholds(run, {"white": 0.6})
        (run / "training.json").write_text("{}")
        shutil.copytree(run, run / "last", ignore=shutil.ignore_patterns("last", "training.json", ".*"))
        with pytest.raises(InputError, match=f"{run} is in use by process"):
            write_thresholds(run / "last", {"white": 0.6})
    assert (run / "config.json").read_bytes() == before
    write_thresholds(run / "last", {"white": 0.6})


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("s3://bucket/run", "found s3://bucket/run"),
        ("coco-resnet50", "found the published coco-resnet50: tfrcnn import-weights coco-resnet50 --out RUN makes one"),
    ],
)
def test_thresholds_are_not_written_into_the_cache(model, reason):
    with pytest.raises(InputError, match=f"^--write-thresholds: expected a run folder on this machine.*{reason}"):
        check_inputs(Path(model), "data.json", None, write_thresholds=True)
    check_inputs(Path(model), "data.json", None, write_thresholds=False)


def test_a_training_that_starts_from_a_run_leaves_its_thresholds_out(run):
    write_thresholds(run, {"white": 0.6})
    assert preset_of_run(run).detector.detections.class_score_thresholds is None


@pytest.mark.parametrize(
    ("settings", "option", "expected"),
    [
        ({}, None, [0.05, 0.6]),
        ({}, "0.3", [0.3, 0.3]),
        ({}, "red=0.4", [0.4, 0.6]),
        ({}, "0.3,red=0.4", [0.4, 0.3]),
        ({"class_score_thresholds": {"red": 0.2}}, None, [0.2, 0.05]),
        ({"class_score_thresholds": None}, None, [0.05, 0.05]),
    ],
)
def test_options_of_evaluate_and_export_replace_thresholds(run, settings, option, expected):
    write_thresholds(run, {"white": 0.6})
    assert read_limits(run, settings, option).score_thresholds(["red", "white"]) == expected


@pytest.mark.parametrize(
    ("settings", "option", "message"),
    [
        ({}, "blue=0.4", "no category has the name 'blue'"),
        ({"class_score_thresholds": {"blue": 0.2}}, None, r"\('red, white'\), found 'blue'"),
        ({}, "red=1", "expected a number below 1, because no score is above 1"),
    ],
)
def test_a_threshold_of_an_unknown_class_or_out_of_range_is_refused(run, settings, option, message):
    with pytest.raises(InputError, match=message):
        read_limits(run, settings, option)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, [0.05, 0.6]),
        (0.3, [0.05, 0.3]),
        (0.01, [0.01, 0.01]),
        ({"white": 0.2}, [0.05, 0.2]),
        ({"white": 0.9, 0: 0.01}, [0.01, 0.6]),
    ],
)
def test_a_run_folder_is_loaded_with_thresholds_no_higher_than_the_chosen_ones(chosen, expected):
    assert _lowered(LIMITS, CATEGORIES, chosen).score_thresholds(["red", "white"]) == expected


@pytest.mark.parametrize(
    ("option", "expected"),
    [(None, [0.5, 0.6]), ("0.3", [0.3, 0.3]), ("red=0.2", [0.2, 0.6]), ("0.3,white=0.7", [0.3, 0.7])],
)
def test_predict_uses_the_detectors_thresholds_where_the_option_names_no_others(option, expected):
    selection = _selection(option, {"white": 0.6}, None, ["red", "white"])
    thresholds = [selection.class_thresholds.get(name, selection.score_threshold) for name in ("red", "white")]
    assert thresholds == expected


def test_predict_refuses_a_threshold_below_the_one_of_a_class_inside_a_file():
    with pytest.raises(InputError, match=r"--score-threshold: expected at least 0\.6 for white, .* found 0\.3"):
        _check_class_thresholds(0.3, {}, {"white": 0.6})
    _check_class_thresholds(0.3, {"white": 0.6}, {"white": 0.6})
    _check_class_thresholds(None, {"red": 0.1}, {"white": 0.6})
