"""Detects objects in images and videos, and writes annotated copies and the results to a folder.

OUT/NAME.png          each image with its detections; NAME.mp4 for a video
OUT/detections.jsonl  one line per image or frame, written as soon as it is done; see `tfrcnn.results`
OUT/detections.json   COCO results: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...]
OUT/images.json       images and categories: {"images": [{"id", "file_name", "width", "height"}], "categories": [...]}

The last two are written at the end. `tfrcnn.result_formats` has further formats. A run that a full disk, a kill or
Ctrl-C ends keeps its lines and continues there.

Threads read images before the detector needs them, and draw after it, a few at a time: the detector does not wait, and
memory does not grow with the number of images.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tfrcnn.data.inputs import check_batch
from tfrcnn.data.media import Source
from tfrcnn.data.search import ImageSearch as ImageSearch
from tfrcnn.data.search import find_images as find_images
from tfrcnn.data.search import search_images as search_images
from tfrcnn.drawing import save_png
from tfrcnn.drawing.images import readable_side
from tfrcnn.errors import InputError
from tfrcnn.files import check_path
from tfrcnn.predicting.ahead import run_ahead
from tfrcnn.predicting.detect import Detecting, Input, shown_name
from tfrcnn.predicting.detect import Failure as Failure
from tfrcnn.predicting.detect import Prediction as Prediction
from tfrcnn.predicting.selection import Selection
from tfrcnn.result_formats import FORMATS
from tfrcnn.results import LOG, Results, check_new_folder

if TYPE_CHECKING:
    from tfrcnn.inference import Predictor

READERS = WRITERS = min(4, os.cpu_count() or 1)  # threads
ALL = Selection()  # every detection of every class
DEPTH = 2 * READERS  # images that are read ahead, and images that wait to be drawn


class _Written(NamedTuple):
    """A result, and its line."""

    name: str
    line: dict[str, Any]
    result: Prediction | Failure


@dataclass(frozen=True, eq=False)
class Predictions:
    """The results of `predict_images`.

    Attributes:
        done: one result per image or frame that this call detected in.
        unreadable: one error per image that could not be read or detected in.
        resumed: number of images that an earlier call had done.
    """

    done: tuple[Prediction, ...]
    unreadable: tuple[InputError, ...]
    resumed: int = 0


def predict_images(
    predictor: Predictor,
    images: Sequence[Any],
    out: str | Path,
    score_threshold: float = 0.0,
    progress: bool = False,
    resume: bool = False,
    class_thresholds: Mapping[Any, float] | None = None,
    classes: Any = None,
    formats: Sequence[str] = ("coco",),
    pictures: bool = True,
    batch: int = 1,
) -> Predictions:
    """Detect objects in images and videos, and write annotated copies and COCO results to a folder.

    Images that cannot be read are skipped and reported. Images of the same name become NAME.png, NAME-2.png, ...

    Args:
        predictor: detector to run.
        images: files, folders, web addresses, arrays and more, see `search_images`. Image ids are 1, 2, ... in this
            order.
        out: a new or empty folder, so that no file is overwritten.
        score_threshold: detections of scores above it are drawn and written.
        progress: show a progress bar.
        resume: continue in `out`: images that are done keep their results, and those that could not be read are tried
            again. Use the same detector.
        class_thresholds: the thresholds of single classes, by name or label, in place of `score_threshold`.
        classes: names or labels to draw and write, one or several; None takes all.
        formats: of `tfrcnn.result_formats.FORMATS`.
        pictures: draw annotated copies.
        batch: images of one size, or frames of a video, that an exported file detects in together.

    Returns:
        The results per image, and the errors of unreadable images.

    Raises:
        InputError: the folder is not empty, another process writes to it, or it was written with other categories or
            options; an option is wrong; the disk is full. The results so far stay in `out`.

    Example:
        predictor = tfrcnn.Predictor(detector)
        predict_images(predictor, ["photos/", "https://example.com/street.jpg"], "out", score_threshold=0.5)
    """
    from tqdm import tqdm

    search = search_images(images)
    selection = Selection(score_threshold, class_thresholds or {}, classes)
    done: list[Prediction] = []
    unreadable = list(search.errors)
    stream = predict_stream(predictor, search.sources, out, selection, resume, formats, pictures, batch)
    active: set[Path | str] = set()
    total = None if any(source.is_video for source in search.sources) else len(search.sources)
    for result in tqdm(stream, "detecting", total, unit="image", disable=not progress, leave=False):
        active.add(result.source)
        if isinstance(result, Failure):
            unreadable.append(result.error)
        else:
            done.append(result)
    return Predictions(tuple(done), tuple(unreadable), len(search.sources) - len(active))


def predict_stream(
    predictor: Predictor,
    sources: Sequence[Source],
    out: str | Path,
    selection: Selection = ALL,
    resume: bool = False,
    formats: Sequence[str] = ("coco",),
    pictures: bool = True,
    batch: int = 1,
) -> Iterator[Prediction | Failure]:
    """Detect as `predict_images` does, and yield each result as soon as it is written.

    Args:
        predictor: detector to run.
        sources: see `search_images`.
        out: a new or empty folder.
        selection: the scores and classes that detections must have.
        resume: continue in `out`.
        formats: of `tfrcnn.result_formats.FORMATS`.
        pictures: draw annotated copies.
        batch: images of one size, or frames of a video, that an exported file detects in together.

    Yields:
        One result per image and frame that is not done yet, or the reason why there is none.

    Raises:
        InputError: see `predict_images`.

    Example:
        for result in predict_stream(predictor, search_images(["street.mp4"]).sources, "out"):
            print(result)
    """
    out = check_path(out, "out")
    if not (resume and (out / LOG).is_file()):
        check_new_folder(out)
    if isinstance(formats, str) or not isinstance(formats, Iterable):
        raise InputError(f"formats: expected a list of some of {', '.join(FORMATS)}, found {formats!r}")
    if unknown := set(formats) - set(FORMATS):
        raise InputError(f"formats: expected some of {', '.join(FORMATS)}, found {min(map(repr, unknown))}")
    check_batch(batch)
    detecting = Detecting(predictor, selection)
    setup = {
        "categories": [category.to_dict() for category in detecting.categories],
        **selection.to_dict(detecting.categories),
    }
    if digest := getattr(predictor, "digest", None):
        # another detector, or other tiles, would mix their results with the first ones
        setup["detector"] = digest
    with Results(out, setup if pictures else {**setup, "pictures": False}, formats) as results:
        names = [source.name for source in sources]
        remaining = [source for source in sources if not results.is_done(source.name)]
        try:
            for is_video, group in itertools.groupby(remaining, lambda source: source.is_video):
                if not is_video:
                    yield from _predict_files(detecting, list(group), results, pictures, batch)
                    continue
                from tfrcnn.predicting.video import predict_video

                for source in group:
                    yield from predict_video(detecting, source, results, pictures, batch)
            results.finish(names)
        except OSError as error:
            results.check_folder()
            kept = f"{sum(map(results.is_done, names)):,} of {len(names):,} images are done and kept in {out / LOG}"
            cause = f"cannot write {error.filename or out}: {error.strerror or error}"
            raise InputError(f"{cause}; {kept}; continue with --resume (Python: resume=True)") from error


def _predict_files(
    detecting: Detecting, sources: Sequence[Source], results: Results, pictures: bool, batch: int
) -> Iterator[Prediction | Failure]:
    """Detect in images, and add their lines to the results."""
    depth = max(DEPTH, 2 * batch)
    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
        reads = run_ahead(readers, (source.read for source in sources), depth)
        writes = run_ahead(writers, _writes(detecting, zip(sources, reads), results, pictures, batch), depth)
        with closing(reads), closing(writes):
            for write in writes:
                name, line, result = write.result()
                results.add(name, line)
                yield result


def _writes(
    detecting: Detecting,
    reads: Iterable[tuple[Source, Future[np.ndarray]]],
    results: Results,
    pictures: bool,
    batch: int,
) -> Iterator[Callable[[], _Written]]:
    """Detect in images, and yield the tasks that draw them."""
    reads = iter(reads)
    while group := list(itertools.islice(reads, batch)):
        images = [(source, results.id_of(source.name), _result(read, source)) for source, read in group]
        inputs = [Input(image, i, source.name) for source, i, image in images if not isinstance(image, InputError)]
        detected = detecting.detect_batch(inputs)
        for source, _, image in images:
            outcome = image if isinstance(image, InputError) else next(detected)
            if isinstance(outcome, InputError):
                failure = Failure(shown_name(source), outcome)
                yield partial(_Written, source.name, {"error": str(outcome)}, failure)
                continue
            assert isinstance(image, np.ndarray)  # it has detections
            name = results.free_name(source.stem)
            drawn = results.folder / f"{name}.png" if pictures else None
            prediction = Prediction(shown_name(source), drawn, outcome.detections, best=outcome.best)
            yield partial(_write, detecting, source, name, image, prediction)


def _result(read: Future[np.ndarray], source: Source) -> np.ndarray | InputError:
    """Return an image that a thread has read, or the reason why it cannot be read."""
    try:
        return read.result()
    except InputError as error:
        return error
    except Exception as error:  # for example if memory is too small
        return InputError(f"{source.name}: cannot be read: {type(error).__name__}: {error}")


def _write(detecting: Detecting, source: Source, name: str, image: np.ndarray, prediction: Prediction) -> _Written:
    """Draw an image, and describe it."""
    line: dict[str, Any] = {"name": name}
    if prediction.drawn is not None:
        save_png(detecting.draw(image, prediction.detections, readable_side(*image.shape[:2])), prediction.drawn)
        line["drawn"] = prediction.drawn.name
    return _Written(source.name, {**line, **detecting.line(image, prediction.detections)}, prediction)
