"""Copies the images of a data set to a folder or into records, byte for byte where other tools read them the same."""

from __future__ import annotations

import io
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from tfrcnn.data.decode import decode_file
from tfrcnn.data.embedded import bytes_of, open_bytes
from tfrcnn.data.example import Example
from tfrcnn.data.headers import EXTENSIONS, BadImageError, open_image
from tfrcnn.errors import InputError
from tfrcnn.pixels import orientation_of


class ImageCopies:
    """Copies images, and turns those that other tools would show otherwise.

    Tools differ in the EXIF orientation: many ignore it, and boxes of the upright picture then lie elsewhere. Such an
    image is turned and saved as PNG. So is an image of a format that the target cannot hold. PNG keeps the pixels.

    Attributes:
        notes: one line for each change that images needed.
    """

    def __init__(self, formats: Collection[str], link: bool, advance: Callable[[], object]) -> None:
        """Prepare the copies.

        Args:
            formats: keys of `tfrcnn.data.headers.EXTENSIONS` that are copied byte for byte.
            link: make hard links where the disk allows them.
            advance: called once per image that is done.
        """
        self._formats, self._link, self._advance = formats, link, advance
        self._names: dict[Path, set[str]] = {}
        self._changes: Counter[str] = Counter()

    def copy(self, example: Example, folder: Path) -> str:
        """Copy an image to a folder, and return its file name, whose stem is new in the folder.

        Raises:
            InputError: the image cannot be read.
        """
        extension, changed = self._plan(example)
        path = folder / self._name(example, folder, extension)
        if changed:
            path.write_bytes(self._decoded(example))
        elif bytes_of(example.path).size is not None:
            with open_bytes(example.path) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            linked = False
            with suppress(OSError):  # another disk, or one without links
                if self._link:
                    os.link(os.path.realpath(example.path), path)
                    linked = True
            if not linked:
                shutil.copyfile(example.path, path)
        self._advance()
        return path.name

    def read(self, example: Example, folder: Path) -> tuple[str, bytes]:
        """Return the name that `copy` would use and the content of the file.

        Raises:
            InputError: the image cannot be read.
        """
        extension, changed = self._plan(example)
        if changed:
            content = self._decoded(example)
        else:
            with open_bytes(example.path) as source:
                content = source.read()
        self._advance()
        return self._name(example, folder, extension), content

    @property
    def notes(self) -> list[str]:
        return [f"{count:,} images {change}" for change, count in self._changes.items()]

    def _plan(self, example: Example) -> tuple[str, bool]:
        """Return the extension of the copy, and whether it needs other bytes."""
        try:
            with open_image(example.path, header_only=True) as (image, header):
                is_turned = orientation_of(image) != 1
        except BadImageError as error:
            raise InputError(f"{example.path}: {error}") from error
        if is_turned:
            self._changes["had an EXIF orientation: they are upright PNGs here, which every tool shows the same"] += 1
            return ".png", True
        if header.format not in self._formats:
            self._changes[f"were {header.format}, which this format cannot hold: they are PNGs here"] += 1
            return ".png", True
        suffix = example.path.suffix
        return suffix if suffix.lower() in EXTENSIONS[header.format] else EXTENSIONS[header.format][0], False

    def _decoded(self, example: Example) -> bytes:
        file = io.BytesIO()
        try:
            decode_file(example.path, example.orientation).save(file, "PNG")
        except BadImageError as error:
            raise InputError(f"{example.path}: {error}") from error
        return file.getvalue()

    def _name(self, example: Example, folder: Path, extension: str) -> str:
        """Return the image's name, with a number if the folder has its stem, in any case."""
        names = self._names.setdefault(folder, set())
        stem = example.path.stem.encode("utf-8", "replace").decode().strip(" .") or "image"
        name, number = stem, 1
        while name.casefold() in names:
            number += 1
            name = f"{stem}-{number}"
        names.add(name.casefold())
        return name + extension
