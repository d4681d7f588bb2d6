"""CVAT XML 1.1, "CVAT for images": one file for all images.

    <annotations>
      <meta> ... <labels><label><name>car</name></label></labels> ... </meta>
      <image id="0" name="street/0001.jpg" width="1600" height="1200">
        <box label="car" xtl="797.3" ytl="870.9" xbr="965.5" ybr="928.9" rotation="12"/>
        <polygon label="car" points="1.5,2;30,2;30,40"/>
      </image>
    </annotations>

Coordinates are continuous pixels. The box around a rotated box, a polygon, an ellipse or a mask is used. Other shapes
have no area and are left out. Categories are the labels of the task, in their order, with ids 1..C. The parser streams
the file, and refuses entities.
"""

from __future__ import annotations

import io
import math
import os
import re
from functools import partial
from html import unescape
from pathlib import Path
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, InputSource, Locator

from defusedxml import DefusedXmlException, sax

from tfrcnn.config import Category
from tfrcnn.config_base import shown
from tfrcnn.data.box_table import BoxTable
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.faults import Fault
from tfrcnn.data.locate import ImageFinder, Location
from tfrcnn.data.sources import nfc, read_bytes, xml_source
from tfrcnn.errors import InputError

_IN_FOLDER = ("annotations.xml", "labels.xml")  # in an unpacked export of CVAT, of FiftyOne
_ROOT = re.compile(rb"<annotations[\s/>]")
_SUBSET = re.compile(rb"""<image\b[^>]*?\ssubset=["']([^"']*)""")
_HEAD = 4096  # bytes that hold the first tag
_LABEL = ["labels", "label", "name"]
_NO_AREA = {"points", "polyline", "cuboid", "skeleton"}


class Cvat(DataFormat):
    """`path/annotations.xml`, or its folder."""

    expected = "annotations.xml (CVAT for images 1.1), or its folder"
    extensions = (".xml",)

    def find(self, path: str) -> dict[str, Parse]:
        files = [Path(path, name) for name in _IN_FOLDER] if os.path.isdir(path) else [Path(path)]
        file = next(filter(_is_cvat, files), None)
        if file is None:
            return {}
        subsets: dict[str, Parse] = {subset: partial(parse_cvat, file, subset=subset) for subset in _subsets(file)}
        return subsets or {"": partial(parse_cvat, file)}


def parse_cvat(path: Path, images: Path | None = None, subset: str | None = None) -> Parsed:
    """Read a CVAT file without opening the images.

    Args:
        path: the XML file.
        images: folder that names are relative to. Default: the folder of the file, or `images/` in it or above it.
        subset: of a project, whose images to read; None is all images.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.
    """
    reader = _Reader(path, images, subset)
    try:
        content = xml_source(read_bytes(path))
        source = InputSource(str(path))
        if isinstance(content, str):
            source.setCharacterStream(io.StringIO(content))
        else:
            source.setByteStream(io.BytesIO(content))
        sax.parse(source, reader)
    except InputError as error:
        reader.fault("unreadable-file", "", str(error))
    except SAXParseException as error:
        where = f"line {error.getLineNumber()}, column {(error.getColumnNumber() or 0) + 1}"
        reader.fault("syntax-error", where, f"expected XML, found: {error.getMessage()}")
    except (DefusedXmlException, LookupError, ValueError) as error:  # entities; an unknown encoding
        reader.fault("syntax-error", "", f"expected plain XML, found: {error}")
    return reader.finished()


class _Reader(ContentHandler):
    """Fills `parsed` while the file streams. Entries that cannot be used become faults."""

    def __init__(self, path: Path, images: Path | None, subset: str | None) -> None:
        super().__init__()
        self.path, self.subset = path, subset
        self.parsed = Parsed(inclusive=False, box_field="line {}", show_box=_show_box)
        folder = path.parent
        near = [folder, folder / "images", folder / "data", folder.parent, folder.parent / "images"]
        self.finder = ImageFinder(near if images is None else [images])
        self.tags: list[str] = []
        self.text = ""
        self.name = ""  # of the label that is open
        self.labels: dict[str, None] = {}
        self.ids: set[int | str] = set()
        self.image: int | None = None  # the image that is open
        self.skips = False  # the image that is open is of another subset
        self.names: list[tuple[str, int]] = []  # label and line of each box
        self.tracks = 0
        self.masks: list[int] = []  # lines of shapes that are no boxes

    def setDocumentLocator(self, locator: Locator) -> None:  # noqa: N802  # a name of SAX
        self.locator = locator

    @property
    def line(self) -> int:
        return self.locator.getLineNumber() or 0

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802
        self.tags.append(name)
        self.text = ""
        if self.tags == ["annotations", "image"]:
            self.image = self.start_image(attrs)
        elif self.tags[:-1] == ["annotations", "image"]:
            self.shape(name, attrs)
        elif name == "track" and len(self.tags) == 2:
            self.tracks += 1

    def characters(self, content: str) -> None:
        self.text += content

    def endElement(self, name: str) -> None:  # noqa: N802
        if self.tags[-3:] == _LABEL:
            self.name = nfc(self.text.strip())
        elif self.tags[-3:] == [*_LABEL[:2], "parent"]:
            self.name = ""  # a point of a skeleton
        elif self.tags[-2:] == _LABEL[:2] and self.name:
            self.labels[self.name] = None
        self.tags.pop()
        self.text = ""

    def start_image(self, attrs: AttributesImpl) -> int | None:
        """Read the attributes of an <image>, and return its position, or None if it cannot be used."""
        before, where = len(self.parsed.faults), f"line {self.line}"
        text, name = attrs.get("id", ""), nfc(attrs.get("name", ""))
        image_id: int | str = int(text) if re.fullmatch("[0-9]{1,18}", text) else text
        if image_id in self.ids and attrs.get("task_id"):  # the tasks of a project count their images from 0
            image_id = f"{attrs['task_id']}/{text}"
        if image_id == text:
            self.fault("bad-value", f"{where}, id", f"expected a whole number, found {text!r}")
        elif image_id in self.ids:
            self.fault("duplicate-image-id", f"{where}, id", f"expected a unique id, found {text} again")
        self.ids.add(image_id)
        subset = nfc(attrs.get("subset", ""))
        self.skips = self.subset not in (None, subset)
        if self.skips:
            return None
        if not name:
            self.fault("bad-value", f"{where}, name", "expected a file name, found nothing")
        sides = [attrs.get(key, "") for key in ("height", "width")]
        if not all(re.fullmatch("[0-9]{1,9}", side) and int(side) for side in sides):
            message = f"expected whole numbers of at least 1, found {sides[1]!r} x {sides[0]!r}"
            self.fault("bad-value", f"{where}, width and height", message)
        if len(self.parsed.faults) > before:
            return None
        path, kind = self.find(name, subset)
        if kind:
            self.fault(kind, f"{where}, name", f"expected {name}, found {path}")
        size = int(sides[0]), int(sides[1])
        record = ImageRecord(image_id, (path,), size, str(self.path), f"{where}, name", f"{where}, width")
        self.parsed.images.append(record)
        return len(self.parsed.images) - 1

    def find(self, name: str, subset: str) -> Location:
        """Find an image; a project's images are in a folder per subset."""
        in_subset = self.finder.find(f"{subset}/{name}") if subset else None
        if in_subset is not None and not in_subset.fault:
            return in_subset
        return self.finder.find(name) or Location(self.finder.roots[0] / name)

    def shape(self, kind: str, attrs: AttributesImpl) -> None:
        """Read a box, or the box around another shape; a <tag> is no shape."""
        line = self.line
        if self.skips:
            return
        if kind in _NO_AREA:
            self.fault("shape-without-area", f"line {line}", f"expected a box, polygon, ellipse or mask, found {kind}")
        if kind not in _SHAPES:
            return
        label = nfc(attrs.get("label", ""))
        if not label:
            self.fault("bad-value", f"line {line}, label", "expected a name, found nothing")
        try:
            yxyx = _SHAPES[kind](attrs)
        except KeyError as error:
            self.fault("bad-value", f"line {line}, {error.args[0]}", "expected a number, found nothing")
        except ValueError as error:
            self.fault("bad-value", f"line {line}", f"expected numbers, found: {error}")
        else:
            if label and self.image is not None:
                self.parsed.boxes.append(BoxRecord(self.image, line, yxyx, 0))
                self.names.append((label, line))
                self.masks += [line] if kind != "box" or float(attrs.get("rotation", "0")) else []

    def finished(self) -> Parsed:
        """Return the result, with the labels and the faults of the whole file."""
        parsed = self.parsed
        if self.tracks:
            message = f"expected images, found {self.tracks:,} tracks of a video; export it as CVAT for images 1.1"
            self.fault("bad-value", "<track>", message)
        elif not parsed.images and not parsed.faults:
            self.fault("empty-split", "", "expected at least one <image>, found none")
        if self.masks:
            more = f" (and {len(self.masks) - 1:,} more)" if len(self.masks) > 1 else ""
            message = f"expected an upright box, found another shape; the box around it is used{more}"
            self.fault("box-from-mask", f"line {self.masks[0]}", message)
        names = list(self.labels) or sorted({name for name, _ in self.names})
        labels = {name: label for label, name in enumerate(names)}
        for name, line in self.names:
            if name not in labels:
                message = f"expected a label of <meta>, found {name!r}"
                self.fault("unknown-category", f"line {line}, label", message)
        if not names and not parsed.faults:
            self.fault("bad-value", "<labels>", "expected at least one label, found none")
        parsed.categories = tuple(Category(number, name) for number, name in enumerate(names, 1))
        boxes = zip(parsed.boxes, self.names)
        parsed.boxes = BoxTable(box._replace(label=labels[name]) for box, (name, _) in boxes if name in labels)
        return parsed

    def fault(self, kind: str, where: str, message: str) -> None:
        self.parsed.faults.append(Fault(kind, str(self.path), where, message))


_Corners = tuple[float, float, float, float]


def _box(attrs: AttributesImpl) -> _Corners:
    """Return the box around a box that is turned about its centre."""
    x1, y1, x2, y2 = (float(attrs[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    angle = math.radians(float(attrs.get("rotation", "0")))
    if not angle:
        return y1, x1, y2, x2
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    half_width, half_height = (x2 - x1) / 2, (y2 - y1) / 2
    return _around(x1, y1, x2, y2, half_width * cos + half_height * sin, half_width * sin + half_height * cos)


def _ellipse(attrs: AttributesImpl) -> _Corners:
    x, y, radius_x, radius_y = (float(attrs[key]) for key in ("cx", "cy", "rx", "ry"))
    angle = math.radians(float(attrs.get("rotation", "0")))
    half_width = math.hypot(radius_x * math.cos(angle), radius_y * math.sin(angle))
    half_height = math.hypot(radius_x * math.sin(angle), radius_y * math.cos(angle))
    return _around(x, y, x, y, half_width, half_height)


def _around(x1: float, y1: float, x2: float, y2: float, half_width: float, half_height: float) -> _Corners:
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    return y - half_height, x - half_width, y + half_height, x + half_width


def _polygon(attrs: AttributesImpl) -> _Corners:
    points = [[float(value) for value in point.split(",")] for point in attrs["points"].split(";")]
    if any(len(point) != 2 for point in points):
        raise ValueError(shown(attrs["points"]))
    x, y = zip(*points)
    return min(y), min(x), max(y), max(x)


def _mask(attrs: AttributesImpl) -> _Corners:
    left, top, width, height = (float(attrs[key]) for key in ("left", "top", "width", "height"))
    return top, left, top + height, left + width


_SHAPES = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}


def _is_cvat(path: Path) -> bool:
    try:
        if path.suffix.lower() != ".xml" or not path.is_file():
            return False
        with path.open("rb") as file:
            return _ROOT.search(file.read(_HEAD).replace(b"\0", b"")) is not None  # without the zeros of UTF-16
    except OSError:
        return False


def _subsets(path: Path) -> list[str]:
    """List the subsets of a project's images, in the order of the file; none if it is the export of a task."""
    try:
        data = read_bytes(path).replace(b"\0", b"")
    except InputError:
        return []
    return [nfc(unescape(name.decode(errors="replace"))) for name in dict.fromkeys(_SUBSET.findall(data))]


def _show_box(y1: float, x1: float, y2: float, x2: float) -> str:
    return f"xtl {x1:g}, ytl {y1:g}, xbr {x2:g}, ybr {y2:g}"
