"""Pascal VOC: an XML for each image in Annotations/, images in JPEGImages/, splits in ImageSets/Main/.

Coordinates count from 1 and include their last pixel, so that a box is [ymin - 1, xmin - 1, ymax, xmax] in continuous
coordinates and one with xmax = W touches the right edge. (py-faster-rcnn subtracts 1 from all four and keeps the last
pixel included: the same box.) xmin == xmax is a box without extent: no annotator means a single column of pixels.

Categories are the sorted names in ALL files of Annotations/, with ids 1..C: a label must not depend on the split. For
the 20 classes of Pascal VOC this is their official order. <part>s of an object are no objects.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException, ElementTree

from tfrcnn.config import Category
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed
from tfrcnn.data.faults import Fault
from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.errors import InputError

_CORNERS = ("ymin", "xmin", "ymax", "xmax")
_FLAGS = {"": False, "0": False, "false": False, "1": True, "true": True}
_IMAGE_EXTENSIONS = [extension for extensions in EXTENSIONS.values() for extension in extensions]


class _Object(NamedTuple):
    place: int
    name: str
    yxyx: tuple[float, float, float, float]
    difficult: bool


def split_names(root: Path) -> list[str]:
    """The splits that a VOC folder has: the names of ImageSets/Main/*.txt."""
    return sorted(path.stem for path in (root / "ImageSets" / "Main").glob("*.txt"))


def parse_voc(root: Path, split: str, images: Path | None = None) -> Parsed:
    """Read one split of a Pascal VOC folder without opening the images.

    Args:
        root: holds Annotations/, JPEGImages/ and ImageSets/Main/.
        split: a file of image names, `ImageSets/Main/{split}.txt`; in the kind made for one class ("name flag") the
            images with flag -1, which lack the class, are left out.
        images: the folder of the images, in place of JPEGImages/.

    Raises:
        InputError: there is no Annotations/ or no folder of images.
    """
    folder = images if images is not None else root / "JPEGImages"
    for expected in (root / "Annotations", folder):
        if not expected.is_dir():
            raise InputError(f"data: expected the folder {expected}, found none")
    reader = _Reader(root / "Annotations", _ImageFolder(folder))
    reader.read(root / "ImageSets" / "Main" / f"{split}.txt")
    return reader.parsed


class _ImageFolder:
    """Finds images by file name, or by stem whatever the extension and its case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = set(_relative_files(folder, _IMAGE_EXTENSIONS))
        self.by_stem: dict[str, str] = {}
        for name in sorted(self.names, key=lambda name: _IMAGE_EXTENSIONS.index(Path(name).suffix.lower())):
            self.by_stem.setdefault(_stem(name), name)


class _Reader:
    """Fills `parsed` from the XML files; what cannot be used becomes a fault and is left out."""

    def __init__(self, folder: Path, images: _ImageFolder) -> None:
        self.folder, self.image_folder = folder, images
        self.parsed = Parsed(inclusive=True, box_field="object[{}].bndbox", show_box=_show_box)

    def read(self, split: Path) -> None:
        """Read the images that the split lists, and the category names of all."""
        stems = {_stem(name): name for name in sorted(_relative_files(self.folder, [".xml"]))}
        wanted = self.split(split, stems)
        names: set[str] = set()
        annotated: dict[str, tuple[ImageRecord, list[_Object]]] = {}
        truncated = 0
        for stem, file in stems.items():
            tree = self.load(self.folder / file, stem in wanted)
            if tree is not None:
                names.update(_text(item, "name") for item in tree.findall("object"))
                if stem in wanted:
                    annotated[stem] = self.image(tree, stem, file), list(self.objects(tree, file))
                    truncated += sum(_text(item, "truncated") == "1" for item in tree.findall("object"))
        self.parsed.categories = tuple(Category(i, name) for i, name in enumerate(sorted(names - {""}), 1))
        self.parsed.summary["truncated"] = truncated
        if not self.parsed.categories:
            self.fault("bad-value", self.folder, "object.name", "expected at least one category, found none")
        labels = {category.name: label for label, category in enumerate(self.parsed.categories)}
        for image, objects in (annotated[stem] for stem in wanted if stem in annotated):
            number = len(self.parsed.images)
            self.parsed.images.append(image)
            self.parsed.boxes.extend(
                BoxRecord(number, item.place, item.yxyx, labels[item.name], difficult=item.difficult)
                for item in objects
            )

    def split(self, path: Path, stems: dict[str, str]) -> dict[str, None]:
        """The stems listed in a split that have an XML, in its order."""
        wanted: dict[str, None] = {}
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(lines, 1):
            stem = line.strip()
            words = stem.rsplit(maxsplit=1)
            if stem not in stems and len(words) == 2 and words[1] in ("-1", "0", "1"):
                stem = words[0] if words[1] != "-1" else ""
            if stem in wanted:
                message = f"expected each image once, found {stem} again"
                self.fault("duplicate-image-id", path, f"line {number}", message)
            elif stem in stems:
                wanted[stem] = None
            elif stem:
                message = f"expected {self.folder / stem}.xml, found none (an image without objects needs one too)"
                self.fault("missing-annotation", path, f"line {number}", message)
        if not any(line.strip() for line in lines):
            self.fault("empty-split", path, "", "expected at least one image, found none")
        return wanted

    def load(self, path: Path, in_split: bool) -> Element | None:
        """The <annotation> of a file."""
        kind = "syntax-error" if in_split else "unread-annotation"
        try:
            tree = ElementTree.fromstring(path.read_bytes())
        except ElementTree.ParseError as error:
            line, column = error.position
            self.fault(kind, path, f"line {line}, column {column + 1}", f"expected XML, found: {error}")
            return None
        except (DefusedXmlException, LookupError, ValueError) as error:  # entities; an unknown encoding
            self.fault(kind, path, "", f"expected plain XML, found: {error}")
            return None
        if tree.tag != "annotation":
            kind = "bad-value" if in_split else kind
            self.fault(kind, path, "", f"expected <annotation>, found <{tree.tag}>")
            return None
        return tree

    def image(self, tree: Element, stem: str, file: str) -> ImageRecord:
        """Where the image should be, and its size."""
        path, images = self.folder / file, self.image_folder
        named, same = _text(tree, "filename"), images.by_stem.get(stem)
        if named in images.names and same is not None and _stem(named) != stem:
            message = f"expected {same}, found {named}, which is used"
            self.fault("filename-differs", path, "filename", message)
        name = named if named in images.names else same or named or f"{stem}.jpg"
        height, width = _whole(tree, "size/height"), _whole(tree, "size/width")
        size = (height, width) if height and width else None
        return ImageRecord(stem, (images.folder / name,), size, str(path), "filename", "size")

    def objects(self, tree: Element, file: str) -> Iterator[_Object]:
        """The objects of one file that can be used."""
        path = self.folder / file
        for place, item in enumerate(tree.findall("object")):
            where = f"object[{place}]"
            before = len(self.parsed.faults)
            name = _text(item, "name")
            if not name:
                self.fault("bad-value", path, f"{where}.name", "expected a name, found nothing")
            flag = _text(item, "difficult").lower()
            if flag not in _FLAGS:
                self.fault("bad-value", path, f"{where}.difficult", f"expected 0 or 1, found {flag!r}")
            ymin, xmin, ymax, xmax = (self.number(item, corner, path, where) for corner in _CORNERS)
            if len(self.parsed.faults) == before:
                yield _Object(place, name, (ymin - 1, xmin - 1, ymax, xmax), _FLAGS[flag])

    def number(self, item: Element, corner: str, path: Path, where: str) -> float:
        """A coordinate of an object; NaN after a fault."""
        text = _text(item, f"bndbox/{corner}")
        try:
            return float(text)
        except ValueError:
            message = f"expected a number, found {repr(text) if text else 'nothing'}"
            self.fault("bad-value", path, f"{where}.bndbox.{corner}", message)
            return math.nan

    def fault(self, kind: str, file: Path, where: str, message: str) -> None:
        self.parsed.faults.append(Fault(kind, str(file), where, message))


def _relative_files(folder: Path, extensions: list[str]) -> Iterator[str]:
    """Files with one of the extensions, in whatever case, as paths relative to the folder; hidden ones left out."""
    for place, _, names in os.walk(folder):
        prefix = Path(place).relative_to(folder)
        for name in names:
            if os.path.splitext(name)[1].lower() in extensions and not name.startswith("."):
                yield (prefix / name).as_posix()


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]


def _text(item: Element, tag: str) -> str:
    return (item.findtext(tag) or "").strip()


def _whole(item: Element, tag: str) -> int:
    """The whole number in a tag, 0 where there is none."""
    text = _text(item, tag).removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _show_box(y1: float, x1: float, y2: float, x2: float) -> str:
    return f"xmin {x1 + 1:g}, ymin {y1 + 1:g}, xmax {x2:g}, ymax {y2:g}"
