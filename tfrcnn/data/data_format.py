"""The interface of a data format.

To add a format, write a file with a parser and a `DataFormat`, as coco.py and voc.py have, and add its line to
`FORMATS` in formats.py. Reading, joining, error messages and the doctor take everything from there.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeAlias

from tfrcnn.data.checks import Parsed

# Parses one data set without opening its images. The argument is the folder of the images; None is the format's
# default. Faults are collected in the result. Raises `InputError` only if a folder is missing.
Parse: TypeAlias = Callable[[Path | None], Parsed]


class DataFormat(abc.ABC):
    """A format of annotated data: which data sets of it a path holds, and how to parse each.

    DATA is "PATH", "PATH@SPLIT", "NAME:PATH" or "NAME:PATH@SPLIT", where NAME is the format's key in `FORMATS`.

    Attributes:
        expected: what PATH is in this format, for error messages: "a .json file".
        extensions: of the files that PATH can be, in lower case.
        is_path: whether PATH is one, or a pattern of paths; False if it is a name that means the same in any folder.
        holds_images: whether the images are inside the annotation files, so that their folder has no meaning.
    """

    expected: ClassVar[str]
    extensions: ClassVar[tuple[str, ...]] = ()
    is_path: ClassVar[bool] = True
    holds_images: ClassVar[bool] = False

    @abc.abstractmethod
    def find(self, path: str) -> dict[str, Parse]:
        """Look for data sets of this format at a path.

        Decide by names and by the first bytes of files: every format is asked about every path. A file with one of
        the format's extensions counts even if it is damaged, so that parsing it reports the fault.

        Args:
            path: a file, a folder, or a name that only this format knows. It may not exist.

        Returns:
            Parser by name of the split, in the order to list them; the name is "" where there are no splits. Empty if
            the path holds nothing of this format.
        """

    def is_guess(self, path: str) -> bool:
        """Return whether only the content of files speaks for this format, so that any other format goes first."""
        return False

    def is_likely(self, file: Path) -> bool:
        """Return whether the beginning of a file looks like a data set of this format, so that a message proposes it.

        Args:
            file: one that `find` takes by its extension.
        """
        return True

    def is_damaged(self, path: str) -> bool:
        """Return whether the file that names the splits cannot be read, so that any split may be meant."""
        return False

    def repeated(self, path: str) -> dict[str, str]:
        """Return the names of splits that `find` leaves out, each with the name of the split of the same images."""
        return {}
