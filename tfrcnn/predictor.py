"""Run any detector in one way: a run folder, an exported file, a published detector or a detector in memory.

Importing this module imports neither TensorFlow nor Keras; of the detectors, ONNX and TFLite files do not need them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tfrcnn.categories import find_labels, lowest_scores
from tfrcnn.data.example import Dataset, ImageDetections, ImageProposals
from tfrcnn.data.inputs import check_batch, check_ids
from tfrcnn.errors import InputError, renamed_arguments
from tfrcnn.files import check_path, digest_of

if TYPE_CHECKING:
    from tfrcnn.export.runtimes import ArtefactPredictor
    from tfrcnn.inference import KerasPredictor
    from tfrcnn.models.faster_rcnn import FasterRCNN


class Predictor:
    """A detector that is ready to run on images of any size.

    Threads can share it. It is pickled with its detector, or as the path of its exported file. A Keras detector raises
    an `InputError` in a process that was forked after TensorFlow ran, because TensorFlow would hang there.

    Attributes:
        categories: the detector's categories; the position is the label.
        threshold: results have scores above it: a number, or {name or label: score}; None is the detector's own.
        batch: images per batch of `detect_dataset`.
        classes: the labels of the results, in ascending order; None is all.
        detector: the Keras detector; None for an exported file.
        engine: runs the detector without these choices. An exported file's has `format`, `precision`, `runtime`.

    Example:
        predictor = tfrcnn.Predictor("runs/cells", threshold=0.5, classes=["RBC", "WBC"])
        detections = predictor.detect("picture.jpg")
        detections.boxes  # [N, 4] yxyx pixels of the upright picture
        detections.plot().save("drawn.png")
    """

    def __init__(
        self,
        detector: FasterRCNN | str | Path,
        threshold: float | Mapping[Any, float] | None = None,
        batch: int = 1,
        classes: Any = None,
        threads: int | None = None,
        runtime: str | None = None,
    ) -> None:
        """
        Args:
            detector: a run folder, an exported file (ONNX, TFLite, SavedModel), the address of one
                ("s3://bucket/runs/cells"), the name of a published detector, or a detector in memory.
            threshold: results have scores above this number, in [0, 1], in all classes; or one number for each class as
                {name or label: score}, and the detector's own for classes that it leaves out. None is the detector's
                own. A run folder can take a lower one than its own; an exported file cannot.
            batch: images per batch of `detect_dataset`, at least 1. Exported files take one image at a time.
            classes: names or labels to keep, one or several; None keeps all.
            threads: threads of an exported file's runtime; None is the runtime's default.
            runtime: the runtime of an exported file, for example "OpenVINO"; None is the first of its format.

        Raises:
            InputError: there is no detector at the path, or it is damaged; an option is out of range; a class is
                unknown, and the message lists the nearest names.
        """
        self.batch = check_batch(batch)
        self.threshold = threshold
        self.engine = self._load(detector, threads, runtime)
        self.categories = self.engine.categories
        self.detector: FasterRCNN | None = getattr(self.engine, "detector", None)
        self.classes = None if classes is None else find_labels(classes, self.categories)
        self._limits = self._score_limits()

    @property
    def digest(self) -> str:
        """A checksum of the detector and these choices: the same for predictors that detect the same."""
        return digest_of([self.engine.digest, self._limits, self.classes])

    def detect_batch(self, images: list[np.ndarray], image_ids: list[int]) -> list[ImageDetections]:
        """Detect objects in images of one size: together in an exported file, one by one in a Keras detector.

        Args:
            images: [H, W, 3] RGB 0..255 each, all of one size.
            image_ids: of the results.

        Returns:
            The detections of each image.

        Raises:
            InputError: there are more or fewer ids than images, or see `detect`.

        Example:
            predictor.detect_batch([frame, next_frame], [1, 2])
        """
        check_ids(images, image_ids)
        detect_batch = getattr(self.engine, "detect_batch", None)
        if detect_batch is not None:
            return [self._chosen(detections) for detections in detect_batch(images, image_ids)]
        return [self.detect(image, image_id) for image, image_id in zip(images, image_ids)]

    def detect(self, image: Any, image_id: int | str = "") -> ImageDetections:
        """Detect objects in one image.

        Args:
            image: the path of an image file, a PIL image, or an array or tensor [H, W, 3] of RGB 0..255. Grey becomes
                RGB, alpha is dropped, and EXIF turns files and PIL images upright; see `tfrcnn.pixels.to_rgb`.
                OpenCV's images are BGR: pass `cv2.cvtColor(image, cv2.COLOR_BGR2RGB)`.
            image_id: of the result; "" takes the file's name without its suffix.

        Returns:
            Boxes in pixels of the upright image, best first, with scores and labels. The result keeps an array that is
            passed, to draw on it, and the path of a file.

        Raises:
            InputError: the file is missing or not an image, or the image has another shape, type or range.

        Example:
            detections = tfrcnn.Predictor("cells.onnx").detect("picture.jpg")
            print(detections)  # 12 detections: 11 RBC, 1 WBC
        """
        return self._chosen(self.engine.detect(image, image_id))

    def detect_dataset(
        self, dataset: Dataset, batch_size: int | None = None, progress: bool = False
    ) -> list[ImageDetections]:
        """Detect objects in every image of a data set.

        Args:
            dataset: the images.
            batch_size: images per batch; batches hold images of several sizes. None is `batch`.
            progress: whether to show a progress bar.

        Returns:
            One `ImageDetections` per image, in the order of the data set.

        Example:
            detections = tfrcnn.Predictor("runs/cells").detect_dataset(data)
            tfrcnn.evaluate(data, detections)
        """
        batch_size = self.batch if batch_size is None else batch_size
        return [self._chosen(image) for image in self.engine.detect_dataset(dataset, batch_size, progress)]

    def propose(self, image: Any, count: int | None = None, image_id: int | str = "") -> ImageProposals:
        """Propose boxes for one image: the result of the RPN, before the second stage.

        `threshold` and `classes` do not apply.

        Args:
            image: as for `detect`.
            count: the maximum number of proposals, with any score; None takes the detector's `test_proposals`.
            image_id: of the result; "" takes the file's name without its suffix.

        Returns:
            Boxes in pixels of the upright image, best first, with scores.

        Raises:
            InputError: the image is one that `detect` refuses, count is not a positive whole number, or the detector
                is an exported file, which holds no proposals.

        Example:
            tfrcnn.Predictor("runs/cells").propose("picture.jpg", count=300).boxes
        """
        return self._keras().propose(image, count, image_id)

    def propose_dataset(
        self, dataset: Dataset, count: int | None = None, batch_size: int | None = None, progress: bool = False
    ) -> list[ImageProposals]:
        """Propose boxes for every image of a data set.

        Args:
            dataset: the images.
            count: as `propose`.
            batch_size: images per batch; None is `batch`.
            progress: whether to show a progress bar.

        Returns:
            One `ImageProposals` per image, in the order of the data set.

        Raises:
            InputError: see `propose`.

        Example:
            proposals = tfrcnn.Predictor("runs/cells").propose_dataset(data, count=300)
            tfrcnn.evaluate_proposals(data, proposals)
        """
        batch_size = self.batch if batch_size is None else batch_size
        return self._keras().propose_dataset(dataset, count, batch_size, progress)

    def _load(
        self, detector: FasterRCNN | str | Path, threads: int | None, runtime: str | None
    ) -> KerasPredictor | ArtefactPredictor:
        if isinstance(detector, str | os.PathLike):
            from tfrcnn.export.runtimes import load

            check_path(detector, "detector")
            path, lowest = _run_folder(detector), self._run_threshold()
            with renamed_arguments(score_threshold="threshold"):
                engine: KerasPredictor | ArtefactPredictor = load(path, threads, lowest, runtime)
            return engine
        if (threads, runtime) != (None, None):
            raise InputError("threads and runtime belong to exported files; a detector in memory runs in TensorFlow")
        from tfrcnn.inference import KerasPredictor
        from tfrcnn.models.faster_rcnn import FasterRCNN

        if not isinstance(detector, FasterRCNN):
            kind = type(detector).__name__
            raise InputError(f"detector must be a path or a detector of tfrcnn.build_detector, found {kind}")
        return KerasPredictor(detector)

    def _run_threshold(self) -> float | dict[Any, float] | None:
        """Return the thresholds that a run folder's detector must not exceed; `_score_limits` refuses wrong ones."""
        if isinstance(self.threshold, Mapping):
            return {one: float(score) for one, score in self.threshold.items() if _is_threshold(score)}
        return float(self.threshold) if _is_threshold(self.threshold) else None

    def _score_limits(self) -> dict[int, float] | float | None:
        """Return one threshold, or one per label; None keeps what the engine returns.

        Raises:
            InputError: a threshold is out of range, below an exported file's own, or for an unknown class.
        """
        if self.threshold is None:
            return None
        lowest = lowest_scores(self.threshold, self.categories, "threshold")
        names = [category.name for category in self.categories]
        for name, score, limit in zip(names, lowest, self.engine.detections.score_thresholds(names)):
            if 0 <= score < limit:
                of_class = f" for {name!r}" if self.engine.detections.class_score_thresholds else ""
                raise InputError(
                    f"threshold {score:g} is below the detector's own{of_class}, {limit:g}, which has dropped lower "
                    "scores: export or load the detector with a lower score_threshold"
                )
        if not isinstance(self.threshold, Mapping):
            return self.threshold
        return {label: score for label, score in enumerate(lowest) if score >= 0}

    def _chosen(self, detections: ImageDetections) -> ImageDetections:
        return detections.filter(self._limits, self.classes)

    def _keras(self) -> KerasPredictor:
        from tfrcnn.inference import KerasPredictor

        if not isinstance(self.engine, KerasPredictor):
            raise InputError("proposals need a run folder or a detector in memory: an exported file gives detections")
        return self.engine


def load(path: str | Path, **options: Any) -> Predictor:
    """Load a detector to run it: the same as `Predictor(path, **options)`.

    Args:
        path: a run folder, an exported file, the address of one, or the name of a published detector.
        options: arguments of `Predictor`.

    Returns:
        The `Predictor`.

    Raises:
        InputError: see `Predictor`.

    Example:
        tfrcnn.load("cells.onnx", threshold=0.5).detect("picture.jpg").plot()
    """
    return Predictor(path, **options)


def _is_threshold(value: Any) -> TypeGuard[float]:
    return isinstance(value, Real) and 0 <= float(value) < 1


def _run_folder(path: str | Path) -> Path:
    """Return a path as it is, or the run folder of a published detector if it is a name of one."""
    if not Path(path).exists():  # here, because the list of published names imports HTTP clients
        from tfrcnn.weights.published import is_published

        if is_published(path, "detector"):
            from tfrcnn.weights.importing import published_run

            return published_run(str(path))
    return Path(path)
