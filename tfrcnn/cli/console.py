"""The way to the terminal: every character that a command prints passes here, and every fault of a disk ends here.

Text of the user, such as names of classes and files, cannot move the cursor or set colours, and never fails to be
encoded: what the terminal cannot show is written as an escape.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from tfrcnn.printable import printable

LAYOUT = "\n\r\t"  # tables and progress bars need these
MAX_SHOWN = 80  # characters of a text in a message
NO_TEMPORARY = "No usable temporary directory"  # what `tempfile` says

ADVICE = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "choose a place that takes larger files",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose another place or change its permissions",
    errno.EPERM: "choose another place or change its permissions",
    errno.ENOTDIR: "a file is where a folder is expected, choose another path",
    errno.EEXIST: "a file is where a folder is expected, choose another path",
    errno.EISDIR: "a folder is where a file is expected, choose another path",
    errno.ENOENT: "it does not exist, or was deleted meanwhile",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk or its connection is faulty",
    errno.ESTALE: "the connection to the disk was lost",
    errno.EMFILE: "raise the limit of open files, see `ulimit -n`",
}


class ReaderGoneError(Exception):
    """The reader of the output has gone, as `| head` does."""


class SafeStream:
    """A text stream that escapes what a terminal would obey; everything else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        self._stream = stream

    def write(self, text: str) -> int:
        with self._named():
            self._stream.write(printable(text, keep=LAYOUT))
        return len(text)

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the stream in its errors, for example of a full disk under `> file`."""
        try:
            yield
        except BrokenPipeError as error:
            raise ReaderGoneError from error  # click takes care of BrokenPipeError, with exit code 1
        except OSError as error:
            error.filename = error.filename or getattr(self._stream, "name", "<stdout>")
            raise


def safe(stream: TextIO) -> TextIO:
    """Make a stream escape what a terminal would obey."""
    return cast(TextIO, SafeStream(stream))


@contextmanager
def console() -> Iterator[None]:
    """Make `sys.stdout` and `sys.stderr` safe while a command runs.

    Closed streams are replaced: otherwise the next file that opens gets the number of standard output, and the log of
    TensorFlow is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    before = sys.stdout, sys.stderr
    streams = [safe(stream or open(os.devnull, "w")) for stream in before]  # noqa: SIM115 - open to the end
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        if sys.stdout is streams[0]:
            sys.stdout = before[0]
        if sys.stderr is streams[1]:  # otherwise `filter_stderr` has put another in its place
            sys.stderr = before[1]


def abandon_streams() -> None:
    """Drop what standard output and error still hold: nobody reads it, and Python would complain at its end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # no file is behind a stream that a test captures
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def file_fault(error: BaseException | None) -> str | None:
    """Describe a fault of a file or a disk in one line.

    Args:
        error: any exception. HDF5 and TensorFlow have exceptions of their own, or hide the cause in the context.

    Returns:
        The path, what the system says, and what to do; None if the exception has another reason.
    """
    while error is not None:
        if isinstance(error, UnicodeEncodeError):
            text = error.object[error.start : error.end]
            if error.encoding == "utf-8":
                return f"{error.object[:MAX_SHOWN]!r}: {text!r} is no character of Unicode, rename it"
            return f"{error.object[:MAX_SHOWN]!r}: the locale has no {text!r}, set LC_ALL=C.UTF-8"
        number = error.errno if isinstance(error, OSError) else None
        if number is None:
            texts = {os.strerror(number): number for number in (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG)}
            number = next((texts[text] for text in texts if text in str(error)), None)
        if number is not None or isinstance(error, OSError):
            if NO_TEMPORARY in str(error):
                return f"{getattr(error, 'strerror', None) or error} (set TMPDIR to a folder that can be written)"
            path = getattr(error, "filename", None) or _path_in(str(error))
            what = os.strerror(number) if number is not None else " ".join(str(error).split())
            advice = ADVICE.get(number) if number is not None else None
            return (f"{os.fsdecode(path)}: " if path else "") + what + (f" ({advice})" if advice else "")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def _path_in(message: str) -> str | None:
    match = re.search(r"(?:^|[\s'\"])(/[^\s'\";:,]+)", message)
    return match[1] if match else None
