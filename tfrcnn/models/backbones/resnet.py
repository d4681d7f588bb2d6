"""ResNet-50 and ResNet-101 (He et al., arXiv 1512.03385, table 1) in the forms that published detectors use.

Layers are named as torchvision's modules, with "_" for ".": `layer1_0_conv1` is its `layer1.0.conv1`.
"""

from __future__ import annotations

from typing import Any

import keras

from tfrcnn.errors import InputError
from tfrcnn.models.backbones.symmetric import conv, norm

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
APPLICATIONS_EPSILON = 1.001e-5  # of the batch norms of keras.applications' ResNets


def resnet(depth: int, stride_in_1x1: bool = False, norm_epsilon: float = 1e-5) -> keras.Model:
    """Normalised images [B, N_h, N_w, 3] of any size -> the last stage [B, ceil(N_h / 32), ceil(N_w / 32), 2048].

    Args:
        depth: 50 or 101.
        stride_in_1x1: whether the first block of a stage strides in its first 1x1 convolution, as the paper's, Caffe's,
            keras.applications' and Detectron2's; or, by default, in its 3x3, as torchvision's ("v1.5").
        norm_epsilon: of the batch norms. torchvision sets 0 in the detector of its `fasterrcnn_resnet50_fpn` weights.

    Raises:
        InputError: another depth.
    """
    inputs = keras.Input((None, None, 3), name="images")
    x = norm(conv(inputs, 64, 7, 2, name="conv1"), norm_epsilon, name="bn1")
    x = keras.layers.ReLU(name="relu")(x)
    # torch pads a maximum with -inf; zeros are the same below values that a ReLU made, of which each window has one
    x = keras.layers.ZeroPadding2D(1, name="maxpool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="maxpool")(x)
    for stage, blocks in enumerate(_blocks(depth), start=1):
        channels = 32 * 2**stage
        for block in range(blocks):
            name, shortcut, strides = f"layer{stage}_{block}", x, (1, 1)
            if block == 0:
                stride = 1 if stage == 1 else 2
                strides = (stride, 1) if stride_in_1x1 else (1, stride)
                shortcut = conv(x, 4 * channels, 1, stride, name=f"{name}_downsample_0")
                shortcut = norm(shortcut, norm_epsilon, name=f"{name}_downsample_1")
            x = _bottleneck(x, channels, strides, norm_epsilon, name)
            x = keras.layers.Add(name=f"{name}_add")([x, shortcut])
            x = keras.layers.ReLU(name=f"{name}_out")(x)
    return keras.Model(inputs, x, name=f"resnet{depth}")


def taps(depth: int) -> tuple[str, ...]:
    """The layers whose outputs are the feature maps, torchvision's `layer1` to `layer4`: strides 4, 8, 16 and 32."""
    return tuple(f"layer{stage}_{blocks - 1}_out" for stage, blocks in enumerate(_blocks(depth), start=1))


def stages(depth: int) -> tuple[str, ...]:
    """The last layer of each stage from the input side: the stem (`conv1`, `bn1`), then `layer1` to `layer4`.

    torchvision counts from the other end: its `trainable_backbone_layers=3` of these 5 is `frozen_stages=2` here.
    """
    return ("maxpool", *taps(depth))


def load_applications_resnet(model: keras.Model, source: keras.Model) -> None:
    """Take the weights of keras.applications' ResNet, whose convolutions have biases, which these do without.

    A bias before a batch norm is a shift of its mean, wherever the statistics are not those of the batch:
    gamma (Wx + b - mean) / std + beta == gamma (Wx - (mean - b)) / std + beta.

    Args:
        model: `resnet(depth, stride_in_1x1=True, norm_epsilon=APPLICATIONS_EPSILON)`.
        source: `keras.applications.ResNet50` or `ResNet101`; its top, if it has one, is left out.

    Raises:
        InputError: the two are not the same network; nothing is changed then.
    """
    theirs = {layer.name: layer for layer in source.layers if layer.weights and layer.name != "predictions"}
    ours = {_applications_name(layer.name): layer for layer in model.layers if layer.weights}
    if set(ours) != set(theirs):
        differing = ", ".join(sorted(set(ours) ^ set(theirs))[:3])
        raise InputError(f"{source.name} is not the network {model.name}: only one of them has {differing}, ...")
    for name, layer in ours.items():
        setting = "strides" if name.endswith("_conv") else "epsilon"
        expected, found = getattr(theirs[name], setting), getattr(layer, setting)
        if expected != found:
            raise InputError(f"{setting} of {layer.name} must be {expected}, as in {source.name}, found {found}")
    for name, layer in ours.items():
        if name.endswith("_conv"):
            layer.kernel.assign(theirs[name].kernel)
        else:
            bias = theirs[f"{name.removesuffix('_bn')}_conv"].bias
            layer.gamma.assign(theirs[name].gamma)
            layer.beta.assign(theirs[name].beta)
            layer.moving_mean.assign(theirs[name].moving_mean - bias)
            layer.moving_variance.assign(theirs[name].moving_variance)


def _applications_name(name: str) -> str:
    """`bn1` -> `conv1_bn`, `layer1_0_conv2` -> `conv2_block1_2_conv`, `..._downsample_0` -> `..._0_conv`."""
    *block, part = name.replace("downsample_0", "conv0").replace("downsample_1", "bn0").split("_")
    kind, index = part[:-1], part[-1]
    if not block:
        return f"conv{index}_{kind}"
    stage, number = block
    return f"conv{int(stage.removeprefix('layer')) + 1}_block{int(number) + 1}_{index}_{kind}"


def _bottleneck(x: Any, channels: int, strides: tuple[int, int], norm_epsilon: float, name: str) -> Any:
    """1x1, 3x3 and 1x1 convolution (figure 5, right) before the shortcut is added; strides of the first two."""
    x = norm(conv(x, channels, 1, strides[0], name=f"{name}_conv1"), norm_epsilon, name=f"{name}_bn1")
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    x = norm(conv(x, channels, 3, strides[1], name=f"{name}_conv2"), norm_epsilon, name=f"{name}_bn2")
    x = keras.layers.ReLU(name=f"{name}_relu2")(x)
    return norm(conv(x, 4 * channels, name=f"{name}_conv3"), norm_epsilon, name=f"{name}_bn3")


def _blocks(depth: int) -> tuple[int, ...]:
    if depth not in BLOCKS:
        raise InputError(f"depth of a ResNet must be one of {', '.join(map(str, BLOCKS))}, found {depth}")
    return BLOCKS[depth]
