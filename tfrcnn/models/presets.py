"""Find a preset by name or in a file, and change its fields.

A preset of your own is a JSON file with the fields that differ from one of the library's:

    {"preset": "vgg16", "detector": {"anchors": {"sizes": [[64, 128, 256, 512]]}}, "training": {"epochs": 32}}

The file's name is the preset's. It has no categories, since the data set decides them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import Any

from tfrcnn.config import Category, DetectorConfig, TrainingConfig, as_categories
from tfrcnn.config_base import shown
from tfrcnn.errors import InputError
from tfrcnn.files import read_json
from tfrcnn.models.build import read_description
from tfrcnn.models.preset_table import PRESETS, Preset

SUFFIX = ".json"  # of a file that is a preset


def preset_names() -> tuple[str, ...]:
    """List the names that `preset` accepts.

    Returns:
        The names, the paper's networks first.

    Example:
        >>> tfrcnn.preset_names()[:2]
        ('vgg16', 'zf')
    """
    return tuple(PRESETS)


def preset(name: str, categories: tuple[Category, ...] = (), image_size: int | None = None) -> Preset:
    """Return a preset.

    Args:
        name: one of `preset_names`, or a file, FILE.json, see the head of the module.
        categories: what to detect.
        image_size: N makes the network input N x N, static (letterbox), in pixels; None keeps the preset's size rule.

    Returns:
        The network as `detector` (a `DetectorConfig` with the categories), and as `training` how to train it.

    Raises:
        InputError: the name is unknown, the file is not a preset, or the size is not a positive multiple of the
            preset's divisor.

    Example:
        preset = tfrcnn.preset("mobilenet_v2_fpn", dataset.categories, image_size=320)
    """
    name = os.fspath(name) if isinstance(name, os.PathLike) else name
    if not isinstance(name, str):
        raise InputError(f"name: expected the name or the file of a preset, found {type(name).__name__}")
    start = _read(Path(name)) if str(name).endswith(SUFFIX) else PRESETS.get(name)
    if start is None:
        raise InputError(f"unknown model {shown(name)}: expected one of {', '.join(PRESETS)}, or FILE{SUFFIX}")
    detector = with_image_size(start.detector, image_size).replace(categories=as_categories(categories))
    return Preset(detector, start.training, start.summary)


def preset_of_run(folder: str | Path) -> Preset:
    """Return the detector in a run folder with the training of the preset that it was made from.

    If that preset was a file, which may be gone, the training is the run's own. Score thresholds of single classes are
    left out: they belong to the scores before the training.

    Raises:
        InputError: there is no detector in the folder.
    """
    description = read_description(folder)
    detector = DetectorConfig.from_dict(description["detector"])
    detector = detector.replace(detections=detector.detections.for_names(()))
    if detector.preset in PRESETS:
        training = PRESETS[detector.preset].training
    else:  # import-weights writes no training
        training = TrainingConfig.from_dict(description.get("extra", {}).get("training", {}))
    return Preset(detector, training, f"as in {folder}")


def with_image_size(config: DetectorConfig, image_size: int | None) -> DetectorConfig:
    """Return a detector whose input is N x N pixels, static; None changes nothing.

    Raises:
        InputError: the size is not a positive multiple of the detector's divisor.
    """
    if image_size is None:
        return config
    if not isinstance(image_size, Real) or image_size < 1 or image_size % config.image.divisor:
        expected = f"a positive multiple of {config.image.divisor} for {config.preset}"
        raise InputError(f"image size must be {expected}, found {image_size!r}")
    return config.replace(image=config.image.replace(static_size=(image_size, image_size)))


def preset_content(model: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a preset file that differs from a preset in the detector.

    Args:
        model: the preset's name or file.
        changes: fields of the detector, for example {"anchors": {"sizes": [[8], [16], [32], [64], [128]]}}.
    """
    values = read_json(model) if model.endswith(SUFFIX) else {"preset": model}
    return {**values, "detector": _merged(values.get("detector", {}), changes)}


def with_changes(start: Preset, changes: Mapping[str, Any]) -> Preset:
    """Return a preset with some fields changed.

    Args:
        start: what to change.
        changes: values by path, for example {"training.epochs": 3, "detector.rpn.match.foreground_iou": 0.6}. An
            object may be changed in part: {"training": {"epochs": 3}}. Class weights by name are replaced as a whole.

    Raises:
        InputError: there is no such field, or a value has the wrong type or is out of range.
    """
    parts: dict[str, DetectorConfig | TrainingConfig] = {"detector": start.detector, "training": start.training}
    values: dict[str, Any] = {name: part.to_dict() for name, part in parts.items()}
    for path, value in changes.items():
        names = path.split(".")
        if names[0] not in parts or (len(names) == 1 and not isinstance(value, dict)):
            known = "; ".join(f"{name}: {', '.join(f.name for f in fields(part))}" for name, part in parts.items())
            raise InputError(f"unknown field {path!r}: expected detector.FIELD or training.FIELD. {known}")
        for name in reversed(names):
            value = {name: value}
        if path == "training.class_weights" or (path == "training" and "class_weights" in value["training"]):
            values["training"]["class_weights"] = None
        values = _merged(values, value)
    _check_fixed_fields(values["detector"], start.detector.to_dict())
    detector, training = DetectorConfig.from_dict(values["detector"]), TrainingConfig.from_dict(values["training"])
    return Preset(detector, training, start.summary)


def _check_fixed_fields(values: dict[str, Any], before: dict[str, Any]) -> None:
    reasons = {
        "categories": "the data decide it",
        "preset": "it is the preset's name",
        "shared_features": "training.scheme decides it",
    }
    for name, reason in reasons.items():
        if values.get(name) != before[name]:
            raise InputError(f"detector.{name} cannot be changed: {reason}")


def _read(path: Path) -> Preset:
    """Read a preset from its file.

    Raises:
        InputError: there is no such file or preset; the name is taken; a field is unknown, or a value out of range.
            The message names the file.
    """
    try:
        is_file = path.is_file()
    except OSError:  # for example a name that is too long
        is_file = False
    if not is_file:
        raise InputError(f"model: expected a preset's name or its file, found no file at {path}")
    if path.stem in PRESETS:
        raise InputError(f"{path}: {path.stem} is one of the library's presets: give the file another name")
    values = read_json(path)
    parts = ("detector", "training")
    if not isinstance(values, dict) or set(values) - {"preset", *parts, "summary"}:
        raise InputError(f"{path}: expected an object of preset, detector, training and summary, found {shown(values)}")
    name = values.get("preset")
    if not isinstance(name, str) or (base := PRESETS.get(name)) is None:
        raise InputError(f"{path}: preset must be one of {', '.join(PRESETS)}, found {shown(name)}")
    if not isinstance(summary := values.get("summary", f"as {path} says"), str):
        raise InputError(f"{path}: summary must be text, found {shown(summary)}")
    for field in ("preset", "categories"):
        if isinstance(values.get("detector"), dict) and field in values["detector"]:
            raise InputError(f"{path}: expected no detector.{field}, which a preset cannot set")
    detector, training = (_merged(getattr(base, part).to_dict(), values.get(part, {})) for part in parts)
    try:
        config = DetectorConfig.from_dict(detector).replace(preset=path.stem)
        return Preset(config, TrainingConfig.from_dict(training), summary)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _merged(base: Any, changes: Any) -> Any:
    """Replace some fields of nested objects."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{name: _merged(base.get(name), value) for name, value in changes.items()}}
