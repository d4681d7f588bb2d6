"""Read damaged TFRecord shards: `python benchmarks/robustness/records.py --count 20000`."""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path
from typing import Any

import tensorflow as tf
from coco import damaged_bytes
from PIL import Image
from readers import HEIGHT, WIDTH, run

VALUES: list[Any] = [
    [], [0], [1], [-1], [2**62], [0.5], [0.1, 0.9], [float("nan")], [float("inf")], [1e38], [b""], [b"cell"],
    [b"dust", b"cell"], [b"\xff\xfe"], [b"../a.png"], [b"/x\0y"], [b"1"], [b"1" * 400], [1, 2], [b"x" * 5000],
]  # fmt: skip


def write(folder: Path, rng: random.Random) -> str:
    """Write a shard whose records have features replaced, removed or added, or whose bytes are damaged."""
    path = folder / "x.record"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(2):
            features = dict(record(number))
            for _ in range(rng.randint(0, 1)):
                key = rng.choice([*features, "image/object/area", "image/object/is_crowd", "image/object/group_of"])
                features[key] = rng.choice(VALUES)
                if rng.random() < 0.1:
                    del features[key]
            content = tf.train.Features(feature={key: feature(value) for key, value in features.items()})
            data = tf.train.Example(features=content).SerializeToString()
            writer.write(damaged_bytes(data, rng) if rng.random() < 0.1 else data)
    if rng.random() < 0.2:
        path.write_bytes(damaged_bytes(path.read_bytes(), rng))
    return str(path)


@cache
def record(number: int) -> dict[str, list[Any]]:
    """The features of one whole record with two boxes."""
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(file, "PNG")
    return {
        "image/encoded": [file.getvalue()],
        "image/filename": [f"{number}.png".encode()],
        "image/source_id": [str(number).encode()],
        "image/height": [HEIGHT],
        "image/width": [WIDTH],
        "image/object/bbox/ymin": [0.1, 0.2],
        "image/object/bbox/xmin": [0.1, 0.25],
        "image/object/bbox/ymax": [0.5, 0.9],
        "image/object/bbox/xmax": [0.5, 1.0],
        "image/object/class/text": [b"cell", b"dust"],
        "image/object/class/label": [1, 2],
        "image/object/difficult": [0, 1],
    }


def feature(values: list[Any]) -> tf.train.Feature:
    if values and isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


if __name__ == "__main__":
    run(__doc__ or "", write)
