"""RoIAlign and NMS against torchvision itself, on random input, where torchvision is installed."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.layers import RoIAlign
from tfrcnn.layers.nms import batched_nms

from .stages import swap

torch = pytest.importorskip("torch")
ops = pytest.importorskip("torchvision.ops")


def random_boxes(rng, count, extent):
    corners = rng.uniform(-0.1 * extent, extent, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(0, extent / 2, (count, 2))], -1).astype(np.float32)


@pytest.mark.parametrize("implementation", ["crop_and_resize", "gather"])
@pytest.mark.parametrize("seed", range(3))
def test_roi_align_is_that_of_torchvision_also_across_the_border(seed, implementation):
    rng = np.random.default_rng(seed)
    feature = rng.normal(size=(1, 25, 34, 8)).astype(np.float32)
    boxes = random_boxes(rng, 200, 8 * 30)
    layer = RoIAlign(HeadConfig(), (8,), implementation)
    expected = ops.roi_align(
        torch.tensor(np.moveaxis(feature, -1, 1)), [torch.tensor(swap(boxes))], 7, 1 / 8, 2, aligned=False
    )
    got = layer([feature], boxes[None])[0]
    # a sample within round-off of the border is 0 in one and not in the other: fewer than one in a thousand
    close = np.isclose(got, np.moveaxis(expected.numpy(), 1, -1), atol=2e-5)
    assert close.mean() > 0.999


@pytest.mark.parametrize("seed", range(5))
def test_nms_is_that_of_torchvision_with_tied_scores(seed):
    rng = np.random.default_rng(seed)
    boxes = np.abs(random_boxes(rng, 500, 100)).round()
    boxes[:, 2:] = boxes[:, :2] + 1 + np.abs(boxes[:, 2:] - boxes[:, :2])
    scores = (rng.integers(0, 30, 500) / 30).astype(np.float32)
    # torchvision promises no order among equal scores: rank them first, so that both see one order
    order = np.argsort(-scores, kind="stable")
    boxes, ranked = boxes[order], np.linspace(1, 0.5, 500, dtype=np.float32)
    expected = ops.nms(torch.tensor(swap(boxes)), torch.tensor(ranked), 0.5).numpy()
    indices, count = batched_nms(tf.constant(boxes[None]), tf.constant(scores[order][None]), 500, 0.5, -1.0)
    np.testing.assert_array_equal(indices[0, : count[0]], expected)
