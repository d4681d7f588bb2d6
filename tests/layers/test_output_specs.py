"""The outputs that the layers describe to Keras are the outputs that it would find by tracing `call`."""

import keras
import pytest

from tfrcnn import compat
from tfrcnn.config import Category, HeadConfig, ProposalConfig
from tfrcnn.layers import ProposalLayer, RoIAlign, RoIPool
from tfrcnn.models import build_detector, preset

pytestmark = pytest.mark.skipif(compat.KERAS_2, reason="Keras 2 traces `call`")


def outputs_of(layer, *args, **kwargs):
    """Return shapes and types as a layer describes them, and as tracing finds them."""
    from keras.src.backend import compute_output_spec  # what a layer without a description does

    described = layer.compute_output_spec(*args, **kwargs), compute_output_spec(layer.call, *args, **kwargs)
    return [keras.tree.map_structure(lambda output: (tuple(output.shape), output.dtype), each) for each in described]


@pytest.mark.parametrize("size", [None, 64])
def test_a_detector_is_built_from_the_outputs_that_its_layers_have(size):
    detector = build_detector(preset("tiny_fpn", (Category(1, "a"), Category(2, "b")), size).detector)
    names = set()
    for model in (detector, detector.network):
        for node in (node for depth in model._nodes_by_depth.values() for node in depth):
            kinds = [kind for kind in type(node.operation).__mro__ if kind.__module__.startswith("tfrcnn.layers")]
            if kind := next((kind for kind in kinds if "compute_output_spec" in vars(kind)), None):
                described, traced = outputs_of(node.operation, *node.arguments.args, **node.arguments.kwargs)
                assert described == traced, node.operation
                names.add(kind.__name__)
    stages = {"RPNHead", "AnchorGenerator", "ProposalLayer", "RoIAlign", "BoxHead", "DetectionDecoder"}
    assert names == stages | {"DetectionRescaler", "Normalizer", "Preprocessor"}


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("layer", [RoIPool, RoIAlign])
def test_the_pooling_of_a_single_map_is_described(layer, batch):
    inputs = [keras.KerasTensor((batch, 4, 6, 8))], keras.KerasTensor((batch, 5, 4))
    described, traced = outputs_of(layer(HeadConfig(), strides=(16,)), *inputs)
    assert described == traced == ((batch, 5, 7, 7, 8), "float32")


@pytest.mark.parametrize("batch", [None, 2])
def test_proposals_of_a_single_map_are_described(batch):
    logits, deltas, anchors = (keras.KerasTensor(shape) for shape in ((batch, 12), (batch, 12, 4), (12, 4)))
    inputs = [logits], [deltas], [anchors], keras.KerasTensor((batch, 2))
    described, traced = outputs_of(ProposalLayer(ProposalConfig(10, 5)), *inputs)
    assert described == traced
    assert described["boxes"] == ((batch, 5, 4), "float32")
