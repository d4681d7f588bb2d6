"""ResNet-50 and ResNet-101 (He et al., arXiv 1512.03385, table 1), as published detectors use them.

Layers have the names of torchvision's modules, with "_" for ".": `layer1_0_conv1` is `layer1.0.conv1`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import keras

from tfrcnn.config import BackboneConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import BoxHead
from tfrcnn.models.backbones.applications import CAFFE, application
from tfrcnn.models.backbones.loading import load_torchvision_classifier
from tfrcnn.models.backbones.spec import BackboneSpec
from tfrcnn.models.backbones.symmetric import NORM_EPSILON, conv, norm

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
APPLICATIONS_EPSILON = 1.001e-5  # the epsilon of the batch norms in keras.applications' ResNets


def resnet(depth: int, stride_in_1x1: bool = False, norm_epsilon: float = NORM_EPSILON) -> keras.Model:
    """Build a ResNet: normalised images [B, H, W, 3] -> the last stage [B, ceil(H / 32), ceil(W / 32), 2048].

    Args:
        depth: 50 or 101.
        stride_in_1x1: The layer that strides in the first block of a stage. True: its first 1x1 convolution, as in the
            paper, Caffe, keras.applications and Detectron2. False: its 3x3 convolution, as in torchvision ("v1.5").
        norm_epsilon: Epsilon of the batch norms. torchvision uses 0 with its `fasterrcnn_resnet50_fpn` weights.

    Raises:
        InputError: The depth is another one.
    """
    inputs = keras.Input((None, None, 3), name="images")
    x = norm(conv(inputs, 64, 7, 2, name="conv1"), norm_epsilon, name="bn1")
    x = keras.layers.ReLU(name="relu")(x)
    # torch pads with -inf. Zeros give the same maximum, because every window has values of a ReLU in it.
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
    """Return the last layer of torchvision's `layer1` to `layer4`: the feature maps at strides 4, 8, 16 and 32."""
    return tuple(f"layer{stage}_{blocks - 1}_out" for stage, blocks in enumerate(_blocks(depth), start=1))


def stages(depth: int) -> tuple[str, ...]:
    """Return the last layer of each stage from the input side: the stem (`conv1`, `bn1`), then `layer1` to `layer4`.

    torchvision counts from the other end: its `trainable_backbone_layers=3` of these 5 is `frozen_stages=2` here.
    """
    return ("maxpool", *taps(depth))


def load_applications_resnet(model: keras.Model, source: keras.Model) -> None:
    """Load the weights of keras.applications' ResNet. Its convolutions have biases, the ones here have none.

    A batch norm with fixed statistics takes over the bias before it as a shift of its mean:
    gamma (Wx + b - mean) / std + beta == gamma (Wx - (mean - b)) / std + beta.

    Args:
        model: `resnet(depth, stride_in_1x1=True, norm_epsilon=APPLICATIONS_EPSILON)`.
        source: `keras.applications.ResNet50` or `ResNet101`, with or without its top.

    Raises:
        InputError: The two are not the same network. The model is unchanged then.
    """
    source_layers = {layer.name: layer for layer in source.layers if layer.weights and layer.name != "predictions"}
    layers = {_applications_name(layer.name): layer for layer in model.layers if layer.weights}
    if set(layers) != set(source_layers):
        differing = ", ".join(sorted(set(layers) ^ set(source_layers))[:3])
        raise InputError(f"{source.name} is not the network {model.name}: only one of them has {differing}, ...")
    for name, layer in layers.items():
        setting = "strides" if name.endswith("_conv") else "epsilon"
        expected, actual = getattr(source_layers[name], setting), getattr(layer, setting)
        if expected != actual:
            raise InputError(f"{setting} of {layer.name} must be {expected}, as in {source.name}, found {actual}")
    for name, layer in layers.items():
        if name.endswith("_conv"):
            layer.kernel.assign(source_layers[name].kernel)
        else:
            bias = source_layers[f"{name.removesuffix('_bn')}_conv"].bias
            layer.gamma.assign(source_layers[name].gamma)
            layer.beta.assign(source_layers[name].beta)
            layer.moving_mean.assign(source_layers[name].moving_mean - bias)
            layer.moving_variance.assign(source_layers[name].moving_variance)


def load_residual_blocks(head: BoxHead, model: keras.Model, weights: str | Path) -> str:
    """Copy a ResNet's last stage to the residual blocks of a box head, if their shapes match.

    Args:
        head: the box head.
        model: `resnet(depth)` with weights.
        weights: where these come from, for the note.

    Returns:
        A note for the user on where the blocks' weights come from.
    """
    pairs = []
    for number, block in enumerate(head.blocks):
        parts = [(f"conv{i}", f"bn{i}", part) for i, part in enumerate(block.convs, start=1)]
        parts += [("downsample_0", "downsample_1", block.shortcut)] if block.shortcut else []
        for conv_name, norm_name, part in parts:
            pairs += [(f"layer4_{number}_{conv_name}", part.conv), (f"layer4_{number}_{norm_name}", part.norm)]
    sources = {layer.name: layer.get_weights() for layer in model.layers if layer.name.startswith("layer4_")}
    for name, target in pairs:
        if [array.shape for array in sources.get(name, [])] != [tuple(weight.shape) for weight in target.weights]:
            return f"The box head's residual blocks start from random weights: they are not {model.name}'s last stage."
    for name, target in pairs:
        target.set_weights(sources[name])
    return f"The box head's residual blocks start from the last stage of {weights}."


def _spec(depth: int) -> BackboneSpec:
    source = application(f"ResNet{depth}")

    def build(config: BackboneConfig) -> keras.Model:
        return resnet(depth, config.stride_in_1x1, NORM_EPSILON if config.norm_epsilon is None else config.norm_epsilon)

    def load(model: keras.Model, config: BackboneConfig, weights: str | Path) -> None:
        """Load keras.applications' weights if the strides are the same; else torchvision's classifier."""
        path = Path(weights)
        if config.stride_in_1x1 and (str(weights) == "imagenet" or (path.is_file() and h5py.is_hdf5(path))):
            application_model = source.build(config)
            source.load(application_model, config, weights)
            load_applications_resnet(model, application_model)
        else:
            load_torchvision_classifier(model, config, weights)

    def load_head(head: BoxHead, weights: str | Path) -> str:
        """Load the last stage from the file that the backbone was loaded from."""
        if str(weights) == "none" or not head.blocks:
            return ""
        is_keras = str(weights) == "imagenet" or h5py.is_hdf5(weights)
        epsilon = APPLICATIONS_EPSILON if is_keras else None
        config = BackboneConfig(f"resnet{depth}", stride_in_1x1=is_keras, norm_epsilon=epsilon)
        model = build(config)
        load(model, config, weights)
        # a block of the head has its stride in the first convolution, torchvision's in the second
        note = load_residual_blocks(head, model, weights)
        return note if is_keras else f"{note} Their stride is in another convolution there."

    return BackboneSpec(
        build,
        taps(depth),
        stages(depth),
        options=("stride_in_1x1", "norm_epsilon"),
        image=CAFFE,
        load=load,
        default_weights=lambda config: "imagenet" if config.stride_in_1x1 else None,
        load_head=load_head,
    )


def _applications_name(name: str) -> str:
    """Translate: `bn1` -> `conv1_bn`, `layer1_0_conv2` -> `conv2_block1_2_conv`, `_downsample_0` -> `_0_conv`."""
    *block, part = name.replace("downsample_0", "conv0").replace("downsample_1", "bn0").split("_")
    kind, index = part[:-1], part[-1]
    if not block:
        return f"conv{index}_{kind}"
    stage, number = block
    return f"conv{int(stage.removeprefix('layer')) + 1}_block{int(number) + 1}_{index}_{kind}"


def _bottleneck(x: Any, channels: int, strides: tuple[int, int], norm_epsilon: float, name: str) -> Any:
    """Apply 1x1, 3x3 and 1x1 convolutions (figure 5, right). `strides` belong to the first two."""
    x = norm(conv(x, channels, 1, strides[0], name=f"{name}_conv1"), norm_epsilon, name=f"{name}_bn1")
    x = keras.layers.ReLU(name=f"{name}_relu1")(x)
    x = norm(conv(x, channels, 3, strides[1], name=f"{name}_conv2"), norm_epsilon, name=f"{name}_bn2")
    x = keras.layers.ReLU(name=f"{name}_relu2")(x)
    return norm(conv(x, 4 * channels, name=f"{name}_conv3"), norm_epsilon, name=f"{name}_bn3")


def _blocks(depth: int) -> tuple[int, ...]:
    if depth not in BLOCKS:
        raise InputError(f"depth of a ResNet must be one of {', '.join(map(str, BLOCKS))}, found {depth}")
    return BLOCKS[depth]


RESNET50 = _spec(50)
RESNET101 = _spec(101)
