"""One training step from torchvision's weights: the four losses and the gradient of every weight.

The statistics of batch norm are frozen, but its weights are not. Sampling takes the first boxes of each kind. The
proposals are torchvision's, because round-off decides the order of boxes with nearly equal scores.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import tensorflow_variable
from tfrcnn.models import preset
from tfrcnn.training.joint import LOSSES, TrainingModel
from tfrcnn.weights.torchvision import assignments

from .stages import Golden, load_reference, swap

# In a backbone of random weights many activations lie within round-off of a ReLU's corner, where the gradient jumps.
# torchvision's float32 gradients differ from float64 by up to 9.3e-3 in the norm (layer1 of ResNet-50), and by 5 % of
# the norm in direction. Noise of one unit in the last place of the image moves ours from torchvision's by up to 8.1e-3
# in the body and 1.02e-2 in the pyramid, another processor as much. Such jumps are rare: the median stays below 5e-4
# over the body's weights and below 4e-5 over the others. A head's activations lie further from the corners: below 1e-4.
BACKBONE, HEADS = 2e-2, 1e-3
MEDIANS = {True: 1e-3, False: 2e-4}  # of the body's weights and of all others
TORCH_LOSSES = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
SIZES = {"fasterrcnn_mobilenet_v3_large_320_fpn": (320, 640), "fasterrcnn_resnet50_fpn": (320, 512)}


class InOrder(TrainingModel):
    """A training model that samples boxes in their order."""

    def _draw(self, stream, shape, training):
        return tf.broadcast_to(tf.linspace(0.99, 0.0, shape[1])[None], shape)


NETWORKS = [name if "320" in name else pytest.param(name, marks=pytest.mark.slow) for name in SIZES]


@pytest.fixture(scope="module", params=NETWORKS)
def step(request, golden_root):
    """Return losses by name, gradients by torchvision's key, the recorded figures and the reference tensors."""
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
    # use torchvision's network input in place of the normaliser's output
    detector.normalizer.call = lambda images, sizes: images
    batch["images"] = golden.nhwc("batch")

    model = InOrder(detector)
    used = assignments(detector)
    variables = [tensorflow_variable(each.variable) for each in used]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(variables)
        outputs = model(batch, training=False)
        proposals = np.stack([golden.yxyx(f"proposals_{i}") for i in range(2)])
        outputs["proposals"] = {"boxes": tf.constant(proposals), "valid": tf.ones(proposals.shape[:2], tf.bool)}
        total = model.compute_loss(x=batch, y_pred=outputs, training=False)
    gradients = {each.key: gradient for each, gradient in zip(used, tape.gradient(total, variables))}
    losses = {metric.name: float(metric.result()) for metric in model.loss_metrics}
    return losses, gradients, figures, golden


def test_the_four_losses_are_torchvisions(step):
    losses, _, figures, _ = step
    for name, reference in zip(LOSSES, TORCH_LOSSES):
        np.testing.assert_allclose(losses[name], figures["losses"][reference], rtol=1e-5, err_msg=name)


def test_the_gradient_of_every_weight_has_torchvisions_norm_and_sum(step):
    _, gradients, figures, _ = step
    recorded = figures["grads"]
    assert len(recorded) > 100
    assert set(recorded) <= set(gradients)
    errors = {True: [], False: []}
    for key, expected in recorded.items():
        gradient = tf.convert_to_tensor(gradients[key]).numpy().astype(np.float64)
        norm = np.sqrt((gradient**2).sum())
        # the recorded norms are torch's float32 sums: for the 12.8 million weights of fc6 the norm is 1.0e-3 too small
        # (torch gives 37.339 for this gradient, float64 gives 37.377); for the other weights the error is under 1e-4
        tolerance = (BACKBONE if key.startswith("backbone.") else HEADS) + 1e-10 * gradient.size
        np.testing.assert_allclose(norm, expected["norm"], rtol=tolerance, err_msg=key)
        errors[key.startswith("backbone.body.")].append(abs(norm - expected["norm"]) / max(expected["norm"], 1e-30))
        # the error of a sum of n terms of both signs grows with sqrt(n)
        allowed = tolerance * expected["norm"] * np.sqrt(gradient.size)
        np.testing.assert_allclose(gradient.sum(), expected["sum"], atol=allowed, err_msg=key)
    assert all(np.median(errors[of_body]) < limit for of_body, limit in MEDIANS.items())


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
    """Reorder groups of four along the first axis: (dx, dy, dw, dh) -> (dy, dx, dh, dw)."""
    groups = array.reshape(-1, 4, *array.shape[1:])
    return np.moveaxis(swap(np.moveaxis(groups, 1, -1)), -1, 1).reshape(array.shape)
