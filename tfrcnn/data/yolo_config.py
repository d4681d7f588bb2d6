"""Reads what a YOLO project says about itself: the class names, and where the images of each split are.

| file | tool | holds |
|---|---|---|
| `data.yaml` | Ultralytics, Roboflow, CVAT | splits and names |
| `obj.data` | Darknet, CVAT's YOLO 1.1 | splits and the file of the names |
| `classes.txt`, `obj.names`, `_darknet.labels` | labelImg, Label Studio, Darknet, Roboflow | a name per line |
| `notes.json` | Label Studio | names |
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tfrcnn.config_base import shown
from tfrcnn.data.faults import Fault
from tfrcnn.data.layouts import IMAGE_EXTENSIONS, files_in, has_file
from tfrcnn.data.locate import shortened
from tfrcnn.data.sources import MAX_SMALL, json_text, nfc, read_bytes, read_lines
from tfrcnn.errors import InputError
from tfrcnn.files import parse_json
from tfrcnn.printable import listing, shorten

SPLITS = ("train", "val", "valid", "validation", "test", "minival")
_NO_SPLITS = {"path", "names", "nc", "download", "classes", "labels", "backup", "results"}  # may name files too
_LISTS_OF_NAMES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names", "names.txt", "labels.txt")
_NOTES = "notes.json"
# The compiled loader limits the depth of nesting, and is fast. Builds of PyYAML without libyaml lack it.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


@dataclass
class Names:
    """The names of the classes.

    Attributes:
        file: where they are from.
        by_number: name by number of the class; empty if there are none.
        faults: of the file.
    """

    file: Path
    by_number: dict[int, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add_fault(self, kind: str, where: str, message: str) -> None:
        self.faults.append(Fault(kind, str(self.file), where, message))


@dataclass
class Config:
    """A data.yaml or obj.data.

    Attributes:
        names: of the classes.
        splits: by split, the folders and lists of its images as written.
        root: the folder that `path` names; None if there is no `path`.
        columns: numbers per line of a project with keypoints; None if it has none.
        is_blank: whether the file has no keys at all.
    """

    names: Names
    splits: dict[str, list[str]] = field(default_factory=dict)
    root: str | None = None
    columns: int | None = None
    is_blank: bool = False


class RepeatedKeyError(ValueError):
    """Keys of a config are there twice.

    Args:
        lines: of each repeated key.

    Attributes:
        line: of the first key that is there again.
    """

    def __init__(self, lines: dict[str, list[int]]) -> None:
        places = [f"{shorten(key, 40)!r} in lines {' and '.join(map(str, lines[key]))}" for key in lines]
        super().__init__(f"expected each key once, found {listing(places, 8)}")
        self.line = min(numbers[1] for numbers in lines.values())


def read_config(file: Path) -> Config:
    """Read a data.yaml or obj.data. What cannot be read is a fault of its names."""
    config = Config(Names(file))
    try:
        content = _darknet(file) if file.suffix.lower() == ".data" else _yaml(file, once=True)
    except InputError as error:
        config.names.add_fault("unreadable-file", "", str(error))
        return config
    except RepeatedKeyError as error:
        config.names.add_fault("syntax-error", f"line {error.line}", str(error))
        return config
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = re.sub("^(but )?found ", "", error.problem or error.context or "")
        config.names.add_fault("syntax-error", where, f"expected YAML, found: {problem}")
        return config
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        config.names.add_fault("syntax-error", "", f"expected YAML, found: {error}")
        return config
    if not isinstance(content, dict):
        config.is_blank, actual = True, "an empty file" if content is None else "no keys"
        config.names.add_fault("bad-value", "line 1", f"expected names, train and val, found {actual}")
        return config
    config.root = content.get("path")
    if not isinstance(config.root, str | None):
        config.names.add_fault("bad-value", "path", f"expected a folder, found {shown(config.root)}")
        config.root = None
    for split in sorted(filter(_may_be_split, content), key=_order):
        values = content[split] if isinstance(content[split], list) else [content[split]]
        texts = [text for text in values if isinstance(text, str) and text]
        if texts and (split.lower() in SPLITS or all(_has_images(text, file, config.root) for text in texts)):
            config.splits[split] = texts
    shape = content.get("kpt_shape")
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, str) and n.isdecimal() for n in shape):
        config.columns = 5 + int(shape[0]) * int(shape[1])
    _names_of(content, config.names)
    return config


def find_names(folders: Iterable[Path]) -> Names | None:
    """Read the names of the first folder that has a file of names; None if there is none."""
    for folder in folders:
        for name in _LISTS_OF_NAMES:
            if (folder / name).is_file():
                return read_names(folder / name)
        if (folder / _NOTES).is_file():
            return _notes(folder / _NOTES)
        if (file := config_file(folder)) is not None:
            return read_config(file).names
    return None


def read_names(file: Path) -> Names:
    """Read a list of names, one per line. A line counts even if it is empty: the first one is class 0."""
    names = Names(file)
    try:
        lines = [nfc(line.strip(" \t\ufeff\0")) for line in read_lines(file)]
    except InputError as error:
        names.add_fault("unreadable-file", "", str(error))
        return names
    names.by_number = {number: name for number, name in enumerate(lines) if name}
    return _checked(names)


def config_file(folder: Path) -> Path | None:
    """Return the data.yaml of a folder, or its only file of that content under another name, or obj.data."""
    files = files_in(folder, [".yaml", ".yml"])
    usual = [path for path in files if path.stem.lower() in ("data", "dataset")]
    for path in usual or (files if len(files) == 1 else []):
        try:
            content = _yaml(path)
        except (InputError, yaml.YAMLError, RecursionError, ValueError):
            return path if usual else None
        if usual and not isinstance(content, dict):
            return path
        if isinstance(content, dict) and ("names" in content or any(_order(str(key)) < len(SPLITS) for key in content)):
            return path
    data = [path for path in files_in(folder, [".data"]) if path.stem.lower() in ("obj", "data", "darknet")]
    return next(iter(data), None)


def find_path(text: str, file: Path, root: str | None) -> Path | None:
    """Find a folder or list that a config names, as Ultralytics does; None if it is not there.

    Roboflow writes `../train/images` for `train/images`. Absolute paths of another machine count without their first
    folders.

    Args:
        text: as written.
        file: the config.
        root: what its `path` says.
    """
    return next((path for path in places(text, file, root) if _exists(path)), None)


def places(text: str, file: Path, root: str | None) -> list[Path]:
    """List where `find_path` looks, in its order."""
    bases = [file.parent] if root is None else [file.parent / root, file.parent]
    short = (base.joinpath(*parts) for base in bases for parts in shortened(text))
    return list(dict.fromkeys([*(base / text for base in bases), *short]))


def _may_be_split(key: object) -> bool:
    return isinstance(key, str) and key.lower() not in _NO_SPLITS


def _order(split: str) -> int:
    return SPLITS.index(split.lower()) if split.lower() in SPLITS else len(SPLITS)


def _has_images(text: str, file: Path, root: str | None) -> bool:
    """Return whether a value of a config names a folder of images, or a list of them: CVAT's subsets have any name."""
    for base in [file.parent] if root is None else [file.parent / root, file.parent]:
        path = base / text
        if _exists(path) and path.resolve() != file.parent.resolve():
            return path.suffix.lower() == ".txt" or has_file(path, IMAGE_EXTENSIONS)
    return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a path that no system can have
        return False


def _yaml(file: Path, once: bool = False) -> Any:
    """Read a YAML file with every scalar as a text: "no" is a name, not False.

    Args:
        file: to read.
        once: refuse keys that are there twice, also below `names`. Otherwise the last one counts.
    """
    loader = _LOADER(read_bytes(file, MAX_SMALL))
    try:
        node = loader.get_single_node()
        if once and isinstance(node, yaml.MappingNode):
            pairs = [pair for key, value in node.value if key.value == "names" for pair in _pairs(value)]
            _check_once((key.value, key.start_mark.line + 1) for key, _ in [*_pairs(node), *pairs])
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _pairs(node: yaml.Node) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [(key, value) for key, value in pairs if isinstance(key, yaml.ScalarNode)]


def _check_once(keys: Iterable[tuple[str, int]]) -> None:
    """Raise an error that names each key with several lines."""
    lines: dict[str, list[int]] = {}
    for key, line in keys:
        lines.setdefault(key, []).append(line)
    if repeated := {key: numbers for key, numbers in lines.items() if len(numbers) > 1}:
        raise RepeatedKeyError(repeated)


def _darknet(file: Path) -> dict[str, str]:
    """Read the lines "key = value" of an obj.data."""
    lines = [(i, *line.partition("=")) for i, line in enumerate(read_lines(file), 1) if "=" in line]
    _check_once((key.strip(), i) for i, key, _, _ in lines)
    return {key.strip(): value.strip() for _, key, _, value in lines}


def _names_of(content: dict[Any, Any], names: Names) -> None:
    """Read the key `names`: a list, an object with numbers as keys, or the path of a file."""
    value = content.get("names", "")
    if isinstance(value, str) and value:
        path = find_path(value, names.file, None)
        if path is None or not path.is_file():
            names.add_fault("bad-value", "names", f"expected names or a file of them, found {value!r}")
            return
        listed = read_names(path)
        names.file, names.by_number = listed.file, listed.by_number
        names.faults += listed.faults
        return
    items = list(value.items() if isinstance(value, dict) else enumerate(value))
    for number, name in items:
        if not (isinstance(name, str) and name.strip() and str(number).isdecimal() and len(str(number)) < 10):
            message = f"expected a number from 0 and a name, found {shorten(str(number), 40)}: {shown(name)}"
            names.add_fault("bad-value", "names", message)
        else:
            names.by_number[int(number)] = nfc(name.strip())
    count = content.get("nc")
    if items and isinstance(count, str) and count.isdecimal() and int(count[:9]) != len(items):
        names.add_fault("bad-value", "nc", f"expected {len(items)}, the number of names, found {count}")
    _checked(names)


def _notes(file: Path) -> Names:
    """Read Label Studio's notes.json."""
    names = Names(file)
    try:
        items = parse_json(json_text(file))["categories"]
        names.by_number = {int(item["id"]): nfc(str(item["name"])) for item in items}
    except InputError as error:
        names.add_fault("unreadable-file", "", str(error))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        names.add_fault("bad-value", "categories", "expected a list of objects with id and name, found another value")
    return _checked(names)


def _checked(names: Names) -> Names:
    for name, count in Counter(names.by_number.values()).items():
        if count > 1:
            names.add_fault("duplicate-category", "names", f"expected unique names, found {name!r} {count} times")
    return names
