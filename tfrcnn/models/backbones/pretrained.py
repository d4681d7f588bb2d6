"""ImageNet weights for this package's own backbones, made by the libraries that have the same networks."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras

from tfrcnn.config import BackboneConfig
from tfrcnn.errors import InputError
from tfrcnn.models.backbones import applications, resnet
from tfrcnn.weights.read import read_checkpoint
from tfrcnn.weights.torch_layout import assign, body_assignments, classifier_module

# The classifiers' last layers, which a detector does without.
CLASSIFIER_HEADS = ("fc.", "classifier.")
UNPUBLISHED = ("tiny", "zf")  # no library that is read here has weights of these


def load_own(model: keras.Model, config: BackboneConfig, weights: str | Path) -> None:
    """Load weights into an own backbone.

    | network | "imagenet" | a file |
    |---|---|---|
    | resnet50, resnet101 with `stride_in_1x1` | keras.applications', downloaded by Keras | the same, saved |
    | resnet50, resnet101, mobilenet_v3_large | none | torchvision's classifier: .pth, .safetensors or .npz |
    | tiny, zf | none | its own, saved |

    Args:
        weights: "none" leaves the random ones.

    Raises:
        InputError: there are none, or the file holds another network's.
    """
    if str(weights) == "none":
        return
    from_applications = config.name.startswith("resnet") and config.stride_in_1x1
    if str(weights) == "imagenet" and not from_applications:
        own = config.name in UNPUBLISHED
        other = "none, or FILE, saved by save_weights" if own else "FILE, torchvision's classifier of that name (.pth)"
        raise InputError(
            f"backbone {config.name!r} has no ImageNet weights to download; use --backbone-weights {other}"
        )
    path = Path(weights)
    if config.name in UNPUBLISHED:
        applications.load_file(model, path, config.name)
    elif from_applications and (str(weights) == "imagenet" or (path.is_file() and h5py.is_hdf5(path))):
        source, _, _ = applications.build_application(config.name.replace("resnet", "ResNet"), weights)
        resnet.load_applications_resnet(model, source)
    else:
        _load_classifier(model, path)


def _load_classifier(model: keras.Model, path: Path) -> None:
    """Take the weights of torchvision's classifier from its checkpoint.

    Raises:
        InputError: no such file, or another network's weights.
    """
    arrays = read_checkpoint(path).arrays
    state = {key: array for key, array in arrays.items() if not key.startswith(CLASSIFIER_HEADS)}
    try:
        assign(model.weights, body_assignments(model, classifier_module), state)
    except InputError as error:
        raise InputError(f"{path} does not hold torchvision's {model.name}: {error}") from error
