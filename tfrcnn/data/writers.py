"""Writes data sets in the formats of annotation files: COCO, Pascal VOC and YOLO.

A coordinate is written with the fewest decimals that give back the same float32, except that VOC has whole pixels.

Legend: N boxes of one data set.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from tfrcnn.data.decimals import shortest
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.example_table import column_of, counts_of
from tfrcnn.data.image_copies import ImageCopies
from tfrcnn.errors import InputError

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")


@dataclass
class Job:
    """The task of a writer, and its report.

    Attributes:
        folder: new folder to write to.
        splits: data sets of the same categories by the name of their split.
        images: copies the images.
        shards: number of TFRecord shards per split; None is one per 128 MiB.
        notes: lines that say what the format cannot hold.
        data: DATA argument of each split, relative to `folder`.
    """

    folder: Path
    splits: dict[str, Dataset]
    images: ImageCopies
    shards: int | None = None
    notes: list[str] = field(default_factory=list)
    data: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the categories."""
        return [category.name for category in next(iter(self.splits.values())).categories]

    def count(self, name: str) -> int:
        """Count the boxes with a flag: `crowd` or `difficult`."""
        return sum(int(column_of(dataset.examples, name).sum()) for dataset in self.splits.values())


def write_coco(job: Job) -> None:
    """Write `annotations/instances_SPLIT.json` and the images in `SPLIT/`, as COCO has them."""
    (job.folder / "annotations").mkdir()
    for split, dataset in job.splits.items():
        folder = job.folder / split
        folder.mkdir()
        images: list[dict[str, Any]] = [
            {"id": number, "file_name": job.images.copy(e, folder), "width": e.width, "height": e.height}
            for number, e in zip(_image_numbers(dataset), dataset.examples)
        ]
        content = {
            "images": images,
            "annotations": _annotations(dataset, [image["id"] for image in images]),
            "categories": [{"id": category.id, "name": category.name} for category in dataset.categories],
        }
        path = job.folder / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        job.data[split] = f"annotations/{path.name}"
    if count := job.count("difficult"):
        job.notes.append(
            f"{count:,} boxes have the key difficult: 1; other readers of COCO take them as ordinary boxes"
        )


def write_voc(job: Job) -> None:
    """Write Annotations/, JPEGImages/ and ImageSets/Main/SPLIT.txt. Boxes get whole pixels, counted from 1."""
    if bad := [name for name in job.names if _NOT_XML.search(name)]:
        raise InputError(f"category {bad[0]!r}: expected a name that XML can hold, found a control character")
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (job.folder / name).mkdir(parents=True)
    rounded = 0
    for split, dataset in job.splits.items():
        stems = []
        for example in dataset.examples:
            corners = whole_pixels(example)
            rounded += int((corners - [1, 1, 0, 0] != example.boxes).any(axis=1).sum())
            name = job.images.copy(example, job.folder / "JPEGImages")
            stems.append(Path(name).stem)
            tree = _voc_tree(example, name, corners, job.names)
            ElementTree.indent(tree)
            path = job.folder / "Annotations" / f"{stems[-1]}.xml"
            path.write_bytes(ElementTree.tostring(tree, encoding="utf-8") + b"\n")
        text = "".join(f"{stem}\n" for stem in stems)
        (job.folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text, encoding="utf-8")
        job.data[split] = f"@{split}"
    if rounded:
        job.notes.append(f"{rounded:,} boxes were rounded to whole pixels, and to at least two pixels per side")
    if count := job.count("crowd"):
        job.notes.append(f"{count:,} crowd boxes are difficult here: this format has no crowds")
    used = {label for each in job.splits.values() for label in np.unique(column_of(each.examples, "labels")).tolist()}
    if unused := [name for label, name in enumerate(job.names) if label not in used]:
        job.notes.append(f"categories without boxes are not in this format: {', '.join(unused)}")


def write_yolo(job: Job) -> None:
    """Write data.yaml, `images/SPLIT/` and `labels/SPLIT/`, with one text file per image."""
    for split, dataset in job.splits.items():
        folders = [job.folder / kind / split for kind in ("images", "labels")]
        for folder in folders:
            folder.mkdir(parents=True)
        counts = counts_of(dataset.examples)
        sizes = np.stack([column_of(dataset.examples, name) for name in ("width", "height")], axis=1)
        boxes = yolo_boxes(column_of(dataset.examples, "boxes"), np.repeat(sizes, counts, axis=0))
        for example, shares in zip(dataset.examples, np.split(boxes, np.cumsum(counts[:-1]))):
            name = job.images.copy(example, folders[0])
            target = ~(example.crowd | example.difficult)
            rows = zip(example.labels[target].tolist(), shares[target].tolist())
            lines = [" ".join([str(label), *map(_positional, row)]) + "\n" for label, row in rows]
            (folders[1] / f"{Path(name).stem}.txt").write_text("".join(lines), encoding="utf-8")
        job.data[split] = f"data.yaml@{split}"
    lines = [f"{split}: images/{split}" for split in job.splits]
    if "val" not in job.splits:
        lines.append("val: images/train  # the training data: Ultralytics needs a val")
    names = [f"  {label}: {json.dumps(name, ensure_ascii=False)}" for label, name in enumerate(job.names)]
    (job.folder / "data.yaml").write_text("\n".join([*lines, "names:", *names, ""]), encoding="utf-8")
    for flag in ("crowd", "difficult"):
        if count := job.count(flag):
            job.notes.append(f"{count:,} {flag} boxes are left out: this format has no such boxes")


def coco_boxes(boxes: np.ndarray) -> np.ndarray:
    """Convert float32 boxes [N, 4] yxyx to [x, y, width, height], float64.

    x and x + width round to the same float32 as before.
    """
    corners = boxes.astype(np.float64)
    start, end = corners[:, [1, 0]], corners[:, [3, 2]]

    def is_same(rounded: np.ndarray) -> np.ndarray:
        ends = rounded[:, :2] + rounded[:, 2:]
        return np.tile((_float32(rounded[:, :2]) == start) & (_float32(ends) == end), 2)

    return shortest(np.hstack([start, end - start]), is_same)


def yolo_boxes(boxes: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """Convert boxes to shares of the images' sides.

    Args:
        boxes: [N, 4] float32 yxyx in pixels.
        sides: [N, 2] (width, height) of each box's image.

    Returns:
        [N, 4] float64: x and y of the centre, width, height.
    """
    corners = boxes.astype(np.float64)
    start, end = corners[:, [1, 0]], corners[:, [3, 2]]

    def is_same(rounded: np.ndarray) -> np.ndarray:
        center, half = rounded[:, :2], rounded[:, 2:] / 2
        good = (_float32((center - half) * sides) == start) & (_float32((center + half) * sides) == end)
        return np.tile(good, 2)

    return shortest(np.hstack([(start + end) / 2 / sides, (end - start) / sides]), is_same)


def whole_pixels(example: Example) -> np.ndarray:
    """Round an example's boxes to VOC's [ymin, xmin, ymax, xmax], [N, 4] int64: from 1, with the last pixel.

    A side has at least two pixels: xmin == xmax means an empty box.
    """
    limits = np.array([example.height, example.width])
    first = np.rint(example.boxes[:, :2]).astype(np.int64) + 1
    last = np.clip(np.rint(example.boxes[:, 2:]).astype(np.int64), first + 1, None)
    last = np.minimum(last, limits)
    return np.hstack([np.maximum(np.minimum(first, last - 1), 1), last])


def _annotations(dataset: Dataset, image_numbers: list[int]) -> list[dict[str, Any]]:
    """Return COCO's entries of all boxes of a data set."""
    examples = dataset.examples
    boxes = coco_boxes(column_of(examples, "boxes"))
    areas = column_of(examples, "area")
    areas = shortest(areas.astype(np.float64), lambda rounded: _float32(rounded) == areas)
    ids = column_of(examples, "annotation_ids")
    ids = ids if len(np.unique(ids)) == len(ids) else np.arange(1, len(ids) + 1)
    annotations: list[dict[str, Any]] = []
    for number, example in zip(image_numbers, examples):
        for label, crowd, difficult in zip(example.labels, example.crowd, example.difficult):
            i = len(annotations)
            entry: dict[str, Any] = {
                "id": int(ids[i]),
                "image_id": number,
                "category_id": dataset.categories[label].id,
                "bbox": boxes[i].tolist(),
                "area": float(areas[i]),
                "iscrowd": int(crowd),
                "segmentation": [],
            }
            annotations.append({**entry, "difficult": 1} if difficult else entry)
    return annotations


def _image_numbers(dataset: Dataset) -> list[int]:
    """Return the ids of the images if they are numbers, else 1, 2, ..."""
    ids = [example.image_id for example in dataset.examples]
    numbers = [number for number in ids if isinstance(number, int)]
    return numbers if len(numbers) == len(ids) else list(range(1, len(ids) + 1))


def _voc_tree(example: Example, name: str, corners: np.ndarray, names: list[str]) -> ElementTree.Element:
    tree = ElementTree.Element("annotation")
    _add(tree, "filename", name)
    size = ElementTree.SubElement(tree, "size")
    for tag, value in (("width", example.width), ("height", example.height), ("depth", 3)):
        _add(size, tag, value)
    _add(tree, "segmented", 0)
    for label, is_difficult, (ymin, xmin, ymax, xmax) in zip(
        example.labels, example.crowd | example.difficult, corners.tolist()
    ):
        item = ElementTree.SubElement(tree, "object")
        for tag, text in (("name", names[label]), ("pose", "Unspecified"), ("truncated", 0)):
            _add(item, tag, text)
        _add(item, "difficult", int(is_difficult))
        box = ElementTree.SubElement(item, "bndbox")
        for tag, value in (("xmin", xmin), ("ymin", ymin), ("xmax", xmax), ("ymax", ymax)):
            _add(box, tag, value)
    return tree


def _add(parent: ElementTree.Element, tag: str, value: object) -> None:
    ElementTree.SubElement(parent, tag).text = str(value)


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _positional(value: float) -> str:
    return np.format_float_positional(value, trim="-")
