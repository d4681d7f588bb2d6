"""SavedModel: a folder for TensorFlow and TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import check_path
from ...installed import check_tensorflow
from ..target import Target

if TYPE_CHECKING:
    import numpy as np

    from ...models import FasterRCNN
    from ..options import ExportOptions
    from .runtime import SavedModelRuntime


class SavedModel(Target):
    """The SavedModel format, run by TensorFlow."""

    name = "saved_model"
    summary = "TensorFlow and TensorFlow Serving, for images of any size or encoded files"
    runtimes = ("TensorFlow",)
    needs_tensorflow = True

    def recognises(self, path: Path) -> bool:
        return (path / "saved_model.pb").is_file()

    def write(self, detector: FasterRCNN, path: Path, options: ExportOptions) -> None:
        to_saved_model(detector, path, options.image_size, options.max_detections, options.score_threshold)

    def load(self, path: Path, threads: int | None = None, runtime: str | None = None) -> SavedModelRuntime:
        check_tensorflow(f"{path}: a SavedModel")
        from ..artefact import DESCRIPTION, parse_description
        from ..integrity import check_unchanged
        from .runtime import SavedModelRuntime

        text = path / "assets" / DESCRIPTION
        if text.is_file():
            description = parse_description(path, text.read_bytes())
            check_unchanged(path, description, (path / "saved_model.pb").read_bytes())
        return SavedModelRuntime(path, threads)

    def operators(self, path: Path) -> list[dict[str, Any]]:
        from .operators import operators

        return operators(path)

    def stage_outputs(self, detector: FasterRCNN, options: ExportOptions, picture: np.ndarray) -> dict[str, np.ndarray]:
        from .writer import stage_outputs

        return stage_outputs(detector, picture)

    def profile(self, path: Path, runtime: str, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
        from ..measure.ledger import profile_tensorflow

        model = self.load(path, threads)
        return profile_tensorflow(lambda: model.run(picture[None]), rounds)


def to_saved_model(
    detector: FasterRCNN,
    path: str | Path,
    image_size: tuple[int, int] | None = None,
    max_detections: int | None = None,
    score_threshold: float | None = None,
) -> Path:
    """Write a detector to a SavedModel. It takes images of any size.

    Args:
        detector: The detector.
        path: The folder to write. TensorFlow Serving expects a number as its name, the version.
        image_size: (height, width) of the network's input; None keeps the detector's.
        max_detections: The most detections per image; None keeps the detector's.
        score_threshold: Scores of all classes exceed it; None keeps the detector's thresholds.

    Returns:
        `path`.

    Raises:
        InputError: The path exists, or an option is out of range.

    Example:
        to_saved_model(detector, "serving/cells/1")
    """
    from .writer import write

    path = check_path(path, "path")
    SavedModel().check(path, "float32", has_representative=False)
    write(detector, path, (image_size, max_detections, score_threshold))
    return path
