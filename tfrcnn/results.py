"""The results of `tfrcnn.prediction` while they are made: a file with one line of JSON per image.

FOLDER/detections.jsonl:
    {"categories": [{"id", "name"}, ...], "score_threshold": 0.5}
    {"id": 1, "file_name": "a.jpg", "width": 640, "height": 480, "drawn": "a.png", "detections": [...]}
    {"id": 2, "file_name": "b.jpg", "error": "b.jpg: expected ..., found ..."}

`detections` are COCO results. If an image has several lines, its last one counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tfrcnn.errors import InputError
from tfrcnn.files import atomic, write_json

LOG, DETECTIONS, IMAGES = "detections.jsonl", "detections.json", "images.json"
_MAX_NAME = 200  # bytes; file systems take 255, and temporary files need some of them


class Results:
    """The lines of a folder's results; open it with `with`.

    Attributes:
        folder: where the results are.
    """

    def __init__(self, folder: Path, setup: dict[str, Any]) -> None:
        """
        Args:
            folder: new, or with the results of an interrupted run.
            setup: the first line; an interrupted run must have the same.
        """
        self.folder = folder
        self._setup = setup
        self._lines: dict[str, dict[str, Any]] = {}  # by file name, without the detections
        self._offsets: dict[str, int] = {}
        self._taken = {Path(name).stem for name in (DETECTIONS, IMAGES)}  # no image may be named like these

    def __enter__(self) -> Results:
        """
        Raises:
            InputError: the run had another setup, or its lines cannot be read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / LOG
        self._file = open(path, "ab", buffering=0)  # `__exit__` closes it
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def is_done(self, path: Path) -> bool:
        """Return whether an image has detections; one that could not be read has none."""
        return "drawn" in self._lines.get(str(path), {})

    def id_of(self, path: Path) -> int:
        """Return the id of an image: the one it has, or the next."""
        line = self._lines.get(str(path))
        return len(self._lines) + 1 if line is None else int(line["id"])

    def free_name(self, path: Path) -> str:
        """Return a name for a drawn image: the file's, or with -2, -3, ... if it is taken in any case; take it."""
        stem = os.fsencode(path.stem)[:_MAX_NAME].decode("utf-8", "ignore") or "image"
        name, number = stem, 1
        while name.lower() in self._taken:
            number += 1
            name = f"{stem}-{number}"
        self._taken.add(name.lower())
        return name

    def add(self, path: Path, line: dict[str, Any]) -> None:
        """Write the line of an image. It is complete on the disk, or the next run drops it."""
        line = {"id": self.id_of(path), "file_name": str(path), **line}
        start = self._file.seek(0, os.SEEK_END)
        self._write(line)
        self._keep(line, start)

    def finish(self, images: Sequence[Path]) -> None:
        """Write the files of results, with the images of this run in the order of their ids."""
        names = dict.fromkeys(str(path) for path in images if self.is_done(path))
        lines = sorted((self._lines[name] for name in names), key=lambda line: int(line["id"]))
        with (
            open(self.folder / LOG, "rb") as log,
            atomic(self.folder / DETECTIONS) as temporary,
            open(temporary, "w", encoding="utf-8") as file,
        ):
            separator = ""
            file.write("[")
            for line in lines:
                log.seek(self._offsets[line["file_name"]])
                for detection in json.loads(log.readline())["detections"]:
                    file.write(separator + json.dumps(detection))
                    separator = ", "
            file.write("]")
        entries = [{key: line[key] for key in ("id", "file_name", "width", "height")} for line in lines]
        write_json(self.folder / IMAGES, {"images": entries, "categories": self._setup["categories"]})

    def _read(self) -> None:
        """Read the lines of an interrupted run; drop the last one if it is incomplete."""
        end = 0
        with open(self.folder / LOG, "rb") as file:
            for number, raw in enumerate(file, 1):
                if not raw.endswith(b"\n"):
                    break
                try:
                    line = json.loads(raw)
                    self._keep(line, end) if end else self._check(line)
                except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
                    place = f"{self.folder / LOG}, line {number}"
                    raise InputError(f"{place}: expected a result, found something else: delete the line") from error
                end += len(raw)
        self._file.truncate(end)
        if not end:
            self._write(self._setup)

    def _check(self, setup: dict[str, Any]) -> None:
        for key, value in self._setup.items():
            if setup.get(key) != value:
                raise InputError(
                    f"{self.folder / LOG}: expected {key.replace('_', ' ')} {value}, found {setup.get(key)}: "
                    "continue with the same detector and options, or choose a new folder"
                )

    def _keep(self, line: dict[str, Any], offset: int) -> None:
        name = line["file_name"]
        self._offsets[name] = offset
        self._lines[name] = {key: value for key, value in line.items() if key != "detections"}
        if "drawn" in line:
            self._taken.add(Path(line["drawn"]).stem.lower())

    def _write(self, line: dict[str, Any]) -> None:
        data = json.dumps(line).encode() + b"\n"  # ASCII: file names that are not UTF-8 stay as they are
        while data:
            data = data[self._file.write(data) :]
