"""The RPN's outputs follow the order of the anchors."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import AnchorConfig, RPNConfig
from tfrcnn.layers import AnchorGenerator, RPNHead

ANCHORS = AnchorConfig(sizes=((8.0, 16.0),), ratios=(0.5, 1.0, 2.0))


@pytest.fixture
def head():
    """Return a head that copies the map: logit k is 100 k + cell, and delta c of anchor k is 100 (4 k + c) + cell."""
    head = RPNHead(RPNConfig(channels=1), ANCHORS.per_cell)
    head.build([(None, None, None, 1)])
    center = np.zeros((3, 3, 1, 1), np.float32)
    center[1, 1] = 1
    head.convs[0].set_weights([center, np.zeros(1)])
    head.objectness.set_weights([np.ones((1, 1, 1, 6)), 100.0 * np.arange(6)])
    head.deltas.set_weights([np.ones((1, 1, 1, 24)), 100.0 * np.arange(24)])
    return head


def test_logit_and_deltas_of_an_anchor_stand_at_its_place(head):
    feature = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1)  # number the cells row by row
    (logits,), (deltas,) = head([feature])
    (anchors,) = AnchorGenerator(ANCHORS)([feature], np.zeros((1, 24, 32, 3)))
    assert logits.shape == (1, len(anchors))
    assert deltas.shape == (1, len(anchors), 4)
    for i, anchor in enumerate(anchors.numpy()):
        height, width = anchor[2] - anchor[0], anchor[3] - anchor[1]
        row, column = (anchor[0] + anchor[2]) / 2 / 8, (anchor[1] + anchor[3]) / 2 / 8
        ratio = int(np.argmin(np.abs(np.array(ANCHORS.ratios) - height / width)))
        size = int(height * width > 12**2)
        k = 2 * ratio + size
        assert logits[0, i] == 100 * k + 4 * row + column
        np.testing.assert_array_equal(deltas[0, i], 100 * (4 * k + np.arange(4)) + 4 * row + column)


@pytest.mark.parametrize(("size", "expected"), [((3, 4), 72), ((None, 4), None)])
def test_the_number_of_anchors_is_static_where_the_map_is(head, size, expected):
    spec = tf.TensorSpec([None, *size, 1])
    concrete = tf.function(lambda x: head([x])).get_concrete_function(spec)
    (logits,), (deltas,) = concrete.structured_outputs
    assert logits.shape.as_list() == [None, expected]
    assert deltas.shape.as_list() == [None, expected, 4]
