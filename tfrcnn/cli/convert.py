"""`tfrcnn convert`: write a data set in another format."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import DATA_HELP, VAL_IMAGES_HELP, Data, DataOption, Images, TargetFormat, one_data
from tfrcnn.cli.startup import load_tensorflow


def convert(
    to: Annotated[TargetFormat, typer.Option(metavar="FORMAT", help="coco, voc, yolo or tfrecord.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder. It appears when it is complete.")],
    dataset: Data = None,
    data_option: DataOption = None,
    val: Annotated[
        str | None,
        typer.Option(
            metavar="DATA|FRACTION",
            help=f"Validation data, which becomes the split val: {DATA_HELP}. 0.2 splits off a fifth of --data.",
        ),
    ] = None,
    images: Images = None,
    val_images: Annotated[str | None, typer.Option(metavar="DIR", help=VAL_IMAGES_HELP)] = None,
    shards: Annotated[
        int | None, typer.Option(metavar="N", help="Number of TFRecord files per split. Default: one per 128 MiB.")
    ] = None,
    link: Annotated[
        bool, typer.Option("--link", help="Make hard links to the images where the disk allows them, not copies.")
    ] = False,
) -> None:
    """Write a data set in another format, with its images.

    Reads every format that tfrcnn reads. Images are copied byte for byte, except that those with an EXIF orientation
    become upright PNGs, which every tool shows the same. Says what the format cannot hold.

    \b
    Example:
      tfrcnn convert --data cells/VOC@train --val cells/VOC@val --to yolo --out cells-yolo
      tfrcnn convert --data cells/train.json --to tfrecord --shards 10 --out cells-tfrecord
    """
    data = one_data(dataset, data_option, "convert")
    load_tensorflow()
    from tfrcnn.data.convert import convert_dataset

    conversion = convert_dataset(data, to, out, val, images, val_images, shards, link, progress=True)
    for split, (image_count, box_count) in conversion.counts.items():
        print(f"{split}: {image_count:,} images, {box_count:,} boxes in {conversion.data[split]}")
    for note in conversion.notes:
        print(f"note: {note}")
    options = [text for split, argument in conversion.data.items() for text in (f"--{split}", argument)]
    print("To train on it:\n ", shlex.join(["tfrcnn", "train", *options, "--out", f"runs/{out.name}"]))
