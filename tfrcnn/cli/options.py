"""Options that several commands share, so that they have the same names and help everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tfrcnn.errors import InputError

# Copies of the library's lists, which are there only after importing TensorFlow or pycocotools. Tests keep them equal.
PRESETS = (
    "vgg16",
    "zf",
    "resnet50_fpn",
    "resnet101_fpn",
    "resnet50_c4",
    "resnet101_c4",
    "cascade_resnet50_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "mobilenet_v2_fpn",
    "tiny_fpn",
)
DEFAULT_MODEL = "mobilenet_v2_fpn"
DEFAULT_EMA = 0.998
OPTIMIZERS = ("sgd", "adam", "adamw", "nadam", "rmsprop", "adafactor", "lion", "lamb")
IMPORT_SOURCES = ("torchvision", "detectron2")
Metric = Literal["coco", "voc", "voc07"]
FetchedDataset = Literal["voc2007", "voc2012", "coco2017"]
TargetFormat = Literal["coco", "voc", "yolo", "tfrecord"]
StrategyName = Literal["auto", "none", "mirrored", "multi-worker"]
Scheme = Literal["joint", "alternating", "rpn-only", "fast-rcnn-only", "unshared"]

DATA_HELP = (
    "path/instances.json (COCO), path/VOCroot@split (Pascal VOC), path/data.yaml (YOLO), path/boxes.csv (TF tutorial, "
    "RetinaNet, Open Images), path/annotations.xml (CVAT), path/train.tfrecord (or its shards "
    "path/train-?????-of-00010), tfds:NAME@SPLIT (TensorFlow Datasets), or the folder as an annotation tool exported "
    "it. FOLDER@split chooses a split, yolo:FOLDER a format, and + joins several. A path may be an address: s3://, "
    "gs://, hdfs:// or https://"
)
IMAGES_HELP = "Folder of the images, or its address. Default: where the format has them."
VAL_IMAGES_HELP = "Folder of the images of --val. Default: --images, if --val is one data set."

Data = Annotated[str | None, typer.Argument(metavar="DATA", help=f"The data set: {DATA_HELP}.")]
DataOption = Annotated[
    str | None, typer.Option("--data", metavar="DATA", help="The data set, if it is not the first argument.")
]
Images = Annotated[str | None, typer.Option(metavar="DIR", help=IMAGES_HELP)]
RunFolder = Annotated[
    Path,
    typer.Option(
        metavar="RUN",
        help="A folder that tfrcnn train wrote (RUN/last is the newest, RUN the best) or its address, for example "
        "s3://bucket/cells, or a published name, for example coco-resnet50.",
    ),
]
Model = Annotated[
    Path,
    typer.Option(
        metavar="MODEL",
        help="A folder that tfrcnn train or import-weights wrote (RUN/last is the newest, RUN the best), a file that "
        "tfrcnn export wrote, the address of one, for example s3://bucket/cells, or a published name, for example "
        "coco-resnet50.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Make the network's input N x N (letterbox), a multiple of 32 (16 for vgg16, zf and resnet..._c4). "
        "Default: the preset's, in the shape of each image.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change any field of TrainingConfig or DetectorConfig, for example training.horizontal_flip=false, "
        "training.milestones=[0.5,0.8] or detector.rpn.match.foreground_iou=0.6. VALUE is JSON, or else text. "
        "Repeat it for more fields.",
    ),
]


def one_data(dataset: str | None, option: str | None, command: str) -> str:
    """Return the data set, which is the first argument or --data.

    Raises:
        InputError: it is neither or both.
    """
    if (data := option if dataset is None else dataset) is None or None not in (dataset, option):
        raise InputError(f"expected the data set once, as tfrcnn {command} DATA or as --data DATA")
    return data


def parse_settings(texts: Iterable[str] | None, others: Iterable[str] = ()) -> dict[str, Any]:
    """Read FIELD=VALUE of all --set.

    Args:
        texts: of the options; None for none.
        others: fields that other options set.

    Raises:
        InputError: there is no equals sign, or a field is set twice.
    """
    values: dict[str, Any] = {}
    for name, value in map(parse_setting, texts or ()):
        if name in values or name in others:
            by = "another --set" if name in values else "its option"
            raise InputError(f"--set {name}: expected each field once, found that {by} sets it too")
        values[name] = value
    return values


def parse_setting(text: str) -> tuple[str, Any]:
    """Read FIELD=VALUE of --set.

    Raises:
        InputError: there is no equals sign.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set: expected FIELD=VALUE, found {text!r}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):  # text, or a number or nesting that no field takes
        return name, value
