"""Finds the image file that an annotation names, as other tools do.

The names in a COCO file come from another machine: with backslashes, with folders that are not here, in another case
or in another Unicode form. Each folder is listed once, which is faster than a question per file on a network disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.data.sources import nfc
from tfrcnn.data.uploads import Originals

_EXTENSIONS = {extension for extensions in EXTENSIONS.values() for extension in extensions}


class Location(NamedTuple):
    """Where an annotated image is.

    Attributes:
        path: the file.
        fault: kind of the fault to report, a key of `tfrcnn.data.faults.KINDS`; "" if the file is where it should be.
    """

    path: Path
    fault: str = ""


class ImageFinder:
    """Finds images below some folders.

    Attributes:
        roots: folders that names are relative to, in the order in which they are searched.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(dict.fromkeys(roots))
        self._names: dict[str, frozenset[str]] = {}
        self._keys: dict[str, dict[str, list[str]]] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._uploads: dict[str, Originals] = {}
        self._ways = (
            (self._similar, "image-path-differs"),
            (self._converted, "image-path-differs"),
            (self._original, "upload-prefix"),
        )

    def find(self, name: str) -> Location | None:
        """Find the file of a name.

        The name counts as it stands in every root, then without its first folders, one after the other, then with the
        extension of another image format, since tools convert images, then without Label Studio's prefix.

        Args:
            name: as annotated: a relative or absolute path, of any system.

        Returns:
            The file; None if there is none, or if several can be meant.
        """
        if os.path.isabs(name):
            if os.path.isfile(name):
                return Location(Path(name))
        else:
            folder, _, base = name.rpartition("/")
            for root in self.roots:
                place = os.path.join(root, folder)
                if base in self._listing(place):
                    return Location(Path(place, base))
        for similar, fault in self._ways:
            for parts in shortened(name):
                for root in self.roots:
                    if (path := self._resolve(root, parts, similar)) is not None:
                        return Location(path, fault)
        return None

    def _resolve(self, root: Path, parts: Sequence[str], similar: Callable[[str, str], str | None]) -> Path | None:
        """Return the file of a relative path below a root, with each part in any case and Unicode form.

        Args:
            root: the folder.
            parts: of the path.
            similar: returns the name in a folder that stands for the last part.
        """
        path = os.path.join(root, "")
        for part in parts[:-1]:
            if (folder := self._similar(path, part)) is None:
                return None
            path = os.path.join(path, folder)
        name = similar(path, parts[-1])
        return Path(path, name) if name is not None and os.path.isfile(os.path.join(path, name)) else None

    def _similar(self, folder: str, name: str) -> str | None:
        """Return the name in a folder that is most like another: the same, else in another Unicode form or case."""
        if folder not in self._keys:
            keys: dict[str, list[str]] = {}
            for each in sorted(self._listing(folder)):
                keys.setdefault(_key(each), []).append(each)
            self._keys[folder] = keys
        stem = os.path.splitext(nfc(name))[0]
        return min(
            self._keys[folder].get(_key(name), ()),
            key=lambda each: (each != name, nfc(each) != nfc(name), os.path.splitext(nfc(each))[0] != stem),
            default=None,
        )

    def _converted(self, folder: str, name: str) -> str | None:
        """Return the only image in a folder that has the same name with another extension."""
        if folder not in self._stems:
            stems: dict[str, list[str]] = {}
            for each in sorted(self._listing(folder)):
                stem, extension = os.path.splitext(each)
                if extension.lower() in _EXTENSIONS:
                    stems.setdefault(_key(stem), []).append(each)
            self._stems[folder] = stems
        names = self._stems[folder].get(_key(os.path.splitext(name)[0]), [])
        return names[0] if len(names) == 1 else None

    def _original(self, folder: str, name: str) -> str | None:
        """Return the only image in a folder that Label Studio can have uploaded as this name."""
        if folder not in self._uploads:
            images = (each for each in self._listing(folder) if os.path.splitext(each)[1].lower() in _EXTENSIONS)
            self._uploads[folder] = Originals(sorted(images))
        return self._uploads[folder].find(name)

    def _listing(self, folder: str) -> frozenset[str]:
        """Return the names in a folder; none if it cannot be listed."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except (OSError, ValueError):  # ValueError: a path that no system can have
                self._names[folder] = frozenset()
        return self._names[folder]


def folders_above(path: Path) -> list[Path]:
    """List where tools put the images: annotations/instances_val2017.json, val2017/ (COCO); labels.json, data/.

    The folders of the file's split come first: images of other splits can have the same names.

    Args:
        path: the annotation file.
    """
    above = Path(os.path.abspath(path.parent)).parent
    split = path.stem.removeprefix("instances_")
    near = path.parent
    of_split = [folder / name for folder in (near, above) for name in (split, f"images/{split}")]
    return [*of_split, near / "images", near / "data", above, above / "images"]


def _key(name: str) -> str:
    return nfc(name).casefold()


def shortened(name: str) -> Iterator[list[str]]:
    """Yield the parts of a path of Windows or Unix, then those without the first, the second, ... folder."""
    for text in dict.fromkeys((name, unquote(name))):  # Label Studio writes %20 for a space
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        for start in range(len(parts)):
            yield parts[start:]
