"""Load weights files into backbones: files of Keras, and torchvision's classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import keras

from tfrcnn.config import BackboneConfig
from tfrcnn.errors import InputError, reason_of
from tfrcnn.weights.read import read_checkpoint
from tfrcnn.weights.torch_layout import assign, body_assignments, classifier_module

LEGACY_ROOT = "model_weights"  # the group in an .h5 file of model.save
CLASSIFIER_HEADS = ("fc.", "classifier.")  # torchvision's last layers, which a detector has no use for


def load_keras_file(model: keras.Model, config: BackboneConfig, weights: str | Path) -> None:
    """Load a file that `save_weights` wrote.

    Raises:
        InputError: The weights are "imagenet", the file does not exist, or it holds another network's weights.
    """
    _refuse_imagenet(config.name, weights, "none, or FILE, saved by save_weights")
    path = Path(weights)
    if not path.is_file():
        raise InputError(f"backbone weights: expected a file, 'imagenet' or 'none', found nothing at {path}")
    try:
        # Keras reads a file of Keras 1 or 2 in the order of its layers, unless the file has more layers than the model.
        model.load_weights(path, **({"by_name": True} if _has_classifier(path, model) else {}))
    except Exception as error:  # h5py and Keras raise several kinds
        what = f"the weights of {config.name} (include_top=False)"
        raise InputError(f"{path} does not hold {what}: {reason_of(error)}") from error


def load_torchvision_classifier(model: keras.Model, config: BackboneConfig, weights: str | Path) -> None:
    """Load a checkpoint of torchvision's classifier, without its last layers.

    Raises:
        InputError: The weights are "imagenet", the file does not exist, or it holds another network's weights.
    """
    _refuse_imagenet(config.name, weights, "FILE, torchvision's classifier of that name (.pth)")
    arrays = read_checkpoint(weights).arrays
    state = {key: array for key, array in arrays.items() if not key.startswith(CLASSIFIER_HEADS)}
    try:
        assign(model.weights, body_assignments(model, classifier_module), state)
    except InputError as error:
        raise InputError(f"{weights} does not hold torchvision's {model.name}: {error}") from error


def finalize_normalization(model: keras.Model) -> None:
    """Let Keras' Normalization layers compute with the weights that were set, not with those they were built with."""
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def all_layers(model: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yield the layers of a model, and the layers of models within it. A layer yields itself only."""
    yield model
    for layer in getattr(model, "layers", ()):
        yield from all_layers(layer)


def _refuse_imagenet(name: str, weights: str | Path, alternative: str) -> None:
    if str(weights) == "imagenet":
        raise InputError(f"backbone {name!r} has no ImageNet weights to download; use --backbone-weights {alternative}")


def _has_classifier(path: Path, model: keras.Model) -> bool:
    """Return whether a file of Keras 1 or 2 has all layers of a model, and a classifier's layers too."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        root = file.get(LEGACY_ROOT, file)
        return "predictions" in root and all(layer.name in root for layer in model.layers if layer.weights)
