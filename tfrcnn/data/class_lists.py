"""Files that list the names and ids of classes, next to the annotations.

The label map of the TF Object Detection API is in protobuf's text format. Ids start at 1. Records may name a class by
`name` or by `display_name`; the latter is the category's name if it exists:

    item {
      id: 1
      name: "/m/01g317"
      display_name: "person"
    }

RetinaNet's classes.csv has a name and an id per row, from 0. Open Images' class descriptions have a code and a name:

    cell,0                                  /m/01g317,Person
"""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tfrcnn.config import Category
from tfrcnn.data.faults import Fault
from tfrcnn.data.sources import nfc, read_lines
from tfrcnn.errors import InputError

_ITEM = re.compile(r"\bitem\s*:?\s*$")  # before a brace
_BRACE = re.compile(r"""[{}]|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""")  # or a text, which may have braces in it
_FIELD = re.compile(r"""\b(\w+)\s*:\s*("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s,;}]+)""", re.DOTALL)
_CLASS_FILES = ("classes.csv", "class_mapping.csv", "*_classes.csv")
_DESCRIPTION_FILES = ("*class-descriptions*.csv", "classes.csv", "../metadata/classes.csv")


@dataclass
class ClassList:
    """The classes of a data set.

    Attributes:
        path: the file that lists them; None if they are the names that the annotations use.
        categories: a category's position is its label.
        labels: by every name that annotations may use for a class.
        faults: of the file.
    """

    path: Path | None = None
    categories: tuple[Category, ...] = ()
    labels: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, kind: str, where: str, message: str) -> None:
        self.faults.append(Fault(kind, str(self.path), where, message))


def classes_of_names(names: Iterable[str]) -> ClassList:
    """Make classes 1, 2, ... of the sorted names."""
    ordered = sorted(set(names))
    categories = tuple(Category(number, name) for number, name in enumerate(ordered, 1))
    return ClassList(None, categories, {name: label for label, name in enumerate(ordered)})


def find_label_map(folder: Path, stem: str) -> ClassList | None:
    """Read the label map in a folder: label_map.pbtxt, else one named after the data, else the only one."""
    files = sorted(path for path in folder.glob("*.pbtxt") if path.is_file())
    named = [path for path in files if path.name in ("label_map.pbtxt", f"{stem}_label_map.pbtxt")]
    path = next(iter(named), files[0] if len(files) == 1 else None)
    return None if path is None else read_label_map(path)


def read_label_map(path: Path) -> ClassList:
    """Read a label map. Items that cannot be used become faults."""
    classes = ClassList(path)
    text = "\n".join(re.sub(r"^\s*#.*", "", line) for line in _lines(classes))
    rows = []
    for number, item in enumerate(_items(text), 1):
        fields = {key: _unquoted(value) for key, value in _FIELD.findall(item)}
        names = [fields[key] for key in ("display_name", "name") if fields.get(key)]
        rows.append((f"item {number}", fields.get("id", ""), names))
    return _filled(classes, rows)


def _items(text: str) -> Iterator[str]:
    """Yield the content of each item, without the messages in it, for example keypoints."""
    depth = end = 0
    content: list[str] | None = None
    for match in _BRACE.finditer(text):
        if match[0] not in ("{", "}"):
            continue
        between, end = text[end : match.start()], match.end()
        if content is not None and depth == 1:
            content.append(between)
        if match[0] == "{":
            content = [] if depth == 0 and _ITEM.search(between) else content
            depth += 1
        else:
            depth = max(0, depth - 1)
            if depth == 0 and content is not None:
                yield ";".join(content)  # the sign keeps "keypoints:" from taking the next field
                content = None


def find_class_csv(folder: Path) -> ClassList | None:
    """Read RetinaNet's list of classes in a folder."""
    path = _first(folder, _CLASS_FILES)
    if path is None:
        return None
    classes = ClassList(path)
    rows = [(f"line {line}", row[1] if len(row) > 1 else "", row[:1]) for line, row in _rows(classes)]
    return _filled(classes, rows)


def read_descriptions(folder: Path) -> dict[str, str]:
    """Read Open Images' names of classes by their codes; none if there is no such file next to the boxes."""
    path = _first(folder, _DESCRIPTION_FILES)
    if path is None:
        return {}
    return {row[0]: nfc(row[1]) for _, row in _rows(ClassList(path)) if len(row) > 1 and row[1]}


def _filled(classes: ClassList, rows: Iterable[tuple[str, str, list[str]]]) -> ClassList:
    """Add the classes of rows: place in the file, id, names, of which the first is the category's."""
    names: dict[int, list[str]] = {}
    for where, text, texts in rows:
        number = int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
        if number is None:
            classes.fault("bad-value", f"{where}, id", f"expected a whole number, found {text or 'nothing'}")
        elif not texts or not texts[0]:
            classes.fault("bad-value", f"{where}, name", "expected a name, found nothing")
        elif number in names or texts[0] in (others[0] for others in names.values()):
            message = f"expected a unique id and name, found id {number} and name {texts[0]!r} again"
            classes.fault("duplicate-category", where, message)
        else:
            names[number] = texts
    if not names and not classes.faults:
        classes.fault("bad-value", "", "expected classes with an id and a name, found none")
    classes.categories = tuple(Category(number, names[number][0]) for number in sorted(names))
    for position in (1, 0):  # the first name of a class counts before the second name of another
        for label, category in enumerate(classes.categories):
            classes.labels.update({name: label for name in names[category.id][position : position + 1]})
    return classes


def _rows(classes: ClassList) -> Iterable[tuple[int, list[str]]]:
    """Yield the line and the fields of each row of a CSV that is not blank."""
    for line, text in enumerate(_lines(classes), 1):
        try:
            row = next(csv.reader([text]), [])
        except csv.Error as error:
            classes.fault("syntax-error", f"line {line}", f"expected CSV, found: {error}")
            continue
        if text.strip():
            yield line, [nfc(value.strip()) for value in row]


def _lines(classes: ClassList) -> list[str]:
    assert classes.path is not None
    try:
        return read_lines(classes.path)
    except InputError as error:
        classes.fault("unreadable-file", "", str(error))
        return []


def _first(folder: Path, patterns: Iterable[str]) -> Path | None:
    matches = (path for pattern in patterns for path in sorted(folder.glob(pattern)))
    return next((path for path in matches if path.is_file()), None)


def _unquoted(value: str) -> str:
    """Return the text in quotes, with its escapes; other values stay."""
    if value[:1] not in ("'", '"'):
        return value
    try:
        # protobuf has the escapes of C, and so has Python; octal ones are bytes of UTF-8
        text = str(ast.literal_eval(value.replace("\n", " ")))
    except (SyntaxError, ValueError):
        text = value[1:-1]
    try:
        return nfc(text.encode("latin-1").decode())
    except UnicodeError:
        return nfc(text)
