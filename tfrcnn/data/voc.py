"""Pascal VOC: one XML file per image in Annotations/, images in JPEGImages/, splits in ImageSets/Main/.

Coordinates count from 1 and include the last pixel. In continuous coordinates a box is [ymin - 1, xmin - 1, ymax,
xmax], and xmax = W touches the right edge. py-faster-rcnn has the same boxes: it subtracts 1 from all four and includes
the last pixel. xmin == xmax is an empty box, because no annotator means a single column of pixels. Some tools count
in another way, see `tfrcnn.data.voc_origin`.

Categories are the sorted names in all files of Annotations/, with ids 1..C, so that labels do not depend on the split.
For the 20 classes of Pascal VOC this is their official order. A <part> of an object is not an object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree.ElementTree import Element

from defusedxml import DefusedXmlException, ElementTree

from tfrcnn.config import Category
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.faults import Fault
from tfrcnn.data.layouts import IMAGE_EXTENSIONS, ImageFolder, relative_files, stem_of
from tfrcnn.data.sources import MAX_SMALL, nfc, read_bytes, read_lines, xml_source
from tfrcnn.data.voc_folder import VocFolder, voc_folders
from tfrcnn.data.voc_origin import VOC, origin_of
from tfrcnn.errors import InputError

_CORNERS = ("ymin", "xmin", "ymax", "xmax")
# labelImg writes "Unspecified".
_FLAGS = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}
_NO_SHAPES = {"actions", "attributes", "part", "parts"}  # of an object, next to its shape
_LISTED_EXTENSION = rf"\.(?:xml|{'|'.join(extension[1:] for extension in IMAGE_EXTENSIONS)})$"


class _Object(NamedTuple):
    place: int
    name: str
    corners: tuple[float, float, float, float]  # ymin, xmin, ymax, xmax as written
    difficult: bool


def split_names(root: Path) -> list[str]:
    """List the splits of a VOC folder: the names of ImageSets/Main/*.txt."""
    return sorted(path.stem for path in (root / "ImageSets" / "Main").glob("*.txt"))


def parse_voc(root: Path, split: str, images: Path | None = None) -> Parsed:
    """Read one split of a Pascal VOC folder without opening the images.

    Args:
        root: folder with Annotations/, JPEGImages/ and ImageSets/Main/.
        split: name of a list of images, `ImageSets/Main/{split}.txt`. In the list of one class ("name flag"), images
            with flag -1 do not show the class and are left out.
        images: folder of the images, instead of JPEGImages/.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.

    Raises:
        InputError: Annotations/ or the folder of images does not exist.
    """
    folder = images if images is not None else root / "JPEGImages"
    advice = "; set the folder of the images if they are elsewhere: --images DIR"
    for expected, hint in ((root / "Annotations", ""), (folder, advice)):
        if not expected.is_dir():
            raise InputError(f"data: expected the folder {expected}, which does not exist{hint}")
    reader = _Reader(root / "Annotations", ImageFolder(folder))
    reader.read(root / "ImageSets" / "Main" / f"{split}.txt")
    return reader.parsed


def parse_voc_folder(source: VocFolder, images: Path | None = None) -> Parsed:
    """Read all XML files of a folder without opening the images.

    Args:
        source: the folders of the XML files and of the images. The other splits add their categories.
        images: folder of the images, instead of the source's.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.
    """
    reader = _Reader(source.annotations, ImageFolder(images if images is not None else source.images))
    reader.read(None, source.others)
    reader.find_unlisted()
    return reader.parsed


class Voc(DataFormat):
    """`path/VOCroot@split`, or folders of XML files and images without ImageSets/."""

    expected = "VOCroot@split, or a folder of images and XML files (Pascal VOC)"

    def find(self, path: str) -> dict[str, Parse]:
        root = Path(path)
        if splits := split_names(root):
            return {split: partial(parse_voc, root, split) for split in splits}
        return {split: partial(parse_voc_folder, source) for split, source in voc_folders(root).items()}


class _Reader:
    """Fills `parsed` from the XML files. Entries that cannot be used become faults."""

    def __init__(self, folder: Path, images: ImageFolder) -> None:
        self.folder, self.image_folder = folder, images
        self.parsed = Parsed(inclusive=True, box_field="object[{}].bndbox", show_box=VOC.show)
        self.origin = VOC
        self.elsewhere: set[str] = set()  # names of the images of other splits, which may be in the same folder

    def read(self, split: Path | None, others: Sequence[Path] = ()) -> None:
        """Read the images that the split lists, or all, and the category names of all images.

        Args:
            split: the list of images; None is all that have an XML file.
            others: more folders of XML files, whose category names count.
        """
        stems = {nfc(stem_of(name)): name for name in sorted(relative_files(self.folder, [".xml"]))}
        listed = self.split(split, stems) if split is not None else dict.fromkeys(stems)
        names: set[str] = set()
        for folder in others:
            files = sorted(relative_files(folder, [".xml"]))
            self.elsewhere |= {nfc(stem_of(file)) for file in files}
            trees = (self.load(folder / file, False) for file in files)
            for file, tree in zip(files, trees):
                if tree is not None:
                    names.update(_name(item) for item in tree.findall("object"))
                    self.find_origin(tree, folder / file)
        annotated: dict[str, tuple[ImageRecord, list[_Object]]] = {}
        truncated = 0
        for stem, file in stems.items():
            tree = self.load(self.folder / file, stem in listed)
            if tree is not None:
                names.update(_name(item) for item in tree.findall("object"))
                self.find_origin(tree, self.folder / file)
                if stem in listed:
                    annotated[stem] = self.image(tree, stem, file), list(self.objects(tree, file))
                    truncated += sum(_text(item, "truncated") == "1" for item in tree.findall("object"))
        self.parsed.categories = tuple(Category(i, name) for i, name in enumerate(sorted(names - {""}), 1))
        self.parsed.summary["truncated"] = truncated
        if not self.parsed.categories:
            self.fault("bad-value", self.folder, "object.name", "expected at least one category, found none")
        labels = {category.name: label for label, category in enumerate(self.parsed.categories)}
        for image, objects in (annotated[stem] for stem in listed if stem in annotated):
            number = len(self.parsed.images)
            self.parsed.images.append(image)
            for item in objects:
                yxyx = self.origin.yxyx(*item.corners)
                box = BoxRecord(number, item.place, yxyx, labels[item.name], difficult=item.difficult)
                self.parsed.boxes.append(box)

    def find_origin(self, tree: Element, path: Path) -> None:
        """Read the coordinates of all files as those of the tool that this file shows."""
        if self.origin == VOC and (origin := origin_of(tree)) is not None:
            self.origin, self.parsed.inclusive, self.parsed.show_box = origin, False, origin.show
            self.fault(origin.kind, path, "", origin.message)

    def find_unlisted(self) -> None:
        """Report the images that no XML file is about."""
        folder = self.image_folder.folder
        used = {path for record in self.parsed.images for path in record.candidates}
        for stem, path in ((stem_of(name), folder / file) for name, file in self.image_folder.names.items()):
            if path not in used and stem not in self.elsewhere:
                message = f"expected {path.stem}.xml, found none that is about this image"
                self.fault("image-without-annotation", path, "", message)

    def split(self, path: Path, stems: dict[str, str]) -> dict[str, None]:
        """Return the stems that the split lists and that have an XML file, in the order of the split."""
        listed: dict[str, None] = {}
        try:
            lines = read_lines(path)
        except InputError as error:
            self.fault("unreadable-file", path, "", str(error))
            return listed
        for number, line in enumerate(lines, 1):
            stem = _listed_stem(line, stems)
            if stem in listed:
                message = f"expected each image once, found {stem} again"
                self.fault("duplicate-image-id", path, f"line {number}", message)
            elif stem in stems:
                listed[stem] = None
            elif stem:
                message = f"expected {self.folder / stem}.xml, which does not exist"
                self.fault("missing-annotation", path, f"line {number}", message)
        if not any(line.strip() for line in lines):
            self.fault("empty-split", path, "", "expected at least one image, found none")
        return listed

    def load(self, path: Path, in_split: bool) -> Element | None:
        """Read the <annotation> of a file, or None after a fault."""
        kind = "syntax-error" if in_split else "unread-annotation"
        try:
            tree: Element = ElementTree.fromstring(xml_source(read_bytes(path, MAX_SMALL)))
        except InputError as error:
            self.fault("unreadable-file" if in_split else kind, path, "", str(error))
            return None
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
        """Read the file name and the size of the image."""
        path, images = self.folder / file, self.image_folder
        named, same = nfc(_text(tree, "filename")), images.by_stem.get(stem)
        if named in images.names and same is not None and stem_of(named) != stem:
            message = f"expected {same}, found {named}; {named} is used"
            self.fault("filename-differs", path, "filename", message)
        base = named.replace("\\", "/").rpartition("/")[2]  # a path of another machine
        listed = base if base in images.names else images.by_stem.get(base)
        name = named if named in images.names else same or listed
        ways = {"image-path-differs": images.similar, "upload-prefix": images.originals.find}
        for kind, find in ways.items() if name is None else ():
            if (name := find(base or stem)) is not None:
                self.fault(kind, path, "filename", f"expected {base or stem}, found {name}")
                break
        name = name or named or f"{stem}.jpg"
        height, width = _whole(tree, "size/height"), _whole(tree, "size/width")
        size = (height, width) if height and width else None
        return ImageRecord(stem, (images.folder / images.names.get(name, name),), size, str(path), "filename", "size")

    def objects(self, tree: Element, file: str) -> Iterator[_Object]:
        """Read the objects of one file that can be used."""
        path = self.folder / file
        for place, item in enumerate(tree.findall("object")):
            where = f"object[{place}]"
            before = len(self.parsed.faults)
            name = _name(item)
            if not name:
                self.fault("bad-value", path, f"{where}.name", "expected a name, found nothing")
            flag = _text(item, "difficult").lower()
            if flag not in _FLAGS:
                self.fault("bad-value", path, f"{where}.difficult", f"expected 0 or 1, found {flag!r}")
            if item.find("bndbox") is None:  # roLabelImg's robndbox, LabelMe's polygon
                shape = next((child.tag for child in item if len(child) and child.tag not in _NO_SHAPES), "")
                actual = f"a {shape}; export upright boxes, or COCO" if shape else "none"
                self.fault("bad-value", path, where, f"expected a bndbox, found {actual}")
                continue
            ymin, xmin, ymax, xmax = (self.number(item, corner, path, where) for corner in _CORNERS)
            if len(self.parsed.faults) == before:
                yield _Object(place, name, (ymin, xmin, ymax, xmax), _FLAGS[flag])

    def number(self, item: Element, corner: str, path: Path, where: str) -> float:
        """Read a coordinate of an object, or NaN after a fault."""
        text = _text(item, f"bndbox/{corner}")
        try:
            return float(text)
        except ValueError:
            message = f"expected a number, found {repr(text) if text else 'nothing'}"
            self.fault("bad-value", path, f"{where}.bndbox.{corner}", message)
            return math.nan

    def fault(self, kind: str, file: Path, where: str, message: str) -> None:
        self.parsed.faults.append(Fault(kind, str(file), where, message))


def _listed_stem(line: str, stems: dict[str, str]) -> str:
    """Return the image that a line of a split means; "" for an empty line, or one that says the image is left out.

    Tools write the name in quotes, with an extension, or as a path of Windows or Unix.
    """
    stem = nfc(line.strip().strip("\ufeff"))
    words = stem.rsplit(maxsplit=1)
    if stem not in stems and len(words) == 2 and words[1] in ("-1", "0", "1"):
        stem = words[0] if words[1] != "-1" else ""
    plain = stem.strip("\"' ").replace("\\", "/")
    plain = plain if plain in stems else re.sub(_LISTED_EXTENSION, "", plain, flags=re.IGNORECASE)
    parts = plain.split("/")
    shortened = ("/".join(parts[start:]) for start in range(len(parts)))
    return stem if stem in stems else next((each for each in shortened if each in stems), stem)


def _text(item: Element, tag: str) -> str:
    return (item.findtext(tag) or "").strip()


def _name(item: Element) -> str:
    return nfc(_text(item, "name"))


def _whole(item: Element, tag: str) -> int:
    """Return the whole number in a tag, or 0."""
    text = _text(item, tag).removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
