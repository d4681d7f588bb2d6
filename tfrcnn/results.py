"""The results of `tfrcnn.prediction` while they are made: a file with one line of JSON per image or frame.

FOLDER/detections.jsonl:
    {"categories": [{"id", "name"}, ...], "score_threshold": 0.5}
    {"id": 1, "file_name": "a.jpg", "name": "a", "width": 640, "height": 480, "drawn": "a.png", "detections": [...]}
    {"id": 2, "file_name": "b.jpg", "error": "b.jpg: expected ..., found ..."}
    {"id": 3, "file_name": "c.mp4", "name": "c", "frame": 0, "seconds": 0.0, "width": 640, ..., "detections": [...]}
    {"file_name": "c.mp4", "frames": 1}

`detections` are COCO results. `drawn` is absent without annotated images. If an image has several lines, its last one
counts. A line with `frames` ends a video. `tfrcnn.result_formats` writes other formats next to this file.
"""

from __future__ import annotations

import json
import math
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from tfrcnn.errors import InputError
from tfrcnn.files import atomic, check_empty, naming, parse_json, write_json
from tfrcnn.locks import check_unlocked, locked
from tfrcnn.result_formats import CLASSES, CSV, LABELS, ResultWriter, make_writers

LOG, DETECTIONS, IMAGES = "detections.jsonl", "detections.json", "images.json"
_MAX_NAME = 200  # bytes; file systems take 255, and temporary files need some of them
_MAX_COUNT = 2**31  # of ids, frames and pixels
_SETUP = ("categories", "score_threshold", "class_thresholds", "classes", "pictures", "detector")


class _Place(NamedTuple):
    """The line of an image: its id, its first byte, and whether it has detections."""

    id: int
    offset: int
    is_done: bool


def check_new_folder(out: Path, record: str = LOG) -> None:
    """Check that a folder is new or empty, and that no other process writes to it.

    Args:
        out: the folder.
        record: name of the file in it by which a run can be continued.

    Raises:
        InputError: the folder is not empty or in use.
    """
    check_unlocked(out)  # first: a folder that another process fills is not empty
    check_empty(out, record)


class Results:
    """The lines of a folder's results; open it with `with`, which locks the folder.

    Attributes:
        folder: where the results are.
    """

    def __init__(self, folder: Path, setup: dict[str, Any], formats: Sequence[str] = ("coco",)) -> None:
        """
        Args:
            folder: new, or with the results of an interrupted run.
            setup: the first line; an interrupted run must have the same.
            formats: of `tfrcnn.result_formats.FORMATS`.
        """
        self.folder = folder
        self._setup, self._formats = setup, formats
        self._writers: list[ResultWriter] = []
        self._images: dict[str, _Place] = {}  # by file name
        self._frames: dict[str, array[int]] = {}  # first bytes of a video's lines, by file name and frame
        self._ended: set[str] = set()  # file names of videos
        self._names: dict[str, str] = {}  # of videos
        self._ids: dict[str, int] = {}  # of images whose line is not written yet
        self._next_id = 1
        names = (DETECTIONS, IMAGES, CSV, LABELS, CLASSES)  # no output file may be named like these
        self._taken = {Path(name).stem for name in names}

    def __enter__(self) -> Results:
        """
        Raises:
            InputError: another process writes to the folder, the run had another setup, or its lines cannot be read.
        """
        with ExitStack() as stack:
            self._lock = stack.enter_context(locked(self.folder))
            self._file = stack.enter_context(open(self.folder / LOG, "ab", buffering=0))
            stack.callback(self._close_writers)
            self._read()
            for writer in make_writers(self.folder, self._setup["categories"], self._formats):
                self._writers.append(writer)  # one by one, to be closed if the next cannot start
            for line in self._lines(self._offsets(list({**self._images, **self._frames}))) if self._writers else ():
                for writer in self._writers:
                    writer.add(line)
            self._opened = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error else nullcontext():  # of a disk that is full: the first error says more
            self._opened.close()

    def is_done(self, file_name: str) -> bool:
        """Return whether an image has detections, or a video has its last frame. One with an error has none."""
        return file_name in self._ended or (file_name in self._images and self._images[file_name].is_done)

    def frames(self, video: str) -> int:
        """Return the number of frames of a video that have detections."""
        return len(self._frames.get(video, ()))

    def read_frame(self, video: str, frame: int) -> dict[str, Any]:
        """Return the line of a frame."""
        return next(self._lines([self._frames[video][frame]]))

    def id_of(self, file_name: str) -> int:
        """Return the id of an image: the one it has, or the next."""
        if file_name in self._images:
            return self._images[file_name].id
        if file_name not in self._ids:
            self._ids[file_name] = self.new_id()
        return self._ids[file_name]

    def free_name(self, stem: str, video: str = "") -> str:
        """Return a name for an output file: the stem, or with -2, -3, ... if it is taken in any case; take it.

        A video that is continued keeps its name.
        """
        if video in self._names:
            return self._names[video]
        stem = stem.replace("/", "_").replace(os.sep, "_")  # %2F of a web address
        stem = os.fsencode(stem.replace("\0", "_"))[:_MAX_NAME].decode("utf-8", "ignore") or "image"
        name, number = stem, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.lower())
        return name

    def add(self, file_name: str, line: dict[str, Any]) -> None:
        """Write the line of an image. It is complete on the disk, or the next run drops it."""
        self._add({"id": self.id_of(file_name), "file_name": file_name, **line})
        self._ids.pop(file_name, None)

    def add_frame(self, video: str, image_id: int, line: dict[str, Any]) -> None:
        """Write the line of a frame, the next one of its video."""
        self._add({"id": image_id, "file_name": video, **line})

    def end_video(self, video: str) -> None:
        """Write the line that ends a video."""
        self._add({"file_name": video, "frames": self.frames(video)})

    def new_id(self) -> int:
        """Return the id of a new frame."""
        self._next_id += 1
        return self._next_id - 1

    def finish(self, file_names: Sequence[str]) -> None:
        """Write COCO results, if they are a chosen format, of images and videos in the order of their ids."""
        if "coco" not in self._formats:
            return
        entries = []
        with atomic(self.folder / DETECTIONS) as temporary, open(temporary, "w", encoding="utf-8") as file:
            separator = ""
            file.write("[")
            for line in self._lines(self._offsets(file_names)):
                keys = ("id", "file_name", "width", "height", "frame", "seconds")
                entries.append({key: line[key] for key in keys if key in line})
                for detection in line["detections"]:
                    file.write(separator + json.dumps(detection))
                    separator = ", "
            file.write("]")
        write_json(self.folder / IMAGES, {"images": entries, "categories": self._setup["categories"]})

    def check_folder(self) -> None:
        """Check that the folder is still there and locked: lines that are written to a removed file are lost.

        Raises:
            InputError: the folder was removed, or another process writes to it.
        """
        self._lock.check()

    def _add(self, line: dict[str, Any]) -> None:
        if "detections" in line:
            for writer in self._writers:
                writer.add(line)
        start = self._file.seek(0, os.SEEK_END)
        self._write(line)
        self._keep(line, start)
        self.check_folder()

    def _offsets(self, file_names: Sequence[str]) -> list[int]:
        """Return the first bytes of lines with detections: images in the order of their ids, then frames."""
        names = dict.fromkeys(file_names)
        places = sorted(self._images[name] for name in names if name in self._images)
        offsets = [place.offset for place in places if place.is_done]
        return offsets + [offset for name in names for offset in self._frames.get(name, ())]

    def _lines(self, offsets: Sequence[int]) -> Iterator[dict[str, Any]]:
        with open(self.folder / LOG, "rb") as log:
            for offset in offsets:
                log.seek(offset)
                yield json.loads(log.readline())

    def _read(self) -> None:
        """Read the lines of an interrupted run; drop the last one if it is incomplete."""
        end, category_ids = 0, {category["id"] for category in self._setup["categories"]}
        with open(self.folder / LOG, "rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    break
                try:
                    line = parse_json(raw)
                    if end:
                        _check_line(line, category_ids)
                        self._keep(line, end)
                    else:
                        self._check(line)
                except InputError:  # a ValueError too
                    raise
                except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
                    place = f"{self.folder / LOG}, line {number}"
                    raise InputError(
                        f"{place}: expected a result, found something else: delete this line and those after it"
                    ) from error
                end += len(raw)
        self._file.truncate(end)
        if not end:
            self._write(self._setup)

    def _check(self, setup: dict[str, Any]) -> None:
        for key in _SETUP:
            expected, actual = self._setup.get(key), setup.get(key)
            if actual != expected:
                raise InputError(
                    f"{self.folder / LOG}: expected {key.replace('_', ' ')} {expected!r:.300}, found {actual!r:.300}: "
                    "continue with the same detector and options, or choose a new folder"
                )

    def _keep(self, line: dict[str, Any], offset: int) -> None:
        file_name = line["file_name"]
        if self.frames(file_name) != line.get("frames", line.get("frame", self.frames(file_name))):
            raise ValueError("a frame is missing before this line")
        if "frames" in line:
            self._ended.add(file_name)
            return
        name = line.get("name") or Path(line.get("drawn", "")).stem  # older lines have no "name"
        if name:
            self._taken.add(name.lower())
        self._next_id = max(self._next_id, line["id"] + 1)
        if "frame" in line:
            self._names[file_name] = name
            self._frames.setdefault(file_name, array("q")).append(offset)
        else:
            self._images[file_name] = _Place(line["id"], offset, "detections" in line)

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"  # ASCII: file names that are not UTF-8 stay as they are
        with naming(self.folder / LOG):
            while data:
                data = data[self._file.write(data) :]

    def _close_writers(self) -> None:
        for writer in self._writers:
            writer.close()


def _check_line(line: dict[str, Any], category_ids: set[int]) -> None:
    """Check the fields that are read again: ids, and what formats and drawing take from an image with detections.

    Raises:
        KeyError: a field is missing.
        TypeError: a field has another type.
        ValueError: a field has another value.
        OverflowError: a number is too large.
    """
    os.fsencode(line["file_name"])
    if "frames" in line:
        return
    counts, name, rows = [line["id"], line.get("frame", 0)], "a", []
    if "detections" in line or "frame" in line:
        counts += [line["width"] - 1, line["height"] - 1]
        name, rows = line.get("name") or line["drawn"], line["detections"]
    numbers = [line.get("seconds", 0), *(number for row in rows for number in (*row["bbox"], row["score"]))]
    if not (
        Path(name).name == name  # it is the name of a file in the folder
        and "\0" not in name
        and len(os.fsencode(name)) < 255
        and all(isinstance(count, int) and 0 <= count <= _MAX_COUNT for count in counts)
        and all(math.isfinite(number) for number in numbers)
        and all(len(row["bbox"]) == 4 and row["image_id"] == line["id"] for row in rows)
        and all(row["category_id"] in category_ids for row in rows)
    ):
        raise ValueError("expected the result of an image")
