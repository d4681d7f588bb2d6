"""What Keras' methods and functions do with a detector: they work, or refuse at once with what to do instead."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.compat import PortableModel
from tfrcnn.errors import InputError
from tfrcnn.layers import DetectionRescaler
from tfrcnn.layers.base import register

_INSTEAD = (
    "a detector has no losses to compile: train it with tfrcnn.train, or fit tfrcnn.TrainingModel(detector); "
    "tfrcnn.evaluate measures it"
)
NOT_QUANTIZED = 'a detector is not quantized in Keras: export it with precision="int8", see tfrcnn.export'


class DetectorMethods(PortableModel):
    """The base of a detector: methods of Keras that would not work."""

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the detector.

        Raises:
            InputError: the images have another shape.
        """
        # not in a layer, whose errors Keras wraps in many lines with all pixels
        shape = tf.TensorShape(getattr(images, "shape", None))
        if not shape.is_compatible_with([None, None, None, 3]) or (shape.rank and 0 in shape.as_list()):
            raise InputError(
                f"images must be [B, H, W, 3] and not empty, found {shape.as_list()}: tfrcnn.Predictor(detector)"
                ".detect takes one image of any shape"
            )
        return super().__call__(images, *args, **kwargs)

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise InputError(_INSTEAD)

    compile = fit = evaluate = train_on_batch = test_on_batch = _refuse

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        raise InputError(NOT_QUANTIZED)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Do nothing for a file whose detector was compiled."""

    def save(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write the detector to a `.keras` file, as `keras.Model.save`.

        Raises:
            InputError: the file name does not end in `.keras`.
        """
        check_file_name(filepath)
        super().save(filepath, *args, **kwargs)


@register
class DescribedRescaler(DetectionRescaler):
    """A rescaler that carries the description of its detector.

    `keras.models.clone_model` copies the layers of a detector one by one and hands their tensors to the detector's
    class. The description is how the class knows what to build.

    Attributes:
        detector: the result of `FasterRCNN.get_config`, without the name.
    """

    def __init__(self, detector: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.detector = detector

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "detector": dict(self.detector)}


def description_in(inputs: tf.Tensor, outputs: Any) -> dict[str, Any]:
    """Return the description of the detector that `keras.models.clone_model` is copying.

    Args:
        inputs: symbolic images of the copy.
        outputs: symbolic detections of the copy.
    """
    rescaler = keras.Model(inputs, outputs).get_layer("rescaler")
    return dict(rescaler.get_config()["detector"])


def check_file_name(path: str | Path) -> None:
    """Check that a file name is one that Keras can load a whole model from.

    Raises:
        InputError: it does not end in `.keras`.
    """
    if not str(path).endswith(".keras"):
        raise InputError(
            f"{path}: expected a file name that ends in .keras; save_weights writes weights alone, and tfrcnn.export "
            "writes a SavedModel"
        )


@contextmanager
def layer_defaults(precision: str) -> Iterator[None]:
    """Layers made within, keras.applications' too, get this policy and channels last, not the caller's defaults."""
    policy, data_format = keras.mixed_precision.global_policy(), keras.backend.image_data_format()
    keras.mixed_precision.set_global_policy(precision)
    keras.backend.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(policy)
        keras.backend.set_image_data_format(data_format)
