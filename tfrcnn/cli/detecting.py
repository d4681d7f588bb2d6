"""Options of the commands that detect: other NMS, several views of each picture, and regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tfrcnn.cli.options import parse_setting
from tfrcnn.errors import InputError

DetectionSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field of the detector's DetectionConfig: class_agnostic_nms=true, nms=soft_gaussian, "
        "nms=soft_linear, nms=weighted_fusion, nms_iou=0.4, nms_sigma=0.5. Repeat it for more fields. An exported file "
        "keeps what it was exported with.",
    ),
]
Tiles = Annotated[
    int | None,
    typer.Option(metavar="N", help="Also detect in overlapping tiles of N x N pixels, for small objects."),
]
TileOverlap = Annotated[
    float, typer.Option(metavar="X", help="Share of a tile's side that the next tile covers too, for --tiles.")
]
Flip = Annotated[bool, typer.Option("--flip", help="Also detect in the mirror image.")]
Scales = Annotated[
    str | None,
    typer.Option(
        metavar="X,X,...", help="Detect at several scales, for example 1,1.5. 1 is the usual size, 2 twice as large."
    ),
]
Merge = Annotated[
    Literal["nms", "fusion"],
    typer.Option(
        help="How to merge the detections of --tiles, --flip and --scales: nms keeps the best box of an object, fusion "
        "averages its boxes and scores."
    ),
]
RegionFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Drop detections whose centre is outside a region: a mask picture, black outside, or a JSON file with "
        "polygons [[[x, y], ...], ...] in pixels.",
    ),
]


@dataclass(frozen=True)
class ViewOptions:
    """The views that the options ask for.

    Attributes:
        tiles: of `--tiles`.
        overlap: of `--tile-overlap`.
        flip: of `--flip`.
        scales: of `--scales`, as text.
        merge: of `--merge`.
        region: of `--region`.
    """

    tiles: int | None = None
    overlap: float = 0.2
    flip: bool = False
    scales: str | None = None
    merge: Literal["nms", "fusion"] = "nms"
    region: Path | None = None

    def wrap(self, predictor: Any) -> Any:
        """Return a predictor that looks at these views; the same predictor if it is the whole picture once.

        Raises:
            InputError: an option is out of range, or the region cannot be read.
        """
        if self == ViewOptions():
            return predictor
        from tfrcnn.views import ViewPredictor, Views, read_region

        try:
            scales = tuple(float(scale) for scale in (self.scales or "1").split(","))
        except ValueError:
            raise InputError(f"--scales: expected numbers, for example 1,1.5, found {self.scales!r}") from None
        views = Views(
            self.tiles,
            self.overlap,
            flip=self.flip,
            scales=scales,
            merge=self.merge,
            class_agnostic=predictor.detections.class_agnostic_nms,
        )
        return ViewPredictor(predictor, views, None if self.region is None else read_region(self.region))


def read_settings(settings: Sequence[str] | None) -> dict[str, Any]:
    """Read the fields of `--set FIELD=VALUE`; a value is JSON, or else text.

    Raises:
        InputError: there is no such field, or no value.
    """
    from tfrcnn.config import DetectionConfig

    parsed = map(parse_setting, settings or ())
    changes = {name.removeprefix("detector.").removeprefix("detections."): value for name, value in parsed}
    DetectionConfig.from_dict(changes)  # names a field that does not exist or is out of range
    return changes
