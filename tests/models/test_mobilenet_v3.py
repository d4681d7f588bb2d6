"""MobileNetV3-Large: its structure and its activations."""

import keras
import numpy as np
import pytest

from tfrcnn.compat import HARD_SIGMOID, HARD_SILU
from tfrcnn.models.backbones import output_strides
from tfrcnn.models.backbones.mobilenet_v3 import BLOCKS, STAGES, TAPS, mobilenet_v3_large


@pytest.fixture(scope="module")
def model():
    return mobilenet_v3_large()


def tapped(model, names):
    return keras.Model(model.inputs[0], [model.get_layer(name).output for name in names])


def test_weights_are_as_many_as_torchvisions(model):
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    # the classifier's published count, minus its last two layers
    assert trainable == 5_483_032 - 1280 * (960 + 1) - 1000 * (1280 + 1) == 2_971_952
    assert model.count_params() == trainable + 24_400  # mean and variance per normalised channel


@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_sizes_are_divided_by_32_and_rounded_up_in_both_taps(model, size):
    maps = tapped(model, TAPS)(np.zeros((1, *size, 3), np.float32))
    rows, columns = (-(-side // 32) for side in size)
    assert [tuple(m.shape) for m in maps] == [(1, rows, columns, 160), (1, rows, columns, 960)]


def test_stages_end_where_torchvisions_do(model):
    # torchvision starts a stage at the first layer, at each strided block, and at the last layer
    starts = [0, *(i for i, block in enumerate(BLOCKS, start=1) if block.strides == 2), 16]
    assert [f"features_{start - 1}_out" for start in [*starts[1:], 17]] == list(STAGES)
    assert [f"features_{start}_out" for start in starts[-2:]] == list(TAPS)
    assert output_strides(tapped(model, STAGES)) == (2, 4, 8, 16, 32, 32)
    names = [layer.name for layer in model.layers]
    for stage in STAGES:
        last = int(stage.split("_")[1])
        before = [int(name.split("_")[1]) for name in names[1 : names.index(stage) + 1]]
        after = [int(name.split("_")[1]) for name in names[names.index(stage) + 1 :]]
        assert max(before) == last
        assert min(after, default=last + 1) == last + 1


def test_squeeze_is_a_quarter_in_multiples_of_8(model):
    for block in BLOCKS:
        if block.squeeze:
            rounded = max(8, int(block.expanded / 4 + 4) // 8 * 8)
            rounded += 8 if rounded < 0.9 * (block.expanded // 4) else 0  # do not round down by more than a tenth
            assert block.squeeze == rounded


def test_activations_are_torchs_formulas():
    x = np.array([-4, -3, -1, 0, 1, 3, 4], np.float32)
    relu6 = np.array([0, 0, 2, 3, 4, 6, 6], np.float32)
    np.testing.assert_allclose(keras.activations.get(HARD_SIGMOID)(x), relu6 / 6, atol=1e-7)
    np.testing.assert_allclose(keras.activations.get(HARD_SILU)(x), x * relu6 / 6, atol=1e-6)


def test_a_block_adds_its_input_where_it_can(model):
    added = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert added == [f"features_{i}_out" for i in (1, 3, 5, 6, 8, 9, 10, 12, 14, 15)]
