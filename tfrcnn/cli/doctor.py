"""`tfrcnn doctor`: every fault of a data set in one report."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import DEFAULT_MODEL, PRESETS, VAL_IMAGES_HELP, Data, DataOption, Images, ImageSize, one_data
from tfrcnn.cli.outputs import check_outputs
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError


def doctor(
    dataset: Data = None,
    data_option: DataOption = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="PRESET_OR_RUN",
            help=f"Compare the objects with the anchors of a preset ({', '.join(PRESETS)}), a preset of your own, "
            "FILE.json, a published name, for example coco-resnet50, or a run folder, whose classes the data set must "
            "then have.",
        ),
    ] = DEFAULT_MODEL,
    images: Images = None,
    val: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="The validation data: report images that are in both, also renamed copies."),
    ] = None,
    val_images: Annotated[str | None, typer.Option(metavar="DIR", help=VAL_IMAGES_HELP)] = None,
    image_size: ImageSize = None,
    preset_out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="Write a preset that differs from --model by the anchors fitted to the boxes (and by --image-size), "
            "for tfrcnn train --model FILE.json.",
        ),
    ] = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report as JSON, with every single fault.")
    ] = None,
    images_to_check: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Decode N images, drawn at random. Default: all images."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Draw other images with another seed.")] = 0,
) -> None:
    """Report every fault of a data set, and what is done about each.

    Reads all annotations and decodes all images, or N of them with --images-to-check. Says for each kind of fault
    whether boxes are dropped, clipped or kept, or the data set is refused (exit code 1) until you fix it. Also says how
    many of the objects the anchors of a model can reach: the recall ceiling at IoU 0.5 and 0.7. `tfrcnn train` does the
    same before it starts. If anchors fitted to the boxes reach more, the doctor prints them.

    \b
    Example:
      tfrcnn doctor cells/VOC@train --model mobilenet_v2_fpn --image-size 320
      tfrcnn doctor --data cells/VOC@train --val cells/VOC@val
      tfrcnn doctor --data coco@train2017 --images-to-check 2000
      tfrcnn doctor --data cells/VOC@train --preset-out cells.json
    """
    data = one_data(dataset, data_option, "doctor")
    load_tensorflow()
    from tfrcnn.data.doctor import diagnose
    from tfrcnn.files import write_json
    from tfrcnn.models.build import anchor_strides
    from tfrcnn.models.presets import SUFFIX, preset, preset_content, preset_of_run, with_image_size
    from tfrcnn.weights.published import network_of

    check_outputs({"--json": json, "--preset-out": preset_out}, data, val, model)
    model = network_of(model)
    is_run = Path(model).is_dir()
    if preset_out is not None and (is_run or preset_out.suffix != SUFFIX or preset_out.stem in PRESETS):
        expected = f"a preset as --model, and a FILE{SUFFIX} that is not named as one of the library's"
        raise InputError(f"--preset-out: expected {expected}, found --model {model} and {preset_out}")
    start = preset_of_run(model) if is_run else preset(model)
    config = with_image_size(start.detector, image_size)
    strides, categories = anchor_strides(config), config.categories or None
    report = diagnose(data, images, config, strides, categories, val, val_images, images_to_check, seed)
    print(report.render())
    anchors = report.summary.get("fitted_anchors", {})
    if anchors:
        print(
            "To take the fitted anchors: tfrcnn train --anchors auto, or in a preset file\n"
            f'  "detector": {{"anchors": {dumps(anchors)}}}'
        )
    if preset_out is not None:
        changes = {"anchors": anchors, **({"image": {"static_size": [image_size] * 2}} if image_size else {})}
        write_json(preset_out, preset_content(model, changes))
        print(
            f"The preset with the fitted anchors is {preset_out}."
            if anchors
            else f"{preset_out} has --model's anchors: none of the same number fit better."
        )
    if json is not None:
        write_json(json, report.to_dict())
        print(f"Every single fault is in {json}.")
    if report.refused:
        raise typer.Exit(1)
