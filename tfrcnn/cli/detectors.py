"""What commands need to know about a detector before they build or load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tfrcnn.errors import InputError

if TYPE_CHECKING:
    from tfrcnn.config import BackboneConfig, DetectorConfig, TrainingConfig
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


def starting_weights(given: str | None, model: str, backbone: BackboneConfig) -> str:
    """What the backbone of a model starts from: what is given, else what suits it.

    Raises:
        InputError: nothing is given where it has to be.
    """
    from tfrcnn.models.backbones import default_weights

    weights = default_weights(backbone) if given is None else given
    if weights is not None:
        return weights
    raise InputError(
        f"there are no weights to download for {model}: give --backbone-weights FILE (for a torchvision network its "
        "classifier, .pth) or --backbone-weights none; or train with tfrcnn train --init RUN (of tfrcnn import-weights)"
    )


def suited_to(weights: str, training: TrainingConfig) -> TrainingConfig:
    """A training of a backbone that starts from these weights: random ones are no use frozen."""
    return training.replace(frozen_stages=0, freeze_batch_norm=False) if weights == "none" else training


def anchor_strides(config: DetectorConfig) -> tuple[int, ...]:
    """The strides of a detector's anchor levels; its categories, on which they do not depend, may still be missing."""
    from tfrcnn.config import Category
    from tfrcnn.models import build_detector

    return build_detector(config.replace(categories=config.categories or (Category(1, "object"),))).level_strides
