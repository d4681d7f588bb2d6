"""Reads frames of videos and cameras, and writes annotated videos, with FFmpeg by PyAV."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from tfrcnn.data.media import Camera
from tfrcnn.errors import InputError
from tfrcnn.files import naming
from tfrcnn.printable import without_login

TIMEOUT = 15.0  # seconds without an answer of a server
_CLOCK = Fraction(1, 90_000)  # seconds; the unit of time of written videos
_RATE = 25  # frames per second of a video without times
_MAX_GAP = 2**30  # units of the clock between two frames, 3.3 hours; FFmpeg refuses twice as much
_REPLACE = "replace"  # signs that are not UTF-8, in titles and other texts
_CODECS = {"libx264": {"preset": "veryfast", "crf": "21"}, "libopenh264": {}, "mpeg4": {"qscale": "4"}}
# FFmpeg's device and the name of camera N, by `sys.platform`; Windows has names instead of numbers
_DEVICES = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}


class Frame(NamedTuple):
    """One frame.

    Attributes:
        number: 0, 1, ...
        seconds: since the start of the video; None if the video does not say it.
        pixels: [H, W, 3] uint8 RGB, upright.
    """

    number: int
    seconds: float | None
    pixels: np.ndarray


def read_frames(source: Path | str | Camera) -> Generator[Frame, None, None]:
    """Read the frames of a video, one by one.

    Args:
        source: a video file, a web address or a camera.

    Yields:
        The frames, in the order in which they are shown.

    Raises:
        InputError: PyAV is not installed; the source cannot be opened, has no video, or is damaged. Frames before the
            damage are yielded first.

    Example:
        for frame in read_frames(Path("street.mp4")):
            print(frame.number, frame.seconds, frame.pixels.shape)
    """
    name = f"camera {source.number}" if isinstance(source, Camera) else without_login(str(source))
    av = import_av(name)
    number, start = 0, 0.0
    try:
        with _open(av, source, name) as container:
            if not container.streams.video:
                raise InputError(f"{name}: expected a video, found a file without one")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                start = frame.time or 0.0 if not number else start
                pixels = np.rot90(frame.to_ndarray(format="rgb24"), _quarter_turns(frame))
                seconds = None if frame.time is None else frame.time - start
                yield Frame(number, seconds, np.ascontiguousarray(pixels))
                number += 1
    except InputError:
        raise
    except Exception as error:  # FFmpeg errors; also MemoryError, for damaged sizes
        reason = getattr(error, "strerror", None) or str(error)
        place = f"after {number:,} frames" if number else "at its start"
        raise InputError(f"{name}: expected a video that can be read, found an error {place}: {reason}") from error
    if not number:
        raise InputError(f"{name}: expected a video, found no frame in it")


class _Output:
    """A file to write that keeps its first error for `check`: PyAV prints errors that follow each other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 `close` closes it
        self._error: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write bytes, unless an earlier write failed."""
        rest = memoryview(data)
        try:
            with naming(self._path):
                while rest and self._error is None:
                    rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, and return it."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def check(self) -> None:
        """Raise the error of the first write that failed."""
        if self._error is not None:
            raise self._error


class VideoWriter:
    """Writes pictures to an mp4 file; open it with `with`.

    Sizes that are odd grow by one pixel, because the codecs need even ones. There is no sound.

    Example:
        with VideoWriter(Path("out.mp4")) as video:
            for frame in read_frames(Path("in.mp4")):
                video.write(frame.pixels, frame.seconds)
    """

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: file to write.
        """
        self._path = path
        self._stream: Any = None
        self._last = -1
        self._shift = 0  # of the clock, after it has jumped

    def __enter__(self) -> VideoWriter:
        self._av = import_av(str(self._path))
        self._file = _Output(self._path)  # `__exit__` closes it
        self._container = self._av.open(self._file, "w", format="mp4")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with closing(self._file), closing(self._container):
            if kind is None and self._stream is not None:
                with self._named():
                    self._container.mux(self._stream.encode(None))
        if kind is None:
            self._file.check()

    def write(self, pixels: np.ndarray, seconds: float | None) -> None:
        """Add a picture.

        Args:
            pixels: [H, W, 3] uint8 RGB.
            seconds: since the start; None is 1/25 after the last picture.

        Raises:
            InputError: the codec refuses the picture, for example because of its size.
        """
        with self._named():
            self._write(pixels, seconds)
        self._file.check()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except self._av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise InputError(f"{self._path}: cannot be written as a video: {error}") from error

    def _write(self, pixels: np.ndarray, seconds: float | None) -> None:
        height, width = pixels.shape[:2]
        pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._add_stream(pixels)
        step = round(1 / (_RATE * _CLOCK))
        time = self._last + step if seconds is None else round(seconds / _CLOCK) + self._shift
        if self._last >= 0 and not self._last < time < self._last + _MAX_GAP:  # the clock was set, or files were joined
            self._shift += self._last + step - time
            time = self._last + step
        self._last = time
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        if (frame.width, frame.height) != (self._stream.width, self._stream.height):
            frame = frame.reformat(self._stream.width, self._stream.height)
        frame.pts, frame.time_base = self._last, _CLOCK
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self, pixels: np.ndarray) -> Any:
        codec = next(name for name in _CODECS if name in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=_RATE, options=_CODECS[codec])
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = _CLOCK
        return stream


def import_av(name: str) -> Any:
    """Import PyAV.

    Args:
        name: of the video, for the error message.

    Raises:
        InputError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise InputError(f"{name}: a video needs PyAV: pip install av") from error
    return av


@contextmanager
def _open(av: Any, source: Path | str | Camera, name: str) -> Iterator[Any]:
    """Yield the container of a source."""
    if isinstance(source, Camera):
        device, path = _device(av, source.number, name)
        opened = av.open(path, format=device, metadata_errors=_REPLACE)
    elif isinstance(source, str):
        opened = av.open(source, timeout=TIMEOUT, metadata_errors=_REPLACE)
    else:
        # an open file, because FFmpeg would read "%d", "concat:" and other parts of a name as its own
        with open(source, "rb") as file, av.open(file, metadata_errors=_REPLACE) as container:
            yield container
        return
    with opened as container:
        yield container


def _device(av: Any, number: int, name: str) -> tuple[str, str]:
    """Return FFmpeg's device and the name of a camera in it.

    Raises:
        InputError: PyAV cannot read cameras here, or there is no such camera.
    """
    device, path = _DEVICES.get(sys.platform, ("", ""))
    hint = "record a video, or pass the address of a stream, for example rtsp://localhost/camera"
    if not any(device in names.split(",") for names in av.formats_available):
        missing = f"PyAV without {device}" if device else f"the system {sys.platform}"
        raise InputError(f"{name}: cameras cannot be read by number with {missing}: {hint}")
    path = path.format(number)
    if path.startswith("/") and not os.path.exists(path):
        raise InputError(f"{name}: expected a camera at {path}, found none: {hint}")
    return device, path


def _quarter_turns(frame: Any) -> int:
    """Return how often to turn a frame by 90 degrees, counter-clockwise, to make it upright."""
    return round(getattr(frame, "rotation", 0) / 90) % 4
