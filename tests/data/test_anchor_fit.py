"""anchor_fit.py: anchors fitted by hand, to small and to long objects, and where a fit does not help."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrcnn.boxes import base_anchors
from tfrcnn.config import AnchorConfig, BackboneConfig, Category, DetectorConfig, ImageConfig
from tfrcnn.data.anchor_fit import AnchorFit, check_shapes, fit_anchors
from tfrcnn.data.anchors import anchor_recall
from tfrcnn.data.example import Dataset, Example
from tfrcnn.errors import InputError

SIDE = 320
SIZES = ((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))  # of mobilenet_v2_fpn
STRIDES = (4, 8, 16, 32, 64)


def config(*sizes: tuple[float, ...], image: ImageConfig | None = None, **anchors: Any) -> DetectorConfig:
    image = image or ImageConfig(static_size=(SIDE, SIDE))
    return DetectorConfig(BackboneConfig("any"), image=image, anchors=AnchorConfig(sizes=sizes, **anchors))


def dataset(heights: np.ndarray, widths: np.ndarray, seed: int = 0) -> Dataset:
    """Twenty objects per image, at random places."""
    centers = np.random.default_rng(seed).uniform(20, SIDE - 20, [len(heights), 2])
    sides = np.stack([heights, widths], 1)
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], 1).astype(np.float32)
    examples = []
    for i in range(0, len(boxes), 20):
        part = boxes[i : i + 20]
        n, flags = len(part), np.zeros(len(part), bool)
        examples.append(
            Example(
                i, Path(f"{i}.jpg"), SIDE, SIDE, part, np.zeros(n, np.int32), flags, flags, np.ones(n), 1, np.arange(n)
            )
        )
    return Dataset("made by hand", (Category(1, "cat"),), tuple(examples))


def uniform(low: float, high: float, n: int = 200, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, n)


SMALL = dataset(uniform(8, 12), uniform(8, 12, seed=2))
LONG = dataset(uniform(57, 226), uniform(57, 226) / 8)
USUAL = dataset(uniform(20, 120), uniform(20, 120))


def recall(fit: AnchorFit, iou: float) -> tuple[float, float]:
    return float((fit.iou_before >= iou).mean()), float((fit.iou_after >= iou).mean())


def test_one_anchor_becomes_the_one_shape_of_all_objects() -> None:
    fit = fit_anchors(dataset(np.full(60, 40.0), np.full(60, 20.0)), config((100.0,), ratios=(1.0,)), (4,))
    assert fit.after.sizes == ((28.3,),)  # the root of 40 * 20
    assert fit.after.ratios == (2.0,)
    assert fit.fragment() == {"sizes": [[28.3]], "ratios": [2.0], "rounding": "none"}


def test_two_sizes_and_two_ratios_become_those_of_two_shapes() -> None:
    tall, wide = np.full(60, 60.0), np.full(60, 15.0)
    data = dataset(np.concatenate([tall, wide * 2]), np.concatenate([wide, tall * 2]))
    fit = fit_anchors(data, config((64.0, 128.0), ratios=(0.5, 2.0)), (4,))
    assert fit.after.sizes == ((30.0, 60.0),)
    assert fit.after.ratios == (0.25, 4.0)


def test_objects_of_8_to_12_pixels_are_reached() -> None:
    before, after = recall(fit_anchors(SMALL, config(*SIZES), STRIDES), 0.5)
    assert before < 0.1
    assert after > 0.95


def test_objects_of_8_to_1_are_reached() -> None:
    before, after = recall(fit_anchors(LONG, config(*SIZES), STRIDES), 0.5)
    assert before == 0
    assert after > 0.95


def test_small_objects_do_not_get_anchors_of_coarse_levels_and_unused_sizes_stay() -> None:
    sizes = fit_anchors(SMALL, config(*SIZES), STRIDES).after.sizes
    assert 8 < sizes[0][0] < 12
    assert sizes[1][0] >= 16
    assert sizes[2:] == SIZES[2:]


@pytest.mark.parametrize(
    ("start", "strides"),
    [
        (config(*SIZES, ratios=(0.5, 1.0, 2.0)), STRIDES),
        (config((128.0, 256.0, 512.0), rounding="paper", offset=0.5), (16,)),
        (config(*((32.0, 64.0, 128.0),) * 3), (32, 32, 64)),
    ],
)
def test_a_fit_keeps_the_number_of_anchors_and_repeats(start: DetectorConfig, strides: tuple[int, ...]) -> None:
    for data in (SMALL, LONG):
        fit = fit_anchors(data, start, strides, seed=3)
        assert fit.improved
        assert np.shape(fit.after.sizes) == np.shape(start.anchors.sizes)
        assert len(fit.after.ratios) == len(start.anchors.ratios)
        assert fit.after.offset == start.anchors.offset
        assert fit.iou_after.mean() > fit.iou_before.mean()
        base = np.concatenate([base_anchors(fit.after, level) for level in range(len(strides))])
        assert (base[:, 2:] - base[:, :2] > 0.5).all()
        measured = anchor_recall(data, start.replace(anchors=fit.after), strides)
        np.testing.assert_array_equal(measured.best_iou, fit.iou_after)


def test_a_fit_depends_on_the_seed_alone() -> None:
    one, other = (fit_anchors(SMALL, config((128.0, 256.0)), (16,), seed=3) for _ in range(2))
    assert one.after == other.after


def test_anchors_that_fit_are_kept() -> None:
    fitted = fit_anchors(USUAL, config(*SIZES), STRIDES).after
    fit = fit_anchors(USUAL, config(*SIZES).replace(anchors=fitted), STRIDES)
    assert not fit.improved
    assert (fit.fragment(), fit.summary()) == ({}, {})
    assert fit.render() == "Anchors: none of the same number fit the objects better"


def test_a_coarse_grid_cannot_be_fitted_to_small_objects() -> None:
    """Where it does not help: no anchor lies near an object of 10 pixels on a grid of 16."""
    assert recall(fit_anchors(SMALL, config((128.0, 256.0, 512.0)), (16,)), 0.5)[1] < 0.25


def test_lines_and_dots_and_hundreds_of_anchors_break_nothing() -> None:
    data = dataset(np.array([0.001, 300, 0.01, 500]), np.array([300, 0.001, 0.01, 500]))
    many = tuple(0.9 + 0.001 * i for i in range(200))
    for start in (config(*SIZES), config((8.0, 16.0), (32.0, 64.0), ratios=many)):
        fit = fit_anchors(data, start, STRIDES[: len(start.anchors.sizes)])
        assert np.isfinite(fit.iou_after).all()


def test_without_objects_nothing_can_be_fitted() -> None:
    with pytest.raises(InputError, match="made by hand: expected objects to fit anchors to, found none"):
        fit_anchors(dataset(np.zeros(0), np.zeros(0)), config(*SIZES), STRIDES)


def test_small_objects_are_warned_of_with_the_image_size_that_would_help() -> None:
    sides = np.concatenate([uniform(4, 7, 100), uniform(16, 30, 100)])
    data = dataset(sides, sides)
    (fault,) = check_shapes(data, config(*SIZES, ratios=(1.0,)), STRIDES)
    assert fault.kind == "small-objects"
    assert "expected objects of at least 8 px in the network's input, found 100 of 200 (50%)" in fault.message
    assert "anchors reach 0% of them at IoU 0.7 and" in fault.message
    assert "with --anchors auto or" in fault.message
    assert fault.message.rpartition(" ")[2] in ("640", "960", "1280")
    image = ImageConfig(min_size=SIDE, max_size=SIDE)
    (fault,) = check_shapes(data, config(*SIZES, image=image, ratios=(1.0,)), STRIDES)
    assert "% with --set detector.image.min_size=" in fault.message


def test_long_objects_are_warned_of_with_what_fitted_anchors_would_reach() -> None:
    (fault,) = check_shapes(LONG, config(*SIZES), STRIDES)
    assert fault.kind == "long-objects"
    assert "expected objects within 1:4 in the network's input, found 200 of 200 (100%)" in fault.message
    assert "anchors reach 0% of them at IoU 0.7; " in fault.message
    assert fault.message.endswith("% with --anchors auto")


def test_objects_that_the_preset_has_no_anchors_for_are_warned_of() -> None:
    (fault,) = check_shapes(SMALL, config(*SIZES), STRIDES)
    assert fault.kind == "unlike-anchors"
    assert "expected anchors of IoU 0.5 with the objects, found them for " in fault.message
    assert "% of 200; 9" in fault.message
    assert "% with --anchors auto or 100% with --image-size 480" in fault.message


def test_usual_objects_are_not_warned_of() -> None:
    assert check_shapes(USUAL, config(*SIZES), STRIDES) == []
    assert check_shapes(dataset(np.zeros(0), np.zeros(0)), config(*SIZES), STRIDES) == []
