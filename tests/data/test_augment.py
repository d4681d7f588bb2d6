"""augment/: rectangles are painted, augmented and found again, so that boxes are judged by pixels."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from tfrcnn.config import ImageConfig
from tfrcnn.data.augment.color import adjust_color, blur, color_jitter, noise
from tfrcnn.data.augment.common import crop_boxes
from tfrcnn.data.augment.geometry import (
    horizontal_flip,
    quarter_turns,
    random_crop,
    resize,
    rotation,
    scale_jitter,
    shear,
    vertical_flip,
)
from tfrcnn.data.augment.mixing import copy_paste, cutout, mixup, mosaic

# A side of 40 becomes 60 and 120 long; no image here reaches max_size.
CONFIG = ImageConfig(min_size=60, max_size=400, divisor=1)

Sample = tuple[tf.Tensor, tf.Tensor, tf.Tensor]

do_not_convert = tf.autograph.experimental.do_not_convert  # as in the pipeline: AutoGraph takes most of the time


def seeds(count: int) -> list[tf.Tensor]:
    return [tf.constant([i, 7]) for i in range(count)]


def sample(boxes: Sequence[Sequence[float]], height: int = 40, width: int = 80) -> Sample:
    """A black image with box i painted white in channel i, and the boxes; their labels are 0, 1, ..."""
    image = np.zeros((height, width, 3), np.float32)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        image[int(y1) : int(y2), int(x1) : int(x2), i] = 255
    return tf.constant(image), tf.reshape(tf.constant(boxes, tf.float32), [-1, 4]), tf.range(len(boxes))


def draws(augment: Callable[..., Sample], original: Sample, count: int) -> list[Sample]:
    """Results for `count` seeds; in tf.data, since eager is slow and gives the same (tested below)."""
    dataset = tf.data.Dataset.from_tensor_slices(seeds(count))
    return list(dataset.map(do_not_convert(lambda seed: augment(*original, seed))))


def jitter(factors: tuple[float, float], config: ImageConfig = CONFIG) -> Callable[..., Sample]:
    return functools.partial(scale_jitter, config=config, factors=factors)


def find(image: tf.Tensor, channel: int) -> np.ndarray:
    """The box [4] of the pixels painted in a channel."""
    rows, columns = np.nonzero(np.asarray(image)[..., channel] > 127.5)
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


BOXES = [[4.0, 6.0, 14.0, 30.0], [20.0, 50.0, 40.0, 80.0], [10.0, 33.0, 30.0, 45.0]]


def partner(seed: tf.Tensor) -> Sample:
    """A smaller image with two boxes, in uint8 as from a file."""
    image, boxes, labels = sample([[2, 3, 20, 30], [10, 40, 28, 58]], height=30, width=60)
    return tf.cast(image, tf.uint8), boxes, labels


AUGMENTATIONS: dict[str, Callable[..., Sample]] = {
    "horizontal_flip": horizontal_flip,
    "random_crop": random_crop,
    "scale_jitter": jitter((0.3, 2.0)),
    "color_jitter": functools.partial(color_jitter, strength=0.5),
    "vertical_flip": vertical_flip,
    "quarter_turns": quarter_turns,
    "rotation": functools.partial(rotation, degrees=180, fill=60.0),
    "shear": functools.partial(shear, degrees=30, fill=60.0),
    "blur": functools.partial(blur, sigma=1.0),
    "noise": functools.partial(noise, sigma=10.0),
    "cutout": functools.partial(cutout, probability=0.7, fill=60.0),
    "copy_paste": functools.partial(copy_paste, partner=partner, config=CONFIG, probability=0.7),
    "mosaic": functools.partial(mosaic, partner=partner, probability=0.7),
    "mixup": functools.partial(mixup, partner=partner, config=CONFIG, probability=0.7),
}
MIXING = ("copy_paste", "mosaic", "mixup")  # they may add boxes to an image without any

all_augmentations = pytest.mark.parametrize("name", AUGMENTATIONS)


def test_flip_sends_x_to_width_minus_x() -> None:
    image, boxes, labels = sample([[1, 2, 3, 5], [0, 0, 4, 10]], height=4, width=10)
    for seed in seeds(8):
        result, moved, _ = horizontal_flip(image, boxes, labels, seed)
        if not np.array_equal(result, image):
            np.testing.assert_array_equal(result, np.asarray(image)[:, ::-1])
            np.testing.assert_array_equal(moved, [[1, 5, 3, 8], [0, 0, 4, 10]])
            return
    pytest.fail("no seed of eight flips")


def test_flipped_boxes_hold_the_flipped_pixels() -> None:
    for seed in seeds(8):
        image, boxes, labels = horizontal_flip(*sample(BOXES), seed)
        np.testing.assert_array_equal(labels, [0, 1, 2])
        for box, label in zip(boxes, labels):
            np.testing.assert_array_equal(find(image, label), box)


def test_flipping_twice_changes_nothing() -> None:
    for seed in seeds(8):
        once = horizontal_flip(*sample(BOXES), seed)
        for result, expected in zip(horizontal_flip(*once, seed), sample(BOXES)):
            np.testing.assert_array_equal(result, expected)


def test_half_of_the_images_are_flipped() -> None:
    flipped = [float(boxes[0, 1]) == 70 for _, boxes, _ in draws(horizontal_flip, sample([[0, 0, 40, 10]]), 200)]
    assert 65 <= sum(flipped) <= 135  # 100, five standard deviations of 7


@pytest.mark.parametrize(
    ("box", "expected", "kept"),
    [
        pytest.param([12, 25, 20, 30], [2, 5, 10, 10], True, id="inside moves by the corner of the crop"),
        pytest.param([10, 20, 40, 60], [0, 0, 30, 40], True, id="equal to the crop is all of it"),
        pytest.param([12, 10, 20, 34], [2, 0, 10, 14], True, id="cut, with its centre in, is clipped"),
        pytest.param([12, 10, 20, 29], [2, 0, 10, 9], False, id="centre cut off at the left"),
        pytest.param([12, 55, 20, 65], [2, 35, 10, 40], False, id="centre on the right edge is out"),
        pytest.param([12, 15, 20, 25], [2, 0, 10, 5], True, id="centre on the left edge is in"),
        pytest.param([-2, 8, 22, 34], [0, 0, 12, 14], False, id="7/26 of it is left"),  # 12 * 14 / (24 * 26)
        pytest.param([-2, 8, 23, 33], [0, 0, 13, 13], False, id="0.27 of it is left"),  # 13 * 13 / (25 * 25)
        pytest.param([0, 8, 30, 44], [0, 0, 20, 24], True, id="0.44 of it is left"),  # 20 * 24 / (30 * 36)
        pytest.param([12, 25, 12.9, 30], [2, 5, 2.9, 10], False, id="less than a pixel high"),
        pytest.param([0, 0, 5, 5], [0, 0, 0, 0], False, id="outside has no extent"),
    ],
)
def test_box_in_a_crop_of_30_by_40_from_10_20(box: list[float], expected: list[float], kept: bool) -> None:
    cut, keep = crop_boxes(tf.constant([box], tf.float32), tf.constant([10, 20]), tf.constant([30, 40]))
    np.testing.assert_allclose(cut, [expected], atol=1e-5)
    assert bool(keep[0]) == kept


def test_cropped_boxes_hold_the_cropped_pixels_and_keep_their_labels() -> None:
    counts = []
    for image, boxes, labels in draws(random_crop, sample(BOXES), 60):
        counts.append(len(labels))
        assert boxes.shape == (len(labels), 4)
        for box, label in zip(boxes, labels):
            np.testing.assert_array_equal(find(image, label), box)
    assert set(counts) == {1, 2, 3}  # so that some boxes were dropped


def test_crops_have_the_documented_area_and_ratio() -> None:
    shapes = np.array([image.shape[:2] for image, _, _ in draws(random_crop, sample(BOXES), 60)])
    cropped = shapes[(shapes != [40, 80]).any(axis=1)]
    assert len(cropped) > 30
    ratio = cropped[:, 1] / cropped[:, 0]
    assert 0.5 - 0.05 <= ratio.min() < ratio.max() <= 2.0 + 0.05  # whole pixels: one in 20
    assert cropped.prod(axis=1).min() >= 0.1 * 40 * 80 * 0.9


def test_crop_never_loses_the_only_box() -> None:
    """A box of 3 x 3 in a corner: most crops that show a tenth of it cut its centre off."""
    for _, boxes, labels in draws(random_crop, sample([[0, 0, 3, 3]]), 60):
        assert len(boxes) == len(labels) == 1


def test_crop_probability_is_the_share_of_images_cropped() -> None:
    def cropped(probability: float) -> list[bool]:
        results = draws(functools.partial(random_crop, probability=probability), sample([]), 200)
        return [image.shape[:2] != (40, 80) for image, _, _ in results]

    never, half, always = cropped(0.0), cropped(0.5), cropped(1.0)
    assert not any(never)
    assert sum(always) > 150
    assert all(whole for whole, part in zip(always, half) if part)
    assert abs(sum(half) - sum(always) / 2) < 36  # five standard deviations of 7


@pytest.mark.parametrize(("size", "min_size", "max_size"), [((612, 612), 320, 640), ((375, 500), 800, 1333)])
def test_resized_boxes_end_where_the_image_ends(size: tuple[int, int], min_size: int, max_size: int) -> None:
    """In float32 612 * (320 / 612) is 320.00003, a box that reaches over the edge; 612 * 320 / 612 is 320."""
    config = ImageConfig(min_size=min_size, max_size=max_size)
    image, boxes = resize(tf.zeros([*size, 3]), tf.constant([[0.0, 0.0, *size]]), config)
    np.testing.assert_array_equal(boxes, [[0, 0, *image.shape[:2]]])


def test_box_of_a_doubled_image_is_doubled() -> None:
    config = ImageConfig(min_size=80, max_size=400)
    image, boxes, _ = sample(BOXES)
    image, boxes = resize(image, boxes, config)
    assert image.shape == (80, 160, 3)
    np.testing.assert_array_equal(boxes, 2 * np.array(BOXES))
    for channel in range(3):
        np.testing.assert_array_equal(find(image, channel), boxes[channel])


def test_jitter_by_one_is_the_resize_rule() -> None:
    image, boxes, labels = sample(BOXES)
    jittered = scale_jitter(image, boxes, labels, tf.constant([0, 1]), CONFIG, (1.0, 1.0))
    for result, expected in zip(jittered, (*resize(image, boxes, CONFIG), labels)):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("factor", [0.4, 0.73, 1.0, 1.37, 2.0])
def test_jittered_boxes_hold_the_jittered_pixels(factor: float) -> None:
    """To half a pixel for the edges, and to a tenth of one for the centre of what was cut nowhere."""
    whole = 0
    for image, boxes, labels in draws(jitter((factor, factor)), sample(BOXES), 12):
        assert image.shape[0] <= 60
        assert image.shape[1] <= 120
        for box, label in zip(boxes.numpy(), labels):
            np.testing.assert_allclose(find(image, label), box, atol=0.5 + 1e-4)
            if (box[:2] > 1).all() and (box[2:] < np.array(image.shape[:2]) - 1).all() and factor >= 1:
                weights = image.numpy()[..., label]
                mass = weights.sum()
                center = (weights.sum(1) @ np.arange(len(weights)), weights.sum(0) @ np.arange(weights.shape[1]))
                np.testing.assert_allclose(np.array(center) / mass + 0.5, (box[:2] + box[2:]) / 2, atol=0.1)
                whole += 1
    assert whole > 0 or factor < 1


def test_jitter_scales_by_its_factor() -> None:
    shapes = {tuple(image.shape[:2]) for image, _, _ in draws(jitter((0.5, 0.5)), sample(BOXES), 3)}
    assert shapes == {(30, 60)}


def test_jitter_draws_all_of_its_range() -> None:
    heights = [image.shape[0] for image, _, _ in draws(jitter((0.1, 1.0)), sample([]), 60)]
    assert min(heights) < 12
    assert max(heights) > 54


def test_enlarged_image_is_cut_at_any_position() -> None:
    """A ramp along x, doubled to a width of 240 of which 120 are kept, starts anywhere in 0..120."""
    image = tf.tile(tf.range(80.0)[None, :, None], [40, 1, 3])
    boxes, labels = tf.zeros([0, 4]), tf.zeros([0], tf.int32)
    starts = [float(cut[0, 0, 0]) for cut, _, _ in draws(jitter((2.0, 2.0)), (image, boxes, labels), 60)]
    assert min(starts) < 4
    assert max(starts) > 36


def test_jitter_fills_a_static_frame() -> None:
    """40 x 80 letterboxed to 64 x 64 is 32 x 64; tripled, it is cut to the frame, not to 32 x 64."""
    config = ImageConfig(static_size=(64, 64))
    image, _, _ = scale_jitter(*sample([]), tf.constant([0, 1]), config, (3.0, 3.0))
    assert image.shape == (64, 64, 3)


def test_jitter_that_would_lose_all_boxes_is_not_done() -> None:
    """A box of 4 pixels is one of 0.6 at a factor of 0.1, and one of 9 x 9 in the un-jittered frame."""
    image, boxes, labels = scale_jitter(*sample([[10, 10, 14, 14]]), tf.constant([0, 1]), CONFIG, (0.1, 0.1))
    assert image.shape == (60, 120, 3)
    np.testing.assert_array_equal(boxes, [[15, 15, 21, 21]])
    np.testing.assert_array_equal(labels, [0])


def test_jitter_never_loses_the_only_box() -> None:
    for _, boxes, labels in draws(jitter((1.0, 2.0)), sample([[0, 0, 3, 3]]), 40):
        assert len(boxes) == len(labels) == 1


def colors() -> np.ndarray:
    """[H, W, 3] float32, away from 0 and 255, so that nothing is clipped by small changes."""
    return np.random.default_rng(0).integers(60, 160, (17, 23, 3)).astype(np.float32)


def adjusted(image: np.ndarray, **changes: float) -> np.ndarray:
    factors = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0} | changes
    return adjust_color(tf.constant(image), **{name: tf.constant(value) for name, value in factors.items()}).numpy()


@pytest.mark.parametrize("factor", [0.4, 1.0, 1.5])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_colour_factors_are_those_of_pillow(name: str, enhance: type, factor: float) -> None:
    expected = np.asarray(enhance(Image.fromarray(colors().astype(np.uint8))).enhance(factor))
    np.testing.assert_allclose(adjusted(colors(), **{name: factor}), expected, atol=1.5)  # Pillow rounds twice


def test_contrast_is_about_the_brightened_mean() -> None:
    """Pixels of 80 and 120 brightened by 1.5 are 120 and 180; half of their contrast about 150 is 135 and 165."""
    image = np.array([80, 120], np.float32)[None, :, None].repeat(3, axis=2)
    np.testing.assert_allclose(adjusted(image, brightness=1.5, contrast=0.5)[0, :, 0], [135, 165], rtol=1e-5)


def test_hue_turns_red_to_the_hand_computed_colour() -> None:
    """A sixth of a turn. For grey + red of 100: Y = 29.9, I = 59.59, Q = 21.15; turned by 60 degrees
    I' = 29.80 - 18.32 = 11.48, Q' = 51.61 + 10.58 = 62.18; in RGB Y + .956 I' + .619 Q' = 79.4,
    Y - .272 I' - .647 Q' = -13.5, Y - 1.106 I' + 1.703 Q' = 123.1, added to the grey."""
    image = np.full((1, 1, 3), 100, np.float32) + np.array([100, 0, 0], np.float32)
    np.testing.assert_allclose(adjusted(image, hue=1 / 6)[0, 0] - 100, [79.4, -13.5, 123.1], atol=0.1)


def test_hue_keeps_luma_and_a_whole_turn_changes_nothing() -> None:
    luma = [0.299, 0.587, 0.114]
    np.testing.assert_allclose(adjusted(colors(), hue=0.1) @ luma, colors() @ luma, rtol=1e-4)
    np.testing.assert_allclose(adjusted(colors(), hue=1.0), colors(), atol=0.01)
    assert np.abs(adjusted(colors(), hue=0.1) - colors()).max() > 10


def test_grey_stays_grey() -> None:
    grey = np.repeat(colors()[..., :1], 3, axis=-1)
    np.testing.assert_allclose(adjusted(grey, hue=0.3, saturation=1.7), grey, atol=0.01)


def test_colours_stay_in_0_to_255() -> None:
    image = np.random.default_rng(0).integers(0, 256, (17, 23, 3)).astype(np.float32)
    result = adjusted(image, brightness=1.8, contrast=1.8, saturation=1.8, hue=0.2)
    assert result.min() == 0
    assert result.max() == 255


def test_colour_jitter_of_no_strength_changes_nothing() -> None:
    boxes, labels = tf.constant(BOXES), tf.range(3)
    image, same_boxes, same_labels = color_jitter(tf.constant(colors()), boxes, labels, tf.constant([0, 1]), 0.0)
    np.testing.assert_allclose(image, colors(), atol=1e-3)
    assert same_boxes is boxes
    assert same_labels is labels


def test_colour_jitter_grows_with_its_strength() -> None:
    def change(strength: float) -> float:
        results = [color_jitter(colors(), None, None, seed, strength)[0] for seed in seeds(10)]
        return float(np.mean([np.abs(result - colors()).mean() for result in results]))

    assert 0 < change(0.1) < change(0.3) < change(0.9)


@all_augmentations
def test_same_seed_gives_the_same_result_and_another_another(name: str) -> None:
    augment = AUGMENTATIONS[name]
    first = [augment(*sample(BOXES), seed) for seed in seeds(6)]
    for (image, boxes, labels), seed in zip(first, seeds(6)):
        again = augment(*sample(BOXES), seed)
        np.testing.assert_array_equal(again[0], image)
        np.testing.assert_array_equal(again[1], boxes)
        np.testing.assert_array_equal(again[2], labels)
    assert len({image.numpy().tobytes() for image, _, _ in first}) > 1


@functools.cache
def drawn(name: str) -> list[tuple[int, tf.Tensor, Sample]]:
    """Results in tf.data for 10 seeds: of three boxes, of one, of none, and of one of 3 x 3 in a corner."""
    image, _, _ = sample(BOXES)
    choices = tf.constant([*BOXES, [0.0, 0.0, 3.0, 3.0]])
    ends = tf.constant([[0, 3], [0, 1], [0, 0], [3, 4]])
    cases = [(case, seed) for case in range(4) for seed in seeds(10)]

    def result(case: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Sample]:
        start, end = tf.unstack(ends[case])
        return case, seed, AUGMENTATIONS[name](image, choices[start:end], tf.range(end - start), seed)

    dataset = tf.data.Dataset.from_tensor_slices(tuple(map(list, zip(*cases)))).map(do_not_convert(result))
    _, _, (image_spec, boxes_spec, labels_spec) = dataset.element_spec
    assert (image_spec.shape.rank, boxes_spec.shape.rank, labels_spec.shape.rank) == (3, 2, 1)
    return list(dataset)


@pytest.mark.slow
@all_augmentations
@pytest.mark.parametrize("boxes", [BOXES, BOXES[:1], []], ids=["three boxes", "one box", "no box"])
def test_inside_tf_data_equals_eager(name: str, boxes: list[list[float]]) -> None:
    image, _, _ = sample(BOXES)
    original = (image, tf.reshape(tf.constant(boxes), [-1, 4]), tf.range(len(boxes)))
    case = {3: 0, 1: 1, 0: 2}[len(boxes)]
    for _, seed, results in [row for row in drawn(name) if row[0] == case][:2]:
        expected = AUGMENTATIONS[name](*original, seed)
        assert (len(expected[1]) > 0) == (len(boxes) > 0) or name in MIXING
        np.testing.assert_allclose(results[0], expected[0], atol=1e-3)
        np.testing.assert_array_equal(results[1], expected[1])
        np.testing.assert_array_equal(results[2], expected[2])


@all_augmentations
def test_boxes_stay_inside_and_one_is_left(name: str) -> None:
    """Also where a draw would lose the only box, of 3 x 3 in a corner."""
    for case, _, (image, boxes, labels) in drawn(name):
        height, width = image.shape[:2]
        assert len(boxes) == len(labels)
        assert (len(boxes) > 0) == (case != 2) or name in MIXING
        assert (boxes.numpy() >= 0).all()
        assert (boxes.numpy() <= [height, width, height, width]).all()
        assert (boxes[:, 2:].numpy() > boxes[:, :2].numpy()).all()
        assert 0 <= image.numpy().min() <= image.numpy().max() <= 255.001


@all_augmentations
def test_bytes_and_floats_give_the_same_image(name: str) -> None:
    """The pipeline flips and cuts uint8, which is a quarter of the memory."""
    augment = AUGMENTATIONS[name]
    image, boxes, labels = sample(BOXES)
    for seed in seeds(4):
        expected = augment(image, boxes, labels, seed)[0]
        np.testing.assert_array_equal(augment(tf.cast(image, tf.uint8), boxes, labels, seed)[0], expected)
