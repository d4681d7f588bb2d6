"""Writes the results of a prediction in further formats, image by image.

    csv   FOLDER/detections.csv    one row per detection, with the columns of the TF Object Detection tutorial and more
    yolo  FOLDER/labels/NAME.txt   one line per detection: class x y width height score, the box's center and size as
                                   parts of the image; FOLDER/labels/NAME/000012.txt for frame 12 of a video
          FOLDER/classes.txt       names; line N is class N, from 0

`tfrcnn.results` writes JSON lines and COCO.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from tfrcnn.files import naming

FORMATS = ("coco", "jsonl", "csv", "yolo")
CSV, LABELS, CLASSES = "detections.csv", "labels", "classes.txt"
COLUMNS = (
    *("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"),
    *("score", "category_id", "frame", "seconds"),
)


class ResultWriter(Protocol):
    """Writes one format."""

    def add(self, line: dict[str, Any]) -> None:
        """Write the detections of one image or frame, see `tfrcnn.results`."""

    def close(self) -> None:
        """Close the files."""


def make_writers(folder: Path, categories: Sequence[dict[str, Any]], formats: Sequence[str]) -> Iterator[ResultWriter]:
    """Yield the writers of formats, each with its files started, without results.

    Args:
        folder: existing folder.
        categories: [{"id", "name"}, ...] by label.
        formats: of `FORMATS`. "coco" and "jsonl" have no writer here.
    """
    makers: dict[str, type[CsvWriter | YoloWriter]] = {"csv": CsvWriter, "yolo": YoloWriter}
    return (makers[name](folder, categories) for name in dict.fromkeys(formats) if name in makers)


class CsvWriter:
    """Writes one row per detection to FOLDER/detections.csv."""

    def __init__(self, folder: Path, categories: Sequence[dict[str, Any]]) -> None:
        self._names = {category["id"]: category["name"] for category in categories}
        self._path = folder / CSV
        with naming(self._path):
            self._path.write_text(",".join(COLUMNS) + "\r\n", encoding="utf-8", newline="")
        # names of files that are not UTF-8 keep their bytes
        self._file = open(  # noqa: SIM115 `close` closes it
            self._path, "a", newline="", encoding="utf-8", errors="surrogateescape", buffering=1
        )
        self._rows = csv.writer(self._file)

    def add(self, line: dict[str, Any]) -> None:
        """Write the rows of an image."""
        image = [line["file_name"], line["width"], line["height"]]
        for detection in line["detections"]:
            x, y, width, height = detection["bbox"]
            box = [round(value, 3) for value in (x, y, x + width, y + height)]
            category = detection["category_id"]
            score = round(detection["score"], 6)
            frame = [line.get("frame", ""), line.get("seconds", "")]
            with naming(self._path):
                self._rows.writerow([*image, self._names[category], *box, score, category, *frame])

    def close(self) -> None:
        """Close the file."""
        with naming(self._path):
            self._file.close()


class YoloWriter:
    """Writes FOLDER/labels/NAME.txt per image; a file without lines is an image without detections."""

    def __init__(self, folder: Path, categories: Sequence[dict[str, Any]]) -> None:
        self._labels = {category["id"]: label for label, category in enumerate(categories)}
        self._folder = folder / LABELS
        self._folder.mkdir(exist_ok=True)
        names = [" ".join(str(category["name"]).split()) for category in categories]
        with naming(folder / CLASSES):
            (folder / CLASSES).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")

    def add(self, line: dict[str, Any]) -> None:
        """Write the file of an image."""
        rows = []
        for detection in line["detections"]:
            x, y, width, height = detection["bbox"]
            center = (x + width / 2) / line["width"], (y + height / 2) / line["height"]
            size = width / line["width"], height / line["height"]
            numbers = " ".join(f"{value:.6f}" for value in (*center, *size, detection["score"]))
            rows.append(f"{self._labels[detection['category_id']]} {numbers}\n")
        name = line.get("name") or Path(line["drawn"]).stem  # older lines have no "name"
        path = self._folder / f"{name}.txt"
        if "frame" in line:  # in a folder of the video: a picture may be called like its name and a number
            path = self._folder / name / f"{line['frame']:06d}.txt"
            path.parent.mkdir(exist_ok=True)
        with naming(path):
            path.write_text("".join(rows), encoding="ascii")

    def close(self) -> None:
        """Do nothing: no file is open."""
