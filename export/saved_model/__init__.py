"""SavedModel: a folder for TensorFlow and TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..target import Target

if TYPE_CHECKING:
    import numpy as np

    from ...models import FasterRCNN
    from ..options import ExportOptions
    from .runtime import SavedModelRuntime
    from .writer import to_saved_model as to_saved_model


class SavedModel(Target):
    """The SavedModel format, run by TensorFlow."""

    name = "saved_model"
    summary = "TensorFlow and TensorFlow Serving, for images of any size or encoded files"
    runtimes = ("TensorFlow",)

    def recognises(self, path: Path) -> bool:
        return (path / "saved_model.pb").is_file()

    def write(self, detector: FasterRCNN, path: Path, options: ExportOptions) -> None:
        from .writer import to_saved_model

        to_saved_model(detector, path, options.image_size, options.max_detections, options.score_threshold)

    def load(self, path: Path, threads: int | None = None, runtime: str | None = None) -> SavedModelRuntime:
        from .runtime import SavedModelRuntime

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


def __getattr__(name: str) -> Any:
    if name != "to_saved_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .writer import to_saved_model

    return to_saved_model
