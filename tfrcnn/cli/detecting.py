"""Options of the commands that detect: other NMS, several views of each picture, and regions of interest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tfrcnn.cli.options import parse_settings
from tfrcnn.errors import InputError, renamed_arguments

if TYPE_CHECKING:
    from tfrcnn.config import DetectionConfig

DEFAULT_OVERLAP = 0.2
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
    float | None,
    typer.Option(metavar="X", help="Share of a tile's side that the next tile covers too. Default: 0.2."),
]
Flip = Annotated[bool, typer.Option("--flip", help="Also detect in the mirror image.")]
Scales = Annotated[
    str | None,
    typer.Option(
        metavar="X,X,...", help="Detect at several scales, for example 1,1.5. 1 is the usual size, 2 twice as large."
    ),
]
Merge = Annotated[
    Literal["nms", "fusion"] | None,
    typer.Option(
        help="How to merge the detections of --tiles, --flip and --scales: nms (default) keeps the best box of an "
        "object, fusion averages its boxes and scores."
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
    overlap: float | None = None
    flip: bool = False
    scales: str | None = None
    merge: Literal["nms", "fusion"] | None = None
    region: Path | None = None

    def check(self) -> None:
        """Refuse options that would change nothing.

        Raises:
            InputError: an option needs another one, or --scales are not numbers.
        """
        scales = self._scales()
        if self.overlap is not None and self.tiles is None and max(scales) <= 1:
            raise InputError("--tile-overlap needs --tiles, or a scale above 1 in --scales")
        if self.merge is not None and self.tiles is None and not self.flip and max(scales) <= 1 and len(scales) == 1:
            raise InputError("--merge needs several views to merge: --tiles, --flip or --scales")

    def wrap(self, predictor: Any) -> Any:
        """Return a predictor that looks at these views; the same predictor if it is the whole picture once.

        Raises:
            InputError: an option is out of range, or the region cannot be read.
        """
        if self == ViewOptions():
            return predictor
        from tfrcnn.views import ViewPredictor, Views, read_region

        views = Views(
            self.tiles,
            DEFAULT_OVERLAP if self.overlap is None else self.overlap,
            flip=self.flip,
            scales=self._scales(),
            merge=self.merge or "nms",
            class_agnostic=predictor.detections.class_agnostic_nms,
        )
        return ViewPredictor(predictor, views, None if self.region is None else read_region(self.region), progress=True)

    def _scales(self) -> tuple[float, ...]:
        try:
            return tuple(float(scale) for scale in ("1" if self.scales is None else self.scales).split(","))
        except ValueError:
            raise InputError(f"--scales: expected numbers, for example 1,1.5, found {self.scales!r}") from None


@dataclass(frozen=True)
class DetectorOptions:
    """How `tfrcnn evaluate` runs its detectors.

    Attributes:
        changes: of `--set`, see `read_settings`.
        max_detections: of `--max-detections`.
        score_threshold: of `--score-threshold`.
        views: how they look at a picture.
    """

    changes: Mapping[str, Any]
    max_detections: int | None = None
    score_threshold: str | None = None
    views: ViewOptions = ViewOptions()

    def check(self) -> None:
        """Check what can be checked without a detector.

        Raises:
            InputError: an option is out of range, or changes nothing.
        """
        self.views.check()
        read_thresholds(self.score_threshold)

    def load(self, model: Path) -> tuple[Any, DetectionConfig]:
        """Load a detector with these options; return it and its limits.

        Raises:
            InputError: the detector cannot be loaded, or cannot run with the options.
        """
        from tfrcnn.export.runtimes import KERAS, format_of, load

        changes = {} if self.max_detections is None else {"max_detections": self.max_detections}
        if format_of(model) == KERAS:
            # here, so that an exported file runs without TensorFlow
            from tfrcnn.inference import Predictor
            from tfrcnn.models import load_detector

            limits = read_limits(model, {**self.changes, **changes}, self.score_threshold)
            return self.views.wrap(Predictor(load_detector(model, detections=limits))), limits
        predictor = load(model, detections=self.changes) if self.changes else load(model)
        built_in: DetectionConfig = predictor.detections
        limits = built_in.replace(**self.changes, **changes)
        if limits.max_detections > built_in.max_detections:
            raise InputError(
                f"--max-detections: {model} returns at most {built_in.max_detections} per image, found "
                f"{self.max_detections}; export it again with more"
            )
        if self.score_threshold is not None:
            limits = limits.with_thresholds(*read_thresholds(self.score_threshold))
            _check_not_dropped(model, built_in, limits)
            limits.check_names([category.name for category in predictor.categories])
        return self.views.wrap(predictor), limits


def read_settings(settings: Sequence[str] | None, options: Sequence[str] = ()) -> dict[str, Any]:
    """Read the fields of `--set FIELD=VALUE`; a value is JSON, or else text.

    Args:
        settings: of `--set`.
        options: fields that have an option, which must be used instead.

    Raises:
        InputError: there is no such field, or no value; or the field has an option.
    """
    from tfrcnn.config import DetectionConfig

    short = [text.removeprefix("detector.").removeprefix("detections.") for text in settings or ()]
    changes = parse_settings(short)
    DetectionConfig.from_dict(changes)  # names a field that does not exist or is out of range
    for name in options:
        if name in changes:
            raise InputError(f"--set {name}: use the option --{name.replace('_', '-')}")
    return changes


def read_thresholds(text: str | None, names: Sequence[str] | None = None) -> tuple[float | None, dict[str, float]]:
    """Read --score-threshold.

    Args:
        text: of the option.
        names: the detector's classes; None if they are not known yet.

    Returns:
        The threshold of all other classes, or None; and the thresholds of single classes.

    Raises:
        InputError: a number is out of range, or a class has another name.
    """
    if text is None:
        return None, {}
    from tfrcnn.predicting.selection import parse_thresholds

    with renamed_arguments(score_threshold="--score-threshold"):
        common, of_classes = parse_thresholds(text, names)
    if 1 in (common, *of_classes.values()):
        raise InputError("--score-threshold: expected a number below 1, because no score is above 1")
    return common, of_classes


def read_limits(model: Path, settings: dict[str, Any], score_threshold: str | None) -> DetectionConfig:
    """Return a run folder's `DetectionConfig`, changed by `--set` and `--score-threshold`.

    Raises:
        InputError: the folder holds no detector, a class has another name, or a value is out of range.
    """
    from tfrcnn.config import DetectorConfig
    from tfrcnn.run_description import read_description

    config = DetectorConfig.from_dict(read_description(model)["detector"])
    limits = config.detections.replace(**settings)
    if score_threshold is not None:
        limits = limits.with_thresholds(*read_thresholds(score_threshold, config.names))
    limits.check_names(config.names)
    check_settings(settings, limits)
    return limits


def _check_not_dropped(model: Path, built_in: DetectionConfig, limits: DetectionConfig) -> None:
    """Raise InputError if an exported file has dropped scores that the limits keep."""
    names = ["", *(built_in.class_score_thresholds or {}), *(limits.class_score_thresholds or {})]  # "" is all others
    for name, lowest, chosen in zip(names, built_in.score_thresholds(names), limits.score_thresholds(names)):
        if chosen < lowest:
            of_class = f" of {name}" if name else ""
            raise InputError(
                f"--score-threshold: {model} returns scores{of_class} above {lowest:g} only, found {chosen:g}; "
                "export it again with a lower threshold"
            )


def check_settings(changes: Mapping[str, Any], limits: DetectionConfig) -> None:
    """Refuse fields of `--set` that the detector's kind of NMS does not use.

    Args:
        changes: of `read_settings`.
        limits: of the detector, with the changes.

    Raises:
        InputError: a field changes nothing.
    """
    if "nms_sigma" in changes and limits.nms != "soft_gaussian":
        raise InputError(f"--set nms_sigma changes nothing with nms={limits.nms}: add --set nms=soft_gaussian")
    if "nms_iou" in changes and limits.nms == "soft_gaussian":
        raise InputError("--set nms_iou changes nothing with nms=soft_gaussian, which uses nms_sigma")
