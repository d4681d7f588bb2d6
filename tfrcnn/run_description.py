"""The description of a saved detector, `config.json` in its folder. Imports neither TensorFlow nor Keras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrcnn.config import DetectorConfig, TrainingConfig
from tfrcnn.config_base import shown
from tfrcnn.errors import InputError
from tfrcnn.files import check_path, read_json, write_json
from tfrcnn.locks import check_unlocked

# The files of a run folder that another component reads too.
CONFIG = "config.json"
SETUP = "training.json"  # how the run was set up, see `tfrcnn.training.setup_file`
SPLIT = "split.json"  # the ids of the images on both sides, see `tfrcnn.data.split`
STATE = "training_state.npz"  # where the training is, see `tfrcnn.training.folder`
FORMAT = 2  # in 1, weights files do not name the `FoldedModel` of a MobileNet


def read_description(folder: str | Path) -> dict[str, Any]:
    """Read a folder's `config.json`: format, weights, versions, detector, extra.

    Raises:
        InputError: there is no such folder or file, or it has another format.
    """
    path = check_path(folder, "folder") / CONFIG
    if not path.is_file():
        raise InputError(f"no detector in {folder}: expected a folder with {CONFIG}, as written by tfrcnn train")
    description = read_json(path)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        version = description.get("format") if isinstance(description, dict) else description
        raise InputError(f"{path}: format must be {FORMAT} (this version of tfrcnn), found {shown(version)}")
    for key in ("weights", "detector"):
        if key not in description:
            raise InputError(f"{path}: {key} is missing")
    _check_weights(path, description["weights"])
    extra = description.setdefault("extra", {})
    if not isinstance(extra, dict):
        raise InputError(f"{path}: extra must be an object, found {shown(extra)}")
    try:
        DetectorConfig.from_dict(description["detector"])
        if "training" in extra:
            TrainingConfig.from_dict(extra["training"])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return description


def write_thresholds(folder: str | Path, thresholds: Mapping[str, float] | None) -> None:
    """Write score thresholds of single classes into a saved detector.

    Everything that loads the folder uses them: prediction, evaluation and exports.

    Args:
        folder: the detector's folder, as written by `tfrcnn.train`.
        thresholds: by category name, for example "score_threshold" of `tfrcnn.evaluation_report`; None removes them.

    Raises:
        InputError: there is no detector in the folder, it has no category of a name, a number is not in [0, 1), or the
            folder is in use: the next epoch would replace the detector without its thresholds.

    Example:
        numbers = tfrcnn.evaluation_report(dataset, detections, "evaluation.html")
        tfrcnn.write_thresholds("runs/cells", numbers["score_threshold"])
    """
    description = read_description(folder)
    check_not_in_use(folder)
    config = DetectorConfig.from_dict(description["detector"])
    limits = config.detections.replace(class_score_thresholds=None if thresholds is None else dict(thresholds))
    description["detector"] = config.replace(detections=limits).to_dict()
    write_json(Path(folder) / CONFIG, description)


def check_not_in_use(folder: str | Path) -> None:
    """Check that no other process writes to a detector's folder, nor to the run folder that it is in, as last/ is.

    Raises:
        InputError: one does; the message names its host and its number.
    """
    folder = Path(folder).absolute()
    check_unlocked(folder)
    if (folder.parent / SETUP).is_file():
        check_unlocked(folder.parent)


def _check_weights(path: Path, name: Any) -> None:
    """Check the name of a detector's weights: a file in the folder of `path`, its description."""
    expected = f"{path}: weights must be the name of a file in the same folder, found {shown(name)}"
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise InputError(expected)
    try:
        (path.parent / name).is_file()  # whether the name can be one
        target = (path.parent / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop of links, or no text for a file system
        raise InputError(expected) from error
    # A link may lead anywhere, as ".." may.
    if target.parent != path.parent.resolve():
        raise InputError(f"{expected}, a link out of it")
