"""Run any artefact: a run folder, a SavedModel, a TFLite or an ONNX file, by one interface.

`load(path)` tells them apart by their content. What it returns detects in pictures and data sets as
`tfrcnn.inference.Predictor` does, with boxes in pixels of the picture as given and labels 0..C-1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from ..config import Category, DetectionConfig
from ..data.decode import read_image
from ..data.example import Dataset, ImageDetections
from ..errors import InputError
from ..inference import Predictor
from ..models import load_detector
from ..models.build import CONFIG
from .contract import OUTPUTS

OPENVINO_ONE_SIZE = "OpenVINO, one size"  # compiled for the size of the images it is given
# What runs each form, the first where nothing else is asked for
RUNTIMES = {
    "keras": ("Keras",),
    "saved_model": ("TensorFlow",),
    "tflite": ("LiteRT",),
    "onnx": ("ONNX Runtime", "OpenVINO", OPENVINO_ONE_SIZE),
}


class Runtime(Protocol):
    """What runs one artefact: see `SavedModelRuntime`, `TFLiteRuntime`, `OnnxRuntime`, `OpenVinoRuntime`.

    Attributes:
        description: what the file says of itself, see `contract.describe`.
    """

    description: dict[str, Any]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """[B, H, W, 3] RGB 0..255 -> the contract's outputs."""


class ArtefactPredictor:
    """Detect with an exported file; the same methods as `Predictor`."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        description = runtime.description
        self.form: str = description["format"]
        self.precision: str = description["precision"]
        self.categories = tuple(Category.from_dict(category) for category in description["categories"])
        self.detections = DetectionConfig.from_dict(description["detections"])
        self._label_of = {category.id: label for label, category in enumerate(self.categories)}

    def detect(self, image: str | Path | np.ndarray, image_id: int | str = "") -> ImageDetections:
        """As `Predictor.detect`."""
        if isinstance(image, (str, Path)):
            image_id = image_id or Path(image).stem
            image = read_image(Path(image))
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8:  # of which rint would make float16, slowly
            pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        outputs = self.runtime.run(pixels[None])
        boxes, classes, scores, counts = (outputs[name][0] for name in OUTPUTS)
        count = int(counts)
        boxes = boxes[:count] * np.tile(np.array(pixels.shape[:2], np.float32), 2)
        classes = np.rint(classes[:count]).astype(int)
        if self.runtime.description["classes"] != "labels":
            classes = np.array([self._label_of[value] for value in classes.tolist()], int)
        return ImageDetections(image_id, boxes, scores[:count], classes.astype(np.int32))

    def detect_dataset(self, dataset: Dataset, batch_size: int = 1, progress: bool = False) -> list[ImageDetections]:
        """As `Predictor.detect_dataset`, one image at a time."""
        examples = tqdm(
            dataset.examples, desc="detecting", unit="image", disable=None if progress else True, leave=False
        )
        return [self.detect(example.path, example.image_id) for example in examples]


def load(
    path: str | Path, threads: int | None = None, score_threshold: float | None = None, runtime: str | None = None
) -> Any:
    """What detects with the artefact at a path.

    Args:
        path: a run folder (of tfrcnn train or import-weights), a SavedModel folder, a .tflite or an .onnx file.
        threads: of the runtime, where it can be told; None leaves its default.
        score_threshold: a lower one than the detector's own; only a run folder has not fixed it.
        runtime: one of `RUNTIMES` of its form; None takes the first.

    Returns:
        a `Predictor` or an `ArtefactPredictor`.

    Raises:
        InputError: nothing is there, or it is none of these, or is damaged.
    """
    path = Path(path)
    form = form_of(path)
    if form == "keras":
        changes: dict[str, Any] = {}
        if score_threshold is not None:
            from ..models.build import read_description

            detections = DetectionConfig.from_dict(read_description(path)["detector"]["detections"])
            changes["detections"] = detections.replace(score_threshold=min(score_threshold, detections.score_threshold))
        return Predictor(load_detector(path, **changes))
    return ArtefactPredictor(load_runtime(path, form, threads, runtime))


def load_runtime(path: Path, form: str, threads: int | None = None, runtime: str | None = None) -> Runtime:
    """The runtime of an exported file.

    Args:
        form: one of `contract.FORMATS`.
        runtime: as of `load`.
    """
    if runtime not in (None, *RUNTIMES[form]):
        raise InputError(f"{path}: runtime must be one of {', '.join(RUNTIMES[form])}, found {runtime!r}")
    if runtime in ("OpenVINO", OPENVINO_ONE_SIZE):
        from .onnx.openvino import OpenVinoRuntime

        return OpenVinoRuntime(path, threads, one_size=runtime == OPENVINO_ONE_SIZE)
    if form == "saved_model":
        from .saved_model.runtime import SavedModelRuntime

        return SavedModelRuntime(path, threads)
    if form == "tflite":
        from .tflite.runtime import TFLiteRuntime

        return TFLiteRuntime(path, threads)
    from .onnx.runtime import OnnxRuntime

    return OnnxRuntime(path, threads)


def form_of(path: Path) -> str:
    """ "keras" (a run folder), "saved_model", "tflite" or "onnx".

    Raises:
        InputError: nothing is there, or it is none of these.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return "saved_model"
        if (path / CONFIG).is_file():
            return "keras"
        raise InputError(f"{path}: expected a run folder ({CONFIG}) or a SavedModel (saved_model.pb), found neither")
    if not path.is_file():
        raise InputError(f"{path}: expected a run folder, a SavedModel, a .tflite or an .onnx file, found nothing")
    with open(path, "rb") as file:
        if file.read(8)[4:] == b"TFL3":  # a FlatBuffer's identifier
            return "tflite"
    if path.suffix == ".onnx":
        return "onnx"
    raise InputError(f"{path}: expected a run folder, a SavedModel, a .tflite or an .onnx file, found another file")
