"""`tfrcnn doctor`: every fault of a data set in one report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfrcnn.cli.detectors import anchor_strides, run_config
from tfrcnn.cli.job import DEFAULT_MODEL
from tfrcnn.cli.options import PRESETS, Data, Images, ImageSize
from tfrcnn.cli.startup import load_tensorflow

if TYPE_CHECKING:
    from tfrcnn.config import DetectorConfig


def doctor(
    data: Data,
    model: Annotated[
        str,
        typer.Option(
            metavar="PRESET_OR_RUN",
            help=f"Whose anchors the objects are held against: a preset ({', '.join(PRESETS)}), one of your own, "
            "FILE.json, or a run folder, whose classes the data set must then have.",
        ),
    ] = DEFAULT_MODEL,
    images: Images = None,
    image_size: ImageSize = None,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as JSON too, with every single fault.")
    ] = None,
) -> None:
    """Report every fault of a data set, and what is done about each.

    Reads all annotations and decodes all images, and says for each kind of fault whether boxes are dropped, clipped
    or kept, or the data set is refused (exit code 1) until you mend it. Says also how many of the objects the anchors
    of a model can reach: the recall ceiling at IoU 0.5 and 0.7. `tfrcnn train` does the same before it starts.

    \b
    Example:
      tfrcnn doctor --data cells/VOC@train --model mobilenet_v2_fpn --image-size 320
    """
    load_tensorflow()
    from tfrcnn.data.doctor import diagnose
    from tfrcnn.files import write_json

    config = _detector_config(model, image_size)
    report = diagnose(data, images, config, anchor_strides(config), config.categories or None)
    print(report.render())
    if json is not None:
        write_json(json, report.to_dict())
        print(f"Every single fault is in {json}.")
    if report.refused:
        raise typer.Exit(1)


def _detector_config(model: str, image_size: int | None) -> DetectorConfig:
    from tfrcnn.models import preset

    if not Path(model).is_dir():
        return preset(model, image_size=image_size).detector
    config = run_config(Path(model))
    if image_size is None:
        return config
    return config.replace(image=config.image.replace(static_size=(image_size, image_size)))
