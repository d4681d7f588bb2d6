"""What commands need to know about a detector before they build or load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfrcnn.config import BackboneConfig, DetectorConfig
    from tfrcnn.models import Preset


def run_config(folder: Path) -> DetectorConfig:
    """The configuration of the detector in a run folder.

    Raises:
        InputError: there is none.
    """
    from tfrcnn.config import DetectorConfig
    from tfrcnn.models.build import read_description

    return DetectorConfig.from_dict(read_description(folder)["detector"])


def starting_point(model: str, init: str | None, image_size: int | None = None) -> Preset:
    """A preset; or the detector of a run folder, trained as the preset it was made from.

    Where that preset was a file, which may be gone, trained as the run itself.

    Raises:
        InputError: no such preset or run, or an image size that does not suit it.
    """
    from tfrcnn.config import TrainingConfig
    from tfrcnn.models import Preset, preset, preset_names
    from tfrcnn.models.build import read_description
    from tfrcnn.models.presets import with_image_size

    if init is None:
        return preset(model, image_size=image_size)
    config = run_config(Path(init))
    if model in preset_names():
        training = preset(model).training
    else:  # what import-weights writes has no training
        training = TrainingConfig.from_dict(read_description(init).get("extra", {}).get("training", {}))
    return Preset(with_image_size(config, image_size).replace(categories=()), training, f"as in {init}")


def default_weights(backbone: BackboneConfig) -> str | None:
    """What a backbone starts from where nothing is said; None where that has to be said."""
    from tfrcnn.models.backbones import OWN

    if backbone.name == "tiny":
        return "none"
    return "imagenet" if backbone.name not in OWN or backbone.stride_in_1x1 else None


def anchor_strides(config: DetectorConfig) -> tuple[int, ...]:
    """The strides of a detector's anchor levels; its categories, on which they do not depend, may still be missing."""
    from tfrcnn.config import Category
    from tfrcnn.models import build_detector

    return build_detector(config.replace(categories=config.categories or (Category(1, "object"),))).level_strides
