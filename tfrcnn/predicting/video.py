"""Detects in the frames of a video, and writes an annotated copy.

A run that is interrupted continues at its next frame. Its annotated copy starts at the first frame again: the frames
that are done are drawn from their lines.
"""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Any

import numpy as np

from tfrcnn.data.example import ImageDetections
from tfrcnn.data.media import Source
from tfrcnn.data.video import Frame, VideoWriter, import_av, read_frames
from tfrcnn.errors import InputError
from tfrcnn.files import atomic
from tfrcnn.predicting.ahead import run_ahead
from tfrcnn.predicting.detect import Best, Detecting, Failure, Input, Prediction, shown_name
from tfrcnn.results import Results

DEPTH = 4  # frames that are read ahead, and frames that wait to be drawn


def predict_video(
    detecting: Detecting, source: Source, results: Results, pictures: bool, batch: int = 1
) -> Iterator[Prediction | Failure]:
    """Detect in each frame, and add its line to the results.

    Args:
        detecting: the detector.
        source: the video.
        results: open results.
        pictures: write the annotated copy.
        batch: frames that an exported file detects in together; a camera or a stream gives one at a time.

    Yields:
        One result per frame that is not done yet. A failure comes last: the detector or the video file has a fault.
    """
    if source.is_live and results.frames(source.name):
        reason = "cannot be continued, because its frames are gone: choose a new folder"
        yield Failure(shown_name(source), InputError(f"{source.name}: {reason}"))
        return
    job = _VideoJob(detecting, source, results, pictures, 1 if source.is_live else batch)
    try:
        import_av(source.name)
        yield from job.run()
    except InputError as error:
        results.add(source.name, {"error": str(error)})
        yield Failure(shown_name(source), error)


class _VideoJob:
    """The prediction of one video."""

    def __init__(self, detecting: Detecting, source: Source, results: Results, pictures: bool, batch: int) -> None:
        self._detecting, self._source, self._results, self._batch = detecting, source, results, batch
        self._name = results.free_name(source.stem, source.name)
        self._drawn = results.folder / f"{self._name}.mp4" if pictures else None
        self._writer: VideoWriter | None = None
        self._error: InputError | None = None  # ends the video after the frame before it

    def run(self) -> Iterator[Prediction]:
        """Detect in the frames, write their lines, and yield their results.

        Raises:
            InputError: the video is damaged, or the detector fails on a frame; the frames before it are done.
        """
        with ExitStack() as stack:
            if self._drawn is not None:
                self._writer = stack.enter_context(VideoWriter(stack.enter_context(atomic(self._drawn))))
            drawer = stack.enter_context(ThreadPoolExecutor(1))
            frames = stack.enter_context(closing(read_frames(self._source.content)))
            reader = stack.enter_context(ThreadPoolExecutor(1))
            next_frame = partial(next, frames, None)
            reads = stack.enter_context(
                closing(run_ahead(reader, itertools.repeat(next_frame), max(DEPTH, 2 * self._batch)))
            )
            is_stopped = stack.enter_context(stopped_by_ctrl_c()) if self._source.is_live else lambda: False
            is_empty = True
            for write in run_ahead(drawer, self._writes(reads, is_stopped), DEPTH):
                is_empty = False
                prediction, line = write.result()
                if line is not None:
                    self._results.add_frame(self._source.name, int(prediction.detections.image_id), line)
                    yield prediction
            if self._error is not None and is_empty:
                raise self._error  # inside `stack`, so that no empty copy is written
        if self._error is not None:
            raise self._error
        self._results.end_video(self._source.name)

    def _writes(
        self, reads: Iterable[Future[Frame | None]], is_stopped: Callable[[], bool]
    ) -> Iterator[Callable[[], tuple[Prediction, dict[str, Any] | None]]]:
        """Detect in the frames, some at a time, and yield the tasks that draw them."""
        name, done = self._source.name, self._results.frames(self._source.name)
        pending: list[Frame] = []
        for read in reads:
            try:
                frame = read.result()
                if frame is None or is_stopped():
                    break
                if frame.number >= done:
                    pending.append(frame)
                elif self._writer is not None:
                    line = self._results.read_frame(name, frame.number)
                    yield partial(self._write, frame, self._detecting.read_line(line), None, is_new=False)
            except InputError as error:
                self._error = error
                break
            if len(pending) == self._batch:
                yield from self._detect(pending)
                if self._error is not None:
                    return
                pending = []
        yield from self._detect(pending)

    def _detect(self, frames: list[Frame]) -> Iterator[Callable[[], tuple[Prediction, dict[str, Any] | None]]]:
        """Detect in frames together, and yield the tasks that draw them, up to the first that the detector fails on."""
        name = self._source.name
        inputs = [Input(one.pixels, self._results.new_id(), f"{name}, frame {one.number}") for one in frames]
        for frame, outcome in zip(frames, self._detecting.detect_batch(inputs)):
            if isinstance(outcome, InputError):
                self._error = outcome
                return
            yield partial(self._write, frame, *outcome)

    def _write(
        self, frame: Frame, detections: ImageDetections, best: Best | None, is_new: bool = True
    ) -> tuple[Prediction, dict[str, Any] | None]:
        """Draw a frame; return its result and its line. A frame of an earlier run has its line."""
        if self._writer is not None:
            self._writer.write(np.asarray(self._detecting.draw(frame.pixels, detections)), frame.seconds)
        prediction = Prediction(shown_name(self._source), self._drawn, detections, frame.number, best)
        if not is_new:
            return prediction, None
        line: dict[str, Any] = {"name": self._name, "frame": frame.number}
        if frame.seconds is not None:
            line["seconds"] = round(frame.seconds, 6)
        if self._drawn is not None:
            line["drawn"] = self._drawn.name
        return prediction, {**line, **self._detecting.line(frame.pixels, detections)}


@contextmanager
def stopped_by_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether the user pressed Ctrl-C; the second time interrupts as usual."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    stopped = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def stop(number: int, frame: Any) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped.is_set
    finally:
        signal.signal(signal.SIGINT, before)
