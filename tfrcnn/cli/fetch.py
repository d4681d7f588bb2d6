"""`tfrcnn fetch`: download the paper's data sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import FetchedDataset


def fetch(
    dataset: Annotated[FetchedDataset, typer.Argument(metavar="DATASET", help="voc2007, voc2012 or coco2017.")],
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", help="Folder for archives and data; several data sets may share it."),
    ],
) -> None:
    """Download, check and unpack a data set of the paper, and say how to train on it.

    The data sets come from their hosts: Pascal VOC 2007 (0.9 GB) and 2012 (2 GB), COCO 2017 (20 GB, and as much again
    unpacked). Archives are compared with their published checksums before they are unpacked. After an interruption the
    same command continues. An archive that you put into DIR yourself is not downloaded.

    \b
    Example:
      tfrcnn fetch voc2007 --out data
    """
    from tfrcnn.data.fetch import DATASETS, plan, train_options
    from tfrcnn.data.fetch import fetch as fetch_dataset

    source = DATASETS[dataset]
    print(plan(source, out), flush=True)
    parts = zip(("train", "val"), fetch_dataset(source, out))
    for name, part in parts:
        boxes = sum(len(example.labels) for example in part.examples)
        print(f"{name}: {len(part):,} images, {boxes:,} boxes, {len(part.categories)} categories ({part.source})")
    archives = [out / file.name for file in source.archives]
    print("\nYou may delete the archives:\n  rm", shlex.join(map(str, archives)))
    command = ["tfrcnn", "train", *train_options(source, out), "--model", "vgg16", "--out", f"runs/{source.name}"]
    print("To train the paper's network on it:\n ", shlex.join(command))
