"""Mutate files that a command writes and a later command reads back, and count what the readers do.

    python benchmarks/robustness/run_files.py --count 10000 [--seed 0]

The files are the results of an interrupted `tfrcnn predict`, also with `--engine ray`, a file of COCO results,
`split.json`, `loggers.json`, `training_state.npz`, the lock of a run folder, the lists of what was copied from a bucket
and sent to one, the numbers of a report, and a region of interest. A reader accepts a
file, or refuses it by an `InputError` of one line that names the file. Anything else is an escape. `config.py` has
the other files of a run.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from config import fault, finish, mutate, text_of

from tfrcnn.batch.parts import PARTS, Parts
from tfrcnn.batch.parts import SETUP as PARTS_SETUP
from tfrcnn.buckets.runs import SENT, read_sent
from tfrcnn.config import Category
from tfrcnn.data.copies import INDEX, read_index
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.split import RecordedSplit, recorded_split
from tfrcnn.evaluation.read_results import read_coco_results
from tfrcnn.locks import LOCK, locked
from tfrcnn.report.evaluation import check_report
from tfrcnn.results import LOG, Results
from tfrcnn.training.loggers import open_logs
from tfrcnn.training.state import read_meta, restore_state
from tfrcnn.views.region import read_region

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]
SETUP: dict[str, Any] = {"categories": CATEGORIES, "score_threshold": 0.5, "detector": "0a"}
ROW = {"image_id": 1, "category_id": 7, "bbox": [1.0, 2.0, 30.0, 20.0], "score": 0.75}
SIZE = {"width": 64, "height": 48}
FRAME = {"id": 2, "file_name": "b.mp4", "name": "b", "frame": 0, "seconds": 0.0, **SIZE}
LINES: list[Any] = [
    SETUP,
    {"id": 1, "file_name": "a.jpg", "name": "a", **SIZE, "drawn": "a.png", "detections": [ROW]},
    {**FRAME, "detections": [{**ROW, "image_id": 2}]},
    {"file_name": "b.mp4", "frames": 1},
    {"id": 3, "file_name": "c.jpg", "error": "c.jpg: expected an image"},
]
STATE = "training_state.npz"
PART = f"{PARTS}/part-00000.parquet"
ROWS = {
    "file_name": ["a.jpg", "b.jpg"],
    "width": [64, 64],
    "height": [48, 48],
    "boxes": [[[1.0, 2.0, 30.0, 20.0]], []],
    "scores": [[0.75], []],
    "labels": [[1], []],
    "names": [["dog"], []],
    "error": ["", "b.jpg: expected an image"],
}


ONES = np.ones((3, 4), np.float32)


def data() -> Dataset:
    """Return two images with a box each."""
    boxes, labels, no, area = (
        np.array([[2, 1, 22, 31]], np.float32),
        np.ones(1, np.int32),
        np.zeros(1, bool),
        ONES[0, :1],
    )
    examples = [
        Example(number, Path(f"{number}.jpg"), 48, 64, boxes, labels, no, no, area, 1, np.array([number]))
        for number in (1, 2)
    ]
    return Dataset("data", tuple(Category(**category) for category in CATEGORIES), tuple(examples))


def stand_in() -> Any:
    """Return what `restore_state` reads of a model: one variable."""
    kernel = SimpleNamespace(shape=ONES.shape, path="a/kernel", assign=lambda values: values + ONES)
    detector = SimpleNamespace(backbone=None, rpn_backbone=None)
    optimizer = SimpleNamespace(built=True, variables=[])
    return SimpleNamespace(variables=[kernel], metrics=[], optimizer=optimizer, detector=detector)


class Files:
    """The readers and a valid content of each file.

    Attributes:
        contents: JSON values by file name; lists of lines for .jsonl, bytes for .npz and .parquet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, data()
        self.model = stand_in()
        with locked(folder):
            holder = json.loads((folder / LOCK).read_bytes())
        self.parts = Parts(folder, CATEGORIES)
        self.parts.start({"detector": "0a"}, [])
        self.parts.write(0, [{name: np.array(values, object) for name, values in ROWS.items()}])
        np.savez(folder / STATE, **{"meta.json": np.frombuffer(b'{"epoch": 3}', np.uint8), "model/00000/kernel": ONES})
        self.contents: dict[str, Any] = {
            LOG: LINES,
            "results.json": [ROW, {**ROW, "image_id": 2}],
            "split.json": RecordedSplit(1, 0.5, 0, (1,), (2,)).to_dict(),
            "loggers.json": {"identity": "ab12", "rows": {"csv": 2}, "loggers": ["csv"]},
            STATE: (folder / STATE).read_bytes(),
            LOCK: {**holder, "pid": 2**22 + 1},
            "page.json": {"predict_option": "", "headline": {}},
            "region.json": [[[0, 0], [10.5, 0], [10, 10]], [[1, 1], [2, 3], [4, 5]]],
            PART: self.parts.path(0).read_bytes(),
            PARTS_SETUP: json.loads((folder / PARTS_SETUP).read_bytes()),
            INDEX: [["s3/bucket/a.jpg", 5, "ab12"], ["s3/bucket/b.jpg", 6, None]],
            SENT: {"config.json": [5, 17, "ab12"], "history.csv": [6, 18, None]},
        }

    def damage(self, name: str, random_: random.Random) -> bytes:
        """Return a damaged content of a file."""
        content = self.contents[name]
        if isinstance(content, bytes):
            return damaged(content, random_)
        if name.endswith(".jsonl"):
            lines = list(content)
            place = random_.randrange(len(lines))
            lines[place] = mutate(lines[place], random_)
            text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            return damaged(text, random_) if random_.random() < 0.1 else text
        return text_of(mutate(content, random_), random_)

    def read(self, name: str, content: bytes) -> None:
        """Read a file as the commands do."""
        path = self.folder / name
        path.write_bytes(content)
        try:
            self.readers[name](path)
        finally:
            path.unlink(missing_ok=True)

    @property
    def readers(self) -> dict[str, Callable[[Path], Any]]:
        """The reader of each file."""
        return {
            LOG: self._continue,
            "results.json": lambda path: read_coco_results(path, self.data),
            "split.json": lambda path: recorded_split(path.parent, self.data, 0.5),
            "loggers.json": self._log,
            STATE: self._restore,
            LOCK: self._lock,
            "page.json": lambda path: check_report(path.with_suffix(".html")),
            "region.json": read_region,
            PART: self._collect,
            PARTS_SETUP: lambda path: self.parts.start({"detector": "0a"}, []),
            INDEX: read_index,
            SENT: read_sent,
        }

    def _continue(self, path: Path) -> None:
        with Results(path.parent, SETUP, ("coco", "jsonl", "csv", "yolo")) as results:
            results.add("d.jpg", {"name": results.free_name("d"), **SIZE, "detections": []})
            results.finish(["a.jpg", "b.mp4", "c.jpg", "d.jpg"])

    def _collect(self, path: Path) -> None:
        self.parts.count(1)
        self.parts.write_coco(1)

    def _log(self, path: Path) -> None:
        with open_logs(path.parent, None, {}) as logs:
            logs.follow([{"step": 1, "loss": 2.0}])

    def _restore(self, path: Path) -> None:
        if read_meta(path) != {"epoch": 3}:
            raise ValueError("other values")
        restore_state(path, self.model)

    def _lock(self, path: Path) -> None:
        with mock.patch("tfrcnn.locks._PATIENCE", 0.0), locked(path.parent) as lock:
            lock.check()


def damaged(content: bytes, random_: random.Random) -> bytes:
    """Return bytes that are cut, or of which some are others."""
    if random_.random() < 0.2:
        return content[: random_.randrange(len(content))]
    data = bytearray(content)
    for _ in range(random_.randint(1, 8)):
        data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data)


def fuzz(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Read mutated files; return the number of files per result, and a line for each escape."""
    random_, counts, escapes = random.Random(seed), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        files = Files(Path(temporary))
        for number in range(count):
            name = list(files.contents)[number % len(files.contents)]
            content = files.damage(name, random_)
            result = fault(partial(files.read, name, content), name)
            escaped = result not in ("accepted", "refused")
            counts["escaped" if escaped else f"{name} {result}"] += 1
            if escaped:
                escapes.append(f"{name}: {result}: {content[:3000]!r}")
    return counts, escapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts, escapes = fuzz(options.count, options.seed)
    finish(counts, escapes, sum(counts.values()))


if __name__ == "__main__":
    main()
