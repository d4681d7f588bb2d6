"""The models that a worker can run: a SavedModel in TensorFlow, and an exported file in the runtime of its format.

A SavedModel needs TensorFlow and nothing of tfrcnn. The other formats need tfrcnn, which reads the file's description.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .image_file import CostlyError, png_orientation, turn_upright
from .protocol import INPUTS

MAX_GPU_BATCH = 8  # images per turn on a GPU; a CPU gains nothing from a batch
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")  # that Pillow decodes for an exported file
OUTPUTS = {"detection_boxes": (-1, 4), "detection_classes": (-1,), "detection_scores": (-1,), "num_detections": ()}


class RefusedError(Exception):
    """An image that cannot be used; the message ends with its position among the images of the call."""


class Backend(Protocol):
    """A model, loaded.

    Attributes:
        signatures: The signatures by name, as TensorFlow Serving's metadata has them.
        description: The description that tfrcnn wrote into the file; empty if there is none.
        batch: Images per call.
    """

    signatures: dict[str, Any]
    description: dict[str, Any]
    batch: int

    def run(self, signature: str, images: Any) -> dict[str, np.ndarray]:
        """Detect.

        Args:
            signature: A name in `protocol.INPUTS`.
            images: Files as a list of bytes for "encoded", else uint8 [B, H, W, 3].

        Returns:
            The four outputs of every exported file. `detection_classes` are category ids.

        Raises:
            RefusedError: An image cannot be used.
            CostlyError: An image has more pixels than the limit.
            MemoryError: There is not enough memory for the images.
        """


def load(path: Path, max_pixels: int, threads: int | None = None) -> Backend:
    """Load a model.

    Args:
        path: A SavedModel, or a file that tfrcnn exported.
        max_pixels: The most pixels of one image.
        threads: Threads of the runtime; None is its default.
    """
    if (path / "saved_model.pb").is_file():
        return SavedModelBackend(path, threads)
    return ArtefactBackend(path, max_pixels, threads)


def limit_threads(threads: int | None) -> None:
    """Limit the threads of TensorFlow, before it runs anything; None keeps its default."""
    import tensorflow as tf

    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


class SavedModelBackend:
    """A SavedModel in TensorFlow, see `Backend`."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        import tensorflow as tf  # takes seconds; the process must see meanwhile that its server ended

        self.tf = tf
        limit_threads(threads)
        try:
            self.model = tf.saved_model.load(str(path))
            self.signatures = _signatures(path)
        except Exception as error:  # protobuf, TensorFlow and the file system raise several kinds
            reason = next(iter(str(error).splitlines()), "") or type(error).__name__
            raise ValueError(f"{path}: the SavedModel cannot be loaded: {reason}") from error
        self.description = read_description(path)
        self.batch = MAX_GPU_BATCH if tf.config.list_physical_devices("GPU") else 1

    def run(self, signature: str, images: Any) -> dict[str, np.ndarray]:
        """Detect, see `Backend.run`."""
        errors = self.tf.errors
        if signature == "encoded":
            images = [self._upright(file) for file in images]
        try:
            outputs = self.model.signatures[signature](**{INPUTS[signature]: self.tf.constant(images)})
        except errors.InvalidArgumentError as error:
            failed = re.search(r"assertion failed: (.*)", error.message)
            # Other messages have names of the graph, which are of no use to a client.
            raise RefusedError(failed[1] if failed else unusable(signature)) from error
        except errors.ResourceExhaustedError as error:
            raise MemoryError from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _upright(self, data: bytes) -> bytes:
        """Turn a PNG with an EXIF orientation, which the graph reads in JPEG files only."""
        orientation = png_orientation(data)
        if orientation == 1:
            return data
        try:
            pixels = self.tf.io.decode_png(data, channels=3).numpy()
        except self.tf.errors.InvalidArgumentError:
            return data  # the graph refuses it, with its position
        png: bytes = self.tf.io.encode_png(turn_upright(pixels, orientation), compression=0).numpy()
        return png


def read_description(path: Path) -> dict[str, Any]:
    """Return the description that tfrcnn wrote into a SavedModel.

    It is empty if another program wrote the SavedModel, or if its categories are damaged, which every answer counts.
    """
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RecursionError):
        description = dict(json.loads((path / "assets" / "tfrcnn.json").read_bytes()))
        categories = description.get("categories", [])
        if all(isinstance(c.get("name"), str) and isinstance(c.get("id"), int) for c in categories):
            return description
    return {}


def _signatures(path: Path) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    signatures = model.meta_graphs[0].signature_def
    return {name: MessageToDict(signatures[name], preserving_proto_field_name=True) for name in signatures}


class ArtefactBackend:
    """An ONNX or TFLite file in its runtime, see `Backend`; Pillow decodes the images."""

    batch = 1

    def __init__(self, path: Path, max_pixels: int, threads: int | None = None) -> None:
        from ..runtimes import load as load_file

        predictor = load_file(path, threads)
        self.runtime, self.max_pixels = predictor.runtime, max_pixels
        self.description: dict[str, Any] = self.runtime.description
        self.signatures = describe_signatures()
        ids = [category.id for category in predictor.categories]
        self._ids = np.array(ids, np.float32) if self.description["classes"] == "labels" else None

    def run(self, signature: str, images: Any) -> dict[str, np.ndarray]:
        """Detect, see `Backend.run`."""
        pictures = (
            images
            if signature == "serving_default"
            else [decode(data, i, self.max_pixels) for i, data in enumerate(images)]
        )
        parts = [self._detect(signature, position, pixels) for position, pixels in enumerate(pictures)]
        return {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}

    def _detect(self, signature: str, position: int, pixels: np.ndarray) -> dict[str, np.ndarray]:
        try:
            outputs: dict[str, np.ndarray] = dict(self.runtime.run(pixels[None]))
        except MemoryError:
            raise
        except Exception as error:  # runtimes raise several kinds; the reason is for the log
            print(f"error: cannot detect in an image of {pixels.shape}: {error}", file=sys.stderr)
            raise RefusedError(unusable(signature, position)) from error
        if self._ids is not None:
            present = np.arange(outputs["detection_classes"].shape[1]) < outputs["num_detections"][:, None]
            ids = self._ids[np.rint(outputs["detection_classes"]).astype(int).clip(0, len(self._ids) - 1)]
            outputs["detection_classes"] = np.where(present, ids, np.float32(0))
        return outputs


def decode(data: bytes, position: int, max_pixels: int) -> np.ndarray:
    """Decode a file to upright pixels [H, W, 3] uint8.

    Args:
        data: Its bytes.
        position: Its position in the request, for messages.
        max_pixels: The most pixels that are accepted.

    Raises:
        RefusedError: It is no image.
        CostlyError: It has more pixels.
    """
    from PIL import Image

    from ...pixels import to_rgb

    expected = "encoded_images: expected whole JPEG, PNG, BMP, GIF, WebP or TIFF images"
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise CostlyError(f"expected at most {max_pixels} pixels, found {height} x {width}")
            return to_rgb(image).astype(np.uint8)
    except (CostlyError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise many kinds for damaged files
        raise RefusedError(f"{expected}, cannot decode the one at position [{position}]") from error


def unusable(signature: str, position: int = 0) -> str:
    return f"{INPUTS[signature]}: cannot detect in the images from position [{position}]"


def describe_signatures() -> dict[str, Any]:
    """Write the signatures that detect as TensorFlow Serving's metadata has them."""
    return {
        "serving_default": _signature("images", "DT_UINT8", (-1, -1, -1, 3)),
        "encoded": _signature("encoded_images", "DT_STRING", (-1,)),
    }


def _signature(name: str, dtype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Write a signature as TensorFlow Serving's metadata has it."""

    def tensor(dtype: str, shape: tuple[int, ...]) -> dict[str, Any]:
        return {"dtype": dtype, "tensor_shape": {"dim": [{"size": str(side)} for side in shape]}}

    outputs = {output: tensor("DT_FLOAT", (-1, *rest)) for output, rest in OUTPUTS.items()}
    return {"inputs": {name: tensor(dtype, shape)}, "outputs": outputs, "method_name": "tensorflow/serving/predict"}
