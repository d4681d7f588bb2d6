"""The report on an evaluation: what a detector gets wrong, why, and which threshold to use, in one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from tfrcnn.config_base import check_whole_number
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.bootstrap import MAX_RESAMPLES, MIN_RESAMPLES, RESAMPLES, compare_detections
from tfrcnn.evaluation.evaluate import counted_objects, evaluate
from tfrcnn.evaluation.limits import COCO_LIMIT
from tfrcnn.evaluation.report import MEANING as HEADLINE_MEANING
from tfrcnn.evaluation.result import Evaluation
from tfrcnn.files import atomic, check_path, read_json, write_json
from tfrcnn.report import evaluation_charts as charts
from tfrcnn.report.evaluation_numbers import Judged, error_numbers, report_numbers
from tfrcnn.report.evaluation_pictures import KINDS, SIZES, choose_errors, error_pictures, image_pictures, pairs
from tfrcnn.report.page import render
from tfrcnn.report.pictures import NOTHING, Filter, Picture, filters
from tfrcnn.seeds import check_seed

SUFFIXES = (".html", ".htm")
FILE = "evaluation.html"
DEFAULT_PICTURES, MAX_PICTURES = 24, 200  # of each kind of error
MAX_MATRIX = 40  # classes of a confusion matrix that a page can show
MAX_OPTION = 5000  # characters of an option that somebody copies; the JSON has it in any case


def evaluation_report(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    out: str | Path,
    other: Sequence[ImageDetections] | None = None,
    names: tuple[str, str] = ("first", "second"),
    evaluation: Evaluation | None = None,
    min_precision: float = 0.9,
    min_recall: float = 0.9,
    pictures: int = DEFAULT_PICTURES,
    resamples: int = RESAMPLES,
    seed: int = 0,
    max_detections: int = COCO_LIMIT,
) -> dict[str, Any]:
    """Write a page about the errors of a detector: one HTML file, which loads nothing else, and its numbers as JSON.

    It shows precision, recall and F1 against the confidence with the best threshold of each class, what each type of
    error costs, the confusion matrix, calibration, AP of groups of objects, the worst images and errors up close. If
    there are detections of a second detector, it says whether the difference is more than chance. Difficult objects
    count as in the metric of `evaluation`: COCO counts them, VOC ignores them.

    Args:
        dataset: images with ground truth.
        detections: at most one entry per image, in any order.
        out: page to write or replace if the name ends in .html, else the folder of evaluation.html. The numbers are
            next to the page, in a file with the same name that ends in .json.
        other: detections of a second detector, to compare with.
        names: of the two detectors, to show.
        evaluation: of the detections; None computes the COCO metric.
        min_precision: in (0, 1], for which each class gets a threshold.
        min_recall: in (0, 1], for which each class gets a threshold.
        pictures: of each kind of error and of the worst images, in 0..200; about 30 kB each.
        resamples: draws of the bootstrap, in 100..100000.
        seed: of the draws, at least 0.
        max_detections: the detections per image that take part in the types of errors, best first.

    Returns:
        The numbers of the page, as JSON values. "score_threshold" has the best threshold of each class.

    Raises:
        InputError: the detections do not fit the data set, or another argument cannot be used.

    Example:
        detections = predictor.detect_dataset(dataset)
        numbers = tfrcnn.evaluation_report(dataset, detections, "evaluation.html")
        print(numbers["score_threshold"], numbers["errors"]["types"]["loc"]["cost"])
    """
    page = check_report(out, min_precision, min_recall, pictures, resamples, seed)
    check_whole_number(max_detections, "max_detections", 1)
    evaluation = evaluation or evaluate(dataset, detections)
    dataset = counted_objects(dataset, evaluation.metric)
    limits = evaluation.limits or {}
    floors = limits.get("score_threshold", 0.0), limits.get("class_score_thresholds", {})
    judged = Judged(names[0], dataset, detections, max_detections, *floors)
    with atomic(page) as temporary:
        temporary.touch()  # a place that cannot be written ends here, not after the work
        numbers = report_numbers(judged, evaluation, min_precision, min_recall)
        content: dict[str, Any] = {"comparison": None, "pairs": []}
        if other is not None:
            rival = Judged(names[1], dataset, other, max_detections)
            result = compare_detections(dataset, detections, other, resamples, seed, max_detections)
            numbers["comparison"] = {"detector": names[1], **result, "errors": error_numbers(rival.costs)}
            content = {"comparison": numbers["comparison"], "pairs": pairs(judged, rival, pictures)}
        errors = error_pictures(judged, choose_errors(judged, pictures))
        worst = image_pictures(judged, judged.worst_images[:pictures].tolist())
        text = render(
            "evaluation.html",
            numbers=numbers,
            headline_meaning=HEADLINE_MEANING,
            charts=charts.curves(numbers),
            calibration=charts.calibration(numbers["calibration"]["bins"]),
            errors=errors,
            filters=_filters(dataset, errors),
            worst=list(worst.values()),
            levels=charts.levels(numbers["confusions"]["matrix"]),
            show_matrix=len(dataset.categories) <= MAX_MATRIX,
            option=numbers["predict_option"] if len(numbers["predict_option"]) <= MAX_OPTION else "",
            **content,
        )
        temporary.write_text(text, encoding="utf-8")
    write_json(numbers_path(page), numbers)
    return numbers


def page_path(out: str | Path) -> Path:
    """Return the page of a report: the file itself, or evaluation.html in the folder."""
    path = check_path(out, "out")
    if path.suffix.lower() in SUFFIXES:
        if path.is_dir():
            raise InputError(f"out: expected a file to write, found the folder {path}")
        return path
    if path.exists() and not path.is_dir():
        raise InputError(f"out: expected a folder, or a file name that ends in .html, found the file {path}")
    return path / FILE


def numbers_path(page: Path) -> Path:
    """Return the file of a page's numbers.

    Raises:
        InputError: it would replace another file, for example the data set's or a run's own.
    """
    path = page.with_suffix(".json")
    if path.exists() and not _is_report(path):
        raise InputError(f"out: the numbers next to the page would replace {path}; choose another name for the page")
    return path


def _is_report(path: Path) -> bool:
    try:
        return "predict_option" in read_json(path)
    except (InputError, TypeError):  # no JSON, or a number
        return False


def check_report(
    out: str | Path,
    min_precision: float = 0.9,
    min_recall: float = 0.9,
    pictures: int = DEFAULT_PICTURES,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Path:
    """Check the options of `evaluation_report`, before time is spent on detections; return the page.

    Raises:
        InputError: an option is out of range, or there is something else in the place of the page.
    """
    for name, value in (("min_precision", min_precision), ("min_recall", min_recall)):
        if not isinstance(value, Real) or not 0 < float(value) <= 1:
            raise InputError(f"{name}: expected a number in (0, 1], found {value!r}")
    check_whole_number(pictures, "pictures", 0, MAX_PICTURES)
    check_whole_number(resamples, "resamples", MIN_RESAMPLES, MAX_RESAMPLES)
    check_seed(seed)
    page = page_path(out)
    numbers_path(page)
    return page


def _filters(dataset: Dataset, errors: Sequence[Picture]) -> list[Filter]:
    classes = {str(label): category.name for label, category in enumerate(dataset.categories)}
    texts = {
        "Error": KINDS,
        "Detected as": {**classes, NOTHING: "not detected"},
        "Object": {**classes, NOTHING: "no object"},
        "Size": {name: name for name in SIZES},
    }
    return [entry for entry in filters(errors, texts) if len(entry.choices) > 1]
