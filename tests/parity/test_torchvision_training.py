"""One training step of torchvision, stage by stage: two images in one batch, with frozen batch norm.

Sampling is deterministic: it takes the first boxes of each kind.
"""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn import images as image_ops
from tfrcnn.config import AnchorConfig, HeadConfig, ImageConfig, MatchConfig, RPNConfig
from tfrcnn.layers import AnchorGenerator
from tfrcnn.training.losses import box_loss, head_losses
from tfrcnn.training.targets import roi_targets, rpn_targets

from .stages import swap

IMAGE = ImageConfig(320, 640)
ANCHORS = AnchorConfig(sizes=(tuple(map(float, (32, 64, 128, 256, 512))),) * 3)
RPN = RPNConfig(match=MatchConfig(0.7, 0.3, 256, 0.5, allow_low_quality=True))


@pytest.fixture(scope="module")
def batch(mobilenet_training):
    golden, _ = mobilenet_training
    boxes, labels = np.zeros((2, 5, 4), np.float32), np.full((2, 5), -1, np.int32)
    for i in range(2):
        gt = golden.yxyx(f"gt_boxes_resized_{i}")
        boxes[i, : len(gt)] = gt
        labels[i, : len(gt)] = golden[f"gt_labels_{i}"] - 1
    return {"boxes": boxes, "labels": labels, "image_sizes": golden["image_sizes"].astype(np.float32)}


@pytest.fixture(scope="module")
def anchors():
    maps = [np.zeros((1, rows, columns, 1), np.float32) for rows, columns in ((10, 14), (10, 14), (5, 7))]
    images = np.zeros((1, 320, 448, 3), np.float32)
    return tf.concat(AnchorGenerator(ANCHORS)(maps, images), 0)


def in_order(count):
    """Return a priority that samples boxes in their order."""
    return np.linspace(0.99, 0.0, count, dtype=np.float32)[None].repeat(2, 0)


def test_ground_truth_is_resized_as_torchvision_does(mobilenet_training):
    golden, _ = mobilenet_training
    for i in range(2):
        original = np.array(golden[f"image_{i}"].shape[:2], np.float32)
        resized = image_ops.resized_size(original.astype(np.int32), IMAGE).numpy()
        np.testing.assert_array_equal(resized, golden["image_sizes"][i])
        ratio = np.tile(resized / original, 2)
        np.testing.assert_allclose(
            golden.yxyx(f"gt_boxes_{i}") * ratio, golden.yxyx(f"gt_boxes_resized_{i}"), rtol=1e-6
        )


def test_anchors_sampled_and_their_targets_are_torchvisions(mobilenet_training, batch, anchors):
    golden, _ = mobilenet_training
    targets = rpn_targets(anchors, *(batch[k] for k in ("boxes", "labels", "image_sizes")), RPN,
                          in_order(len(anchors)))  # fmt: skip
    for i in range(2):
        index = targets.samples.index.numpy()[i]
        positive, valid = targets.samples.positive.numpy()[i], targets.samples.valid.numpy()[i]
        assert set(index[positive]) == set(np.flatnonzero(golden[f"rpn_pos_mask_{i}"]))
        assert set(index[valid & ~positive]) == set(np.flatnonzero(golden[f"rpn_neg_mask_{i}"]))
        expected = golden.yxyx(f"rpn_regression_targets_{i}")[index[positive]]
        np.testing.assert_allclose(targets.deltas[i].numpy()[positive], expected, atol=1e-5)


def test_regions_sampled_labels_targets_and_losses_are_torchvisions(mobilenet_training, batch):
    golden, figures = mobilenet_training
    config = HeadConfig(match=MatchConfig(0.5, 0.5, 512, 0.25))
    # torchvision's proposals here already include the ground truth
    proposals = np.stack([golden.yxyx(f"proposals_{i}") for i in range(2)])
    count = proposals.shape[1] + batch["boxes"].shape[1]
    valid = np.ones(proposals.shape[:2], bool)
    targets = roi_targets(proposals, valid, batch["boxes"], batch["labels"], 90, config, in_order(count))
    order = []
    for i in range(2):
        sampled, reference = targets.boxes[i].numpy(), golden.yxyx(f"sampled_proposals_{i}")
        # torchvision keeps the order of the sampled boxes; this project puts positives first
        actual_order = np.lexsort(sampled.round(3).T)
        reference_order = np.lexsort(reference.round(3).T)
        np.testing.assert_allclose(sampled[actual_order], reference[reference_order], atol=1e-3)
        labels = np.where(golden[f"sampled_labels_{i}"] == 0, 90, golden[f"sampled_labels_{i}"] - 1)
        np.testing.assert_array_equal(targets.labels[i].numpy()[actual_order], labels[reference_order])
        positive = targets.samples.positive[i].numpy()[actual_order]
        np.testing.assert_allclose(
            targets.deltas[i].numpy()[actual_order][positive],
            golden.yxyx(f"sampled_reg_targets_{i}")[reference_order][positive],
            atol=2e-4,
        )
        order.append(reference_order[np.argsort(actual_order)] + 512 * i)
    order = np.concatenate(order)
    logits = np.roll(golden["class_logits"], -1, axis=-1)[order].reshape(2, 512, 91)
    deltas = swap(golden["box_regression"].reshape(1024, 91, 4))[order, 1:].reshape(2, 512, 90, 4)
    classifier, box = head_losses(logits, deltas, targets, box_loss(config.box_loss, config.box_weights))
    np.testing.assert_allclose(classifier, figures["losses"]["loss_classifier"], rtol=1e-5)
    np.testing.assert_allclose(box, figures["losses"]["loss_box_reg"], rtol=1e-5)
