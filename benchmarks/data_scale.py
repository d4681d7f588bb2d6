"""Time and memory to load and check large data sets, and to start training on them.

    python benchmarks/data_scale.py make coco build/scale/coco --pictures FOLDER --images 118287 --boxes 860001
    python benchmarks/data_scale.py make tfrecord build/scale/records --pictures FOLDER --images 100000 --boxes 840000
    python benchmarks/data_scale.py read build/scale/coco
    python benchmarks/data_scale.py read 'build/scale/records/train-?????-of-00032'

`make coco` writes a COCO json with masks, of as many images and boxes as train2017, whose images are links to the
pictures in FOLDER. `make tfrecord` writes shards that repeat thumbnails of the pictures, as JPEGs of a few kB, with the
boxes per image of Open Images.
`read` prints the seconds of each part and the memory of the process after it: reading and checking the annotations and
the headers of all images, and the first batch to train on. The images are not decoded, as the doctor does.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES, SHARDS, SIDE, POINTS = 80, 32, 96, 20


def counts_of(images: int, boxes: int) -> np.ndarray:
    """Draw the boxes per image; they add up to `boxes`."""
    return np.random.default_rng(0).multinomial(boxes, np.full(images, 1 / images))


def make_coco(folder: Path, pictures: list[Path], images: int, boxes: int) -> None:
    """Write instances.json and links to pictures."""
    (folder / "images").mkdir(parents=True)
    sizes = []
    for path in pictures:
        with Image.open(path) as picture:
            sizes.append(picture.size)
    rng, number, entries = np.random.default_rng(1), 0, []
    with open(folder / "instances.json", "w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for image, count in enumerate(counts_of(images, boxes), 1):
            width, height = sizes[image % len(sizes)]
            name = f"{image:012}{pictures[image % len(sizes)].suffix}"
            os.link(pictures[image % len(sizes)], folder / "images" / name)
            entries.append({"id": image, "file_name": name, "height": height, "width": width})
            for annotation in coco_objects(rng, width, height, int(count)):
                number += 1
                file.write(",\n" if number > 1 else "\n")
                json.dump({"id": number, "image_id": image, **annotation}, file)
        categories = [{"id": label + 1, "name": f"class {label}"} for label in range(CLASSES)]
        file.write(f'], "images": {json.dumps(entries)}, "categories": {json.dumps(categories)}}}\n')


def coco_objects(rng: np.random.Generator, width: int, height: int, count: int) -> Iterator[dict[str, Any]]:
    """Draw annotations with a polygon of `POINTS` points."""
    sides = rng.uniform(0.05, 0.5, (count, 2)) * (width, height)
    corners = rng.uniform(0, 1, (count, 2)) * ((width, height) - sides)
    for (x, y), (w, h), label in zip(corners.round(2), sides.round(2), rng.integers(1, CLASSES + 1, count).tolist()):
        polygon = (rng.uniform(0, 1, (POINTS, 2)) * (w, h) + (x, y)).round(2)
        yield {
            "category_id": label,
            "bbox": [x, y, w, h],
            "area": round(w * h / 2, 4),
            "iscrowd": 0,
            "segmentation": [polygon.ravel().tolist()],
        }


def make_tfrecord(folder: Path, pictures: list[Path], images: int, boxes: int) -> None:
    """Write shards of thumbnails."""
    import tensorflow as tf

    folder.mkdir(parents=True)
    thumbnails = [thumbnail(path) for path in pictures]
    rng, counts = np.random.default_rng(1), counts_of(images, boxes)
    for shard, numbers in enumerate(np.array_split(np.arange(images), SHARDS)):
        with tf.io.TFRecordWriter(str(folder / f"train-{shard:05}-of-{SHARDS:05}")) as writer:
            for number in numbers:
                picture = thumbnails[number % len(thumbnails)]
                writer.write(record(tf.train, rng, picture, int(number), int(counts[number])))


def thumbnail(path: Path) -> tuple[bytes, tuple[int, int]]:
    """Return a small copy of a picture as a JPEG, and its (width, height)."""
    content = io.BytesIO()
    with Image.open(path) as picture:
        picture.thumbnail((SIDE, SIDE))
        picture.convert("RGB").save(content, "JPEG")
        return content.getvalue(), picture.size


def record(
    train: Any, rng: np.random.Generator, picture: tuple[bytes, tuple[int, int]], number: int, count: int
) -> bytes:
    """Write the features of the TF Object Detection API."""
    content, (width, height) = picture
    corners = np.sort(rng.uniform(0, 1, (2, count, 2)), axis=0)
    labels = rng.integers(1, CLASSES + 1, count).tolist()
    texts = {
        "image/encoded": [content],
        "image/filename": [f"{number:016x}.jpg".encode()],
        "image/object/class/text": [f"class {label}".encode() for label in labels],
    }
    features = {key: train.Feature(bytes_list=train.BytesList(value=value)) for key, value in texts.items()}
    for key, value in {"image/height": [height], "image/width": [width], "image/object/class/label": labels}.items():
        features[key] = train.Feature(int64_list=train.Int64List(value=value))
    for key, place in {"ymin": (0, 0), "xmin": (0, 1), "ymax": (1, 0), "xmax": (1, 1)}.items():
        values = corners[place[0], :, place[1]].tolist()
        features[f"image/object/bbox/{key}"] = train.Feature(float_list=train.FloatList(value=values))
    return bytes(train.Example(features=train.Features(feature=features)).SerializeToString())


def read(data: str) -> None:
    """Read a data set and make its first batch."""
    clock = Clock()
    import tfrcnn

    tfrcnn.preset("mobilenet_v2_fpn")
    clock.show("import of TensorFlow")
    dataset, report = tfrcnn.read_dataset(data)
    clock.show("read and check")
    report.check()
    preset = tfrcnn.preset("mobilenet_v2_fpn", dataset.categories, image_size=320)
    batches = iter(tfrcnn.training_data(dataset, preset.detector.image, preset.training).batches())
    next(batches)
    clock.show("first batch to train on")
    boxes = sum(len(example.labels) for example in dataset.examples)
    clock.show("count the boxes")
    print(f"{len(dataset):,} images, {boxes:,} boxes")


class Clock:
    """Prints the time of each part, and the memory after it."""

    def __init__(self) -> None:
        self._seconds, self._cpu = time.perf_counter(), time.process_time()

    def show(self, name: str) -> None:
        seconds, cpu = time.perf_counter() - self._seconds, time.process_time() - self._cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmRSS:"))
        resident = int(line.split()[1]) / 1024
        print(f"{name:26} {seconds:7.1f} s {cpu:7.1f} s of CPU {resident:8,.0f} MB, up to {peak:8,.0f} MB", flush=True)
        self._seconds, self._cpu = time.perf_counter(), time.process_time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("make", help="write a data set")
    make.add_argument("format", choices=("coco", "tfrecord"))
    make.add_argument("folder", type=Path)
    make.add_argument("--pictures", type=Path, required=True, help="folder of JPEGs")
    make.add_argument("--images", type=int, default=118_287)
    make.add_argument("--boxes", type=int, default=860_001)
    commands.add_parser("read", help="read a data set of any format").add_argument("data")
    options = parser.parse_args()
    if options.command == "read":
        read(options.data)
    else:
        pictures = sorted(options.pictures.rglob("*.jpg"))
        write = make_coco if options.format == "coco" else make_tfrecord
        write(options.folder, pictures, options.images, options.boxes)


if __name__ == "__main__":
    main()
