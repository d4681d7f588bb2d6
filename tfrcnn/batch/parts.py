"""The results of blocks: one Parquet file per block, which exists whole or not at all.

    DIR/setup.json                          the detector, the options and the blocks
    DIR/detections/part-00000.parquet, ...  one row per picture, with the columns of `Detect`; one file per block

The schema of each file has the categories: {"tfrcnn": '{"categories": [{"id": 1, "name": "cell"}, ...]}'}.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.batch.blocks import Block
from tfrcnn.batch.detect import COLUMNS, arrow_schema
from tfrcnn.batch.parquet import named
from tfrcnn.errors import InputError
from tfrcnn.files import TEMPORARY, atomic, check_empty, read_object, to_json, write_json
from tfrcnn.overlap import to_xywh

SETUP, PARTS = "setup.json", "detections"
DETECTIONS, IMAGES = "detections.json", "images.json"
_ROWS = 256  # of a part that are in memory at a time
_DAMAGE = ("cannot be read", ": delete it and continue with --resume")


class Parts:
    """The folder of the results.

    Attributes:
        folder: where they are.
        categories: [{"id", "name"}, ...] of the detector by label.
    """

    def __init__(self, folder: Path, categories: Sequence[dict[str, Any]]) -> None:
        self.folder, self.categories = folder, list(categories)

    def start(self, setup: dict[str, Any], blocks: Sequence[Block]) -> None:
        """Begin, or continue with the same setup.

        Args:
            setup: JSON values: the detector and the options that decide the results.
            blocks: all of them.

        Raises:
            InputError: the folder holds something else, or the results of another setup.
        """
        digest = hashlib.sha256("\n".join(map(repr, blocks)).encode("utf-8", "backslashreplace")).hexdigest()
        setup = {"categories": self.categories, **setup, "blocks": len(blocks), "pictures": digest[:16]}
        path = self.folder / SETUP
        if not path.is_file():
            check_empty(self.folder, SETUP)
            write_json(path, setup)
            return
        previous = read_object(path)
        for key, value in setup.items():
            expected = json.loads(to_json(value))
            if previous.get(key) != expected:
                raise InputError(
                    f"{path}: {key}: expected {expected!r:.200}, found {previous.get(key)!r:.200}: continue with the "
                    "same pictures, detector and options, or choose a new folder"
                )

    def path(self, number: int) -> Path:
        """Return the file of a block."""
        return self.folder / PARTS / f"part-{number:05d}.parquet"

    def is_done(self, number: int) -> bool:
        """Return whether the results of a block are there."""
        return self.path(number).is_file()

    def begin(self, number: int) -> int:
        """Count the starts of a block, and return their number. They are forgotten when `write` ends, in any way."""
        path = self._starts(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab") as file:
            file.write(b".")
            return file.tell()

    def forget_starts(self, number: int) -> None:
        """Let a block start again as often as a new one."""
        self._starts(number).unlink(missing_ok=True)

    def _starts(self, number: int) -> Path:
        return self.path(number).with_name(f".part-{number:05d}.starts{TEMPORARY}")

    def write(self, number: int, batches: Iterable[dict[str, np.ndarray]]) -> None:
        """Write the results of a block, if all of them come."""
        import pyarrow
        import pyarrow.parquet

        schema = arrow_schema().with_metadata({"tfrcnn": to_json({"categories": self.categories})})
        content = io.BytesIO()  # thousands of rows take a megabyte
        try:
            with pyarrow.parquet.ParquetWriter(content, schema) as writer:
                for batch in batches:
                    writer.write_table(pyarrow.table({name: list(batch[name]) for name in COLUMNS}, schema))
            with atomic(self.path(number)) as temporary:
                temporary.write_bytes(content.getvalue())
        finally:
            self.forget_starts(number)

    def count(self, count: int) -> tuple[int, int, list[str]]:
        """Return the numbers of pictures and detections of the first `count` blocks, and the errors of pictures."""
        import pyarrow.compute
        import pyarrow.parquet

        pictures = detections = 0
        errors: list[str] = []
        for path in filter(Path.is_file, map(self.path, range(count))):
            with named(path, *_DAMAGE):
                table = pyarrow.parquet.read_table(path, columns=["scores", "error"])
                pictures += len(table)
                detections += len(pyarrow.compute.list_flatten(table["scores"]))
                errors += [error for error in table["error"].to_pylist() if error]
        return pictures, detections, errors

    def write_coco(self, count: int) -> None:
        """Write COCO's results of all blocks, and which picture an image_id is.

        Args:
            count: number of blocks. Pictures have the ids 1, 2, ... in their order.
        """
        ids = [category["id"] for category in self.categories]
        with (
            atomic(self.folder / DETECTIONS) as temporary,
            atomic(self.folder / IMAGES) as temporary_images,
            open(temporary, "w", encoding="utf-8") as detections,
            open(temporary_images, "w", encoding="utf-8") as images,
        ):
            detections.write("[")
            images.write('{"images": [')
            commas, image_commas = (itertools.chain([""], itertools.repeat(",\n")) for _ in range(2))
            for image_id, row in enumerate(self.rows(count), 1):
                if row["error"]:
                    continue
                image = {"id": image_id, **{key: row[key] for key in ("file_name", "width", "height")}}
                images.write(next(image_commas) + to_json(image))
                boxes = to_xywh(np.array(row["boxes"], np.float32).reshape(-1, 4))
                for box, label, score in zip(boxes, row["labels"], row["scores"]):
                    result = {"image_id": image_id, "category_id": ids[label], "bbox": box, "score": score}
                    detections.write(next(commas) + json.dumps(result))
            detections.write("]\n")
            images.write(f'],\n"categories": {to_json(self.categories)}}}\n')

    def rows(self, count: int) -> Iterator[dict[str, Any]]:
        """Yield the rows of the first `count` blocks.

        Raises:
            InputError: a file is damaged.
        """
        import pyarrow.parquet

        for path in map(self.path, range(count)):
            with named(path, *_DAMAGE), pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_ROWS):
                    for row in batch.to_pylist():
                        _check_row(row, len(self.categories))
                        yield row


def _check_row(row: dict[str, Any], classes: int) -> None:
    """Check that a row has all columns, and that its boxes, scores and labels belong together.

    Raises:
        KeyError: a column is missing.
        TypeError: a list is missing.
        ValueError: the lists do not belong together.
    """
    boxes, labels, *_ = (row[name] for name in ("boxes", "labels", *COLUMNS))
    if (
        not len(boxes) == len(labels) == len(row["scores"])
        or any(len(box) != 4 for box in boxes)
        or not all(0 <= label < classes for label in labels)
    ):
        raise ValueError("expected a box, a score and a class for each detection")
