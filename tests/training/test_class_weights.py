"""Class weights of a training: by name, balanced, recorded, and the same when a run is resumed."""

import dataclasses
import json

import numpy as np
import pytest

from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.files import read_json, write_json
from tfrcnn.models import preset
from tfrcnn.models.presets import with_changes
from tfrcnn.training.class_weights import class_weights, label_weights
from tfrcnn.training.folder import read_setup
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.run import train

from .test_run import fresh_detector, make_dataset, settings


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Five boxes of "bright" (label 0), and two of "dark" of which one is difficult, one a crowd."""
    data = make_dataset(tmp_path_factory.mktemp("data"), 6)
    examples = list(data.examples)
    for i, (crowd, difficult) in enumerate([(False, False), (True, False), (False, True), (True, True)], start=2):
        boxes = {"crowd": np.array([False, crowd]), "difficult": np.array([False, difficult])}
        examples[i] = dataclasses.replace(examples[i], **boxes)
    return dataclasses.replace(data, examples=tuple(examples))


def test_balanced_weights_are_the_inverse_of_the_counts_of_boxes_that_are_trained_on(dataset):
    # 5 bright, 2 dark: 7 boxes of 2 classes
    weights = class_weights(TrainingConfig(class_weights="balanced"), dataset)
    assert weights == pytest.approx({"bright": 7 / (2 * 5), "dark": 7 / (2 * 2)})
    assert label_weights(TrainingConfig(class_weights="balanced"), dataset) == pytest.approx({0: 0.7, 1: 1.75})


def test_balanced_weights_leave_a_class_without_boxes_alone(dataset):
    bright = tuple(
        dataclasses.replace(e, **{f: getattr(e, f)[:1] for f in ("boxes", "labels", "crowd", "difficult")})
        for e in dataset.examples
    )
    training = TrainingConfig(class_weights="balanced")
    assert class_weights(training, dataclasses.replace(dataset, examples=bright)) == {"bright": 1.0, "dark": 1.0}
    assert class_weights(training, dataclasses.replace(dataset, examples=())) == {"bright": 1.0, "dark": 1.0}


def test_weights_by_name_become_weights_by_label_and_background_is_last(dataset):
    training = TrainingConfig(class_weights={"dark": 3, "background": 0.5})
    assert label_weights(training, dataset) == {1: 3.0, 2: 0.5}
    assert label_weights(TrainingConfig(), dataset) is None


def test_a_name_that_is_no_category_is_refused_before_training(dataset, tmp_path):
    training = settings(class_weights={"drak": 3})
    with pytest.raises(InputError, match="categories bright, dark or background, found 'drak'"):
        train(fresh_detector(), dataset, None, tmp_path / "run", training)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("heavy", "must be dict or one of balanced, found 'heavy'"),
        (3, "must be dict or one of balanced, found 3"),
        ({"dark": -1}, "must be category names with factors in 0 .. 1,000,000, found {'dark': -1}"),
        ({"dark": "2"}, "must be category names with factors"),
        ({"dark": float("nan")}, "must be category names with factors"),
        ({"dark": True}, "must be category names with factors"),
    ],
)
def test_weights_that_are_no_factors_are_one_line(value, message):
    with pytest.raises(InputError, match=f"TrainingConfig.class_weights {message}"):
        TrainingConfig(class_weights=value)


def test_weights_are_set_like_any_field_and_survive_json():
    start = preset("tiny_fpn")
    changed = with_changes(start, {"training.class_weights": {"dark": 2}}).training
    assert TrainingConfig.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed
    assert with_changes(start, {"training.class_weights": "balanced"}).training.class_weights == "balanced"


@pytest.mark.parametrize(
    "change", [{"training.class_weights": {"bright": 2.0}}, {"training": {"class_weights": {"bright": 2.0}}}]
)
def test_weights_by_name_replace_those_before(change):
    start = with_changes(preset("tiny_fpn"), {"training.class_weights": {"dark": 2, "bright": 3}})
    assert with_changes(start, change).training.class_weights == {"bright": 2.0}
    one = with_changes(start, {"training.class_weights.bright": 4}).training
    assert one.class_weights == {"dark": 2.0, "bright": 4.0}


@pytest.mark.slow
def test_a_run_trains_with_its_weights_records_them_and_refuses_others(dataset, tmp_path, monkeypatch):
    fits = []

    def fit(self, *_, **options):
        fits.append(options["class_weight"])
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingModel, "fit", fit)

    def start(resume=False, **options):
        train(fresh_detector(), dataset, None, tmp_path / "run", settings(**options), resume=resume)

    with pytest.raises(KeyboardInterrupt):
        start(class_weights="balanced")
    setup = read_json(tmp_path / "run/training.json")
    assert setup["class_weights"] == pytest.approx({"bright": 0.7, "dark": 1.75})
    with pytest.raises(KeyboardInterrupt):
        start(class_weights="balanced", resume=True)
    assert fits == [pytest.approx({0: 0.7, 1: 1.75})] * 2
    with pytest.raises(InputError, match=r"training\.class_weights was 'balanced', is None"):
        start(resume=True)


def test_a_run_of_a_release_without_these_fields_is_resumed(dataset, tmp_path, set_up_only):
    run = tmp_path / "run"
    set_up_only(fresh_detector(), dataset, None, run, settings())
    setup = read_json(run / "training.json")
    del setup["class_weights"], setup["training"]["class_weights"]
    for field in ("box_loss_weight", "class_loss", "class_loss_weight"):
        del setup["detector"]["head"][field]
    write_json(run / "training.json", setup)
    set_up_only(fresh_detector(), dataset, None, run, settings(), resume=True)
    setup = read_setup(run)
    assert (setup["class_weights"], setup["training"]["class_weights"]) == (None, None)
    assert setup["detector"]["head"]["class_loss"]["name"] == "cross_entropy"


def test_a_factor_that_means_a_category_and_the_background_is_refused(dataset):
    first, *others = dataset.categories
    named = dataclasses.replace(dataset, categories=(dataclasses.replace(first, name="background"), *others))
    with pytest.raises(InputError, match="'background', which is a category too: rename the category"):
        class_weights(TrainingConfig(class_weights={"background": 2.0}), named)
    assert class_weights(TrainingConfig(class_weights={"dark": 2.0}), named) == {"dark": 2.0}


def test_changed_losses_are_refused_when_a_run_is_resumed(dataset, tmp_path, set_up_only):
    run, detector = tmp_path / "run", fresh_detector()
    set_up_only(detector, dataset, None, run, settings())
    setup = read_json(run / "training.json")
    setup["detector"]["head"]["box_loss"]["name"] = "giou"
    write_json(run / "training.json", setup)
    with pytest.raises(InputError, match=r"detector\.head\.box_loss\.name was 'giou', is 'smooth_l1'"):
        train(detector, dataset, None, run, settings(), resume=True)
