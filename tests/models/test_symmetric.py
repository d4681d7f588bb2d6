"""Convolutions with torch's symmetric padding."""

import keras
import numpy as np
import pytest

from tfrcnn.models.backbones.symmetric import conv, depthwise_conv


@pytest.mark.parametrize("size", [(8, 9), (9, 12)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
def test_each_window_is_centred_on_its_pixel(kernel_size, strides, size):
    inputs = keras.Input((None, None, 2))
    model = keras.Model(
        inputs,
        [
            conv(inputs, 3, kernel_size, strides, name="conv"),
            depthwise_conv(inputs, kernel_size, strides, name="depthwise"),
        ],
    )
    x = np.random.default_rng(0).normal(size=(1, *size, 2)).astype(np.float32)
    edge = kernel_size // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel_size, kernel_size), (1, 2))
    windows = windows[:, ::strides, ::strides]  # windows of pixels 0, strides, 2 * strides, ...
    full, depthwise = model(x)
    kernel = model.get_layer("conv").kernel.numpy()
    np.testing.assert_allclose(full, np.einsum("brcihw,hwio->brco", windows, kernel), atol=1e-5)
    kernel = model.get_layer("depthwise").weights[0].numpy()[..., 0]
    np.testing.assert_allclose(depthwise, np.einsum("brcihw,hwi->brci", windows, kernel), atol=1e-5)
