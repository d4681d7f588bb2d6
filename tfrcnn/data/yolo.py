"""YOLO: one .txt file per image, with one line per object: class, then a box or a polygon.

A box is "x y width height" with x, y at its centre, a polygon "x1 y1 x2 y2 x3 y3 ...". All are parts of the sides of
the upright image: x and width of its width, y and height of its height. Classes count from 0. An image without a label
file, or with an empty one, shows no object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tfrcnn.config import Category
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed, in_threads
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.faults import Fault
from tfrcnn.data.layouts import ImageFolder, files_in, relative_files
from tfrcnn.data.locate import ImageFinder, shortened
from tfrcnn.data.sources import nfc, read_lines
from tfrcnn.data.uploads import Originals
from tfrcnn.data.yolo_folder import YoloSet, is_list, label_folders, repeated_splits, yolo_sets
from tfrcnn.data.yolo_labels import Row, read_rows
from tfrcnn.errors import InputError


class Yolo(DataFormat):
    """`path/data.yaml`, or the folder of a YOLO project with or without one."""

    expected = "a data.yaml, or a folder of images and .txt labels (YOLO)"
    extensions = (".yaml", ".yml", ".data")

    def find(self, path: str) -> dict[str, Parse]:
        sets = yolo_sets(Path(path))
        repeated = repeated_splits(sets)
        return {split: partial(parse_yolo, source) for split, source in sets.items() if split not in repeated}

    def is_damaged(self, path: str) -> bool:
        return any(not each.images and each.names.faults for each in yolo_sets(Path(path)).values())

    def repeated(self, path: str) -> dict[str, str]:
        return repeated_splits(yolo_sets(Path(path)))


def parse_yolo(source: YoloSet, images: Path | None = None) -> Parsed:
    """Read one split of a YOLO project without opening the images.

    Args:
        source: the files of the split.
        images: folder of the images, instead of the source's.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.
    """
    source = source if images is None else source.with_images_elsewhere()
    reader = _Reader(source, images)
    if source.images:
        reader.read()
    return reader.parsed


class _Reader:
    """Fills `parsed` from the label files. Entries that cannot be used become faults."""

    def __init__(self, source: YoloSet, images: Path | None) -> None:
        self.source, self.folder = source, images
        self.parsed = Parsed(inclusive=False, box_field="line {}", show_box=_show_box, normalised=True)
        self.parsed.faults += [*source.names.faults, *source.faults]
        self.listings: dict[Path, dict[str, Path]] = {}
        self.folders: dict[Path, list[Path]] = {}  # of labels, by folder of images

    def read(self) -> None:
        """Read the images and their labels, then the classes."""
        images = {path: folder for place in self.source.images for path, folder in self.images(place)}
        labels = [self.label(path, folder) for path, folder in images.items()]
        self.find_uploads(list(images), labels)
        self.check_files(images, labels)
        results = in_threads(partial(read_rows, columns=self.source.columns), labels, "reading labels")
        for path, label, (_, faults) in zip(images, labels, results):
            name = path.relative_to(self.source.root) if path.is_relative_to(self.source.root) else path
            self.parsed.images.append(ImageRecord(name.as_posix(), (path,), None, str(label or path), "", ""))
            self.parsed.faults += faults
        self.boxes([rows for rows, _ in results])

    def images(self, place: Path) -> Iterator[tuple[Path, Path]]:
        """Yield the images of a folder or of a list of paths, each with its folder in the project.

        That is another folder if all images are elsewhere.
        """
        if is_list(place):
            yield from self.listed(place)
        else:
            folder = ImageFolder(self.folder if self.folder is not None else place)
            names = (name for name in folder.names.values() if not (self.source.loose and "/" in name))
            yield from ((folder.folder / name, (place / name).parent) for name in names)

    def listed(self, file: Path) -> Iterator[tuple[Path, Path]]:
        """Yield the images that a list names. Darknet and CVAT write their paths with a folder "data/" in front."""
        finder = ImageFinder((self.folder,) if self.folder is not None else (file.parent, self.source.root))
        seen: set[Path] = set()
        differ: list[tuple[str, str]] = []
        for where, name in self.lines(file):
            result = finder.find(name)
            if result is None or result.fault == "upload-prefix":  # its label could not be found by its name
                candidates = tuple(root / name for root in finder.roots)
                message = f"expected an image file, found none at {' or '.join(map(str, candidates))}"
                self.parsed.faults.append(Fault("missing-image", str(file), where, message, candidates=candidates))
                continue
            path, kind = result
            if path in seen:
                self.fault("duplicate-image-id", file, where, f"expected each image once, found {name} again")
                continue
            seen.add(path)
            differ += [(where, f"expected {name}, found {path}")] if kind else []
            folders = [path.parent] if self.folder is None else [file.parent.joinpath(*p[:-1]) for p in shortened(name)]
            yield path, next((folder for folder in folders if self.label(path, folder) is not None), path.parent)
        if differ and self.folder is None:
            self.fault("image-path-differs", file, differ[0][0], differ[0][1] + _more(differ))

    def lines(self, file: Path) -> list[tuple[str, str]]:
        """Return the lines of a file that are not empty, each with its place."""
        try:
            return [(f"line {i}", text) for i, line in enumerate(read_lines(file), 1) if (text := line.strip())]
        except InputError as error:
            self.fault("unreadable-file", file, "", str(error))
            return []

    def label(self, image: Path, folder: Path) -> Path | None:
        """Find the label file of an image, by its name without extension.

        Args:
            image: the image.
            folder: its folder in the project.
        """
        labels = (self.listing(place).get(nfc(image.stem)) for place in self.label_folders(folder))
        return next((path for path in labels if path is not None), None)

    def find_uploads(self, images: Sequence[Path], labels: list[Path | None]) -> None:
        """Add the labels that Label Studio exported under the names of uploads, one for one.

        Args:
            images: all images.
            labels: the label file of each image, or None.
        """
        places = {str(path): i for i, path in enumerate(images) if labels[i] is None}
        originals = Originals(places)
        used, uploads = set(labels), dict[str, list[Path]]()
        for label in self.all_labels(self.own_folders()) if places else ():
            if label not in used and (image := originals.find(label.stem)) is not None:
                uploads.setdefault(image, []).append(label)
        matches = [(image, of_image[0]) for image, of_image in uploads.items() if len(of_image) == 1]
        for image, label in matches:
            labels[places[image]] = label
        if matches:
            message = f"expected {matches[0][1].stem}, found {matches[0][0]}{_more(matches)}"
            self.fault("upload-prefix", matches[0][1], "", message)

    def own_folders(self) -> Sequence[Path]:
        """Return the folders whose labels are all of this split. A list names a part of a folder."""
        is_part = self.source.loose or any(map(is_list, self.source.images))
        return () if is_part else self.source.images

    def label_folders(self, folder: Path) -> list[Path]:
        """List the folders where the labels of the images in a folder of the project can be."""
        if self.source.labels is not None:
            return [self.source.labels / folder.relative_to(self.source.images[0])]
        if folder not in self.folders:
            self.folders[folder] = label_folders(folder)
        return self.folders[folder]

    def listing(self, folder: Path) -> dict[str, Path]:
        """Return the label files in a folder by name without extension."""
        if folder not in self.listings:
            self.listings[folder] = {nfc(path.stem): path for path in files_in(folder, [".txt"])}
        return self.listings[folder]

    def check_files(self, images: dict[Path, Path], labels: list[Path | None]) -> None:
        """Report images without labels, and labels without images."""
        if not images and not self.parsed.faults:
            advice = "set the folder of the images if they are elsewhere: --images DIR"
            message = f"expected at least one image, found none; {advice}"
            self.fault("empty-split", self.source.images[0], "", message)
        elif images and not any(labels):
            places = " or ".join(map(str, self.label_folders(next(iter(images.values())))))
            self.fault("missing-annotation", self.source.images[0], "", f"expected .txt files in {places}, found none")
            return
        for (path, folder), label in zip(images.items(), labels):
            if label is None:
                message = f"expected {path.stem}.txt in {self.label_folders(folder)[0]}, found none"
                self.fault("image-without-label", path, "", message)
        used = {label for label in labels if label is not None}
        for label in self.all_labels(self.own_folders()):
            if label not in used and (count := len(read_rows(label, self.source.columns)[0])):
                message = f"expected an image {label.stem} for {count:,} boxes, found none"
                self.fault("label-without-image", label, "", message)

    def all_labels(self, places: Sequence[Path]) -> list[Path]:
        """List the label files of all images in some folders or lists."""
        folders = [place.parent if is_list(place) else place for place in places]
        below = dict.fromkeys(path for folder in folders for path in label_folders(folder, self.source.labels))
        files = [path / name for path in below if path.is_dir() for name in sorted(relative_files(path, [".txt"]))]
        return list(dict.fromkeys(files))

    def boxes(self, rows: list[list[Row]]) -> None:
        """Read the classes, and keep the boxes of known ones."""
        names = self.source.names.by_number or self.numbered(rows)
        self.parsed.categories = tuple(Category(number, names[number]) for number in sorted(names))
        labels = {category.id: label for label, category in enumerate(self.parsed.categories)}
        used = {row.number for of_image in rows for row in of_image}
        from_one = bool(used) and 0 in names and 0 not in used and max(used) == max(names) + 1
        hint = "; no label is of class 0: do they count from 1?" if from_one else ""
        for image, of_image in enumerate(rows):
            for row in of_image:
                if row.number in labels:
                    self.parsed.boxes.append(BoxRecord(image, row.line, row.yxyx, labels[row.number]))
                elif names:
                    expected = f"expected a class in {min(names)}..{max(names)}, as {self.source.names.file} has"
                    file = Path(self.parsed.images[image].file)
                    self.fault("unknown-category", file, f"line {row.line}", f"{expected}, found {row.number}{hint}")

    def numbered(self, rows: list[list[Row]]) -> dict[int, str]:
        """Return the numbers of the classes as their names: all that occur in any split."""
        if self.source.names.faults:
            return {}
        others = (read_rows(path, self.source.columns)[0] for path in self.all_labels(self.source.others))
        message = "expected class names in data.yaml, classes.txt, obj.names or notes.json, found none"
        self.fault("numbered-categories", self.source.root, "", message)
        return {row.number: str(row.number) for of_image in (*rows, *others) for row in of_image}

    def fault(self, kind: str, file: Path, where: str, message: str) -> None:
        self.parsed.faults.append(Fault(kind, str(file), where, message))


def _show_box(y1: float, x1: float, y2: float, x2: float) -> str:
    return f"{(x1 + x2) / 2:g} {(y1 + y2) / 2:g} {x2 - x1:g} {y2 - y1:g}"


def _more(items: Sequence[object]) -> str:
    """Say how many items follow the first."""
    return f" (and {len(items) - 1:,} more)" if len(items) > 1 else ""
