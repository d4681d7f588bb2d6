"""`tfrcnn data`: see a data set in one page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import (
    DEFAULT_MODEL,
    PRESETS,
    VAL_IMAGES_HELP,
    Data,
    DataOption,
    Images,
    ImageSize,
    Settings,
    one_data,
    parse_settings,
)
from tfrcnn.cli.outputs import check_outputs
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError


def data(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write or replace, FILE.html.")],
    dataset: Data = None,
    data_option: DataOption = None,
    val: Annotated[
        str | None,
        typer.Option(
            metavar="DATA|FRACTION",
            help="The validation data: show it next to the data, and compare the images. 0.2 splits off a fifth of the "
            "data, the same one as tfrcnn train.",
        ),
    ] = None,
    images: Images = None,
    val_images: Annotated[str | None, typer.Option(metavar="DIR", help=VAL_IMAGES_HELP)] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="PRESET_OR_RUN",
            help=f"Show the anchors and the augmentation of a preset ({', '.join(PRESETS)}), a preset of your own, "
            "FILE.json, a published name, for example coco-resnet50, or a run folder, whose classes the data set must "
            "then have.",
        ),
    ] = DEFAULT_MODEL,
    image_size: ImageSize = None,
    settings: Settings = None,
    pictures: Annotated[
        int, typer.Option(metavar="N", help="Images with boxes to show, at most 1000; about 30 kB each.")
    ] = 120,
    seed: Annotated[int, typer.Option(metavar="N", help="Choose other images with another seed.")] = 0,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the numbers of the page as JSON.")
    ] = None,
) -> None:
    """See a data set in one page: classes, boxes, pictures, faults, copies, and what training makes of the images.

    The page is one HTML file that needs no network: open it in a browser, or send it to a colleague. It shows the
    boxes against the anchors of a preset, pictures that you can filter by class, size and fault, the doctor's faults
    with their pictures, images that are in both splits or look the same, and pictures as training augments them. The
    exit code is 1 if the data set cannot be used; the page then shows why.

    \b
    Example:
      tfrcnn data cells/VOC@train --out report.html
      tfrcnn data --data cells/VOC@train --val cells/VOC@val --out report.html --json report.json
      tfrcnn data cells/all.json --val 0.2 --out report.html --set training.mosaic=0.5
    """
    source = one_data(dataset, data_option, "data")
    load_tensorflow()
    from tfrcnn.files import write_json
    from tfrcnn.models.preset_table import Preset
    from tfrcnn.models.presets import preset, preset_of_run, with_image_size
    from tfrcnn.report.data import data_report
    from tfrcnn.training.auto_anchors import pending
    from tfrcnn.training.resolve import changed
    from tfrcnn.weights.published import network_of

    check_outputs({"--out": out, "--json": json}, source, val)
    model = network_of(model)
    start = preset_of_run(model) if Path(model).is_dir() else preset(model)
    start = Preset(with_image_size(start.detector, image_size), start.training, start.summary)
    changes = parse_settings(settings)
    if pending(changes):
        raise InputError("--set: expected numbers for detector.anchors, found auto; tfrcnn doctor fits the anchors")
    start = changed(start, changes)
    numbers = data_report(source, out, val, images, val_images, start, pictures, seed)
    for name, split in numbers["splits"].items():
        counts, faults = split["summary"], sum(split["faults"].values())
        print(f"{name}: {counts['images']:,} images, {counts['boxes']:,} boxes, {faults:,} faults ({split['source']})")
    print(f"The page is {out} ({out.stat().st_size / 1e6:.1f} MB).")
    if json is not None:
        write_json(json, numbers)
        print(f"Its numbers are in {json}.")
    if numbers["refused"]:
        print("The data set cannot be used: the page shows the faults marked refused.", file=sys.stderr)
        raise typer.Exit(1)
