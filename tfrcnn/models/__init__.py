"""Detectors: backbones, feature pyramid, the assembly, presets, saving and loading."""

import tfrcnn.backend  # noqa: F401  # checks it, before Keras loads another one
from tfrcnn.models.build import build_blank_detector, build_detector, load_detector, save_detector
from tfrcnn.models.faster_rcnn import FasterRCNN
from tfrcnn.models.preset_table import Preset
from tfrcnn.models.presets import preset, preset_names

__all__ = [
    "FasterRCNN",
    "Preset",
    "build_blank_detector",
    "build_detector",
    "load_detector",
    "preset",
    "preset_names",
    "save_detector",
]
