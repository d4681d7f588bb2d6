"""LiteRT's RoIAlign, which pools a few boxes at a time, against the portable one."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.export.tflite import kernels
from tfrcnn.export.tflite.kernels import LITERT
from tfrcnn.layers import RoIAlign

STRIDES = (4, 8)
BOXES = 11


def maps_and_boxes(seed=0):
    """Two levels, and boxes of which some reach over the border or lie beyond it."""
    rng = np.random.default_rng(seed)
    maps = [rng.normal(size=(1, 64 // stride, 96 // stride, 3)).astype(np.float32) for stride in STRIDES]
    corners = rng.uniform(-30, 90, (1, BOXES, 2))
    sizes = rng.uniform(0, 15, (1, BOXES, 2)) ** 2
    return maps, np.concatenate([corners, corners + sizes], -1).astype(np.float32)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of two boxes of 3 x 3 bins; the last one has a single box."""
    monkeypatch.setattr(kernels, "CHUNK_BYTES", 2 * 4 * 12**2 * 3)


@pytest.mark.parametrize(("pool", "ratio", "aligned"), [(3, 2, False), (7, 1, True)])
def test_boxes_in_chunks_are_pooled_as_all_at_once(small_chunks, pool, ratio, aligned):
    config = HeadConfig(pool_size=pool, sampling_ratio=ratio, aligned=aligned)
    maps, boxes = maps_and_boxes()
    pooled, expected = (RoIAlign(config, STRIDES, chosen)(maps, boxes) for chosen in (LITERT, "portable"))
    np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_a_chunk_waits_for_the_one_before_it(small_chunks):
    """Otherwise LiteRT runs all gathers first, and their cells leave the cache."""
    from ai_edge_litert.interpreter import Interpreter

    maps, boxes = maps_and_boxes()
    layer = RoIAlign(HeadConfig(pool_size=3), STRIDES, LITERT)
    signature = [tf.TensorSpec(one.shape, tf.float32, f"map_{i}") for i, one in enumerate(maps)]
    traced = tf.function(lambda *features: layer(list(features), tf.constant(boxes)), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()])
    interpreter = Interpreter(model_content=bytes(converter.convert()))
    kinds = [operator["op_name"] for operator in interpreter._get_ops_details()]
    chunks = -(-BOXES // 2)
    assert kinds.count("AVERAGE_POOL_2D") == chunks
    assert kinds.count("ARG_MAX") == chunks - 1
