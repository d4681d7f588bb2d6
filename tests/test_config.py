"""Configurations: exact inverses to and from JSON, and errors that name the field."""

import json
import re

import numpy as np
import pytest

from tfrcnn.config import (
    AnchorConfig,
    BackboneConfig,
    BoxLossConfig,
    CascadeConfig,
    Category,
    DetectionConfig,
    DetectorConfig,
    HeadConfig,
    ImageConfig,
    MatchConfig,
    ProposalConfig,
    RPNConfig,
    TrainingConfig,
)
from tfrcnn.errors import InputError
from tfrcnn.models.presets import preset, preset_names

OF_0_1 = {"match": {**MatchConfig(0.7, 0.3, 256, 0.5).to_dict(), "beta": 1.0}}


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
        (lambda: HeadConfig(cascade=CascadeConfig()), "HeadConfig.class_agnostic must be true with a cascade"),
        (lambda: CascadeConfig(ious=()), "CascadeConfig.ious must be 1 to 8 numbers, one per stage after the first"),
        (lambda: CascadeConfig(ious=(0.6, 1.2)), "CascadeConfig.ious must be in (0, 1], found (0.6, 1.2)"),
        (lambda: CascadeConfig(ious=(0.6,)), "CascadeConfig.box_weights must be one item for each of the 1 ious"),
        (lambda: CascadeConfig(loss_weights=(1, -1)), "CascadeConfig.loss_weights must be at least 0"),
        (lambda: TrainingConfig(learning_rate=float("nan")), "TrainingConfig.learning_rate must be a positive number"),
        (lambda: MatchConfig(0.5, 0.5, 3, 0.25), "MatchConfig.positive_fraction must be in [1 / samples, 1]"),
        (lambda: ImageConfig(channel_order="bgr"), "ImageConfig.channel_order must be one of RGB, BGR, found 'bgr'"),
        (lambda: TrainingConfig(schedule="linear"), "TrainingConfig.schedule must be one of step, cosine"),
        (lambda: TrainingConfig(epochs=1.5), "TrainingConfig.epochs must be int, found 1.5"),
        (lambda: TrainingConfig().replace(horizontal_flip=1), "TrainingConfig.horizontal_flip must be bool, found 1"),
        (lambda: TrainingConfig(mosaic=1.1), "TrainingConfig.mosaic must be a probability, found 1.1"),
        (lambda: TrainingConfig(copy_paste=-0.1), "TrainingConfig.copy_paste must be a probability, found -0.1"),
        (lambda: TrainingConfig(mixup=float("nan")), "TrainingConfig.mixup must be a probability, found nan"),
        (lambda: TrainingConfig(cutout="yes"), "TrainingConfig.cutout must be float, found 'yes'"),
        (lambda: TrainingConfig(rotation=181), "TrainingConfig.rotation must be in [0, 180], found 181.0"),
        (lambda: TrainingConfig(shear=45), "TrainingConfig.shear must be in [0, 30], found 45.0"),
        (lambda: TrainingConfig(blur=-1), "TrainingConfig.blur must be in [0, 10], found -1.0"),
        (lambda: TrainingConfig(noise=10**400), "TrainingConfig.noise must be in [0, 255], found inf"),
        (lambda: TrainingConfig(epochs=0), "TrainingConfig.epochs must be at least 1, found 0"),
        (lambda: HeadConfig(units=(10**9,)), "HeadConfig.units must be at most 16,384, found (1000000000,)"),
        (lambda: HeadConfig(units=(8,) * 9), "HeadConfig.units must be at most 8 layers"),
        (lambda: HeadConfig(pool_size=10**5), "HeadConfig.pool_size must be at most 64, found 100000"),
        (lambda: HeadConfig(convs=(10**6,)), "HeadConfig.convs must be at most 4,096"),
        (lambda: HeadConfig(sampling_ratio=10**6), "HeadConfig.sampling_ratio must be at most 64"),
        (lambda: DetectionConfig(max_detections=10**9), "DetectionConfig.max_detections must be at most 100,000"),
        (lambda: DetectionConfig(min_size=float("nan")), "DetectionConfig.min_size must be at most 100,000, found nan"),
        (lambda: DetectionConfig(class_score_thresholds={"a": 1}), "category names with numbers in [0, 1), found {'a'"),
        (lambda: DetectionConfig(class_score_thresholds={"a": float("nan")}), "category names with numbers in [0, 1)"),
        (lambda: DetectionConfig(class_score_thresholds={"a": True}), "category names with numbers in [0, 1)"),
        (lambda: DetectionConfig(class_score_thresholds={1: 0.5}), "category names with numbers in [0, 1)"),
        (lambda: DetectionConfig(class_score_thresholds=0.5), "class_score_thresholds must be dict, found 0.5"),
        (
            lambda: preset("tiny_fpn", (Category(1, "a"),)).detector.replace(
                detections=DetectionConfig(class_score_thresholds={"b": 0.5})
            ),
            "class_score_thresholds: expected names of the detector's categories ('a'), found 'b'",
        ),
        (lambda: ImageConfig(mean=(10**400, 0, 0)), "ImageConfig.mean must be at most"),
        (lambda: ImageConfig(mean=(float("nan"), 0, 0)), "ImageConfig.mean must be"),
        (lambda: ImageConfig(std=(1e-300, 1, 1)), "ImageConfig.std must be at least"),
        (lambda: ImageConfig(max_size=10**9), "ImageConfig.max_size must be at most 100,000"),
        (lambda: ImageConfig(static_size=(32 * 10**6, 32)), "ImageConfig.static_size must be at most 100,000"),
        (lambda: AnchorConfig(sizes=((float("inf"),),)), "AnchorConfig.sizes must be at most 100,000"),
        (lambda: AnchorConfig(sizes=((1.0,) * 600,)), "AnchorConfig.sizes must be at most 1,000 anchors"),
        (lambda: AnchorConfig(ratios=(1e300,)), "AnchorConfig.ratios must be at most"),
        (lambda: AnchorConfig(((2.0,),), ratios=(8.0,)), "AnchorConfig.rounding must be none, since an anchor's"),
        (lambda: ProposalConfig(post_nms_top_n=10**12), "ProposalConfig.post_nms_top_n must be at most 1,000,000"),
        (lambda: RPNConfig(channels=10**9), "RPNConfig.channels must be at most 4,096"),
        (lambda: MatchConfig(0.5, 0.5, 10**400, 0.5), "MatchConfig.samples must be a whole number of 64 bits"),
        (lambda: MatchConfig(0.5, 0.5, 10**9, 0.5), "MatchConfig.samples must be at most 100,000"),
        (lambda: BackboneConfig("tiny", norm_epsilon=float("inf")), "BackboneConfig.norm_epsilon must be at most 1"),
        (lambda: BackboneConfig("tiny", taps=()), "BackboneConfig.taps must be None or 1 to 16 names"),
        (lambda: TrainingConfig(epochs=10**12), "TrainingConfig.epochs must be at most 1,000,000"),
        (lambda: TrainingConfig(epochs=10**5000), "found a number of thousands of digits"),
        (lambda: TrainingConfig(batch_size=10**9), "TrainingConfig.batch_size must be at most 100,000"),
        (lambda: TrainingConfig(weight_decay=float("nan")), "TrainingConfig.weight_decay must be"),
        (lambda: TrainingConfig(milestones=(0.5,) * 10**4), "TrainingConfig.milestones must be at most 1000 items"),
        (lambda: Category(10**30, "a"), "Category.id must be a whole number of 64 bits"),
        (
            lambda: DetectorConfig(BackboneConfig("tiny"), head=HeadConfig(pool_size=64, units=(16_384,))),
            "HeadConfig.units must be at most 953 in the first layer, which has 1,048,576 inputs, found (16384,)",
        ),
        (
            lambda: DetectorConfig(
                BackboneConfig("tiny"),
                head=HeadConfig(pool_size=64, units=(953,), class_agnostic=True, cascade=CascadeConfig()),
            ),
            "HeadConfig.units must be at most 317 in the first layer, which has 1,048,576 inputs in each of 3 heads",
        ),
        (lambda: TrainingConfig(schedule=["step"]), "TrainingConfig.schedule must be one of step, cosine"),
        (lambda: RPNConfig.from_dict({**OF_0_1, "box_loss": 3}), "RPNConfig.box_loss must be an object, found 3"),
        (lambda: RPNConfig.from_dict({1: 2, "x": 3}), "RPNConfig has no field 1"),
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


def test_an_error_repeats_little_of_a_long_value():
    with pytest.raises(InputError) as caught:
        BackboneConfig.from_dict({"name": [1] * 10**5})
    assert len(str(caught.value)) < 150


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


@pytest.mark.parametrize("kind", [RPNConfig, HeadConfig])
@pytest.mark.filterwarnings("ignore:.*beta:DeprecationWarning")
def test_beta_of_a_match_is_kept_by_replace_and_handed_over_once(kind):
    match = MatchConfig(0.5, 0.5, 64, 0.25, beta=0.5).replace(samples=32)
    config = kind(match=match)
    assert (config.box_loss.beta, config.match.samples) == (0.5, 32)
    assert config.replace(box_loss=BoxLossConfig(beta=0.0)).box_loss.beta == 0
    with pytest.raises(AttributeError, match="beta"):
        config.match.beta  # noqa: B018


def test_the_stages_of_a_cascade_are_heads_with_their_own_iou_and_box_weights():
    head = HeadConfig(units=(7,), class_agnostic=True, cascade=CascadeConfig())
    assert [stage.match.foreground_iou for stage in head.stages] == [0.5, 0.6, 0.7]
    assert [stage.match.background_iou for stage in head.stages] == [0.5, 0.6, 0.7]
    assert [stage.box_weights[0] for stage in head.stages] == [10, 20, 30]
    assert head.loss_weights == (1, 0.5, 0.25)
    assert all(stage.cascade is None and stage.units == (7,) for stage in head.stages)


def test_a_head_without_a_cascade_is_a_single_stage():
    head = HeadConfig()
    assert head.stages == (head,)
    assert head.loss_weights == (1,)


@pytest.mark.parametrize("cascade", [None, CascadeConfig((0.6,), ((1, 2, 3, 4),), (1,))])
def test_a_cascade_survives_json(cascade):
    head = HeadConfig(class_agnostic=True, cascade=cascade)
    assert HeadConfig.from_dict(json.loads(json.dumps(head.to_dict()))) == head
