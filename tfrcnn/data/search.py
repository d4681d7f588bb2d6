"""Lists the images and videos in files, folders and patterns, and counts what it leaves out."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.data.media import Source, can_read_videos, is_address, is_video_name, make_source
from tfrcnn.data.remote_files import is_bucket
from tfrcnn.errors import InputError
from tfrcnn.printable import count_of

_NO_FILE = "links to nothing, pipes or devices"


@dataclass
class ImageSearch:
    """The images and videos in files, folders, patterns and web addresses, and what was left out.

    Attributes:
        sources: images and videos, each once.
        errors: one per source that does not exist or holds no image.
        other: number of files without the extension of an image or a video, by extension.
        videos: number of videos that were left out, because PyAV is not installed.
        hidden: number of hidden files and folders.
        folders: number of subfolders that were not searched.
        links: number of links to folders that a recursive search did not follow.
    """

    sources: list[Source] = field(default_factory=list)
    errors: list[InputError] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)
    videos: int = 0
    hidden: int = 0
    folders: int = 0
    links: int = 0

    @property
    def images(self) -> list[Path]:
        """The image files."""
        return [s.content for s in self.sources if isinstance(s.content, Path) and not s.is_video]

    def left_out(self) -> str:
        """Say what was left out and why; "" if nothing was."""
        parts = []
        if self.other:
            counts = sorted(self.other.items(), key=lambda item: (-item[1], item[0]))
            kinds = ", ".join(f"{name} {count:,}" for name, count in counts)
            parts.append(f"{count_of(self.other.total(), 'file')} of no supported type ({kinds})")
        if self.videos:
            parts.append(f"{count_of(self.videos, 'video')} (read after pip install av)")
        if self.hidden:
            parts.append(count_of(self.hidden, "hidden file or folder", "hidden files and folders"))
        if self.folders:
            parts.append(f"{count_of(self.folders, 'subfolder')} (searched with --recursive, in Python recursive=True)")
        if self.links:
            parts.append(count_of(self.links, "linked subfolder"))
        return "; ".join(parts)

    def check(self) -> None:
        """Raise the errors as one; do nothing if there are none."""
        if self.errors:
            raise InputError(*(str(error) for error in self.errors))


def search_images(sources: Sequence[Any], recursive: bool = False) -> ImageSearch:
    """List the images and videos in files, folders and patterns, and count what is left out.

    Args:
        sources: any of
            - an image or video file; without a video's extension it is an image.
            - a folder. It contributes its files with the extension of an image or a video, sorted by name, without
              hidden files.
            - a pattern such as "photos/*.jpg" or "photos/**/*.jpg".
            - a web address of an image or a video.
            - the address of a file, a folder or a pattern in a bucket, for example "s3://bucket/photos/". The files are
              copied to the cache, see `data.remote`.
            - the number of a camera.
            - in memory: the bytes of an image file, a PIL image or an array.
        recursive: search subfolders too, but not those behind links.

    Returns:
        The images and videos, the counts, and one error per source that does not exist or holds no image.

    Example:
        search = search_images(["photos/", "https://example.com/street.jpg"], recursive=True)
        print(len(search.sources), search.left_out())
    """
    search = ImageSearch()
    if isinstance(sources, str | bytes | os.PathLike) or not isinstance(sources, Iterable):
        sources = [sources]  # one source: the letters of a path are no sources
    for number, source in enumerate(sources, 1):
        try:
            search.sources += _expand(source, number, recursive, search)
        except InputError as error:
            search.errors.append(error)
        except OSError as error:  # for example of a name that is too long
            search.errors.append(InputError(f"{source}: expected an image or a folder of images: {error.strerror}"))
    first: dict[str, Source] = {}
    for entry in search.sources:
        first.setdefault(entry.name, entry)
    search.sources = list(first.values())
    return search


def find_images(sources: Sequence[str | Path], recursive: bool = False) -> list[Path]:
    """List the images in files and folders, see `search_images`.

    Args:
        sources: image files with any extension, folders, and patterns.
        recursive: search subfolders too.

    Returns:
        Image files, each once.

    Raises:
        InputError: a source does not exist, or a folder holds no image.

    Example:
        find_images(["street.jpg", "photos/"])
    """
    search = search_images(sources, recursive)
    search.check()
    return search.images


def fetched(source: Any) -> Any:
    """Copy a source in a bucket to the cache and return its path; return any other source as it is.

    Raises:
        InputError: as `data.remote.local_copy`.
    """
    if not isinstance(source, str) or not is_bucket(source):
        return source
    from tfrcnn.data.remote import local_copy

    return local_copy(source)


def named_by_address(source: Source) -> Source:
    """Name a copy in the cache by the address that it is the copy of; return any other source as it is."""
    from tfrcnn.data.remote import address_of

    address = address_of(source.content) if isinstance(source.content, Path) else None
    return source if address is None else replace(source, name=address)


def _expand(source: Any, number: int, recursive: bool, search: ImageSearch) -> list[Source]:
    """Return the images and videos of one source, and count what is left out.

    Raises:
        InputError: the source does not exist, or holds no image.
    """
    if isinstance(source, str) and is_bucket(source):
        return list(map(named_by_address, _expand(fetched(source), number, recursive, search)))
    if not isinstance(source, str | os.PathLike) or (isinstance(source, str) and is_address(source)):
        return [make_source(source, number)]
    if not os.fspath(source):
        raise InputError("expected an image or a folder of images, found an empty name")
    path = Path(source)
    if path.is_file():
        return [make_source(path, number)]
    text, part = str(path), ImageSearch()
    if path.is_dir():
        paths = list(_inside(path, recursive, part))
    elif text.isascii() and text.isdigit():
        return [make_source(int(text), number)]
    elif glob.has_magic(text):
        paths = list(_matches(text, recursive, part))
    else:
        actual = "found a pipe or a device" if path.exists() else "which does not exist"
        raise InputError(f"{path}: expected an image or a folder of images, {actual}")
    if not paths:
        extensions, left_out = ", ".join(sorted(_extensions())), part.left_out()
        raise InputError(f"{path}: expected images ({extensions}), found none{left_out and f', but {left_out}'}")
    search.other += part.other
    search.videos += part.videos
    search.hidden += part.hidden
    search.folders += part.folders
    search.links += part.links
    return [make_source(path, number) for path in paths]


def _matches(pattern: str, recursive: bool, search: ImageSearch) -> Iterator[Path]:
    """Yield the images and videos that match a pattern, and count the rest; search its folders if recursive.

    "**" does not follow links. As in a shell, "*" matches no hidden file.

    Raises:
        InputError: the pattern is not one.
    """
    parts, suffix = Path(pattern).parts, Path(pattern).suffix.lower()
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:fixed])
    try:
        paths = sorted(base.glob(str(Path(*parts[fixed:]))))
    except ValueError as error:
        raise InputError(f"{pattern}: expected a pattern such as 'photos/**/*.jpg': {error}") from error
    for path in paths:
        if any(part.startswith(".") and part not in parts for part in path.relative_to(base).parts):
            search.hidden += 1
        elif not path.is_dir():
            yield from _usable(path, search, also=suffix)
        elif "**" in parts:
            continue
        elif recursive:
            yield from _inside(path, recursive, search)
        else:
            search.folders += 1


def _inside(folder: Path, recursive: bool, search: ImageSearch) -> Iterator[Path]:
    """Yield the images in a folder, and count the rest."""
    for parent, folders, files in os.walk(folder, onerror=cannot_list):
        visible = sorted(name for name in folders if not name.startswith("."))
        search.hidden += len(folders) - len(visible)
        links = [name for name in visible if os.path.islink(os.path.join(parent, name))] if recursive else []
        search.links += len(links)
        search.folders += 0 if recursive else len(visible)
        folders[:] = [name for name in visible if name not in links] if recursive else []
        for name in sorted(files):
            if name.startswith("."):
                search.hidden += 1
            else:
                yield from _usable(Path(parent, name), search)


def _usable(path: Path, search: ImageSearch, also: str = "") -> Iterator[Path]:
    """Yield a file if it is an image or a video by its extension, or has the extension `also`; else count it."""
    suffix = path.suffix.lower()
    is_video = is_video_name(path.name)
    if not is_video and suffix not in _extensions() and suffix != (also or None):
        search.other[suffix or "no extension"] += 1
    elif not path.is_file():
        search.other[_NO_FILE] += 1
    elif is_video and not can_read_videos():
        search.videos += 1
    else:
        yield path


def cannot_list(error: OSError) -> None:
    """Refuse a folder that `os.walk` cannot list, which it would leave out."""
    raise InputError(f"{error.filename}: expected a folder that can be listed, found: {error.strerror}") from error


def _extensions() -> set[str]:
    return {extension for group in EXTENSIONS.values() for extension in group}
