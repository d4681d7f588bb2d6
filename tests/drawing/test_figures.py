"""Figures of runs and evaluations: every kind of input draws something, and lines are where the data are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.drawing import figures, plot_confusion, plot_curves, plot_precision_recall
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation
from tfrcnn.evaluation.voc import evaluate_voc


def dataset_of(num_classes):
    """One image with one object of the first class."""
    categories = tuple(Category(n, f"class {n}") for n in range(num_classes))
    box, no = np.array([[0, 0, 10, 10]], np.float32), np.zeros(1, bool)
    example = Example(1, Path("1.png"), 100, 100, box, np.zeros(1, np.int32), no, no, np.ones(1), 1, np.ones(1))
    return Dataset("hand", categories, (example,))


def evaluation_of(num_classes=2, headline=None):
    """An evaluation whose last class has no objects."""
    curve = Curve(np.array([0.5, 1.0]), np.array([1.0, 2 / 3]), np.array([0.9, 0.8]))
    rows = [
        ClassResult(Category(n, f"class {n}"), {"AP": n / num_classes}, 3, 4, curve) for n in range(num_classes - 1)
    ]
    rows.append(ClassResult(Category(99, "a name that is longer than thirty characters"), {"AP": None}, 0, 1, None))
    counts = {"images": 5, "ground_truth": 3 * (num_classes - 1), "ignored": 2, "detections": 12}
    return Evaluation("voc", 0.5, {"mAP": 0.25} if headline is None else headline, tuple(rows), counts)


def size_of(path):
    """(width, height) of a PNG with something on it."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("L").getcolors(256)) > 8
        return picture.size


def is_picture(path):
    return min(size_of(path)) > 300


@pytest.mark.parametrize("num_classes", [1, 2, 10, 40])
def test_precision_recall_figure_of_few_and_of_many_classes(tmp_path, num_classes):
    plot_precision_recall(evaluation_of(num_classes), tmp_path / "new" / "pr.png")
    assert is_picture(tmp_path / "new" / "pr.png")
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_precision_recall_figure_of_a_class_without_detections(tmp_path):
    plot_precision_recall(evaluate_voc(dataset_of(2), []), tmp_path / "pr.png")
    assert is_picture(tmp_path / "pr.png")


@pytest.mark.parametrize(
    "history",
    [
        [],
        [{"epoch": 1, "loss": 2.0, "seconds": 7}],
        [{"epoch": e, "loss": 1 / e, "rpn_box_loss": 0.5 / e, "val_AP": None, "val_AP50": e / 9} for e in range(1, 9)],
        [{"step": s, "loss": 1 / (s + 1)} for s in range(300)] + [{"step": 300, "mAP": 0.5, "loss": float("nan")}],
    ],
)
def test_training_curves_of_any_history(tmp_path, history):
    plot_curves(history, tmp_path / "curves.png")
    assert is_picture(tmp_path / "curves.png")


def test_metrics_add_a_panel_to_the_training_curves(tmp_path):
    plot_curves([{"epoch": 1, "loss": 2.0}], tmp_path / "one.png")
    plot_curves([{"epoch": 1, "loss": 2.0, "val_AP50": 0.5}], tmp_path / "two.png")
    assert size_of(tmp_path / "two.png")[1] > size_of(tmp_path / "one.png")[1]


def test_curves_are_broken_where_another_phase_begins(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: saved.append(figure))
    history = [{"phase": 1 + i // 2, "step": 3 * i, "loss": float(i)} for i in range(4)]
    plot_curves(history, tmp_path / "curves.png")
    (panel,) = saved[0].axes
    first, second, border = panel.lines
    assert [list(line.get_xdata()) for line in (first, second)] == [[0, 3], [6, 9]]
    assert first.get_color() == second.get_color()
    assert list(border.get_xdata()) == [3, 3]
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["loss"]


@pytest.mark.parametrize("num_classes", [1, 30])
def test_confusion_figure(tmp_path, num_classes):
    boxes = np.array([[0, 0, 10, 10], [0, 20, 10, 30]], np.float32)
    detections = [ImageDetections(1, boxes, np.array([0.9, 0.8], np.float32), np.zeros(2, np.int32))]
    plot_confusion(dataset_of(num_classes), detections, tmp_path / "confusion.png")
    assert is_picture(tmp_path / "confusion.png")
