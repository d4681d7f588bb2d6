"""Lists the images in files and folders, and counts what it leaves out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.errors import InputError

_NO_FILE = "links to nothing, pipes or devices"


@dataclass
class ImageSearch:
    """The images in files and folders, and what was left out.

    Attributes:
        images: image files, each once.
        other: number of files without an image's extension, by extension.
        hidden: number of hidden files and folders.
        folders: number of subfolders that were not searched.
        links: number of links to folders that a recursive search did not follow.
    """

    images: list[Path] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    folders: int = 0
    links: int = 0

    def left_out(self) -> str:
        """Say what was left out and why; "" if nothing was."""
        parts = []
        if self.other:
            counts = sorted(self.other.items(), key=lambda item: (-item[1], item[0]))
            kinds = ", ".join(f"{name} {count:,}" for name, count in counts)
            parts.append(f"{_count(self.other.total(), 'file')} of no supported type ({kinds})")
        if self.hidden:
            parts.append(_count(self.hidden, "hidden file or folder", "hidden files and folders"))
        if self.folders:
            parts.append(f"{_count(self.folders, 'subfolder')} (searched with --recursive, in Python recursive=True)")
        if self.links:
            parts.append(_count(self.links, "linked subfolder"))
        return "; ".join(parts)


def search_images(sources: Sequence[str | Path], recursive: bool = False) -> ImageSearch:
    """List the images in files and folders, and count what is left out.

    Args:
        sources: image files with any extension, and folders. A folder contributes its files with an image extension,
            sorted by name, without hidden files.
        recursive: search subfolders too, but not those behind links.

    Returns:
        The images and the counts.

    Raises:
        InputError: a source does not exist, or a folder holds no image.

    Example:
        search = search_images(["photos/"], recursive=True)
        print(len(search.images), search.left_out())
    """
    search = ImageSearch()
    for source in map(Path, sources):
        if source.is_dir():
            part = ImageSearch()
            part.images += _inside(source, recursive, part)
            if not part.images:
                extensions = ", ".join(sorted(_extensions()))
                left_out = part.left_out()
                raise InputError(
                    f"{source}: expected images ({extensions}), found none{left_out and f', but {left_out}'}"
                )
            search.images += part.images
            search.other += part.other
            search.hidden += part.hidden
            search.folders += part.folders
            search.links += part.links
        elif source.is_file():
            search.images.append(source)
        else:
            raise InputError(f"{source}: expected an image or a folder of images, which does not exist")
    search.images = list(dict.fromkeys(search.images))
    return search


def find_images(sources: Sequence[str | Path], recursive: bool = False) -> list[Path]:
    """List the images in files and folders, see `search_images`.

    Args:
        sources: image files with any extension, and folders.
        recursive: search subfolders too.

    Returns:
        Image files, each once.

    Raises:
        InputError: a source does not exist, or a folder holds no image.

    Example:
        find_images(["street.jpg", "photos/"])
    """
    return search_images(sources, recursive).images


def _inside(folder: Path, recursive: bool, search: ImageSearch) -> Iterator[Path]:
    """Yield the images in a folder, and count the rest."""
    extensions = _extensions()
    for parent, folders, files in os.walk(folder, onerror=_cannot_list):
        visible = sorted(name for name in folders if not name.startswith("."))
        search.hidden += len(folders) - len(visible)
        links = [name for name in visible if os.path.islink(os.path.join(parent, name))] if recursive else []
        search.links += len(links)
        search.folders += 0 if recursive else len(visible)
        folders[:] = [name for name in visible if name not in links] if recursive else []
        for name in sorted(files):
            path = Path(parent, name)
            if name.startswith("."):
                search.hidden += 1
            elif path.suffix.lower() not in extensions:
                search.other[path.suffix.lower() or "no extension"] += 1
            elif not path.is_file():
                search.other[_NO_FILE] += 1
            else:
                yield path


def _cannot_list(error: OSError) -> None:
    raise InputError(f"{error.filename}: expected a folder that can be listed, found: {error.strerror}") from error


def _extensions() -> set[str]:
    return {extension for group in EXTENSIONS.values() for extension in group}


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"
