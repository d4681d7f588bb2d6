"""`tfrcnn predict` in this process: detect in pictures and videos, and print a line per picture."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrcnn.errors import InputError
from tfrcnn.printable import count_of

if TYPE_CHECKING:
    from tfrcnn.data.media import Source
    from tfrcnn.data.search import ImageSearch
    from tfrcnn.predicting.selection import Selection
    from tfrcnn.prediction import Failure, Prediction


@dataclass
class LocalJob:
    """A prediction in this process.

    Attributes:
        out: folder of the results.
        resume: whether `out` may have some of them.
        formats: of `tfrcnn.result_formats.FORMATS`.
        pictures: whether to draw annotated copies.
        batch: pictures of one size that are detected in together.
        search: the sources, after `find`.
    """

    out: Path
    resume: bool
    formats: tuple[str, ...]
    pictures: bool
    batch: int
    search: ImageSearch | None = None

    def find(self, sources: Sequence[str], recursive: bool) -> None:
        """List the pictures and videos.

        Raises:
            InputError: there are none, or `out` is not new.
        """
        from tfrcnn.prediction import search_images
        from tfrcnn.results import check_new_folder

        if not self.resume:
            check_new_folder(self.out)
        self.search = search_images(sources, recursive)
        if not self.search.sources:
            self.search.check()
            raise InputError("expected pictures on stdin, found no line")

    def run(self, predictor: Any, model: Path, selection: Selection) -> list[str]:
        """Detect, print what is done and where, and return the errors.

        Args:
            predictor: the detector.
            model: is not used; an engine's workers load it.
            selection: scores and classes to keep.
        """
        from tfrcnn.predicting.detect import shown_name
        from tfrcnn.prediction import predict_stream

        assert self.search is not None
        sources = self.search.sources
        stream = predict_stream(
            predictor, sources, self.out, selection, self.resume, self.formats, self.pictures, self.batch
        )
        summary = _Summary(selection)
        summary.follow(stream, len(sources))
        if resumed := [source for source in sources if shown_name(source) not in summary.sources]:
            print(f"{_counts(resumed)} done before.")
        if left_out := self.search.left_out():
            print(f"Left out: {left_out}.")
        if text := summary.no_detection():
            print(text)
        print(f"\n{_places(self.out, self.formats)}")
        return [str(error) for error in (*self.search.errors, *summary.errors)]


class _Summary:
    """Prints a line per picture and video, and keeps what is reported at the end."""

    def __init__(self, selection: Selection) -> None:
        self.sources: set[Path | str] = set()
        self.errors: list[InputError] = []
        self._selection = selection
        self._has_detection = False
        self._best: tuple[float, str, Path | str] | None = None  # score, category, source
        self._videos: dict[Path | str, list[int]] = {}  # frames and detections
        self._drawn: dict[Path | str, Path | None] = {}  # of videos

    def follow(self, stream: Iterator[Prediction | Failure], count: int) -> None:
        """Print a line per picture as it is done, and a line per video at the end."""
        from tqdm import tqdm

        from tfrcnn.prediction import Failure

        with tqdm(
            total=count, desc="detecting", unit="source", disable=not sys.stderr.isatty(), leave=False
        ) as progress:
            for result in stream:
                self.sources.add(result.source)
                frame = None if isinstance(result, Failure) else result.frame
                progress.n = len(self.sources) - (frame is not None)  # a video is done when something follows it
                progress.set_postfix_str("" if frame is None else f"frame {frame}")
                if isinstance(result, Failure):
                    self.errors.append(result.error)
                elif text := self._add(result):
                    progress.write(text)
                    sys.stdout.flush()
        for source, (frames, detections) in self._videos.items():
            counts = f"{count_of(frames, 'frame')}, {count_of(detections, 'detection')}"
            print(f"{source}: {counts}{_drawn(self._drawn[source])}")

    def no_detection(self) -> str:
        """Name the best score if no detection was good enough; "" if one was, or no picture was read."""
        if self._has_detection or len(self.sources) == len(self.errors):
            return ""
        limit = "the thresholds" if self._selection.class_thresholds else f"{self._selection.score_threshold:g}"
        if self._best is None:
            return f"No detection above {limit}, nor any of a lower score."
        score, category, source = self._best
        return f"No detection above {limit}; the best score is {score:.2f} ({category}) in {source}."

    def _add(self, result: Prediction) -> str:
        """Count a result; return the line of a picture, "" for a frame."""
        count = len(result.detections.scores)
        self._has_detection |= count > 0
        if result.best is not None and (self._best is None or result.best.score > self._best[0]):
            self._best = (*result.best, result.source)
        if result.frame is None:
            return f"{result.source}: {count_of(count, 'detection')}{_drawn(result.drawn)}"
        totals = self._videos.setdefault(result.source, [0, 0])
        totals[0] += 1
        totals[1] += count
        self._drawn[result.source] = result.drawn
        return ""


def _counts(sources: Sequence[Source]) -> str:
    """Count pictures and videos, for example "2 pictures and 1 video"."""
    videos = sum(source.is_video for source in sources)
    counts = {"picture": len(sources) - videos, "video": videos}
    return " and ".join(count_of(count, noun) for noun, count in counts.items() if count)


def _drawn(path: Path | None) -> str:
    return "" if path is None else f", drawn in {path}"


def _places(out: Path, formats: tuple[str, ...]) -> str:
    """Say where the results are."""
    if "coco" in formats:
        return f"All detections are in {out / 'detections.json'}; {out / 'images.json'} says what its ids mean."
    files = {"csv": out / "detections.csv", "yolo": out / "labels"}
    places = [str(files[name]) for name in formats if name in files] or [str(out / "detections.jsonl")]
    return f"All detections are in {' and '.join(places)}."
