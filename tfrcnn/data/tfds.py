"""Prepared data sets of TensorFlow Datasets: `tfds:voc/2007@train`, or `tfds:` and the folder of one version.

Their shards are TFRecords, and images stay there, as `tfrcnn.data.tfrecord` reads them. The features say which is the
image and which are the objects: a sequence with a BBoxFeature and, if there are classes, a ClassLabel. Label n gets the
id n + 1. Boxes are shares of the upright image, yxyx.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from tfrcnn.config import Category
from tfrcnn.data.checks import Parsed
from tfrcnn.data.class_lists import ClassList
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.records import parse_prepared, read_shards
from tfrcnn.data.tfrecord import assemble
from tfrcnn.errors import InputError, reason_of


class Tfds(DataFormat):
    """`tfds:voc/2007@train`."""

    expected = "a data set of TensorFlow Datasets, tfds:NAME@SPLIT"
    is_path = False
    holds_images = True

    def find(self, path: str) -> dict[str, Parse]:
        builder = _builder(path)
        if not builder.info.splits:
            command = f"tfds.builder({path!r}).download_and_prepare()"
            raise InputError(f"data: expected a prepared data set, found none of tfds:{path} here; run {command}")
        return {split: partial(parse_tfds, builder, split) for split in builder.info.splits}


def parse_tfds(builder: Any, split: str, images: Path | None = None) -> Parsed:
    """Read the annotations of a prepared data set. Images stay in its shards.

    Args:
        builder: of TensorFlow Datasets.
        split: name of a split.
        images: None, since the images are in the shards.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.

    Raises:
        InputError: the data set is not in TFRecords, or has no boxes.
    """
    source = f"data: tfds:{builder.info.full_name}"
    file_format = getattr(builder.info.file_format, "value", "tfrecord")
    if file_format != "tfrecord":
        raise InputError(f"{source}: expected files of the format tfrecord, found {file_format}; prepare it with that")
    image, objects, names = _features(builder.info.features, source)
    parse = partial(parse_prepared, image=image, objects=objects, has_labels=bool(names))
    shards = [Path(path) for path in builder.info.splits[split].filepaths]
    records, faults = read_shards(shards, parse)
    categories = tuple(Category(number, name) for number, name in enumerate(names or [objects], 1))
    parsed = assemble(records, ClassList(None, categories))
    parsed.faults[:0] = faults
    return parsed


def _builder(path: str) -> Any:
    try:
        import tensorflow_datasets
    except ImportError as error:
        install = 'pip install "tfrcnn[tfds]"'
        raise InputError(f"data: tfds:{path} needs tensorflow-datasets, which is not installed; {install}") from error
    try:
        if os.path.isdir(path):
            return tensorflow_datasets.builder_from_directory(path)
        return tensorflow_datasets.builder(path)
    except Exception as error:  # its loaders raise exceptions of all kinds
        expected = "expected a data set of TensorFlow Datasets"
        raise InputError(f"data: {expected}, found tfds:{path}: {reason_of(error)}") from error


def _features(features: Any, source: str) -> tuple[str, str, list[str]]:
    """Return the keys of the image and of the objects, and the names of the classes."""
    from tensorflow_datasets import features as kinds

    images = [key for key, feature in features.items() if isinstance(feature, kinds.Image)]
    for key, feature in features.items():
        sequence = getattr(feature, "feature", None)
        inner = dict(sequence.items()) if isinstance(sequence, kinds.FeaturesDict) else {}
        if images and isinstance(inner.get("bbox"), kinds.BBoxFeature):
            return images[0], key, _class_names(inner, f"{source}: {key}", kinds.ClassLabel)
    raise InputError(f"{source}: expected an image and a sequence with bbox, found the features {', '.join(features)}")


def _class_names(objects: dict[str, Any], source: str, class_label: type) -> list[str]:
    """Return the names of the objects' classes; none if all objects are of one class."""
    label = objects.get("label")
    if isinstance(label, class_label):
        return list(label.names)  # type: ignore[attr-defined]  # a class of TensorFlow Datasets
    if label is not None or any(isinstance(feature, class_label) for feature in objects.values()):
        raise InputError(f"{source}: expected a ClassLabel called label, found the features {', '.join(objects)}")
    return []
