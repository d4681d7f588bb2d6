"""The interface of a data format.

To add a format, write a file with a parser and a `DataFormat`, as coco.py and voc.py have, and add its line to
`FORMATS` in formats.py. Reading, joining, error messages and the doctor take everything from there.
"""

from __future__ import annotations

import abc
from pathlib import Path
from typing import ClassVar

from tfrcnn.data.checks import Parsed


class DataFormat(abc.ABC):
    """A format of annotated data: how to recognise a DATA argument of it, and how to parse that.

    Attributes:
        expected: what DATA is in this format, for error messages: "a .json file (COCO)".
        marker: what a folder with such data holds, for error messages: "a .json".
    """

    expected: ClassVar[str]
    marker: ClassVar[str]

    @abc.abstractmethod
    def recognises(self, data: str) -> bool:
        """Return whether DATA exists and has this format.

        Decide by names or by the first bytes of a file: each format is asked, and the first that agrees parses.
        """

    @abc.abstractmethod
    def parse(self, data: str, images: Path | None) -> Parsed:
        """Parse DATA without opening the images.

        Args:
            data: an argument that the format recognises.
            images: folder of the images; None is the format's default.

        Returns:
            Images, boxes and categories that can be used, and a fault for each that cannot.

        Raises:
            InputError: a folder is missing.
        """

    @abc.abstractmethod
    def looks_complete(self, data: str) -> bool:
        """Return whether the text ends like DATA of this format; it need not exist.

        `tfrcnn.data.join` splits "one+two" there.
        """

    @abc.abstractmethod
    def find(self, folder: Path) -> list[str]:
        """List the DATA arguments of this format in a folder, to suggest them."""

    def problem(self, data: str) -> str:
        """Explain what is missing if DATA is almost of this format: "expected ..., found ...". Empty if it is not."""
        return ""
