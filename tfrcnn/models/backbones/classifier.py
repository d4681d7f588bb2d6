"""The fully connected layers of VGG-16's classifier, as the start of the box head's.

Fast R-CNN begins with fc6 and fc7 of the ImageNet network (arXiv 1504.08083, section 2.2), which pools to 7 x 7 before
them as RoI pooling does. keras.applications calls them fc1 and fc2, in a network made with include_top=True. Its
Flatten and `BoxHead` both put the 7 x 7 x 512 values in the order y, x, channel: each weight stays where it is.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np

from tfrcnn.layers import BoxHead
from tfrcnn.models.backbones.applications import LEGACY_ROOT, build_pretrained

Weights = list[tuple[np.ndarray, np.ndarray]]  # kernel and bias of fc1, of fc2
SHAPES = [(7 * 7 * 512, 4096), (4096, 4096)]  # of the kernels that Keras publishes
NEW_LAYOUT = ("layers/dense", "layers/dense_1", "layers/dense_2")  # fc1, fc2 and predictions, numbered by save_weights


def load_classifier(head: BoxHead, weights: str | Path) -> str:
    """Let a box head behind VGG-16 start from the classifier's fc1 and fc2, where it has such layers.

    Args:
        head: whose first two hidden layers are given the weights.
        weights: "none", "imagenet" (528 MB, downloaded by Keras, if the layers are of its shapes) or a file in the
            layout of keras.applications.VGG16, of today's or of earlier versions of Keras.

    Returns:
        what became of the two layers, for the user to read; empty where no weights were asked for.

    Raises:
        InputError: the weights cannot be downloaded.
    """
    if str(weights) == "none":
        return ""
    layers = head.hidden[:2]
    shapes = [tuple(layer.kernel.shape) for layer in layers]
    random = "The box head's fully connected layers start from random weights:"
    if str(weights) == "imagenet":
        if shapes != SHAPES:
            return f"{random} they are {shapes}, those of ImageNet's VGG16 {SHAPES}."
        published = build_pretrained(keras.applications.VGG16, "VGG16")
        found = [tuple(published.get_layer(name).get_weights()) for name in ("fc1", "fc2")]
    else:
        found = _read(Path(weights))
    if not found:
        return f"{random} {weights} has none (it was made with include_top=False)."
    if (found_shapes := [kernel.shape for kernel, _ in found]) != shapes:
        return f"{random} they are {shapes}, those of {weights} {found_shapes}."
    for layer, arrays in zip(layers, found):
        layer.set_weights([array.astype(np.float32) for array in arrays])
    return f"The box head's fc6 and fc7 start from fc1 and fc2 of {weights}."


def _read(path: Path) -> Weights:
    """fc1 and fc2 of a weights file; none where it has no classifier."""
    if not h5py.is_hdf5(path):
        return []
    with h5py.File(path) as file:
        root = file.get(LEGACY_ROOT, file)
        if "fc1" in root and "fc2" in root:
            groups = [root[name] for name in ("fc1", "fc2")]
            return [tuple(group[name][()] for name in group.attrs["weight_names"]) for group in groups]  # type: ignore
        if all(name in file for name in NEW_LAYOUT):
            return [(file[f"{name}/vars/0"][()], file[f"{name}/vars/1"][()]) for name in NEW_LAYOUT[:2]]
    return []
