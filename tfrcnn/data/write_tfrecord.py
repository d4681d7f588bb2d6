"""Writes TFRecord shards with the keys of the TF Object Detection API."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from tfrcnn.config import Category
from tfrcnn.data.embedded import image_status
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.writers import Job
from tfrcnn.errors import InputError

_SHARD_BYTES = 128 << 20  # TensorFlow's guide recommends shards of at least 100 MB
_MAX_SHARDS = 99_999  # five digits


def write_tfrecord(job: Job) -> None:
    """Write `SPLIT.tfrecord-00000-of-00010` and so on, with the images, and label_map.pbtxt."""
    import tensorflow as tf  # here, so that the other formats are written without it

    counts = {split: _shard_count(dataset, job.shards) for split, dataset in job.splits.items()}
    categories = next(iter(job.splits.values())).categories
    if any(category.id < 1 for category in categories):
        job.notes.append("category ids are 1, 2, ... here: this format has no id below 1")
        categories = tuple(Category(number, category.name) for number, category in enumerate(categories, 1))
    items = [f"item {{\n  id: {c.id}\n  name: {json.dumps(c.name, ensure_ascii=False)}\n}}\n" for c in categories]
    (job.folder / "label_map.pbtxt").write_text("\n".join(items), encoding="utf-8")
    for split, dataset in job.splits.items():
        count = counts[split]
        for shard, indices in enumerate(np.array_split(np.arange(len(dataset)), count)):
            path = job.folder / f"{split}.tfrecord-{shard:05}-of-{count:05}"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for index in indices:
                    example = dataset.examples[index]
                    name, content = job.images.read(example, job.folder / split)
                    writer.write(_record(example, name, content, categories))
        job.data[split] = f"{split}.tfrecord-?????-of-{count:05}"


def _shard_count(dataset: Dataset, shards: int | None) -> int:
    if shards is None:
        size = sum(image_status(example.path).size for example in dataset.examples)
        return min(max(1, -(-size // _SHARD_BYTES)), len(dataset), _MAX_SHARDS)
    limit = min(len(dataset), _MAX_SHARDS)
    if not 1 <= shards <= limit:
        raise InputError(f"shards: expected 1 to {limit:,} for {len(dataset):,} images, found {shards:,}")
    return shards


def _record(example: Example, name: str, content: bytes, categories: tuple[Category, ...]) -> bytes:
    """Return a serialized tf.train.Example; shares are float32. Empty lists have their type too."""
    import tensorflow as tf

    train = tf.train
    sides = np.array([example.height, example.width] * 2, np.float64)
    shares = (example.boxes / sides).astype(np.float32)
    classes = [categories[label] for label in example.labels]
    texts = {
        "image/encoded": [content],
        "image/filename": [name.encode()],
        "image/format": [b"png" if Path(name).suffix.lower() == ".png" else b"jpeg"],
        "image/key/sha256": [hashlib.sha256(content).hexdigest().encode()],
        "image/source_id": [str(example.image_id).encode("utf-8", "replace")],
        "image/object/class/text": [category.name.encode() for category in classes],
    }
    whole_numbers = {
        "image/height": [example.height],
        "image/width": [example.width],
        "image/object/class/label": [category.id for category in classes],
        "image/object/difficult": example.difficult.astype(int).tolist(),
        "image/object/is_crowd": example.crowd.astype(int).tolist(),
    }
    corners = {f"image/object/bbox/{key}": shares[:, i] for i, key in enumerate(("ymin", "xmin", "ymax", "xmax"))}
    features = {key: train.Feature(bytes_list=train.BytesList(value=value)) for key, value in texts.items()}
    for key, value in whole_numbers.items():
        features[key] = train.Feature(int64_list=train.Int64List(value=value))
    for key, value in {**corners, "image/object/area": example.area}.items():
        features[key] = train.Feature(float_list=train.FloatList(value=value.tolist()))
    record = train.Example(features=train.Features(feature=features))
    return bytes(record.SerializeToString(deterministic=True))
