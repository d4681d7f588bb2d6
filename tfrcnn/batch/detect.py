"""A detector as a function of a batch of rows. Imports neither TensorFlow nor an engine."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.data.inputs import check_batch
from tfrcnn.data.media import make_source
from tfrcnn.errors import InputError
from tfrcnn.export.artefact import check_threads
from tfrcnn.export.runtimes import format_of, load
from tfrcnn.files import check_path
from tfrcnn.predicting.ahead import run_ahead
from tfrcnn.predicting.detect import Detecting, Input
from tfrcnn.predicting.selection import Selection

# The columns that readers of engines make: Ray's, Spark's, TFRecord's
CONTENTS = ("bytes", "content", "image", "image/encoded", "path", "file_name", "item")
NAMES = ("path", "file_name", "image/filename")
COLUMNS = ("file_name", "width", "height", "boxes", "scores", "labels", "names", "error")
SPARK_SCHEMA = (
    "file_name string, width int, height int, boxes array<array<float>>, scores array<float>, labels array<int>, "
    "names array<string>, error string"
)
_MISSING = ("NAType", "NaTType")  # classes of pandas.NA and pandas.NaT
_READERS = 2  # threads that read ahead of the detector
_NUMBERS = {"width": np.int32, "height": np.int32}  # types of columns; the others hold objects


@dataclass(frozen=True)
class _Options:
    """How a detector is loaded; the key under which a process keeps it.

    Attributes:
        path: of the detector, absolute.
        threads: of an exported file's runtime.
        scores: thresholds, one or (class, threshold) pairs; None keeps the detector's own.
        classes: names or labels to keep; None keeps all.
    """

    path: str
    threads: int | None
    scores: float | tuple[tuple[Any, float], ...] | None
    classes: Any


class Detect:
    """Detects in the pictures of a batch of rows, and returns one row per picture.

    Pass the class or an object to `ray.data.Dataset.map_batches`. An object is pickled as its arguments, and each
    process loads the detector once, with the first batch. The model must be readable where the workers run.

    ```
    file_name  path, address or name of the picture; "" if the batch has none
    width      of the upright picture in pixels; 0 if it cannot be read
    height
    boxes      [[y1, x1, y2, x2], ...] in pixels of the upright picture, best first
    scores     in [0, 1]
    labels     0..C-1
    names      of the classes
    error      why the picture has no detections; "" if it was detected in
    ```

    A batch is a dict of arrays, a pandas DataFrame or a pyarrow Table, and so is the result. A Table's columns have the
    same types also if no picture has detections, which Parquet files need.

    Example:
        detect = tfrcnn.batch.Detect("cells.onnx", score_threshold=0.5)
        rows = detect({"path": np.array(["a.jpg", "b.jpg"])})
        print(rows["boxes"][0], rows["error"])
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        score_threshold: float | Mapping[Any, float] | None = None,
        classes: Any = None,
        threads: int | None = None,
        batch: int = 1,
        column: str | None = None,
        name_column: str | None = None,
    ) -> None:
        """
        Args:
            model: an exported file, which needs no TensorFlow, or a run folder.
            score_threshold: keeps the scores above it; {name or label: threshold} for single classes. None keeps what
                the detector returns.
            classes: names or labels to keep, one or several; None keeps all.
            threads: of an exported file's runtime, at least 1; None is its default. 1 is best with a worker per core.
            batch: pictures of one size that an exported file detects in together.
            column: of the pictures: paths, web addresses, contents of files, or pixels [H, W, 3]. None takes the first
                of bytes, content, image, image/encoded, path, file_name and item.
            name_column: of `file_name`; None takes the first of path, file_name and image/filename.

        Raises:
            InputError: there is no detector at `model`, or an option is out of range.
        """
        check_threads(threads)
        format_of(check_path(model, "model"))
        self._batch = check_batch(batch)
        self._columns = column, name_column
        scores = (tuple(score_threshold.items()) or None) if isinstance(score_threshold, Mapping) else score_threshold
        several = isinstance(classes, Sequence | set | frozenset) and not isinstance(classes, str)
        self._options = _Options(os.path.abspath(model), threads, scores, tuple(classes) if several else classes)

    def __call__(self, batch: Any) -> Any:
        """Detect in a batch.

        Args:
            batch: a dict of arrays or lists, a DataFrame, or a Table.

        Returns:
            One row per picture, in the same order: a DataFrame, a Table, or a dict of arrays.

        Raises:
            InputError: there is no column of pictures, or the detector cannot be loaded.
        """
        is_table = hasattr(batch, "column_names")
        column, name_column = choose_columns(batch.column_names if is_table else list(batch), *self._columns)
        values = batch[column].to_pylist() if is_table else list(batch[column])
        names = list(map(_text, batch[name_column])) if name_column else [""] * len(values)
        rows = list(self._rows(names, values))
        if is_table:
            return type(batch).from_pylist(rows, arrow_schema())
        columns = {name: _array([row[name] for row in rows], _NUMBERS.get(name, object)) for name in COLUMNS}
        return columns if isinstance(batch, Mapping) else type(batch)(columns)

    def load(self) -> Detecting:
        """Load the detector, unless this process has it.

        Raises:
            InputError: it cannot be loaded, or has no class of the options.
        """
        path = Path(self._options.path)
        # a file that is replaced is loaded again
        return _load(self._options, path.stat().st_mtime_ns if path.exists() else 0)

    def _rows(self, names: Sequence[str], values: Sequence[Any]) -> Iterator[dict[str, Any]]:
        detecting = self.load()
        depth = 2 * max(_READERS, self._batch)
        tasks = (partial(_read, *row) for row in zip(itertools.count(1), names, values))
        with ThreadPoolExecutor(_READERS) as readers, closing(run_ahead(readers, tasks, depth)) as reads:
            while group := [read.result() for read in itertools.islice(reads, self._batch)]:
                images = [Input(content, 0, name) for name, content in group if not isinstance(content, InputError)]
                detected = detecting.detect_batch(images)
                for name, content in group:
                    outcome = content if isinstance(content, InputError) else next(detected)
                    size = (0, 0) if isinstance(content, InputError) else content.shape[:2]
                    if isinstance(outcome, InputError):
                        yield _row(name, size, error=str(outcome))
                        continue
                    result = outcome.detections
                    boxes, scores, labels = (a.tolist() for a in (result.boxes, result.scores, result.labels))
                    yield _row(name, size, boxes, scores, labels, result.names)


def _text(name: Any) -> str:
    """Return a name as text; "" if there is none, as None, NaN or a null of Arrow say."""
    name = name.as_py() if hasattr(name, "as_py") else name
    if isinstance(name, bytes):
        return name.decode("utf-8", "backslashreplace")
    return "" if _is_missing(name) else str(name)


def _is_missing(value: Any) -> bool:
    """Return whether a value stands for none: None, NaN, or pandas' own, which is neither true nor false."""
    return value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and value != value)


def choose_columns(columns: Sequence[str], column: str | None, name_column: str | None) -> tuple[str, str | None]:
    """Choose the columns of pictures and of their names, see `Detect`.

    Args:
        columns: names of all columns.
        column: of the pictures; None takes the first of `CONTENTS`.
        name_column: of their names; None takes the first of `NAMES`.

    Returns:
        The two names. The second is None if the batch has no names.

    Raises:
        InputError: there is no such column.
    """
    for name in (column, name_column):
        if name is not None and name not in columns:
            raise InputError(f"column: expected one of {', '.join(columns)}, found {name!r}")
    chosen = column or next((name for name in CONTENTS if name in columns), None)
    if chosen is None:
        raise InputError(
            f"expected a column of pictures ({', '.join(CONTENTS)}), found {', '.join(columns)}: name it as column"
        )
    return chosen, name_column or next((name for name in NAMES if name in columns and name != chosen), None)


def arrow_schema() -> Any:
    """Return the types of the columns as a `pyarrow.Schema`."""
    import pyarrow as pa

    floats = pa.list_(pa.float32())
    types = (pa.string(), pa.int32(), pa.int32(), pa.list_(floats), floats, pa.list_(pa.int32()))
    return pa.schema(dict(zip(COLUMNS, (*types, pa.list_(pa.string()), pa.string()))))


@lru_cache(maxsize=1)
def _load(options: _Options, changed: int) -> Detecting:
    common, of_classes = 0.0, {}
    if isinstance(options.scores, tuple):
        of_classes = dict(options.scores)
    elif options.scores is not None:
        common = options.scores
    predictor = load(options.path, options.threads, None if options.scores is None else of_classes or common)
    return Detecting(predictor, Selection(common, of_classes, options.classes))


def _read(number: int, name: str, value: Any) -> tuple[str, np.ndarray | InputError]:
    """Return the name of a picture, and its pixels or the reason why there are none."""
    try:
        if isinstance(value, InputError):
            raise value
        if isinstance(value, Mapping):  # as Hugging Face's data sets have it
            name = name or value.get("path") or ""
            value = value.get("path") if value.get("bytes") is None else value["bytes"]
        if _is_missing(value):
            raise InputError(f"{name or f'image-{number}'}: expected a picture, found none")
        source = make_source(value, number)
        name = name or (source.name if isinstance(value, str | os.PathLike) else "")
        source = dataclasses.replace(source, name=name or source.name)
        if source.is_video:
            raise InputError(f"{source.name}: expected a picture, found a video or a camera")
        return _utf8(name), source.read()
    except InputError as error:
        return _utf8(name), error
    except Exception as error:  # for example if memory is too small
        return _utf8(name), InputError(f"{name}: cannot be read: {type(error).__name__}: {error}")


def _row(
    name: str,
    size: tuple[int, int] = (0, 0),
    boxes: Sequence[Any] = (),
    scores: Sequence[float] = (),
    labels: Sequence[int] = (),
    names: Sequence[str] = (),
    error: str = "",
) -> dict[str, Any]:
    return dict(zip(COLUMNS, (name, size[1], size[0], boxes, scores, labels, names, _utf8(error))))


def _utf8(text: str) -> str:
    """Write lone surrogates, which names of files may have, as escapes: tables are UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _array(values: Sequence[Any], dtype: Any) -> np.ndarray:
    """Make a column. NumPy would take lists of one length for a matrix."""
    array = np.empty(len(values), dtype)
    for position, value in enumerate(values):
        array[position] = value
    return array
