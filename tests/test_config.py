"""Configurations: exact inverses to and from JSON, and errors that name the field."""

import json
import re

import numpy as np
import pytest

from tfrcnn.config import (
    AnchorConfig,
    BoxLossConfig,
    Category,
    DetectorConfig,
    HeadConfig,
    ImageConfig,
    MatchConfig,
    RPNConfig,
    TrainingConfig,
)
from tfrcnn.errors import InputError
from tfrcnn.models.presets import preset, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_survives_json(name):
    options = preset(name, (Category(7, "cat"), Category(90, "dog")))
    for config in (options.detector, options.training):
        assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageConfig(min_size=0), "ImageConfig.min_size must be at least 1 pixel, found 0"),
        (lambda: ImageConfig(800, 600), "ImageConfig.max_size must be at least min_size"),
        (lambda: ImageConfig(static_size=(100, 128)), "ImageConfig.static_size must be two positive multiples of 32"),
        (lambda: MatchConfig(0.5, 0.7, 1, 0.5), "MatchConfig.background_iou must be in"),
        (lambda: HeadConfig(dropout=1.0), "HeadConfig.dropout must be in"),
        (lambda: TrainingConfig(learning_rate=float("nan")), "TrainingConfig.learning_rate must be a positive number"),
        (lambda: MatchConfig(0.5, 0.5, 3, 0.25), "MatchConfig.positive_fraction must be in [1 / samples, 1]"),
        (lambda: ImageConfig(channel_order="bgr"), "ImageConfig.channel_order must be one of RGB, BGR, found 'bgr'"),
        (lambda: TrainingConfig(schedule="linear"), "TrainingConfig.schedule must be one of step, cosine"),
        (lambda: TrainingConfig(epochs=1.5), "TrainingConfig.epochs must be int, found 1.5"),
        (lambda: TrainingConfig().replace(horizontal_flip=1), "TrainingConfig.horizontal_flip must be bool, found 1"),
        (lambda: TrainingConfig(epochs=0), "TrainingConfig.epochs must be at least 1, found 0"),
        (lambda: preset("vgg16", (Category(1, "a"), Category(1, "b"))), "free of repeated ids"),
        (lambda: preset("vgg16", (Category(1, "a"), Category(2, "a"))), "free of repeated names"),
        (lambda: preset("yolo"), "unknown model 'yolo': expected one of vgg16"),
        (lambda: preset("tiny_fpn", image_size=100), "image size must be a positive multiple of 32"),
        (lambda: preset("tiny_fpn", image_size=0), "found 0"),
    ],
)
def test_a_value_out_of_range_is_an_error_that_names_it(make, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_sise": 3}, "ImageConfig has no field 'min_sise'"),
        ({"min_size": "800"}, "ImageConfig.min_size must be int, found '800'"),
        ({"min_size": True}, "ImageConfig.min_size must be int, found True"),
        ({"mean": [1.0, 2.0]}, "ImageConfig.mean must have 3 items, found 2"),
        ({"channel_order": "GBR"}, "ImageConfig.channel_order must be one of RGB, BGR, found 'GBR'"),
        ({"mean": 3}, "ImageConfig.mean must be a list, found 3"),
    ],
)
def test_a_file_of_another_form_is_an_error_that_names_the_field(change, message):
    with pytest.raises(InputError, match=message):
        ImageConfig.from_dict(change)


def test_lists_and_whole_numbers_are_taken_where_tuples_and_floats_are_meant():
    config = AnchorConfig(sizes=[[16, 32]], ratios=[1])
    assert config == AnchorConfig(sizes=((16.0, 32.0),), ratios=(1.0,))
    assert all(type(size) is float for size in config.sizes[0])
    assert type(TrainingConfig(learning_rate=np.float32(1)).learning_rate) is float


def test_a_missing_field_is_named():
    with pytest.raises(InputError, match=r"DetectorConfig\.backbone is missing"):
        DetectorConfig.from_dict({})


def test_beta_of_a_match_saved_by_0_1_is_that_of_the_box_loss():
    saved = RPNConfig(channels=3).to_dict()
    del saved["box_loss"]
    saved["match"]["beta"] = 0.25
    assert RPNConfig.from_dict(saved) == RPNConfig(channels=3, box_loss=BoxLossConfig("smooth_l1", 0.25))
    assert saved["match"]["beta"] == 0.25  # the file's content is left alone


@pytest.mark.parametrize("kind", [RPNConfig, HeadConfig])
def test_beta_in_python_warns_and_is_that_of_the_box_loss(kind):
    with pytest.warns(DeprecationWarning, match=r"MatchConfig\(beta=...\) is deprecated") as caught:
        match = MatchConfig(0.5, 0.5, 64, 0.25, beta=0.5)
    assert caught[0].filename == __file__
    assert kind(match=match) == kind(match=MatchConfig(0.5, 0.5, 64, 0.25), box_loss=BoxLossConfig(beta=0.5))
    with pytest.warns(DeprecationWarning, match="beta"):
        changed = kind().match.replace(beta=0.0)
    assert kind().replace(match=changed).box_loss.beta == 0
