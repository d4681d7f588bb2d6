"""RoIAlign, RoIPool and NMS against torchvision on random input, if torchvision is installed."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.kernels import PORTABLE, TENSORFLOW
from tfrcnn.layers import RoIAlign, RoIPool
from tfrcnn.training.iou_losses import complete_iou, distance_iou, generalized_iou
from tfrcnn.weights.importing import import_weights

from .stages import reference_weights, swap, write_checkpoint

torch = pytest.importorskip("torch")
ops = pytest.importorskip("torchvision.ops")


def random_boxes(rng, count, extent):
    corners = rng.uniform(-0.1 * extent, extent, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(0, extent / 2, (count, 2))], -1).astype(np.float32)


@pytest.mark.parametrize("kernels", ["tensorflow", "portable"])
@pytest.mark.parametrize("seed", range(3))
def test_roi_align_is_that_of_torchvision_also_across_the_border(seed, kernels):
    rng = np.random.default_rng(seed)
    feature = rng.normal(size=(1, 25, 34, 8)).astype(np.float32)
    boxes = random_boxes(rng, 200, 8 * 30)
    layer = RoIAlign(HeadConfig(), (8,), kernels)
    expected = ops.roi_align(
        torch.tensor(np.moveaxis(feature, -1, 1)), [torch.tensor(swap(boxes))], 7, 1 / 8, 2, aligned=False
    )
    actual = layer([feature], boxes[None])[0]
    # fewer than one sample in a thousand lies within round-off of the border and is 0 in one library only
    close = np.isclose(actual, np.moveaxis(expected.numpy(), 1, -1), atol=2e-5)
    assert close.mean() > 0.999


@pytest.mark.parametrize("seed", range(3))
def test_roi_pool_is_that_of_torchvision_to_the_bit_and_so_is_its_gradient(seed):
    rng = np.random.default_rng(seed)
    # integers after a ReLU give tied maxima; boxes in eighths of a cell give half-way corners
    feature = np.maximum(rng.integers(-9, 9, (1, 38, 50, 4)), 0).astype(np.float32)
    boxes = np.round(random_boxes(rng, 300, 16 * 45) / 2) * 2
    upstream = rng.integers(-9, 9, (1, 300, 7, 7, 4)).astype(np.float32)
    reference = torch.tensor(np.moveaxis(feature, -1, 1)).requires_grad_()
    expected = ops.roi_pool(reference, [torch.tensor(swap(boxes))], 7, 1 / 16)
    expected.backward(torch.tensor(np.moveaxis(upstream[0], -1, 1).copy()))
    variable = tf.Variable(feature)
    with tf.GradientTape() as tape:
        pooled = RoIPool(HeadConfig(pooling="roi_pool"), (16,))([variable], boxes[None])
    np.testing.assert_array_equal(pooled[0], np.moveaxis(expected.detach().numpy(), 1, -1))
    gradient = tape.gradient(pooled, variable, upstream)  # sums of whole numbers, exact in float32
    np.testing.assert_array_equal(gradient, np.moveaxis(reference.grad.numpy(), 1, -1))


def test_roi_pool_of_a_side_of_57_cells_ends_with_it_where_torchvision_reads_one_more():
    feature = np.arange(60, dtype=np.float32).reshape(1, 60, 1, 1)
    box = np.array([[0.0, 0, 56, 0]], np.float32)
    reference = ops.roi_pool(torch.tensor(np.moveaxis(feature, -1, 1)), [torch.tensor(swap(box))], 7, 1.0)
    actual = RoIPool(HeadConfig(pooling="roi_pool"), (1,))([feature], box[None])
    assert (float(actual[0, 0, 6, 0, 0]), float(reference[0, 0, 6, 0])) == (56, 57)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kernels", [TENSORFLOW, PORTABLE], ids=lambda kernels: kernels.name)
def test_nms_is_that_of_torchvision_with_tied_scores(seed, kernels):
    rng = np.random.default_rng(seed)
    boxes = np.abs(random_boxes(rng, 500, 100)).round()
    boxes[:, 2:] = boxes[:, :2] + 1 + np.abs(boxes[:, 2:] - boxes[:, :2])
    scores = (rng.integers(0, 30, 500) / 30).astype(np.float32)
    # torchvision defines no order of equal scores: rank them first, so that both see the same order
    order = np.argsort(-scores, kind="stable")
    boxes, ranked = boxes[order], np.linspace(1, 0.5, 500, dtype=np.float32)
    expected = ops.nms(torch.tensor(swap(boxes)), torch.tensor(ranked), 0.5).numpy()
    kept = kernels.nms(tf.constant(boxes[None]), tf.constant(ranked[None]), tf.ones([1, 500], tf.bool), 500, 0.5)
    np.testing.assert_array_equal(kept.indices[0, : kept.counts[0]], expected)


SIZES = {  # height, width, by the treatment in the 320-pixel network
    "landscape, smaller": (480, 640),
    "portrait, smaller": (500, 333),
    "landscape, larger": (120, 200),
    "portrait, larger": (213, 101),
    "limited by the longer side": (150, 600),
    "square": (320, 320),
}


@pytest.fixture(scope="module")
def both(golden_root, tmp_path_factory):
    """Return torchvision's detector and ours with the reference's weights, and the image generator."""
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    path = tmp_path_factory.mktemp("weights") / f"{name}.npz"
    write_checkpoint(golden_root, name, path)
    models = pytest.importorskip("torchvision.models.detection")
    reference = getattr(models, name)(weights=None, weights_backbone=None).eval()
    reference.load_state_dict({key: torch.tensor(array) for key, array in np.load(path).items()})
    return reference, import_weights(path, name), reference_weights(golden_root).make_image


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("seed", [11, 12])
def test_detections_of_a_new_picture_are_those_of_torchvision(both, seed, size):
    reference, detector, make_image = both
    image = make_image(*size, seed)
    with torch.inference_mode():
        expected = reference([torch.tensor(image.astype(np.float32) / 255).permute(2, 0, 1)])[0]
    detections = detector(image[None].astype(np.float32))
    count = int(detections["num_detections"][0])
    boxes, scores, labels = (detections[key][0, :count].numpy() for key in ("boxes", "scores", "labels"))
    close = (
        (np.abs(boxes[:, None] - swap(expected["boxes"].numpy())[None]).max(-1) <= 0.5)
        & (np.abs(scores[:, None] - expected["scores"].numpy()[None]) <= 1e-3)
        & (labels[:, None] == expected["labels"].numpy()[None] - 1)
    )
    # two boxes of nearly equal scores may change places before NMS, and then suppress other boxes
    assert (~close.any(1)).sum() + (~close.any(0)).sum() <= 0.04 * (count + len(expected["scores"]))


@pytest.mark.parametrize(
    ("function", "name"), [(generalized_iou, "generalized"), (distance_iou, "distance"), (complete_iou, "complete")]
)
def test_iou_losses_and_their_gradients_are_torchvisions(function, name):
    rng = np.random.default_rng(0)
    one, other = random_boxes(rng, 500, 60), random_boxes(rng, 500, 60)
    reference = torch.tensor(swap(one)).requires_grad_()
    expected = getattr(ops, f"{name}_box_iou_loss")(reference, torch.tensor(swap(other)))
    expected.sum().backward()
    variable = tf.Variable(one)
    with tf.GradientTape() as tape:
        loss = 1 - function(variable, tf.constant(other))
    np.testing.assert_allclose(loss, expected.detach(), atol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, variable), swap(reference.grad.numpy()), atol=1e-4, rtol=1e-3)
