"""What commands need to know about a detector before they build or load it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfrcnn.config import DetectorConfig


def run_config(folder: Path) -> DetectorConfig:
    """The configuration of the detector in a run folder.

    Raises:
        InputError: there is none.
    """
    from tfrcnn.config import DetectorConfig
    from tfrcnn.models.build import read_description

    return DetectorConfig.from_dict(read_description(folder)["detector"])


def anchor_strides(config: DetectorConfig) -> tuple[int, ...]:
    """The strides of a detector's anchor levels; its categories, on which they do not depend, may still be missing."""
    from tfrcnn.config import Category
    from tfrcnn.models import build_detector

    return build_detector(config.replace(categories=config.categories or (Category(1, "object"),))).level_strides
