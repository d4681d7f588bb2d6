"""Run any detector: a run folder or an exported file, with one interface.

Importing this module imports neither TensorFlow nor Keras: only a run folder and a SavedModel need them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from ..buckets.models import local_model
from ..categories import lowest_scores
from ..config import Category, DetectionConfig, DetectorConfig
from ..data.example import Dataset, ImageDetections
from ..data.inputs import check_ids, each_image, read_input, source_of
from ..errors import InputError
from ..files import check_path, digest_of
from ..installed import check_tensorflow
from ..processes import check_not_forked
from ..run_description import CONFIG, read_description
from . import TARGETS
from .artefact import OUTPUTS, check_images, check_threads, to_uint8
from .integrity import check_description, run
from .target import Runtime

KERAS = "keras"  # the format of a run folder


class ArtefactPredictor:
    """Detects with an exported file; has `detect` and `detect_dataset` of `Predictor`.

    Threads can share it: LiteRT and OpenVINO detect for one thread at a time, the others for all at once. It is pickled
    as the file's path.

    Attributes:
        runtime: The file, loaded.
        format: Its format, a name in `TARGETS`.
        precision: Its precision.
        categories: The categories; a label is a position among them.
        detections: The score threshold and limits inside the file.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        description = runtime.description
        self.format: str = description["format"]
        self.precision: str = description["precision"]
        self.categories = tuple(Category.from_dict(category) for category in description["categories"])
        self.detections = DetectionConfig.from_dict(description["detections"])
        self._label_of = {category.id: label for label, category in enumerate(self.categories)}
        labels = range(len(self.categories)) if description["classes"] == "labels" else self._label_of
        self._classes = frozenset(labels)

    @property
    def digest(self) -> str:
        """A checksum of the file's description, which has the graph's: the same for files that detect the same."""
        return digest_of(self.runtime.description)

    def detect_batch(self, images: list[np.ndarray], image_ids: list[int]) -> list[ImageDetections]:
        """Detect in images of one size together, which takes less time than one by one.

        Args:
            images: [H, W, 3] RGB 0..255 each, all of one size.
            image_ids: The id of each result.

        Returns:
            The detections of each image, see `Predictor.detect`.

        Raises:
            InputError: The sizes differ, there are more or fewer ids, or see `Predictor.detect`.
        """
        check_ids(images, image_ids)
        return self._detect(check_images(images), image_ids, images)

    def detect(self, image: Any, image_id: int | str = "") -> ImageDetections:
        """Detect in one image, see `Predictor.detect`."""
        pixels, image_id = read_input(image, image_id)
        (detections,) = self._detect(to_uint8(pixels)[None], [image_id], [source_of(image, pixels)])
        return detections

    def _detect(
        self,
        pixels: np.ndarray,
        image_ids: Sequence[int | str],
        sources: Sequence[np.ndarray | Callable[[], np.ndarray]],
    ) -> list[ImageDetections]:
        """Detect in images [B, H, W, 3] uint8; results are drawn on their sources."""
        outputs = run(self.runtime, pixels, self._classes)
        size = (pixels.shape[1], pixels.shape[2])
        results = []
        for i, (image_id, source) in enumerate(zip(image_ids, sources)):
            boxes, classes, scores, count = (outputs[name][i] for name in OUTPUTS)
            kept = slice(int(count))
            labels = np.rint(classes[kept]).astype(np.int32)
            if self.runtime.description["classes"] != "labels":
                labels = np.array([self._label_of[value] for value in labels.tolist()], np.int32)
            boxes = boxes[kept] * np.tile(np.array(size, np.float32), 2)
            results.append(ImageDetections(image_id, boxes, scores[kept], labels, self.categories, size, source))
        return results

    def detect_dataset(self, dataset: Dataset, batch_size: int = 1, progress: bool = False) -> list[ImageDetections]:
        """Detect in a data set, see `Predictor.detect_dataset`; one image at a time."""
        images = each_image(dataset, progress)
        return [self._detect(read()[None], [image_id], [read])[0] for read, image_id in images]


def load(
    path: str | Path,
    threads: int | None = None,
    score_threshold: float | Mapping[Any, float] | None = None,
    runtime: str | None = None,
    detections: Mapping[str, Any] | None = None,
) -> Any:
    """Load a detector to run it.

    Args:
        path: A run folder (of `tfrcnn train` or `import-weights`), an exported file, or the address of one.
        threads: Number of threads of an exported file's runtime, at least 1; None is the runtime's default. A run
            folder takes TensorFlow's setting.
        score_threshold: Lower the detector's own thresholds to this; {name or label: threshold} lowers them for
            single classes. Exported files keep theirs.
        runtime: One of the format's `Target.runtimes`; None is the first that is installed.
        detections: Fields of a run folder's `DetectionConfig` to change, for example {"nms": "soft_gaussian"}.

    Returns:
        A `Predictor` or an `ArtefactPredictor`: boxes in pixels of the picture, labels 0..C-1. Threads can share it.

    Raises:
        InputError: The path does not exist, is not a detector, or is damaged; or an option is out of range, or it
            changes the NMS inside an exported file.

    Example:
        detections = load("cells.onnx", runtime="OpenVINO").detect("picture.jpg")
    """
    check_path(path, "path")
    path = local_model(path)
    check_threads(threads)
    if not isinstance(score_threshold, Mapping):
        _check_threshold(score_threshold)
    format = format_of(path)
    if format == KERAS:
        if runtime is not None:
            raise InputError(f"{path}: a run folder runs in TensorFlow; expected no runtime, found {runtime!r}")
        return _load_run(path, score_threshold, detections)
    if detections:
        values = {name: value if isinstance(value, str) else json.dumps(value) for name, value in detections.items()}
        settings = " ".join(f"--set {name}={value}" for name, value in values.items())
        raise InputError(f"{path}: NMS is inside an exported file: export its run folder again with {settings}")
    target = TARGETS[format]
    if runtime not in (None, *target.runtimes):
        raise InputError(f"{path}: runtime must be one of {', '.join(target.runtimes)}, found {runtime!r}")
    loaded = target.load(path, threads, runtime)
    check_description(path, loaded.description, target)
    predictor = ArtefactPredictor(loaded)
    if isinstance(score_threshold, Mapping):  # without effect, but a misspelt class is a mistake
        lowest_scores(score_threshold, predictor.categories, "score_threshold")
    return predictor


def _load_run(
    path: Path, score_threshold: float | Mapping[Any, float] | None, detections: Mapping[str, Any] | None
) -> Any:
    check_tensorflow(f"{path}: a run folder")
    # here, so that an exported file runs without TensorFlow
    from ..inference import KerasPredictor
    from ..models import load_detector

    check_not_forked()
    changes: dict[str, Any] = {}
    if score_threshold is not None or detections:
        config = DetectorConfig.from_dict(read_description(path)["detector"])
        limits = config.detections.replace(**(detections or {}))
        changes["detections"] = _lowered(limits, config.categories, score_threshold)
    return KerasPredictor(load_detector(path, **changes))


def _lowered(
    limits: DetectionConfig, categories: Sequence[Category], thresholds: float | Mapping[Any, float] | None
) -> DetectionConfig:
    """Lower the thresholds that are above these, see `load`."""
    if thresholds is None:
        return limits
    names = [category.name for category in categories]
    if isinstance(thresholds, Mapping):
        lowest = lowest_scores(thresholds, categories, "score_threshold")  # -1 for a class without one
        pairs = zip(names, lowest, limits.score_thresholds(names))
        return limits.with_thresholds(None, {name: new for name, new, limit in pairs if 0 <= new < limit})
    of_classes = {name: min(thresholds, value) for name, value in (limits.class_score_thresholds or {}).items()}
    common = min(thresholds, limits.score_threshold)
    return limits.replace(score_threshold=common, class_score_thresholds=of_classes or None)


def _check_threshold(value: float | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value < 1):
        raise InputError(f"score_threshold must be a number in [0, 1), found {value!r}")


def needs_tensorflow(path: Path) -> bool:
    """Return whether a detector runs in TensorFlow.

    Raises:
        InputError: The path does not exist or is not a detector.
    """
    format = format_of(path)
    return format == KERAS or TARGETS[format].needs_tensorflow


def is_detector(path: Path) -> bool:
    """Return whether there is a detector at a path; its content may still be damaged."""
    try:
        format_of(path)
    except InputError:
        return False
    return True


def format_of(path: Path) -> str:
    """Return the format of a detector: `KERAS` for a run folder, or a name in `TARGETS`.

    Raises:
        InputError: The path does not exist or is not a detector.
    """
    for target in TARGETS.values():
        if path.exists() and target.recognises(path):
            return target.name
    if (path / CONFIG).is_file():
        return KERAS
    formats, content = " or ".join(TARGETS), "something else" if path.exists() else "nothing"
    raise InputError(f"{path}: expected a run folder (with {CONFIG}) or an export of format {formats}, found {content}")
