"""A detector compiles under XLA at a static size, as a GPU would run it. test_joint.py has the training step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import Category
from tfrcnn.models import build_detector, preset

CATEGORIES = (Category(3, "a"), Category(90, "b"))


@pytest.mark.soak
def test_a_detector_compiles_and_detects_the_same():
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", CATEGORIES, 64).detector
    few = config.train_proposals.replace(pre_nms_top_n=200, post_nms_top_n=100)
    head = config.head.replace(units=(64,), dropout=0.0)
    detector = build_detector(config.replace(test_proposals=few, head=head), "none", kernels="portable")
    images = np.random.default_rng(0).uniform(0, 255, (2, 90, 50, 3)).astype(np.float32)
    compiled = tf.function(lambda images: detector(images, training=False), jit_compile=True)(images)
    plain = detector(images, training=False)
    np.testing.assert_array_equal(compiled["num_detections"], plain["num_detections"])
    np.testing.assert_allclose(compiled["scores"], plain["scores"], atol=1e-4)
