"""Options of the commands that detect: other NMS, several views of each picture, and regions of interest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tfrcnn.cli.options import parse_setting
from tfrcnn.errors import InputError

if TYPE_CHECKING:
    from tfrcnn.config import DetectionConfig

DetectionSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field of the detector's DetectionConfig: class_agnostic_nms=true, nms=soft_gaussian, "
        "nms=soft_linear, nms=weighted_fusion, nms_iou=0.4, nms_sigma=0.5, class_score_thresholds='{\"red\": 0.6}'. "
        "Repeat it for more fields. An exported file keeps what it was exported with.",
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


def read_limits(model: Path, settings: dict[str, Any], score_threshold: str | None) -> DetectionConfig:
    """Return a run folder's `DetectionConfig`, changed by `--set` and `--score-threshold`.

    Raises:
        InputError: the folder holds no detector, a class has another name, or a value is out of range.
    """
    from tfrcnn.config import DetectorConfig
    from tfrcnn.predicting.selection import parse_thresholds
    from tfrcnn.run_description import read_description

    config = DetectorConfig.from_dict(read_description(model)["detector"])
    limits = config.detections.replace(**settings)
    if score_threshold is not None:
        limits = limits.with_thresholds(*parse_thresholds(score_threshold, config.names, None))
    limits.check_names(config.names)
    return limits


def load_limited(
    model: Path, max_detections: int | None, score_threshold: str | None, settings: dict[str, Any]
) -> tuple[Any, DetectionConfig]:
    """Load a detector with other limits; return it and its limits.

    Raises:
        InputError: see `read_limits`; or an exported file has dropped what the limits keep.
    """
    from tfrcnn.export.runtimes import KERAS, format_of, load
    from tfrcnn.predicting.selection import parse_thresholds

    changes = {} if max_detections is None else {"max_detections": max_detections}
    if format_of(model) == KERAS:
        # here, so that an exported file runs without TensorFlow
        from tfrcnn.inference import Predictor
        from tfrcnn.models import load_detector

        limits = read_limits(model, settings | changes, score_threshold)
        return Predictor(load_detector(model, detections=limits)), limits
    predictor = load(model, detections=settings) if settings else load(model)
    built_in: DetectionConfig = predictor.detections
    limits = built_in.replace(**settings, **changes)
    if limits.max_detections > built_in.max_detections:
        raise InputError(
            f"--max-detections: {model} returns at most {built_in.max_detections} per image, found {max_detections}; "
            "export it again with more"
        )
    if score_threshold is None:
        return predictor, limits
    limits = limits.with_thresholds(*parse_thresholds(score_threshold, None, None))
    names = ["", *(built_in.class_score_thresholds or {}), *(limits.class_score_thresholds or {})]  # "" is all others
    for name, lowest, chosen in zip(names, built_in.score_thresholds(names), limits.score_thresholds(names)):
        if chosen < lowest:
            of_class = f" of {name}" if name else ""
            raise InputError(
                f"--score-threshold: {model} returns scores{of_class} above {lowest:g} only, found {chosen:g}; "
                "export it again with a lower threshold"
            )
    limits.check_names([category.name for category in predictor.categories])
    return predictor, limits
