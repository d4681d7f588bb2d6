"""Matches Label Studio's names of images with the files that they were made from.

Label Studio stores an upload `my photo (1).jpg` as `319b022f-my_photo_1.jpg`: 8 hex digits in front, `_` for a space,
no other signs. An image at a web address is `319b022f__photo.jpg`, and one of local storage `?d=photo.jpg`. Its exports
without images hold that name only.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable

from tfrcnn.data.sources import nfc

_PREFIX = re.compile(r"([0-9a-f]{8}(-|__)|\?d=)(?=.)", re.IGNORECASE)
_LEFT_OUT = re.compile(r"[^-\w.]")  # signs that Django, below Label Studio, drops from names of files


class Originals:
    """Finds the file that was uploaded among some files."""

    def __init__(self, names: Iterable[str]) -> None:
        """List the files.

        Args:
            names: file names or relative paths; only the last part counts.
        """
        self._names: dict[str, list[str]] = defaultdict(list)
        for name in names:
            self._names[_key(os.path.splitext(os.path.basename(name))[0])].append(name)

    def find(self, upload: str) -> str | None:
        """Return the only file that an upload of this name can be; None if there are several or none.

        Args:
            upload: file name, with or without an extension; it counts if several files differ by theirs only.
        """
        prefix = _PREFIX.match(upload)
        if prefix is None:
            return None
        original = upload[prefix.end() :]
        stem, extension = os.path.splitext(original)
        names = self._names.get(_key(stem), [])
        same = [name for name in names if os.path.splitext(name)[1].lower() == extension.lower()]
        whole = self._names.get(_key(original), [])  # VOC's names may have points but no extension
        for candidates in (same, whole, names):
            if candidates:
                return candidates[0] if len(candidates) == 1 else None
        return None


def _key(stem: str) -> str:
    return _LEFT_OUT.sub("", nfc(stem).strip().replace(" ", "_")).casefold()
