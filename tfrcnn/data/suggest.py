"""The error message for a DATA argument that no format reads: what was looked for, what is there, what to type."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfrcnn.data.data_format import DataFormat
from tfrcnn.data.layouts import IMAGE_EXTENSIONS
from tfrcnn.data.other_tools import other_tool, other_tool_in
from tfrcnn.data.sources import is_true, walk
from tfrcnn.errors import InputError

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_NO_ANNOTATIONS = ("readme", "license", "licence", "thumbs", "desktop")  # names of files next to images
_MAX_SUGGESTIONS = 8
_MAX_ENTRIES = 200  # files and folders to look at, for suggestions
_MAX_FILES = 6  # of one extension in a folder; more are probably the annotations of one image each
_MAX_DEPTH = 3  # folders below the path


def not_understood(data: str, formats: Mapping[str, DataFormat]) -> InputError:
    """Return the error for a path that none of the formats reads.

    Args:
        data: the path.
        formats: those that looked at it, by name.
    """
    path = Path(data)
    if path.is_dir() and (images := _count_images(path)):
        advice = f"label them, or type the folder of the annotations, and --images {data} if they have no images"
        content = "an image" if images == 1 else f"{images:,} images"
        return InputError(f"data: expected annotations, found {content} and no other file in {data}: {advice}")
    if path.is_dir() and (tool := other_tool_in(path)):
        return InputError(f"data: expected a data set, found in the folder {data} {tool}{_hint(path, formats)}")
    if path.is_dir():
        actual = f"the folder {data} with {_contents(path)}{_hint(path, formats)}"
    elif path.is_file():
        is_archive = path.suffix.lower() in _ARCHIVES
        actual = f"the file {data}{'; unpack it, and type the folder' if is_archive else ''}"
    elif path.exists():
        actual = f"a pipe or a device at {data}"
    elif path.is_symlink():
        actual = f"a link to nothing at {data}"
    else:
        alone = next(iter(formats.values())).expected if len(formats) == 1 else "a file or a folder of data"
        prefix, colon, _ = data.partition(":")
        if len(formats) > 1 and colon and len(prefix) > 1 and prefix.isalnum():
            alone = f"{alone}, or one of {', '.join(f'{name}:' for name in formats)} before its path"
        return InputError(f"data: expected {alone}, found nothing at {data}")
    looked_for = "".join(f"\n  {name}:PATH is {data_format.expected}" for name, data_format in formats.items())
    return InputError(f"data: expected a data set, found {actual}\nLooked for:{looked_for}")


def _hint(folder: Path, formats: Mapping[str, DataFormat]) -> str:
    suggestions = _suggestions(folder, formats)
    return f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""


def _suggestions(folder: Path, formats: Mapping[str, DataFormat]) -> list[str]:
    """Return the DATA arguments of the files and folders below a folder; not those inside of a data set.

    Files that only have the right extension count if there is nothing else.
    """
    of_paths = [data_format for data_format in formats.values() if data_format.is_path]
    extensions = tuple(extension for data_format in of_paths for extension in data_format.extensions)
    suggestions: list[str] = []
    unlikely: list[str] = []
    level, looked_at = [folder], 0
    for _ in range(_MAX_DEPTH):
        below: list[Path] = []
        for path in (path for place in level for path in _candidates(place, extensions)):
            looked_at += 1
            if looked_at > _MAX_ENTRIES or len(suggestions) >= _MAX_SUGGESTIONS:
                return (suggestions or unlikely)[:_MAX_SUGGESTIONS]
            if path.is_file() and other_tool(path):
                continue
            sets = {name: sets for name, each in formats.items() if each.is_path and (sets := each.find(str(path)))}
            is_likely = not path.is_file() or any(formats[name].is_likely(path) for name in sets)
            names = [split for splits in sets.values() for split in splits]
            chosen = suggestions if is_likely else unlikely
            chosen += dict.fromkeys(f"{path}@{split}" if split else str(path) for split in names)
            below += [path] if not sets and path.is_dir() else []
        level = below
    return (suggestions or unlikely)[:_MAX_SUGGESTIONS]


def _candidates(folder: Path, extensions: tuple[str, ...]) -> Iterator[Path]:
    """Yield the files in a folder that may be data sets, unless there is one per image, and its folders."""
    folders, files = _listing(folder)
    for extension in extensions:
        names = [name for name in files if name.lower().endswith(extension)]
        yield from (folder / name for name in names if len(names) <= _MAX_FILES)
    yield from folders


def _listing(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the visible folders and the names of the visible files in a folder, sorted."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        return [], []
    kinds = [(entry.name, is_true(entry.is_dir)) for entry in entries]
    folders = [folder / name for name, is_folder in kinds if is_folder]
    return folders, [name for name, is_folder in kinds if not is_folder]


def _count_images(folder: Path) -> int:
    """Count the images below a folder; 0 if there is another file that may hold annotations."""
    count = 0
    for _, names in walk(folder):
        for name in names:
            stem, extension = os.path.splitext(name.lower())
            if extension in IMAGE_EXTENSIONS:
                count += 1
            elif not name.startswith(".") and not stem.startswith(_NO_ANNOTATIONS):
                return 0
    return count


def _contents(folder: Path) -> str:
    """Count the files of a folder by extension, and name its folders."""
    folders, files = _listing(folder)
    counts = Counter(os.path.splitext(name)[1].lower() or "no extension" for name in files)
    parts = [f"{count:,} x {extension}" for extension, count in counts.most_common(4)]
    parts += [f"{path.name}/" for path in folders[:6]]
    parts += ["more folders"] if len(folders) > 6 else []
    return ", ".join(parts) or "nothing in it"
