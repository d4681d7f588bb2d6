"""`tfrcnn doctor`: every fault of a data set in one report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import DEFAULT_MODEL, PRESETS, Data, Images, ImageSize
from tfrcnn.cli.startup import load_tensorflow


def doctor(
    data: Data,
    model: Annotated[
        str,
        typer.Option(
            metavar="PRESET_OR_RUN",
            help=f"Compare the objects with the anchors of a preset ({', '.join(PRESETS)}), a preset of your own, "
            "FILE.json, or a run folder, whose classes the data set must then have.",
        ),
    ] = DEFAULT_MODEL,
    images: Images = None,
    val: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="The validation data: report images that are in both, also renamed copies."),
    ] = None,
    image_size: ImageSize = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the report as JSON, with every single fault.")
    ] = None,
) -> None:
    """Report every fault of a data set, and what is done about each.

    Reads all annotations and decodes all images. Says for each kind of fault whether boxes are dropped, clipped or
    kept, or the data set is refused (exit code 1) until you fix it. Also says how many of the objects the anchors of a
    model can reach: the recall ceiling at IoU 0.5 and 0.7. `tfrcnn train` does the same before it starts.

    \b
    Example:
      tfrcnn doctor --data cells/VOC@train --model mobilenet_v2_fpn --image-size 320
      tfrcnn doctor --data cells/VOC@train --val cells/VOC@val
    """
    load_tensorflow()
    from tfrcnn.data.doctor import diagnose
    from tfrcnn.files import write_json
    from tfrcnn.models.build import anchor_strides
    from tfrcnn.models.presets import preset, preset_of_run, with_image_size

    start = preset_of_run(model) if Path(model).is_dir() else preset(model)
    config = with_image_size(start.detector, image_size)
    report = diagnose(data, images, config, anchor_strides(config), config.categories or None, val)
    print(report.render())
    if json is not None:
        write_json(json, report.to_dict())
        print(f"Every single fault is in {json}.")
    if report.refused:
        raise typer.Exit(1)
