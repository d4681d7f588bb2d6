"""One training step of torchvision's from its weights: the four losses and the gradient of every weight.

Batch norm is frozen in its statistics but not in its weights; sampling takes the first of each kind; the proposals are
torchvision's, since which boxes of nearly equal scores come first is a matter of round-off.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.models import preset
from tfrcnn.training.joint import LOSSES, TrainingModel
from tfrcnn.weights.torchvision import assignments

from .stages import Golden, load_reference, swap

# Through a body of random weights many activations lie within round-off of a ReLU's corner, where the gradient jumps:
# torchvision's own gradients in float32 have norms up to 9.3e-3 off those in float64 (ResNet-50, its layer1), and are
# off by 5 % of their norm in direction. Ours may be off as much: from the kernels of a CPU with AVX-512 they were up to
# 3.1e-3 off torchvision's float32, from those of one without up to 5.1e-3.
BODY, OTHERS = 1e-2, 1e-3
TORCH_LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
SIZES = {"fasterrcnn_mobilenet_v3_large_320_fpn": (320, 640), "fasterrcnn_resnet50_fpn": (320, 512)}


class InOrder(TrainingModel):
    """Samples boxes in their order."""

    def _draw(self, stream, shape, training):
        return tf.broadcast_to(tf.linspace(0.99, 0.0, shape[1])[None], shape)


NETWORKS = [name if "320" in name else pytest.param(name, marks=pytest.mark.slow) for name in SIZES]


@pytest.fixture(scope="module", params=NETWORKS)
def step(request, golden_root):
    """Losses by name, and gradients by torchvision's key beside the recorded figures."""
    name = request.param
    golden = Golden(golden_root / name, "train")
    figures = json.loads((golden_root / name / "train.json").read_text())
    low, high = SIZES[name]
    image = preset(name).detector.image.replace(min_size=low, max_size=high)
    detector = load_reference(golden_root, name, image=image)
    boxes, labels = np.zeros((2, 5, 4), np.float32), np.full((2, 5), -1, np.int32)
    for i in range(2):
        gt = golden.yxyx(f"gt_boxes_resized_{i}")
        boxes[i, : len(gt)], labels[i, : len(gt)] = gt, golden[f"gt_labels_{i}"] - 1
    batch = {"image_sizes": golden["image_sizes"].astype(np.float32), "boxes": boxes, "labels": labels}
    # torchvision's own network input, which the normaliser would have made
    detector.normalizer.call = lambda images, sizes: images
    batch["images"] = golden.nhwc("batch")

    model = InOrder(detector)
    used = assignments(detector)
    variables = [each.variable.value for each in used]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        outputs = model(batch, training=False)
        theirs = np.stack([golden.yxyx(f"proposals_{i}") for i in range(2)])
        outputs["proposals"] = {"boxes": tf.constant(theirs), "valid": tf.ones(theirs.shape[:2], tf.bool)}
        total = model.compute_loss(x=batch, y_pred=outputs, training=False)
    gradients = {each.key: gradient for each, gradient in zip(used, tape.gradient(total, variables))}
    losses = {metric.name: float(metric.result()) for metric in model.loss_metrics}
    return losses, gradients, figures, golden


def test_the_four_losses_are_torchvisions(step):
    losses, _, figures, _ = step
    for ours, theirs in zip(LOSSES, TORCH_LOSSES):
        np.testing.assert_allclose(losses[ours], figures["losses"][theirs], rtol=1e-5, err_msg=ours)


def test_the_gradient_of_every_weight_has_torchvisions_norm_and_sum(step):
    _, gradients, figures, _ = step
    recorded = figures["grads"]
    assert len(recorded) > 100
    assert set(recorded) <= set(gradients)
    for key, expected in recorded.items():
        gradient = tf.convert_to_tensor(gradients[key]).numpy().astype(np.float64)
        norm = np.sqrt((gradient**2).sum())
        # the recorded norms are torch's, summed in float32: that of fc6's 12.8 million is 1.0e-3 too small, as torch's
        # norm of this very gradient shows (37.339 where float64 gives 37.377); of the other weights it is under 1e-4
        tolerance = (BODY if key.startswith("backbone.body.") else OTHERS) + 1e-10 * gradient.size
        np.testing.assert_allclose(norm, expected["norm"], rtol=tolerance, err_msg=key)
        # a sum of n terms of both signs is as uncertain as sqrt(n) of them
        allowed = tolerance * expected["norm"] * np.sqrt(gradient.size)
        np.testing.assert_allclose(gradient.sum(), expected["sum"], atol=allowed, err_msg=key)


def test_gradients_of_the_predictors_are_torchvisions_number_by_number(step):
    _, gradients, _, golden = step
    for name in (name for name in golden.arrays.files if name.startswith("grad:")):
        key, expected = name.removeprefix("grad:"), golden[name]
        gradient = gradients[key].numpy()
        if "cls_score" in key:
            expected = np.roll(expected, -1, 0)
        elif "bbox_pred" in key:
            expected = swap_groups(expected)[4 * ("roi_heads" in key) :]
        expected = expected if expected.ndim == 1 else expected.transpose(2, 3, 1, 0)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, atol=1e-3 * scale, err_msg=key)


def swap_groups(array):
    """Groups of four along the first axis: (dx, dy, dw, dh) -> (dy, dx, dh, dw)."""
    groups = array.reshape(-1, 4, *array.shape[1:])
    return np.moveaxis(swap(np.moveaxis(groups, 1, -1)), -1, 1).reshape(array.shape)
