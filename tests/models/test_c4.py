"""The ResNet paper's Faster R-CNN, C4: one map of stride 16, and the ResNet's last stage as the head."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import BackboneConfig, Category, HeadConfig, MatchConfig, ProposalConfig, TrainingConfig
from tfrcnn.layers import BoxHead
from tfrcnn.models import build_detector, preset
from tfrcnn.models.backbones.resnet import load_residual_blocks, resnet
from tfrcnn.models.transfer import with_categories
from tfrcnn.training.schemes import freeze, warn_of_frozen_random_weights

TWO = (Category(1, "cat"), Category(2, "dog"))


@pytest.fixture(scope="module")
def detector():
    """Return the preset for small images, with few proposals."""
    keras.utils.set_random_seed(0)
    config = preset("resnet50_c4", TWO).detector
    return build_detector(
        config.replace(image=config.image.replace(static_size=(224, 320)), test_proposals=ProposalConfig(500, 6))
    )


@pytest.mark.parametrize(("name", "epochs"), [("resnet50_c4", 12), ("resnet101_c4", 37)])
def test_the_hyper_parameters_are_those_of_detectron2(name, epochs):
    options = preset(name)
    config, training = options.detector, options.training
    assert config.fpn is None
    assert config.backbone.stride_in_1x1
    assert config.anchors.sizes == ((32.0, 64.0, 128.0, 256.0, 512.0),)
    assert config.anchors.ratios == (0.5, 1.0, 2.0)
    assert config.rpn.match == MatchConfig(0.7, 0.3, 256, 0.5, allow_low_quality=True)
    train, test = config.train_proposals, config.test_proposals
    assert (train.pre_nms_top_n, train.post_nms_top_n, train.nms_iou) == (12000, 2000, 0.7)
    assert (test.pre_nms_top_n, test.post_nms_top_n, test.nms_iou) == (6000, 1000, 0.7)
    head = config.head
    assert (head.pooling, head.pool_size, head.residual_blocks, head.units) == ("roi_align", 14, 3, ())
    assert head.match == MatchConfig(0.5, 0.5, 512, 0.25)
    assert (training.learning_rate, training.frozen_stages, training.freeze_batch_norm) == (0.02, 2, True)
    # 90,000 and 270,000 steps of 16 of COCO's 118,287 images
    assert training.epochs == round({"resnet50_c4": 90_000, "resnet101_c4": 270_000}[name] * 16 / 118_287) == epochs


def test_the_shapes_from_the_image_to_the_boxes(detector):
    images, sizes = tf.zeros([1, 224, 320, 3]), tf.constant([[224.0, 320.0]])
    stages = detector.stages
    features = stages.features(images, sizes)
    assert [tuple(feature.shape) for feature in features.head] == [(1, 14, 20, 1024)]  # 224 / 16, 320 / 16
    rpn = stages.rpn(features.rpn, images)
    assert [tuple(logits.shape) for logits in rpn.logits] == [(1, 14 * 20 * 15)]
    proposals = stages.propose(rpn, sizes)
    outputs = stages.second_stage(features.head, proposals, sizes)
    assert outputs.pooled[0].shape == (1, 6, 14, 14, 1024)
    assert detector.box_head.vectors(outputs.pooled[0]).shape == (1, 6, 2048)
    assert outputs.class_logits[0].shape == (1, 6, 3)
    assert outputs.deltas[0].shape == (1, 6, 2, 4)
    # conv4 of ResNet-50 and its 15 anchors' head, then conv5 and the two outputs of two classes, as published
    assert detector.backbone.count_params() + sum(map(count, detector.box_head.blocks)) == resnet(50).count_params()
    assert count(detector.rpn_head) == 1024 * 1024 * 9 + 1024 + 1024 * 75 + 75
    assert count(detector.box_head.classifier) + count(detector.box_head.regressor) == 2049 * (3 + 8)


def count(layer):
    return layer.count_params()


@pytest.mark.slow
def test_the_head_computes_what_the_resnet_does_behind_the_same_map():
    keras.utils.set_random_seed(1)
    model = resnet(50, stride_in_1x1=True)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    whole = keras.Model(model.input, [model.get_layer(name).output for name in ("layer3_5_out", "layer4_2_out")])
    features, expected = whole(rng.normal(size=(2, 224, 224, 3)).astype(np.float32))
    head = BoxHead(HeadConfig(pool_size=14, residual_blocks=3, units=()), num_classes=2)
    head.build((None, None, 14, 14, 1024))
    note = load_residual_blocks(head, model, "resnet.h5")
    assert note == "The box head's residual blocks start from the last stage of resnet.h5."
    expected = tf.reduce_mean(expected, axis=(1, 2))
    actual = head.vectors(features[None])[0]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * float(tf.reduce_max(expected)))


def test_blocks_of_another_shape_stay_random_and_the_note_says_so():
    head = BoxHead(HeadConfig(pool_size=4, residual_blocks=3, units=()), num_classes=2)
    head.build((None, None, 4, 4, 512))
    before = head.get_weights()
    assert "start from random weights: they are not resnet50's last stage" in load_residual_blocks(
        head, resnet(50), "a.h5"
    )
    for one, other in zip(head.get_weights(), before):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_backbones_file_gives_the_head_its_last_stage_too(tmp_path):
    keras.utils.set_random_seed(2)
    source = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    source.save_weights(tmp_path / "resnet.weights.h5")
    detector = build_detector(preset("resnet50_c4", TWO).detector, tmp_path / "resnet.weights.h5")
    assert detector.weights_note.endswith("the last stage of " + str(tmp_path / "resnet.weights.h5") + ".")
    kernel = source.get_layer("conv5_block3_2_conv").kernel
    np.testing.assert_array_equal(detector.box_head.blocks[2].convs[1].conv.kernel, kernel)
    np.testing.assert_array_equal(
        detector.backbone.get_layer("layer3_5_conv2").kernel, source.get_layer("conv4_block6_2_conv").kernel
    )


def test_freezing_batch_norm_keeps_the_norms_of_the_head_too(detector):
    norms = [conv.norm for block in detector.box_head.blocks for conv in block.convs]
    freeze(detector, TrainingConfig(frozen_stages=2))
    assert not any(norm.trainable for norm in norms)
    assert all(conv.conv.trainable for block in detector.box_head.blocks for conv in block.convs)
    freeze(detector, TrainingConfig(frozen_stages=0, freeze_batch_norm=False))
    assert all(norm.trainable for norm in norms)


def test_norms_of_blocks_that_are_not_the_backbones_last_stage_are_trained():
    config = preset("mobilenet_v2_fpn", TWO).detector
    detector = build_detector(config.replace(head=HeadConfig(pool_size=4, residual_blocks=3, units=())), "none")
    freeze(detector, TrainingConfig(frozen_stages=2))
    assert all(conv.norm.trainable for block in detector.box_head.blocks for conv in block.convs)


def test_frozen_norms_of_a_last_stage_of_random_weights_are_a_warning(detector):
    for layer in detector.backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([weight + 0.5 for weight in layer.get_weights()])
    with pytest.warns(UserWarning, match="freeze_batch_norm freezes batch norms that were never trained"):
        warn_of_frozen_random_weights(detector, TrainingConfig(frozen_stages=0, freeze_batch_norm=True))


@pytest.mark.slow
def test_other_categories_keep_the_blocks(detector):
    new, kept = with_categories(detector, (Category(5, "dog"), Category(6, "cow")))
    assert kept == ("dog",)
    for block, old in zip(new.box_head.blocks, detector.box_head.blocks):
        for one, other in zip(block.get_weights(), old.get_weights()):
            np.testing.assert_array_equal(one, other)


def test_a_backbone_that_takes_no_residual_blocks_says_nothing_of_them():
    config = preset("tiny_fpn", TWO).detector.replace(
        backbone=BackboneConfig("tiny"), head=HeadConfig(pool_size=4, residual_blocks=1, units=(8,))
    )
    detector = build_detector(config)
    assert detector.weights_note == ""
    assert detector.box_head.hidden[0].kernel.shape == (2 * 64, 8)
