"""Build a detector from another library's checkpoint. Every key and every weight must match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tfrcnn.config import Category, DetectorConfig
from tfrcnn.errors import InputError
from tfrcnn.files import read_json
from tfrcnn.models import FasterRCNN, build_blank_detector, preset
from tfrcnn.weights import detectron2, torchvision
from tfrcnn.weights.coco_names import coco_categories
from tfrcnn.weights.read import read_checkpoint
from tfrcnn.weights.torch_layout import Assignment, assign

State = Mapping[str, np.ndarray]
SourceName = Literal["torchvision", "detectron2"]


@dataclass(frozen=True)
class Source:
    """A library whose checkpoints can be imported.

    Attributes:
        presets: The presets of the library's networks, each with the checkpoint that the library publishes for it.
        prepare: Renames the keys of a state dict to those that `assignments` uses, and drops what is no weight.
        num_classes: Returns C of such a state dict. None if it is not a detector of this library.
        assignments: Returns an assignment for each weight of a detector.
        coco: The categories of the published checkpoints.
        adapt: Changes a preset's configuration to match the library and the state dict.
    """

    presets: Mapping[str, str]
    prepare: Callable[[State], dict[str, np.ndarray]]
    num_classes: Callable[[State], int | None]
    assignments: Callable[[FasterRCNN], list[Assignment]]
    coco: tuple[Category, ...]
    adapt: Callable[[DetectorConfig, State], DetectorConfig]


def _torchvision_norms(config: DetectorConfig, state: State) -> DetectorConfig:
    """Set the batch norms' epsilon to 0 for the one published checkpoint that torchvision trained so."""
    if config.preset == "fasterrcnn_resnet50_fpn" and torchvision.has_frozen_norms(state):
        return config.replace(backbone=config.backbone.replace(norm_epsilon=0.0))
    return config


SOURCES: dict[str, Source] = {
    "torchvision": Source(
        {
            "fasterrcnn_resnet50_fpn": "fasterrcnn_resnet50_fpn_coco-*.pth, COCO box AP 37.0",
            "fasterrcnn_resnet50_fpn_v2": "fasterrcnn_resnet50_fpn_v2_coco-*.pth, COCO box AP 46.7",
            "fasterrcnn_mobilenet_v3_large_fpn": "fasterrcnn_mobilenet_v3_large_fpn-*.pth, COCO box AP 32.8",
            "fasterrcnn_mobilenet_v3_large_320_fpn": "fasterrcnn_mobilenet_v3_large_320_fpn-*.pth, COCO box AP 22.8",
        },
        torchvision.renamed,
        torchvision.num_classes,
        torchvision.assignments,
        coco_categories(all_ids=True),
        _torchvision_norms,
    ),
    "detectron2": Source(
        {
            "resnet50_fpn": "COCO-Detection/faster_rcnn_R_50_FPN_1x and _3x, model_final_*.pkl",
            "resnet101_fpn": "COCO-Detection/faster_rcnn_R_101_FPN_3x, model_final_*.pkl",
            "cascade_resnet50_fpn": "Misc/cascade_mask_rcnn_R_50_FPN_1x and _3x without masks, model_final_*.pkl",
        },
        detectron2.boxes_alone,
        detectron2.num_classes,
        detectron2.assignments,
        coco_categories(),
        lambda config, _: detectron2.adapted(config),
    ),
}


def import_weights(
    checkpoint: str | Path,
    preset_name: str,
    source: SourceName = "torchvision",
    categories: tuple[Category, ...] = (),
    norm_epsilon: float | None = None,
) -> FasterRCNN:
    """Build a detector with the weights of another library's checkpoint. That library need not be installed.

    Each key of the file is used once, and each weight of the detector is set once. Otherwise the import fails.

    Args:
        checkpoint: torchvision's .pth, .safetensors or .npz file, or Detectron2's .pkl file.
        preset_name: The preset of the checkpoint's network, for example "fasterrcnn_resnet50_fpn" or "resnet50_fpn".
        source: "torchvision" or "detectron2".
        categories: The categories in the order of the file's classes, without the background. Required unless they
            are COCO's.
        norm_epsilon: Epsilon of the backbone's batch norms. None takes torchvision's: 1e-5, or 0 for a
            `fasterrcnn_resnet50_fpn` whose norms were frozen, as in its published checkpoint.

    Returns:
        The detector.

    Raises:
        InputError: The file is not a checkpoint, or not of this network: the message lists what is missing, unexpected
            or of another shape. Or the number of categories is not the file's.

    Example:
        detector = tfrcnn.import_weights("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", "fasterrcnn_resnet50_fpn")
        tfrcnn.save_detector(detector, "runs/coco")
    """
    if source not in SOURCES:
        raise InputError(f"unknown source {source!r}: expected one of {', '.join(SOURCES)}")
    library = SOURCES[source]
    if preset_name not in library.presets:
        expected = ", ".join(library.presets)
        raise InputError(f"{source} has no network of preset {preset_name!r}: expected one of {expected}")
    state = library.prepare(read_checkpoint(checkpoint).arrays)
    categories = _categories(checkpoint, library, state, tuple(categories))
    config = library.adapt(preset(preset_name, categories).detector, state)
    if norm_epsilon is not None:
        config = config.replace(backbone=config.backbone.replace(norm_epsilon=norm_epsilon))
    detector = build_blank_detector(config)
    try:
        assign(detector.weights, library.assignments(detector), state)
    except InputError as error:
        raise InputError(f"{checkpoint} does not hold {source}'s {preset_name}: {error}") from error
    return detector


def read_categories(path: str | Path) -> tuple[Category, ...]:
    """Read the list "categories" of a COCO json file, in its order.

    Raises:
        InputError: The file does not exist, or it has no categories with id and name.
    """
    content = read_json(path)
    entries = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f'{path}: expected an object with a list "categories", found none')
    fields = ("id", "name")
    try:
        return tuple(
            Category.from_dict(
                {key: entry[key] for key in fields if key in entry} if isinstance(entry, dict) else entry
            )
            for entry in entries
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _categories(
    path: str | Path, source: Source, state: State, categories: tuple[Category, ...]
) -> tuple[Category, ...]:
    classes = source.num_classes(state)
    if classes is None:
        raise InputError(
            f"{path}: expected a detector with roi_heads.box_predictor.cls_score among its {len(state)} keys, "
            f"found {', '.join(list(state)[:3])}, ..."
        )
    if categories and len(categories) != classes:
        raise InputError(
            f"{path} has {classes} classes without the background, but {len(categories)} categories were given"
        )
    if not categories and classes != len(source.coco):
        raise InputError(
            f"{path} has {classes} classes without the background, which are not COCO's {len(source.coco)}: "
            "give its categories"
        )
    return categories or source.coco
