"""VGG-16 (Simonyan and Zisserman, arXiv 1409.1556) of keras.applications, and its fc1 and fc2 for the box head.

Fast R-CNN starts from fc6 and fc7 of the ImageNet network (arXiv 1504.08083, section 2.2), which pools to 7 x 7 before
them, as RoI pooling does. keras.applications names them fc1 and fc2, in a network made with include_top=True. Its
Flatten and `BoxHead` both put the 7 x 7 x 512 values in the order y, x, channel, so the weights need no conversion.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tfrcnn.layers import BoxHead
from tfrcnn.models.backbones.applications import CAFFE, application, build_pretrained
from tfrcnn.models.backbones.loading import LEGACY_ROOT

DenseWeights = list[tuple[np.ndarray, ...]]  # kernel and bias of fc1, then of fc2
SHAPES = [(7 * 7 * 512, 4096), (4096, 4096)]  # the kernels that Keras publishes
DENSE_GROUPS = ("layers/dense", "layers/dense_1", "layers/dense_2")  # fc1, fc2, predictions in a file of Keras 3


def load_classifier(head: BoxHead, weights: str | Path) -> str:
    """Load the classifier's fc1 and fc2 into the first two hidden layers of a box head, if their shapes match.

    Args:
        head: The box head behind VGG-16.
        weights: "none", "imagenet" (528 MB, downloaded by Keras only if the shapes match), or a file of
            `keras.applications.VGG16` in the layout of Keras 3 or earlier.

    Returns:
        A note for the user on where the two layers' weights come from. Empty if weights is "none".

    Raises:
        InputError: The weights cannot be downloaded.
    """
    if str(weights) == "none":
        return ""
    layers = head.hidden[:2]
    shapes = [tuple(layer.kernel.shape) for layer in layers]
    random = "The box head's fully connected layers start from random weights:"
    if str(weights) == "imagenet":
        if shapes != SHAPES:
            return f"{random} their shapes are {shapes}, but ImageNet's VGG16 has {SHAPES}."
        published = build_pretrained("VGG16")
        arrays = [tuple(published.get_layer(name).get_weights()) for name in ("fc1", "fc2")]
    else:
        arrays = _read(Path(weights))
    if not arrays:
        return f"{random} {weights} has none (it was made with include_top=False)."
    if (file_shapes := [kernel.shape for kernel, _ in arrays]) != shapes:
        return f"{random} their shapes are {shapes}, but {weights} has {file_shapes}."
    for layer, values in zip(layers, arrays):
        layer.set_weights([value.astype(np.float32) for value in values])
    return f"The box head's fc6 and fc7 start from fc1 and fc2 of {weights}."


def _read(path: Path) -> DenseWeights:
    """Read fc1 and fc2 of a weights file. Empty if the file has no classifier."""
    if not h5py.is_hdf5(path):
        return []
    with h5py.File(path) as file:
        root = file.get(LEGACY_ROOT, file)
        if "fc1" in root and "fc2" in root:
            groups = [root[name] for name in ("fc1", "fc2")]
            return [tuple(group[name][()] for name in group.attrs["weight_names"]) for group in groups]
        if all(name in file for name in DENSE_GROUPS):
            return [(file[f"{name}/vars/0"][()], file[f"{name}/vars/1"][()]) for name in DENSE_GROUPS[:2]]
    return []


SPEC = application(
    "VGG16",
    taps=("block3_conv3", "block4_conv3", "block5_conv3"),
    stages=("block1_pool", "block2_pool", "block3_pool", "block4_pool", "block5_conv3"),
    image=CAFFE,
    load_head=load_classifier,
)
