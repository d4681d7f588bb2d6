"""Build a detector from another library's checkpoint. Every key and every weight must match."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tfrcnn.buckets.models import local_model
from tfrcnn.config import Category, DetectorConfig
from tfrcnn.data.download import file_errors
from tfrcnn.errors import InputError
from tfrcnn.files import check_path, read_json
from tfrcnn.models import FasterRCNN, build_blank_detector, preset, save_detector
from tfrcnn.models.build import CONFIG, package_version
from tfrcnn.weights import detectron2, torchvision
from tfrcnn.weights.coco_names import coco_categories
from tfrcnn.weights.published import PUBLISHED, checkpoint_of, is_published, locked_cache, published_names
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
            "resnet50_c4": "COCO-Detection/faster_rcnn_R_50_C4_1x and _3x, model_final_*.pkl",
            "resnet101_c4": "COCO-Detection/faster_rcnn_R_101_C4_3x, model_final_*.pkl",
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
    preset_name: str | None = None,
    source: SourceName | None = None,
    categories: tuple[Category, ...] = (),
    norm_epsilon: float | None = None,
) -> FasterRCNN:
    """Build a detector with the weights of another library's checkpoint. That library need not be installed.

    Each key of the file is used once, and each weight of the detector is set once. Otherwise the import fails.

    Args:
        checkpoint: torchvision's .pth, .safetensors or .npz file, Detectron2's .pkl file, or the name of a published
            checkpoint, for example "coco-resnet50". It is downloaded once, see `tfrcnn.weights.published`.
        preset_name: The preset of the checkpoint's network, for example "fasterrcnn_resnet50_fpn" or "resnet50_fpn". A
            published name has its preset.
        source: "torchvision" or "detectron2". None takes the name's, or torchvision.
        categories: The categories in the order of the file's classes, without the background. Required unless they
            are COCO's.
        norm_epsilon: Epsilon of the backbone's batch norms. None takes torchvision's: 1e-5, or 0 for a
            `fasterrcnn_resnet50_fpn` whose norms were frozen, as in its published checkpoint.

    Returns:
        The detector.

    Raises:
        InputError: The file is not a checkpoint, or not of this network: the message lists what is missing, unexpected
            or of another shape. Or the number of categories is not the file's. Or a published file cannot be
            downloaded.

    Example:
        detector = tfrcnn.import_weights("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", "fasterrcnn_resnet50_fpn")
        tfrcnn.save_detector(tfrcnn.import_weights("coco-resnet50"), "runs/coco")
    """
    checkpoint, preset_name, source = _located(checkpoint, preset_name, source)
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


def run_folder(model: str | Path) -> Path:
    """Return a path as it is, the copy of a run folder at an address, or that of a published name (`published_run`)."""
    return published_run(str(model)) if is_published(model, "detector") else local_model(model)


def published_run(name: str) -> Path:
    """Return a run folder of a published detector, downloaded and imported at its first use.

    Args:
        name: A detector's name in `PUBLISHED`.

    Returns:
        The folder, in the cache. Each release of tfrcnn imports its own.

    Raises:
        InputError: The file cannot be downloaded, or the cache cannot be written.
    """
    checkpoint = checkpoint_of(name)
    with locked_cache(name) as cache:
        folder = cache / f"detector-{package_version('tfrcnn')}"
        if not (folder / CONFIG).is_file():
            entry = PUBLISHED[name]
            imported = {"from": entry.source, "file": checkpoint.name}
            detector = import_weights(checkpoint, entry.preset, entry.source)
            with file_errors(folder):
                save_detector(detector, folder, {"imported": imported, "metric": "coco"})
    return folder


def _located(
    checkpoint: str | Path, preset_name: str | None, source: SourceName | None
) -> tuple[Path, str, SourceName]:
    """Return the file, the preset and the library of a checkpoint, which may be a published name.

    Raises:
        InputError: There is neither such a file nor such a name, or the preset or the library is another than the
            name's.
    """
    if is_published(checkpoint, "detector"):
        entry = PUBLISHED[str(checkpoint)]
        for option, value, expected in (("preset", preset_name, entry.preset), ("source", source, entry.source)):
            if value not in (None, expected):
                raise InputError(f"{checkpoint} has the {option} {expected}, found {value!r}: leave it out")
        return checkpoint_of(str(checkpoint)), entry.preset, entry.source
    path = check_path(checkpoint, "checkpoint")
    if not path.suffix and not path.exists():
        names = ", ".join(published_names("detector"))
        raise InputError(f"{checkpoint}: expected a file or one of {names}; found no such file")
    if preset_name is None:
        raise InputError(f"{checkpoint}: a file needs the preset of its network, for example fasterrcnn_resnet50_fpn")
    return path, preset_name, source or "torchvision"


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
