"""What can be wrong with a data set, what is done about it, and the report that names all of it together.

`KINDS` is the whole list: a reader that finds a fault takes its kind from there, so that one kind of fault is
treated in one way everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tfrcnn.errors import InputError

Action = Literal["refused", "dropped", "clipped", "kept"]


class Kind(NamedTuple):
    """What is done about one kind of fault, and what the fault is, in words."""

    action: Action
    meaning: str


KINDS: dict[str, Kind] = {
    # Refused: only the owner of the data can tell what was meant.
    "syntax-error": Kind("refused", "the file is not valid JSON or XML"),
    "bad-value": Kind("refused", "a value is missing or of the wrong type"),
    "empty-split": Kind("refused", "there is no image in the split"),
    "duplicate-image-id": Kind("refused", "two images have the same id"),
    "duplicate-annotation-id": Kind("refused", "two annotations have the same id"),
    "duplicate-category": Kind("refused", "two categories have the same id or name"),
    "unknown-image": Kind("refused", "an annotation of an image that is not listed"),
    "unknown-category": Kind("refused", "a category that is not listed"),
    "missing-annotation": Kind("refused", "a listed image has no annotation file"),
    "missing-image": Kind("refused", "the image file is not there"),
    "unsupported-image": Kind("refused", "the image is of a format that is not read"),
    "unreadable-image": Kind("refused", "the image cannot be decoded"),
    "truncated-image": Kind("refused", "the image file ends too early"),
    "image-size-differs": Kind("refused", "the annotated image size is not that of the file"),
    # Dropped: the box says nothing.
    "nan-box": Kind("dropped", "a coordinate is not a finite number"),
    "inverted-box": Kind("dropped", "the box has a negative side"),
    "zero-area-box": Kind("dropped", "the box has no extent"),
    "box-outside-image": Kind("dropped", "no part of the box is inside the image"),
    # Clipped: the part inside the image is kept.
    "box-beyond-image": Kind("clipped", "the box reaches over the edge of the image"),
    "zero-based-box": Kind("clipped", "a Pascal VOC coordinate is 0, though they count from 1"),
    # Kept: worth knowing.
    "image-size-missing": Kind("kept", "the annotated image size is missing: taken from the file"),
    "orientation-ignored": Kind("kept", "the image was annotated as stored: its EXIF rotation is not applied"),
    "extension-differs": Kind("kept", "the file's extension is not that of its content"),
    "filename-differs": Kind("kept", "the XML's <filename> is another image than the one named like the XML"),
    "unread-annotation": Kind("kept", "an XML outside the split cannot be read: its categories are unknown"),
    "annotations-renumbered": Kind("kept", "annotation ids are missing or not whole numbers: numbered 1, 2, ..."),
    "category-without-boxes": Kind("kept", "the category has no box in this split"),
    "object-too-small": Kind("kept", "the object is too small for any anchor"),
    "object-unlike-anchors": Kind("kept", "the object is larger or more elongated than any anchor"),
}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        kind: a key of `KINDS`.
        file: the file it is in, or the image.
        field: where in the file, e.g. "annotations[17].bbox"; empty where it is the file itself.
        message: what was expected and what was found.
    """

    kind: str
    file: str
    field: str
    message: str

    @property
    def action(self) -> Action:
        """What is done about it."""
        return KINDS[self.kind].action

    def render(self) -> str:
        """The fault as one line: file, field: message."""
        return f"{self.file}{' ' if self.field else ''}{self.field}: {self.message}"


@dataclass(frozen=True)
class Report:
    """All faults of a data set and its summary.

    Attributes:
        source: the DATA argument that was read.
        faults: in the order they were found.
        summary: names to numbers, text or one more level of the same; JSON values.
    """

    source: str
    faults: tuple[Fault, ...] = ()
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Whether a fault makes the data set unusable."""
        return any(fault.action == "refused" for fault in self.faults)

    def counts(self) -> dict[str, int]:
        """Number of faults of each kind that occurs, in the order of `KINDS`."""
        found = Counter(fault.kind for fault in self.faults)
        return {kind: found[kind] for kind in KINDS if kind in found}

    def check(self) -> None:
        """Do nothing if the data set can be used.

        Raises:
            InputError: a fault is refused; the message is the rendered report.
        """
        if self.refused:
            raise InputError(self.render())

    def render(self, examples: int = 5) -> str:
        """The report as text: the summary, then the faults by kind, at most `examples` of each."""
        return "\n".join(self._lines(examples))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values, with every fault."""
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
            yield from (f"    {fault.render()}" for fault in faults[:examples])
            if len(faults) > examples:
                yield f"    and {len(faults) - examples:,} more"
        if self.refused:
            yield "The data set is refused: mend what is marked REFUSED."
        else:
            yield "The data set can be used; faults are dropped, clipped or kept as stated."


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
