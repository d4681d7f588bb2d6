"""Each stage, given torchvision's own previous stage, gives torchvision's next.

Tolerances are float32's: 1 ulp at 300 px is 3e-5 px, and a stage is a handful of operations.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import (
    AnchorConfig,
    DetectionConfig,
    HeadConfig,
    ImageConfig,
    ProposalConfig,
)
from tfrcnn.layers import (
    AnchorGenerator,
    DetectionDecoder,
    DetectionRescaler,
    Normalizer,
    Preprocessor,
    ProposalLayer,
    RoIAlign,
)

from .conftest import swap

IMAGE = ImageConfig(192, 320)
STRIDES = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def anchors(resnet):
    features = [resnet.nhwc(f"feat_{level}") for level in (0, 1, 2, 3, "pool")]
    return AnchorGenerator(AnchorConfig())(features, resnet.nhwc("transformed"))


def sizes(golden):
    return golden["image_size"][None].astype(np.float32)


def test_image_is_resized_padded_and_normalized_as_torchvision_does(resnet):
    prepared = Preprocessor(IMAGE)(resnet["image"][None].astype(np.float32))
    np.testing.assert_array_equal(prepared["image_sizes"], sizes(resnet))
    network = Normalizer(IMAGE)(prepared["images"], prepared["image_sizes"])
    # torchvision normalises before it interpolates: the same numbers but for round-off, of values up to 2.6
    np.testing.assert_allclose(network, resnet.nhwc("transformed"), atol=1e-4)


def test_anchors_are_torchvisions_to_the_bit(anchors, resnet):
    np.testing.assert_array_equal(tf.concat(anchors, 0), resnet.yxyx("anchors"))


def test_decoded_anchors_are_torchvisions(anchors, resnet):
    decoded = box_ops.decode(tf.concat(resnet.rpn_deltas(), 1)[0], tf.concat(anchors, 0))
    np.testing.assert_allclose(decoded, resnet.yxyx("rpn_decoded"), rtol=1e-5, atol=1e-4)


def test_proposals_are_torchvisions_in_the_same_order(anchors, resnet):
    layer = ProposalLayer(ProposalConfig(1000, 100))
    proposals = layer(resnet.rpn_logits(), resnet.rpn_deltas(), anchors, sizes(resnet))
    assert np.all(proposals["valid"])
    np.testing.assert_allclose(proposals["scores"][0], resnet["proposal_scores"], atol=1e-6)
    np.testing.assert_allclose(proposals["boxes"][0], resnet.yxyx("proposals"), atol=1e-3)


@pytest.mark.parametrize("implementation", ["crop_and_resize", "gather"])
def test_roi_align_is_torchvisions(resnet, implementation):
    layer = RoIAlign(HeadConfig(), STRIDES, implementation)
    proposals = resnet.yxyx("proposals")[None]
    np.testing.assert_array_equal(layer.assign_levels(proposals)[0], resnet["roi_levels"])
    pooled = layer([resnet.nhwc(f"feat_{level}") for level in range(4)], proposals)
    expected = resnet.nhwc("roi_features")
    np.testing.assert_allclose(pooled[0], expected, atol=2e-4 * np.abs(expected).max() / 10)


def test_detections_are_torchvisions_box_for_box(resnet):
    logits = np.roll(resnet["class_logits"], -1, axis=-1)[None]  # torchvision's background is the first
    deltas = swap(resnet["box_regression"].reshape(1, -1, 91, 4))[:, :, 1:]
    proposals = resnet.yxyx("proposals")[None]
    valid = np.ones(proposals.shape[:2], bool)
    config = DetectionConfig()
    found = DetectionDecoder(config, HeadConfig().box_weights)(logits, deltas, proposals, valid, sizes(resnet))
    count = int(found["num_detections"][0])
    assert count == len(resnet["scores"])
    np.testing.assert_allclose(found["scores"][0, :count], resnet["scores"], atol=1e-6)
    np.testing.assert_array_equal(found["labels"][0, :count], resnet["labels"] - 1)
    np.testing.assert_allclose(found["boxes"][0, :count], resnet.yxyx("boxes_resized_frame"), atol=1e-3)
    original = np.array([resnet["image"].shape[:2]], np.float32)
    rescaled = DetectionRescaler()(found, sizes(resnet), original)
    np.testing.assert_allclose(rescaled["boxes"][0, :count], resnet.yxyx("boxes"), atol=1e-3)
