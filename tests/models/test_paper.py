"""The paper's networks: their published numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import path_of
from tfrcnn.config import BackboneConfig, Category
from tfrcnn.errors import InputError
from tfrcnn.layers import AnchorGenerator
from tfrcnn.models import build_detector, preset
from tfrcnn.models.backbones import build_backbone
from tfrcnn.models.backbones.zf import LocalResponseNormalization
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.schemes import freeze

PAPER = ("vgg16", "zf")


@pytest.mark.parametrize("name", PAPER)
def test_the_hyper_parameters_are_those_of_the_paper(name):
    options = preset(name)
    config, training = options.detector, options.training
    assert (config.image.min_size, config.image.max_size) == (600, 1000)
    assert config.fpn is None
    assert config.anchors.sizes == ((128.0, 256.0, 512.0),)  # section 3.3: areas of 128^2, 256^2, 512^2
    assert config.anchors.ratios == (0.5, 1.0, 2.0)
    match = config.rpn.match  # section 3.1.2 and 3.1.3
    assert (match.foreground_iou, match.background_iou, match.allow_low_quality) == (0.7, 0.3, True)
    assert (match.samples, match.positive_fraction) == (256, 0.5)
    assert config.rpn.ignore_cross_boundary
    train, test = config.train_proposals, config.test_proposals  # section 3.3
    assert (train.pre_nms_top_n, train.post_nms_top_n, train.nms_iou, train.min_size) == (12000, 2000, 0.7, 16.0)
    assert (test.pre_nms_top_n, test.post_nms_top_n, test.nms_iou, test.min_size) == (6000, 300, 0.7, 16.0)
    assert (config.head.pooling, config.head.units, config.head.dropout) == ("roi_pool", (4096, 4096), 0.5)
    assert (training.momentum, training.weight_decay) == (0.9, 5e-4)
    assert training.bias_learning_rate_scale == 2  # lr_mult of py-faster-rcnn's prototxt


def test_what_differs_between_the_two_networks():
    vgg16, zf = (preset(name).detector for name in PAPER)
    assert (vgg16.rpn.channels, zf.rpn.channels) == (512, 256)  # section 3.1
    assert (vgg16.head.pool_size, zf.head.pool_size) == (7, 6)
    # section 3.3 tunes all layers of ZF, and conv3_1 and up of VGG-16
    assert (preset("vgg16").training.frozen_stages, preset("zf").training.frozen_stages) == (2, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vgg16", [f"block{b}_conv{c}" for b in (3, 4, 5) for c in (1, 2, 3)]),  # "conv3_1 and up"
        ("zf", [f"conv{c}" for c in range(1, 6)]),  # "all layers"
    ],
)
def test_the_convolutions_that_are_tuned_are_those_of_section_3_3(name, expected):
    options = preset(name, (Category(1, "cell"),))
    detector = build_detector(options.detector.replace(head=options.detector.head.replace(units=(4,))))
    freeze(detector, options.training)
    paths = [path_of(variable).split("/") for variable in detector.backbone.trainable_variables]
    assert [path[-2] for path in paths if path[-1] == "kernel"] == expected


def anchors_of(rows, columns):
    """Return the paper's anchors for a map of stride 16: [rows, columns, 9, 4]."""
    images = np.zeros((1, 16 * rows, 16 * columns, 3), np.float32)
    (anchors,) = AnchorGenerator(preset("vgg16").detector.anchors)(
        [np.zeros((1, rows, columns, 1), np.float32)], images
    )
    return anchors.numpy().reshape(rows, columns, 9, 4)


def inside(anchors, height, width):
    return np.all((anchors >= 0) & (anchors <= np.tile([height, width], 2)), axis=-1)


def test_a_map_of_60_by_40_has_the_papers_21600_anchors():
    assert anchors_of(40, 60).reshape(-1, 4).shape == (60 * 40 * 9, 4)


def test_roughly_20000_anchors_in_an_image_of_1000_by_600_and_6000_inside_one_of_800_by_600():
    # the paper says roughly 20000 and about 6000 "for a typical 1000 x 600 image"; the second fits a 4:3 image
    wide, usual = anchors_of(38, 63), anchors_of(38, 50)
    assert (wide.size // 4, inside(wide, 600, 1000).sum()) == (21546, 8151)
    assert (usual.size // 4, inside(usual, 600, 800).sum()) == (17100, 5944)


def test_the_square_anchors_of_128_pixels_inside_counted_by_hand():
    # centres are at 16 i + 8, and 64 pixels from the borders: rows 4 .. 33 of 600, but columns 4 .. 58 of 1000
    assert inside(anchors_of(38, 63)[:, :, 3], 600, 1000).sum() == 30 * 55


def test_zf_is_five_convolutions_of_stride_16():
    backbone = build_backbone(BackboneConfig("zf"))
    assert backbone.strides == (16,)
    convs = [layer for layer in backbone.model.layers if isinstance(layer, keras.layers.Conv2D)]
    kernels = [tuple(conv.kernel.shape) for conv in convs]
    assert kernels == [(7, 7, 3, 96), (5, 5, 96, 256), (3, 3, 256, 384), (3, 3, 384, 384), (3, 3, 384, 256)]
    assert [conv.strides[0] for conv in convs] == [2, 2, 1, 1, 1]
    assert backbone.model.count_params() == 3726464
    assert backbone.model(np.zeros((1, 48, 80, 3), np.float32)).shape == (1, 3, 5, 256)


def test_a_cell_of_zf_sees_the_image_around_its_own_pixel():
    # 7 of conv1, + 2 x 2 of pool1, + 4 x 4 of conv2, + 2 x 8 of pool2, + 2 x 16 for each of conv3 .. conv5, and the two
    # normalisations' 2 x 2 and 2 x 8: 159 pixels around pixel 16 i
    model = build_backbone(BackboneConfig("zf")).model
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):  # positive weights: no ReLU stops a gradient
            layer.kernel.assign(np.abs(layer.kernel.numpy()) + 1e-3)
    images = tf.Variable(np.random.default_rng(0).uniform(1, 2, (1, 320, 320, 3)).astype(np.float32))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(model(images)[0, 10, 10])
    rows = np.flatnonzero(np.any(tape.gradient(value, images).numpy() != 0, axis=(0, 2, 3)))
    assert rows[0] >= 160 - 79
    assert rows[-1] <= 160 + 79
    assert rows[0] + rows[-1] == pytest.approx(2 * 160, abs=16)  # the maximum may lie in any cell of its window


def test_local_response_is_divided_by_its_neighbourhood_in_its_own_channel():
    x = np.zeros((1, 3, 4, 2), np.float32)
    x[0, 1, 1] = [300.0, 0.0]
    x[0, 1, 2] = [600.0, 50.0]
    y = LocalResponseNormalization()(x).numpy()
    np.testing.assert_allclose(y[0, 1, 1, 0], 300 * (1 + 5e-5 * (300**2 + 600**2) / 9) ** -0.75, rtol=1e-6)
    np.testing.assert_allclose(y[0, 1, 2, 1], 50 * (1 + 5e-5 * 50**2 / 9) ** -0.75, rtol=1e-6)
    assert np.count_nonzero(y) == 3


def test_zf_has_no_weights_to_download_and_takes_its_own(tmp_path):
    with pytest.raises(InputError, match="'zf' has no ImageNet weights to download; use --backbone-weights none, or"):
        build_backbone(BackboneConfig("zf"), "imagenet")
    first = build_backbone(BackboneConfig("zf")).model
    first.save_weights(tmp_path / "zf.weights.h5")
    second = build_backbone(BackboneConfig("zf"), tmp_path / "zf.weights.h5").model
    np.testing.assert_array_equal(second.get_layer("conv4").kernel, first.get_layer("conv4").kernel)


def test_a_detector_of_one_map_is_trained_on_every_image_of_a_batch():
    config = preset("zf", (Category(1, "cell"),)).detector
    config = config.replace(
        head=config.head.replace(units=(16,)),
        train_proposals=config.train_proposals.replace(pre_nms_top_n=50, post_nms_top_n=20),
    )
    keras.utils.set_random_seed(0)
    model = TrainingModel(build_detector(config))
    model.compile(optimizer="sgd", jit_compile=False)
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.uniform(0, 255, (2, 160, 192, 3)).astype(np.float32),
        "image_sizes": np.array([[160, 192]] * 2, np.float32),
        "boxes": np.array([[[10, 10, 150, 140]], [[20, 30, 130, 180]]], np.float32),
        "labels": np.zeros((2, 1), np.int32),
    }
    with tf.GradientTape() as tape:
        outputs = model(batch, training=True)
        loss = model.compute_loss(x=batch, y_pred=outputs)
    assert [feature.shape for feature in outputs["features"]] == [(2, 10, 12, 256)]
    assert outputs["rpn_logits"].shape == (2, 10 * 12 * 9)
    gradients = tape.gradient(loss, model.trainable_variables)
    without = [path_of(v) for v, g in zip(model.trainable_variables, gradients) if g is None or not np.any(g)]
    assert not without


def test_zf_detects_and_comes_back_from_a_keras_file(tmp_path):
    config = preset("zf", (Category(1, "cell"),)).detector
    config = config.replace(
        image=config.image.replace(min_size=64, max_size=96), head=config.head.replace(units=(16, 16))
    )
    detector = build_detector(config)
    assert detector.level_strides == (16,)
    assert detector.rpn_head.convs[0].filters == 256
    detector.save(tmp_path / "zf.keras")
    loaded = keras.models.load_model(tmp_path / "zf.keras")
    image = np.random.default_rng(0).uniform(0, 255, (1, 60, 90, 3)).astype(np.float32)
    for key, value in detector(image).items():
        np.testing.assert_allclose(loaded(image)[key], value, atol=1e-4)
