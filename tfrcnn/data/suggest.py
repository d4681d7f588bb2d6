"""The error message for a DATA argument that no format reads: what was looked for, what is there, what to type."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tfrcnn.data.data_format import DataFormat
from tfrcnn.errors import InputError

_MAX_SUGGESTIONS = 8
_MAX_ENTRIES = 200  # files and folders to look at, for suggestions
_MAX_DEPTH = 3  # folders below the path


def not_understood(data: str, formats: Mapping[str, DataFormat]) -> InputError:
    """Return the error for a path that none of the formats reads.

    Args:
        data: the path.
        formats: those that looked at it, by name.
    """
    path = Path(data)
    if path.is_dir():
        suggestions = _suggestions(path, formats)
        hint = f"; did you mean {' or '.join(suggestions)}?" if suggestions else ""
        actual = f"the folder {data} with {_contents(path)}{hint}"
    elif path.is_file():
        actual = f"the file {data}"
    elif path.exists():
        actual = f"a pipe or a device at {data}"
    elif path.is_symlink():
        actual = f"a link to nothing at {data}"
    else:
        actual = f"nothing at {data}"
    if not path.exists():
        expected = " or ".join(data_format.expected for data_format in formats.values())
        return InputError(f"data: expected {expected}, found {actual}")
    looked_for = "".join(f"\n  {name}:PATH is {data_format.expected}" for name, data_format in formats.items())
    return InputError(f"data: expected a data set, found {actual}\nLooked for:{looked_for}")


def _suggestions(folder: Path, formats: Mapping[str, DataFormat]) -> list[str]:
    """Return the DATA arguments that the files and folders below a folder hold."""
    suggestions: list[str] = []
    of_paths = [data_format for data_format in formats.values() if data_format.is_path]
    for path in _entries(folder, formats):
        sets = [split for data_format in of_paths for split in data_format.find(str(path))]
        suggestions += dict.fromkeys(f"{path}@{split}" if split else str(path) for split in sets)
        if len(suggestions) >= _MAX_SUGGESTIONS:
            break
    return suggestions[:_MAX_SUGGESTIONS]


def _entries(folder: Path, formats: Mapping[str, DataFormat]) -> Iterator[Path]:
    """Yield the files that may be data sets and the folders, level by level."""
    extensions = tuple(extension for data_format in formats.values() for extension in data_format.extensions)
    level, count = [folder], 0
    for _ in range(_MAX_DEPTH):
        below: list[Path] = []
        for place in level:
            folders, files = _listing(place)
            for path in [*(place / name for name in files if name.lower().endswith(extensions)), *folders]:
                if (count := count + 1) > _MAX_ENTRIES:
                    return
                yield path
            below += folders
        level = below


def _listing(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the visible folders and the names of the visible files in a folder, sorted."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted((entry for entry in scan if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError:
        return [], []
    return [folder / e.name for e in entries if e.is_dir()], [e.name for e in entries if not e.is_dir()]


def _contents(folder: Path) -> str:
    """Count the files of a folder by extension, and name its folders."""
    folders, files = _listing(folder)
    counts = Counter(os.path.splitext(name)[1].lower() or "no extension" for name in files)
    parts = [f"{count:,} x {extension}" for extension, count in counts.most_common(4)]
    parts += [f"{path.name}/" for path in folders[:6]]
    parts += ["more folders"] if len(folders) > 6 else []
    return ", ".join(parts) or "nothing in it"
