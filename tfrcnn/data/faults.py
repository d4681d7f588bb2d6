"""The faults that a data set can have, the action that each one causes, and the report of them.

`KINDS` lists all of them. Every reader takes its kinds from there, so that all data formats treat a fault the same way.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tfrcnn.errors import InputError
from tfrcnn.printable import listing

Action = Literal["refused", "dropped", "clipped", "kept"]


class Kind(NamedTuple):
    """One kind of fault.

    Attributes:
        action: "refused" (the data set cannot be used), "dropped" (the box, image or category is left out), "clipped"
            (the part of the box inside the image is kept) or "kept" (nothing changes).
        meaning: what is wrong, and how to fix it.
    """

    action: Action
    meaning: str


KINDS: dict[str, Kind] = {
    # Refused: only the owner of the data knows what was meant.
    "syntax-error": Kind("refused", "the file is not valid JSON, XML or YAML; correct it at the position shown"),
    "unreadable-file": Kind("refused", "an annotation file cannot be read; replace it by a regular file"),
    "bad-value": Kind("refused", "a value is missing or has the wrong type; correct it as stated"),
    "empty-split": Kind("refused", "the split lists no image; add some or choose another split"),
    "duplicate-image-id": Kind("refused", "an image id is used twice; give each image its own, or list it once"),
    "duplicate-image-file": Kind("refused", "a file is listed as two images; list it once, with all its objects"),
    "duplicate-category": Kind("refused", "two categories have the same id or name; merge or rename them"),
    "unknown-image": Kind("refused", "the annotation's image is not listed; list it or delete the annotation"),
    "unknown-category": Kind("refused", "the annotation's category is not listed; list it or delete the annotation"),
    "missing-annotation": Kind(
        "refused", "a listed image has no XML file, or no image has a label file; add them, empty if nothing is there"
    ),
    "missing-shard": Kind("refused", "a shard does not exist; copy it, or name only the shards that are there"),
    "shards-written-twice": Kind(
        "refused", "a set has shards of two numbers, so images are there twice; delete the older shards"
    ),
    "missing-image": Kind(
        "refused",
        "the image file does not exist; check the name, or pass the folder of the images: --images DIR "
        "(--val-images DIR for --val; in Python images=, val_images=)",
    ),
    "unsupported-image": Kind("refused", "the image format is not supported; convert the file to JPEG or PNG"),
    "unreadable-image": Kind("refused", "the image cannot be decoded; replace the file"),
    "truncated-image": Kind("refused", "the image file is incomplete; copy or download it again"),
    "image-size-differs": Kind(
        "refused", "the annotated size is not the file's; use the original image, or correct it"
    ),
    # Dropped: the box, image or category has no content.
    "nan-box": Kind("dropped", "a coordinate is not a finite number"),
    "inverted-box": Kind("dropped", "the box has a negative width or height"),
    "shape-without-area": Kind("dropped", "a point, line, cuboid or skeleton encloses no object; draw a box"),
    "zero-area-box": Kind("dropped", "the box has no width or no height"),
    "box-outside-image": Kind("dropped", "the box lies outside the image"),
    "root-category": Kind("dropped", "the category is the root of a Roboflow export, not a class"),
    "image-without-annotation": Kind(
        "dropped", "the image has no XML file and is left out; add one, without objects if it shows none"
    ),
    "label-without-image": Kind("dropped", "the label file has no image; add the image, or delete the file"),
    # Clipped: the part inside the image is kept.
    "box-beyond-image": Kind("clipped", "the box extends beyond the image"),
    "zero-based-box": Kind("clipped", "a Pascal VOC coordinate is 0, but coordinates start at 1"),
    # Kept: worth knowing.
    "unusual-value": Kind("kept", "a value has another type than COCO's; it is read as the value that it means"),
    "image-without-label": Kind("kept", "the image has no label file; it is used as an image without objects"),
    "numbered-categories": Kind("kept", "the data set has no class names; the numbers of the classes are used"),
    "box-from-mask": Kind("kept", "the annotation has no box; the box around its segmentation is used"),
    "duplicate-annotation-id": Kind("kept", "two annotations have the same id; 1, 2, ... are used"),
    "duplicate-box": Kind("kept", "an object is annotated twice; the second can never be detected: delete it"),
    "nothing-to-learn": Kind("kept", "all boxes are crowd or difficult; training learns from none of them"),
    "boxes-in-fractions": Kind(
        "kept", "all boxes lie in the first pixel; multiply fractions by the width and height of the image"
    ),
    "boxes-as-corners": Kind("kept", "all boxes look like [x1, y1, x2, y2]; write [x, y, width, height]"),
    "similar-categories": Kind(
        "kept", "two class names differ only in case or spaces; rename one if they are one class"
    ),
    "too-many-objects": Kind("kept", "a detector cannot return all boxes an image has; use --max-detections"),
    "image-in-two-splits": Kind(
        "kept", "the same image is in the training and the validation data, so scores are too high; remove it from one"
    ),
    "copied-image": Kind("kept", "two files are the same image with different boxes; keep one, with all its objects"),
    "image-path-differs": Kind("kept", "the image is not at the annotated path; the file of the same name is used"),
    "upload-prefix": Kind(
        "kept", "Label Studio puts 8 hex digits or ?d= before a name; the only image with the name after it is used"
    ),
    "image-size-missing": Kind("kept", "the annotation has no image size; the size of the file is used"),
    "coordinates-from-zero": Kind("kept", "the tool of the XML files counts pixels from 0; boxes are read like that"),
    "coordinates-of-roboflow": Kind("kept", "Roboflow adds 1 to all corners in XML files; it is taken off again"),
    "orientation-ignored": Kind("kept", "the boxes fit the image without its EXIF rotation, which is not applied"),
    "extension-differs": Kind("kept", "the file extension does not match the image format"),
    "filename-differs": Kind("kept", "<filename> and the XML's name mean different images; <filename> is used"),
    "unread-annotation": Kind("kept", "an XML file outside the split cannot be read; its categories are unknown"),
    "annotations-renumbered": Kind("kept", "annotation ids are missing or not whole numbers; 1, 2, ... are used"),
    "category-without-boxes": Kind("kept", "the category has no box in this split"),
    "small-objects": Kind("kept", "the network sees too little of small objects; use larger images or smaller anchors"),
    "long-objects": Kind("kept", "anchors are less elongated than the objects; fit them with --anchors auto"),
    "unlike-anchors": Kind("kept", "many objects have no anchor near them; fit the anchors with --anchors auto"),
    "object-too-small": Kind("kept", "the object is too small for every anchor; use smaller anchors or larger images"),
    "object-unlike-anchors": Kind("kept", "the object is larger or more elongated than every anchor; add anchors"),
}


@dataclass(frozen=True)
class Fault:
    """One fault of a data set.

    Attributes:
        kind: a key of `KINDS`.
        file: path of the annotation file or of the image.
        field: place in the file, for example "annotations[17].bbox"; empty for the whole file.
        message: what was expected and what was found.
        image: path of the image that shows the fault; empty if there is none, or if `file` is the image.
        box: yxyx pixels of the upright image, as annotated; None if the fault is not of one box.
        candidates: paths at which a missing image was looked for; empty for other faults.
    """

    kind: str
    file: str
    field: str
    message: str
    image: str = ""
    box: tuple[float, float, float, float] | None = None
    candidates: tuple[Path, ...] = ()

    @property
    def action(self) -> Action:
        """The reader's action, see `Kind`."""
        return KINDS[self.kind].action

    def render(self) -> str:
        """Write the fault on one line: file, field: message."""
        return f"{self.file}{' ' if self.field else ''}{self.field}: {self.message}"


@dataclass(frozen=True)
class Report:
    """The faults of a data set, and its statistics.

    Attributes:
        source: the DATA argument that was read.
        faults: in reading order.
        summary: statistics by name: JSON values, at most two levels deep.

    Example:
        report = tfrcnn.diagnose("cells/VOC@train")
        print(report.render())
        report.check()  # raises InputError if the data set cannot be used
    """

    source: str
    faults: tuple[Fault, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """True if a fault makes the data set unusable."""
        return any(fault.action == "refused" for fault in self.faults)

    def counts(self) -> dict[str, int]:
        """Count the faults by kind, in the order of `KINDS`."""
        counts = Counter(fault.kind for fault in self.faults)
        return {kind: counts[kind] for kind in KINDS if kind in counts}

    def check(self) -> None:
        """Raise an error if the data set cannot be used.

        Raises:
            InputError: a fault is refused. The message is the rendered report.
        """
        if self.refused:
            raise InputError(self.render())

    def render(self, examples: int = 5) -> str:
        """Write the report as text: the summary, then the faults by kind.

        Args:
            examples: maximum number of faults to show per kind.
        """
        return "\n".join(self._lines(examples))

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values, with every fault."""
        return {
            "source": self.source,
            "refused": self.refused,
            "summary": self.summary,
            "counts": self.counts(),
            "faults": [
                {"kind": f.kind, "action": f.action, "file": f.file, "field": f.field, "message": f.message}
                for f in self.faults
            ],
        }

    def _lines(self, examples: int) -> Iterator[str]:
        yield f"Data set {self.source}"
        width = max((len(name) for name in self.summary), default=0)
        for name, value in self.summary.items():
            yield f"  {name.replace('_', ' '):<{width}}  {_text(value)}"
        counts = self.counts()
        if not counts:
            yield "No faults."
            return
        by_kind: dict[str, list[Fault]] = {kind: [] for kind in counts}
        for fault in self.faults:
            by_kind[fault.kind].append(fault)
        for kind, faults in by_kind.items():
            action, meaning = KINDS[kind]
            yield f"{action.upper() if action == 'refused' else action}  {len(faults):,} x {kind}: {meaning}"
            missing = [fault for fault in faults if fault.candidates]
            if any(_is_beyond_locale(path) for fault in missing for path in fault.candidates):
                yield "    the locale has no way to write some of the names: set LC_ALL=C.UTF-8"
            if len(missing) > 1:
                yield f"    {_missing(missing, examples)}"
                faults = [fault for fault in faults if not fault.candidates]
            yield from (f"    {fault.render()}" for fault in faults[:examples])
            if len(faults) > examples:
                yield f"    and {len(faults) - examples:,} more"
        if self.refused:
            yield "The data set cannot be used: fix the faults marked REFUSED."
        else:
            yield "The data set can be used. The action is stated before each fault."


def _is_beyond_locale(path: Path) -> bool:
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return sys.getfilesystemencoding().lower() != "utf-8"
    return False


def _missing(faults: list[Fault], examples: int) -> str:
    """Write the faults of missing images on one line: the first names, and the folders that were searched."""
    files = list(dict.fromkeys(fault.file for fault in faults))
    names = [fault.candidates[0].name for fault in faults]
    folders = list(dict.fromkeys(str(path.parent) for fault in faults for path in fault.candidates))
    return f"{listing(files, 1)}: expected images, found none of {listing(names, examples)} in {listing(folders, 3)}"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
