"""Finds the files of a data set by the names that annotation tools use for folders and files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.data.sources import names_in, nfc, read_head, subfolders, walk
from tfrcnn.data.uploads import Originals

IMAGE_EXTENSIONS = [extension for extensions in EXTENSIONS.values() for extension in extensions]
# Names of folders that hold one split each: Roboflow's train, valid and test; COCO's train2017.
_SPLIT = re.compile(r"(train(ing|val)?|val(id(ation)?)?|test(ing)?|dev|minival)[0-9]*", re.IGNORECASE)
_IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "pictures", "photos", "jpegs", "data")


class ImageFolder:
    """Finds images by file name, or by stem with any extension.

    Attributes:
        folder: the folder.
        names: by name in Unicode's composed form, the path relative to the folder.
        by_stem: by name without extension, the key in `names`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = {nfc(name): name for name in sorted(relative_files(folder, IMAGE_EXTENSIONS))}
        self.by_stem: dict[str, str] = {}
        for name in sorted(self.names, key=lambda name: IMAGE_EXTENSIONS.index(Path(name).suffix.lower())):
            self.by_stem.setdefault(stem_of(name), name)

    def similar(self, name: str) -> str | None:
        """Return the only image whose name without extension differs in its case alone, a key of `names`."""
        names = self._by_key.get(stem_of(name).casefold(), [])
        return names[0] if len(names) == 1 else None

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        keys: dict[str, list[str]] = {}
        for stem, name in self.by_stem.items():
            keys.setdefault(stem.casefold(), []).append(name)
        return keys

    @cached_property
    def originals(self) -> Originals:
        """The images as files that may have been uploaded to Label Studio."""
        return Originals(self.names)


def relative_files(folder: Path, extensions: Iterable[str]) -> Iterator[str]:
    """Find files by extension (in any case), except hidden ones, as paths relative to the folder."""
    for place, names in walk(folder):
        prefix = place.relative_to(folder)
        for name in names:
            if os.path.splitext(name)[1].lower() in extensions and not name.startswith("."):
                yield (prefix / name).as_posix()


def stem_of(name: str) -> str:
    """Return a file name without its extension."""
    return os.path.splitext(name)[0]


def files_in(folder: Path, extensions: Iterable[str]) -> list[Path]:
    """List the visible files in a folder by extension (in any case), sorted; none if it cannot be listed."""
    names = names_in(folder, folders=False)
    return [folder / name for name in names if os.path.splitext(name)[1].lower() in extensions]


def folders_in(folder: Path) -> list[Path]:
    """List the visible folders in a folder, sorted, without links that lead back; none if it cannot be listed."""
    return [path for path in subfolders(folder) if not (path.is_symlink() and _leads_back(path))]


def split_folders(folder: Path) -> list[Path]:
    """List the folders in a folder that are named like splits: training, validation, test, others."""
    splits = [path for path in folders_in(folder) if is_split_name(path.name)]
    return sorted(splits, key=lambda path: (_order(path.name), path.name))


def is_split_name(name: str) -> bool:
    """Return whether a folder of this name holds a split."""
    return _SPLIT.fullmatch(name) is not None


def named_folders(folder: Path, names: Iterable[str]) -> list[Path]:
    """List the folders in a folder that have one of the names, in any case, in the order of the names."""
    folders: dict[str, Path] = {}
    for path in folders_in(folder):
        folders.setdefault(path.name.lower(), path)
    return [folders[name] for name in names if name in folders]


def image_folder(root: Path, without: Path) -> Path:
    """Return the folder of the images that belong to a folder of annotations.

    Args:
        root: the folder of the data set.
        without: the folder of the annotations.

    Returns:
        The folder in the root with images, by its usual names first; the root if there is none.
    """
    others = [path for path in folders_in(root) if path != without]
    usual = [path for path in named_folders(root, _IMAGE_FOLDERS) if path in others]
    return next((path for path in dict.fromkeys([*usual, *others]) if has_file(path, IMAGE_EXTENSIONS)), root)


def has_file(folder: Path, extensions: Iterable[str]) -> bool:
    """Return whether a folder, or one below it, has a visible file with one of the extensions."""
    return folder.is_dir() and next(relative_files(folder, extensions), None) is not None


def sniff(path: Path, pattern: re.Pattern[bytes]) -> bool:
    """Return whether a pattern occurs in the first bytes of a file, in any encoding of ASCII or UTF-16."""
    return pattern.search(read_head(path).replace(b"\0", b"")) is not None


def _leads_back(link: Path) -> bool:
    return link.parent.resolve().is_relative_to(link.resolve())


def _order(name: str) -> int:
    starts = ("train", "val", "test")
    return next((place for place, start in enumerate(starts) if name.lower().startswith(start)), len(starts))
