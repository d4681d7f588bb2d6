"""TensorFlow Lite Metadata, which MediaPipe and Android's tools read to feed and understand a .tflite file.

It is a `ModelMetadata` flatbuffer inside the model, and after the model's last byte a zip archive with the files it
names: the labels, one per line, and tfrcnn's description. The schema (metadata_schema.fbs of tflite-support and
MediaPipe) is small, so this module writes it by hand: MediaPipe 1.2.2's writer fails to import, and tflite-support is
unmaintained.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...files import to_json
from ..artefact import DESCRIPTION, LABELS

NAME = "TFLITE_METADATA"  # the metadata entry that readers look for

# Members of the schema's enumerations and unions
_DESCRIPTIONS, _TENSOR_VALUE_LABELS = 1, 3  # AssociatedFileType
_FEATURE, _IMAGE, _BOUNDING_BOX = 1, 2, 3  # ContentProperties
_RGB = 1  # ColorSpaceType
_BOUNDARIES, _RATIO = 1, 0  # BoundingBoxType, CoordinateType
_NORMALIZATION = 1  # ProcessUnitOptions
_UNUSED = 99  # a default that no scalar here equals, so that all are written

# The outputs as MediaPipe's and Android's object detectors expect them, in this order
_OUTPUTS = (
    ("location", "Boxes, relative to the image."),
    ("category", "Labels: lines of the label file, from 0."),
    ("score", "Scores in (0, 1), descending."),
    ("number of detections", "The slots after that are zero."),
)


def model_metadata(name: str, description: str, size: tuple[int, int]) -> bytes:
    """Write the `ModelMetadata` flatbuffer of a detector.

    Args:
        name: The model's name.
        description: One sentence.
        size: (height, width) of the input.
    """
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    graph = _table(
        builder,
        (0, builder.CreateString(name)),
        (2, _vector(builder, [_input(builder, size)])),
        (3, _vector(builder, [_output(builder, i) for i in range(len(_OUTPUTS))])),
    )
    root = _table(
        builder,
        (0, builder.CreateString(name)),
        (1, builder.CreateString(description)),
        (3, _vector(builder, [graph])),
        (6, _vector(builder, [_file(builder, DESCRIPTION, "The detector's description in JSON.", _DESCRIPTIONS)])),
        (7, builder.CreateString("1.3.0")),  # the oldest version of the schema that has all of the above
    )
    builder.Finish(root, file_identifier=b"M001")
    return bytes(builder.Output())


def associated_files(description: dict[str, Any], labels: Sequence[str]) -> bytes:
    """Write the zip archive that follows the model."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as files:  # stored: readers map it into memory
        files.writestr(LABELS, "".join(f"{label}\n" for label in labels))
        files.writestr(DESCRIPTION, to_json(description, indent=2))
    return archive.getvalue()


def model_bytes(path: Path) -> bytes:
    """Return the model of a .tflite file, without the zip archive that follows it."""
    with zipfile.ZipFile(path) as files:
        size = min(file.header_offset for file in files.infolist())
    with open(path, "rb") as file:
        return file.read(size)


def _input(builder: Any, size: tuple[int, int]) -> int:
    height, width = size
    default = _table(builder, (0, ("Uint32", width)), (1, ("Uint32", height)))
    image = _table(builder, (0, ("Int8", _RGB)), (1, default))
    # the network normalises, so clients must not
    options = _table(builder, (0, _floats(builder, [0.0])), (1, _floats(builder, [1.0])))
    stats = _table(builder, (0, _floats(builder, [255.0])), (1, _floats(builder, [0.0])))
    return _table(
        builder,
        (0, builder.CreateString("image")),
        (1, builder.CreateString("RGB 0..255; negative marks padding at the bottom and right.")),
        (3, _table(builder, (0, ("Uint8", _IMAGE)), (1, image))),
        (4, _vector(builder, [_table(builder, (0, ("Uint8", _NORMALIZATION)), (1, options))])),
        (5, stats),
    )


def _output(builder: Any, i: int) -> int:
    name, description = _OUTPUTS[i]
    kind, properties = _FEATURE, _table(builder)
    files = []
    if name == "location":
        # positions of left, top, right and bottom in [y1, x1, y2, x2]
        kind, index = _BOUNDING_BOX, _numbers(builder, builder.PrependUint32, [1, 0, 3, 2])
        properties = _table(builder, (0, index), (1, ("Int8", _BOUNDARIES)), (2, ("Int8", _RATIO)))
    if name == "category":
        files = [_file(builder, LABELS, "Names of the categories.", _TENSOR_VALUE_LABELS)]
    per_slot = None if name == "number of detections" else _table(builder, (0, ("Int32", 2)), (1, ("Int32", 2)))
    content = [(0, ("Uint8", kind)), (1, properties), *([] if per_slot is None else [(2, per_slot)])]
    return _table(
        builder,
        (0, builder.CreateString(name)),
        (1, builder.CreateString(description)),
        (3, _table(builder, *content)),
        *([(6, _vector(builder, files))] if files else []),
    )


def _file(builder: Any, name: str, description: str, kind: int) -> int:
    return _table(builder, (0, builder.CreateString(name)), (1, builder.CreateString(description)), (2, ("Int8", kind)))


def _table(builder: Any, *slots: tuple[int, Any]) -> int:
    """Write a table of (field number, offset) or, for a scalar, (field number, (type, value))."""
    builder.StartObject(max((number for number, _ in slots), default=0) + 1)
    for number, value in slots:
        if isinstance(value, tuple):
            getattr(builder, f"Prepend{value[0]}Slot")(number, value[1], _UNUSED)
        else:
            builder.PrependUOffsetTRelativeSlot(number, value, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    return _numbers(builder, builder.PrependUOffsetTRelative, offsets)


def _floats(builder: Any, values: Sequence[float]) -> int:
    return _numbers(builder, builder.PrependFloat32, values)


def _numbers(builder: Any, prepend: Callable[[Any], None], values: Sequence[Any]) -> int:
    builder.StartVector(4, len(values), 4)
    for value in reversed(values):
        prepend(value)
    return int(builder.EndVector())
