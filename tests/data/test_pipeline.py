"""pipeline.py: batches by hand, padding, order, determinism, and what happens to bad data."""

import itertools
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrcnn.config import Category, ImageConfig, TrainingConfig
from tfrcnn.data.augment import augmentations
from tfrcnn.data.augment.common import Augmentation, Sample
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.image_source import Pixels, image_errors
from tfrcnn.data.pipeline import Share, TrainingData, inference_data, training_data
from tfrcnn.errors import InputError
from tfrcnn.images import resize

CONFIG = ImageConfig(min_size=60, max_size=120, divisor=32)
PLAIN = TrainingConfig(batch_size=1, horizontal_flip=False)
AUGMENTED = TrainingConfig(batch_size=2, seed=3, scale_jitter=(0.5, 2.0), random_crop=0.5, color_jitter=0.4)
# Every augmentation, and its value when it is off.
OFF = {
    "horizontal_flip": False,
    "vertical_flip": False,
    "quarter_turns": False,
    "random_crop": 0.0,
    "scale_jitter": (1.0, 1.0),
    "mosaic": 0.0,
    "rotation": 0.0,
    "shear": 0.0,
    "copy_paste": 0.0,
    "mixup": 0.0,
    "color_jitter": 0.0,
    "blur": 0.0,
    "noise": 0.0,
    "cutout": 0.0,
}
ALL = AUGMENTED.replace(
    **{name: {bool: True, float: 0.5}[type(off)] for name, off in OFF.items() if name != "scale_jitter"}
)

Batch = dict[str, np.ndarray]


def example(
    folder: Path,
    name: str,
    size: tuple[int, int],
    boxes: Sequence[Sequence[float]] = (),
    *,
    orientation: int = 1,
    crowd: Sequence[int] = (),
    difficult: Sequence[int] = (),
) -> Example:
    """A dark image of `size` (upright), box i painted in channel i, saved as PNG; labels are 0, 1, ..."""
    pixels = np.full((*size, 3), len(name) + sum(size) % 50, np.uint8)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        pixels[int(y1) : int(y2), int(x1) : int(x2), i % 3] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {1: pixels, 6: np.rot90(pixels)}[orientation]  # 6: to be turned by 90 degrees clockwise
    Image.fromarray(np.ascontiguousarray(stored)).save(folder / name, exif=exif)
    n = len(boxes)
    return Example(
        image_id=name,
        path=folder / name,
        height=size[0],
        width=size[1],
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.arange(n, dtype=np.int32),
        crowd=np.isin(np.arange(n), crowd),
        difficult=np.isin(np.arange(n), difficult),
        area=np.ones(n, np.float32),
        orientation=orientation,
        annotation_ids=np.arange(n) + 1,
    )


def dataset(*examples: Example) -> Dataset:
    return Dataset("made by hand", tuple(Category(i, f"thing {i}") for i in range(4)), examples)


@pytest.fixture
def mixed(tmp_path: Path) -> Dataset:
    """Seven images: landscape, portrait and square, with two boxes, one or none."""
    sizes = [(40, 80), (80, 40), (50, 60), (60, 50), (40, 80), (64, 64), (80, 50)]
    boxes = [[4, 6, 14, 30], [20, 12, 38, 36]]
    return dataset(*(example(tmp_path, f"{i}.png", size, boxes[: i % 3]) for i, size in enumerate(sizes)))


def take(data: TrainingData, count: int, start_step: int = 0) -> list[Batch]:
    return list(data.batches(start_step).take(count).as_numpy_iterator())


def assert_same(batches: list[Batch], expected: list[Batch]) -> None:
    assert len(batches) == len(expected) > 0
    for batch, other in zip(batches, expected):
        assert sorted(batch) == sorted(other)
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key], key)


def find(image: np.ndarray, channel: int) -> np.ndarray:
    """The box [4] of the pixels painted in a channel."""
    rows, columns = np.nonzero(image[..., channel] > 160)
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


def test_image_of_40_by_80_is_a_batch_of_64_by_128_with_60_by_120_of_it_used(tmp_path: Path) -> None:
    data = training_data(dataset(example(tmp_path, "a.png", (40, 80), [[4, 6, 14, 30]])), CONFIG, PLAIN)
    assert data.steps_per_epoch == 1
    (batch,) = take(data, 1)
    assert sorted(batch) == ["boxes", "image_index", "image_sizes", "images", "labels"]
    assert batch["images"].shape == (1, 64, 128, 3)
    np.testing.assert_array_equal(batch["image_sizes"], [[60, 120]])
    np.testing.assert_array_equal(batch["boxes"], [[[6, 9, 21, 45]]])
    np.testing.assert_array_equal(batch["labels"], [[0]])
    np.testing.assert_array_equal(batch["image_index"], [0])
    np.testing.assert_array_equal(find(batch["images"][0], 0), [6, 9, 21, 45])
    assert batch["images"][0, :60, :120].min() > 0
    assert batch["images"][0, 60:].max() == batch["images"][0, :, 120:].max() == 0


def test_static_size_is_letterboxed_to_exactly_that(tmp_path: Path) -> None:
    config = ImageConfig(static_size=(96, 64))
    data = training_data(dataset(example(tmp_path, "a.png", (40, 80), [[4, 6, 14, 30]])), config, PLAIN)
    assert data.batches().element_spec["images"].shape.as_list() == [1, 96, 64, 3]
    (batch,) = take(data, 1)
    np.testing.assert_array_equal(batch["image_sizes"], [[32, 64]])
    np.testing.assert_allclose(batch["boxes"], [[[3.2, 4.8, 11.2, 24]]], rtol=1e-6)


def test_batch_is_padded_to_its_largest_image_and_longest_list_of_boxes(tmp_path: Path) -> None:
    boxes = [[4, 6, 14, 30], [20, 12, 38, 36]]
    images = [example(tmp_path, "a.png", (40, 80), boxes[:1]), example(tmp_path, "b.png", (80, 80), boxes)]
    (batch,) = take(training_data(dataset(*images), CONFIG, PLAIN.replace(batch_size=2)), 1)
    assert batch["images"].shape == (2, 64, 128, 3)
    for i, index in enumerate(batch["image_index"]):
        np.testing.assert_array_equal(batch["image_sizes"][i], [[60, 120], [60, 60]][index])
        np.testing.assert_array_equal(batch["labels"][i], [[0, -1], [0, 1]][index])
        expected = [[[6, 9, 21, 45], [0, 0, 0, 0]], [[3, 4.5, 10.5, 22.5], [15, 9, 28.5, 27]]][index]
        np.testing.assert_array_equal(batch["boxes"][i], expected)


def test_images_without_boxes_have_one_row_of_padding(tmp_path: Path) -> None:
    images = [example(tmp_path, f"{i}.png", (40, 80)) for i in range(2)]
    (batch,) = take(training_data(dataset(*images), CONFIG, AUGMENTED), 1)
    np.testing.assert_array_equal(batch["labels"], [[-1], [-1]])
    np.testing.assert_array_equal(batch["boxes"], np.zeros([2, 1, 4]))


def test_crowd_difficult_and_empty_boxes_are_no_targets(tmp_path: Path) -> None:
    boxes = [[0, 0, 9, 9], [0, 9, 9, 18], [0, 18, 9, 27], [5, 5, 5, 9], [5, 5, np.nan, 9]]
    pixels = example(tmp_path, "a.png", (40, 80))
    marked = example(tmp_path, "b.png", (40, 80), boxes[:3], crowd=[0], difficult=[2])
    broken = replace(marked, boxes=np.array(boxes[2:], np.float32))  # none but its first has an extent
    data = training_data(dataset(pixels, marked, broken), CONFIG, PLAIN)
    labels = {int(batch["image_index"][0]): batch["labels"].tolist() for batch in take(data, 3)}
    assert labels == {0: [[-1]], 1: [[1]], 2: [[-1]]}


def test_boxes_follow_an_image_that_exif_turns(tmp_path: Path) -> None:
    turned = example(tmp_path, "a.png", (40, 80), [[4, 6, 14, 30]], orientation=6)
    with Image.open(turned.path) as image:
        assert image.size == (40, 80)  # stored as a portrait
    (batch,) = take(training_data(dataset(turned), CONFIG, PLAIN), 1)
    np.testing.assert_array_equal(batch["image_sizes"], [[60, 120]])
    np.testing.assert_array_equal(find(batch["images"][0], 0), batch["boxes"][0, 0])


def test_boxes_hold_their_pixels_through_flip_crop_and_jitter(mixed: Dataset) -> None:
    training = AUGMENTED.replace(color_jitter=0.0)
    seen = 0
    for batch in take(training_data(mixed, CONFIG, training), 30):
        for image, boxes, labels in zip(batch["images"], batch["boxes"], batch["labels"]):
            for box, label in zip(boxes[labels >= 0], labels[labels >= 0]):
                np.testing.assert_allclose(find(image, label), box, atol=1.0)  # two edges of half a pixel
                seen += 1
    assert seen > 30


@pytest.mark.slow
@pytest.mark.parametrize("cache", [False, True])
def test_batches_are_bit_identical_for_a_seed(mixed: Dataset, cache: bool) -> None:
    first = take(training_data(mixed, CONFIG, AUGMENTED, cache), 8)
    assert_same(take(training_data(mixed, CONFIG, AUGMENTED, cache), 8), first)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [4, 2**30 - 1])
def test_batches_of_another_seed_differ(mixed: Dataset, seed: int) -> None:
    first = take(training_data(mixed, CONFIG, AUGMENTED), 6)
    second = take(training_data(mixed, CONFIG, AUGMENTED.replace(seed=seed)), 6)
    assert any(a["image_index"].tolist() != b["image_index"].tolist() for a, b in zip(first, second))


def test_a_new_augmentation_changes_no_draw_of_the_others(mixed: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = take(training_data(mixed, CONFIG, AUGMENTED), 6)
    drawn = []

    def with_one_more(*arguments: object) -> dict[str, Augmentation]:
        def draw_and_do_nothing(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
            drawn.append(tf.random.stateless_uniform([], seed))
            return image, boxes, labels

        steps = list(augmentations(*arguments).items())
        return dict([("noise", draw_and_do_nothing), *steps[:1], ("blur", draw_and_do_nothing), *steps[1:]])

    monkeypatch.setattr("tfrcnn.data.pipeline.augmentations", with_one_more)
    assert_same(take(training_data(mixed, CONFIG, AUGMENTED), 6), expected)
    assert len(drawn) == 2


def test_the_new_augmentations_are_off_by_default(mixed: Dataset) -> None:
    default = TrainingConfig()
    steps = augmentations(default.replace(horizontal_flip=False), CONFIG, Pixels(mixed), 7)
    assert list(steps) == ["resize"]
    steps = augmentations(AUGMENTED, CONFIG, Pixels(mixed), 7)
    assert list(steps) == ["horizontal_flip", "random_crop", "scale_jitter", "color_jitter"]


@pytest.mark.parametrize("name", OFF)
def test_turning_one_augmentation_off_changes_no_draw_of_the_others(mixed: Dataset, name: str) -> None:
    indices, step = tf.constant([3, 1]), tf.constant(5, tf.int64)
    _, seeds = training_data(mixed, CONFIG, ALL)._seeded(indices, step)
    assert len({seed.numpy().tobytes() for seed in seeds.values()}) == len(OFF)  # each has a stream of its own
    _, others = training_data(mixed, CONFIG, ALL.replace(**{name: OFF[name]}))._seeded(indices, step)
    assert set(seeds) - set(others) == {name}
    for other in set(others) - {"resize"}:
        np.testing.assert_array_equal(others[other], seeds[other])


@pytest.mark.slow
def test_batches_of_all_augmentations_resume_exactly_and_keep_boxes_inside(mixed: Dataset) -> None:
    """Also the partners of mosaic, mixup and copy-paste, which are drawn from all images."""
    batches = take(training_data(mixed, CONFIG, ALL), 6)
    assert_same(take(training_data(mixed, CONFIG, ALL), 2, 4), batches[4:])
    for batch in batches:
        for boxes, labels, (height, width) in zip(batch["boxes"], batch["labels"], batch["image_sizes"]):
            kept = boxes[labels >= 0]
            assert (kept >= 0).all()
            assert (kept <= [height, width, height, width]).all()
            assert (kept[:, 2:] > kept[:, :2]).all()
    assert max(batch["labels"].shape[1] for batch in batches) > 2


@pytest.mark.slow
def test_partners_bring_no_crowd_or_difficult_boxes(tmp_path: Path) -> None:
    boxes = [[0, 0, 20, 30], [20, 30, 40, 60], [0, 50, 20, 80]]
    images = [example(tmp_path, f"{i}.png", (40, 80), boxes, crowd=[0], difficult=[2]) for i in range(3)]
    for name in ("copy_paste", "mixup", "mosaic"):
        data = training_data(dataset(*images), CONFIG, PLAIN.replace(**{name: 1.0}))
        labels = np.concatenate([batch["labels"].ravel() for batch in take(data, 6)])
        assert set(labels) == {1}
        assert len(labels) > 6


@pytest.mark.slow
@pytest.mark.parametrize("start_step", [1, 3, 7])
def test_starting_at_a_step_equals_skipping_to_it(mixed: Dataset, start_step: int) -> None:
    """Three steps an epoch: within it, at its end, and epochs later."""
    data = training_data(mixed, CONFIG, AUGMENTED)
    assert_same(take(data, 3, start_step), take(data, start_step + 3)[start_step:])


def test_starting_at_a_step_reads_no_earlier_image(mixed: Dataset) -> None:
    data = training_data(mixed, CONFIG, AUGMENTED)
    expected = take(data, 1, start_step=2)
    for path in [*data.files_of_step(0), *data.files_of_step(1)]:
        path.unlink()
    batches = iter(data.batches(start_step=2))
    assert_same([{key: value.numpy() for key, value in next(batches).items()}], expected)


@pytest.mark.parametrize("worker", [0, 1])
def test_a_worker_makes_its_rows_of_each_batch_and_reads_no_other_image(mixed: Dataset, worker: int) -> None:
    data = training_data(mixed, replace(CONFIG, static_size=(64, 128)), AUGMENTED.replace(batch_size=4))
    rows = slice(2 * worker, 2 * worker + 2)
    expected = [{key: value[rows] for key, value in batch.items()} for batch in take(data, 1)]
    for path in {*data.files_of_step(0)} - {*data.files_of_step(0)[rows]}:
        path.unlink()
    batches = iter(data.batches(share=Share(worker, workers=2, replicas=2)))
    made = {key: value.numpy() for key, value in next(batches).items()}
    most = made["labels"].shape[1]  # objects of an image of the worker
    for key in ("boxes", "labels"):
        expected[0][key] = expected[0][key][:, :most]
    assert_same([made], expected)


def test_files_of_a_step_are_those_of_its_batch(mixed: Dataset) -> None:
    data = training_data(mixed, CONFIG, AUGMENTED)
    for step, batch in enumerate(take(data, 7)):
        assert data.files_of_step(step) == [mixed.examples[i].path for i in batch["image_index"]]


def test_no_image_comes_twice_in_an_epoch(mixed: Dataset) -> None:
    data = training_data(mixed, CONFIG, AUGMENTED)
    assert data.steps_per_epoch == 3
    batches = take(data, 9)
    for epoch in range(3):
        indices = np.concatenate([batch["image_index"] for batch in batches[3 * epoch : 3 * epoch + 3]])
        assert len(set(indices)) == 6


def test_images_of_a_rare_category_come_more_often_and_exactly_under_resume(mixed: Dataset) -> None:
    """Category 1 is on 2 of 7 images: with t = 1 these come sqrt(3.5) = 1.87 times, category 0 (4 of 7) 1.32 times."""
    data = training_data(mixed, CONFIG, PLAIN.replace(repeat_factor_threshold=1.0))
    assert data.steps_per_epoch == int(3 + 2 * 1.75**0.5 + 2 * 3.5**0.5) == 9
    batches = take(data, 20)
    assert_same(take(data, 3, start_step=14), batches[14:17])
    counts = np.bincount([int(batch["image_index"][0]) for batch in batches[:9]], minlength=7)
    assert counts[[2, 5]].sum() >= 3


def test_data_set_smaller_than_a_batch_repeats(tmp_path: Path) -> None:
    data = training_data(dataset(example(tmp_path, "a.png", (40, 80))), CONFIG, PLAIN.replace(batch_size=3))
    (batch,) = take(data, 1)
    np.testing.assert_array_equal(batch["image_index"], [0, 0, 0])


def test_batches_are_of_one_aspect_unless_the_frame_is_static(tmp_path: Path) -> None:
    sizes = [(40, 80), (80, 40)] * 4
    images = dataset(*(example(tmp_path, f"{i}.png", size) for i, size in enumerate(sizes)))
    training = PLAIN.replace(batch_size=4)
    shapes = [batch["images"].shape[1:3] for batch in take(training_data(images, CONFIG, training), 8)]
    assert set(shapes) == {(64, 128), (128, 64)}
    static = take(training_data(images, ImageConfig(static_size=(64, 64)), training), 8)
    assert any(len(set(batch["image_index"] % 2)) == 2 for batch in static)


def test_images_of_a_batch_are_augmented_each_on_its_own(tmp_path: Path) -> None:
    training = PLAIN.replace(batch_size=8, horizontal_flip=True)
    data = training_data(dataset(example(tmp_path, "a.png", (40, 80), [[0, 0, 40, 10]])), CONFIG, training)
    for batch in take(data, 2):
        assert set(batch["boxes"][:, 0, 1]) == {0, 105}


def test_cache_gives_the_same_batches_and_needs_no_files(mixed: Dataset) -> None:
    expected = take(training_data(mixed, CONFIG, AUGMENTED), 6)
    data = training_data(mixed, CONFIG, AUGMENTED, cache=True)
    for one in mixed.examples:
        one.path.unlink()
    assert_same(take(data, 6), expected)


def test_cached_images_are_augmented_anew_each_epoch(tmp_path: Path) -> None:
    one = example(tmp_path, "a.png", (40, 80), [[0, 0, 40, 10]])
    data = training_data(dataset(one), CONFIG, PLAIN.replace(color_jitter=0.5), cache=True)
    images = {batch["images"].tobytes() for batch in take(data, 5)}
    assert len(images) == 5


def test_element_spec_does_not_depend_on_the_data(mixed: Dataset, tmp_path: Path) -> None:
    alone = dataset(example(tmp_path, "alone.png", (30, 30)))
    spec = training_data(mixed, CONFIG, AUGMENTED).batches().element_spec
    assert training_data(alone, CONFIG, AUGMENTED).batches().element_spec == spec
    assert training_data(alone, CONFIG, AUGMENTED, cache=True).batches(5).element_spec == spec
    assert {key: (value.shape.as_list(), value.dtype) for key, value in spec.items()} == {
        "images": ([2, None, None, 3], tf.float32),
        "image_sizes": ([2, 2], tf.float32),
        "boxes": ([2, None, 4], tf.float32),
        "labels": ([2, None], tf.int32),
        "image_index": ([2], tf.int32),
    }


@pytest.mark.parametrize("cache", [False, True])
def test_image_of_another_size_than_annotated_is_named(tmp_path: Path, cache: bool) -> None:
    one = example(tmp_path, "a.png", (40, 80))
    wrong = dataset(replace(one, height=80, width=40))
    expected = r"a\.png \(image 1 of 1 in made by hand\): expected 40 x 80 px, .* found 80 x 40 px$"
    with pytest.raises(InputError, match=expected), image_errors():
        take(training_data(wrong, CONFIG, PLAIN, cache), 1)


def test_missing_image_is_named(tmp_path: Path) -> None:
    one = dataset(example(tmp_path, "a.png", (40, 80)))
    one.examples[0].path.unlink()
    with pytest.raises(tf.errors.OpError, match=r"a\.png \(image 1 of 1 in made by hand\): expected an image file"):
        take(training_data(one, CONFIG, PLAIN), 1)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (lambda path: path.unlink(), "found nothing at"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-30]), "cut off"),
    "a web page": (lambda path: path.write_bytes(b"<html>"), "found no image"),
    "empty": (lambda path: path.write_bytes(b""), "found an empty file"),
    "another size": (lambda path: Image.new("RGB", (9, 7)).save(path), "found 9 x 7 px"),
    "another format": (lambda path: Image.new("RGB", (60, 50)).save(path, "ICO"), "found ICO"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "found a folder"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_image_changed_while_training_runs_is_named_with_place_and_cause_in_one_line(
    mixed: Dataset, change: str
) -> None:
    data = training_data(mixed, CONFIG, PLAIN)
    batches = iter(data.batches())
    next(batches)
    bad = data.files_of_step(5)[0]
    spoil, cause = CHANGES[change]
    content = bad.read_bytes()
    spoil(bad)
    expected = rf"^\S+{re.escape(bad.name)} \(image \d of 7 in made by hand\): [^\n]*{cause}[^\n]*; try again$"
    with pytest.raises(InputError, match=expected), image_errors("; try again"):
        list(itertools.islice(batches, 6))
    if bad.is_dir():
        bad.rmdir()
    bad.write_bytes(content)
    with image_errors():
        assert int(take(data, 1, start_step=5)[0]["image_index"][0]) == [e.path for e in mixed.examples].index(bad)


@pytest.mark.parametrize("change", CHANGES)
def test_image_changed_before_detection_is_named(tmp_path: Path, change: str) -> None:
    images = dataset(*(example(tmp_path, f"{i}.png", (40, 80)) for i in range(3)))
    CHANGES[change][0](images.examples[1].path)
    with pytest.raises(InputError, match=r"1\.png \(image 2 of 3 in made by hand\): expected"), image_errors():
        list(inference_data(images, CONFIG))


def test_images_of_every_name_are_trained_on(tmp_path: Path) -> None:
    names = [os.fsdecode(b"caf\xe9.png"), "n" * 246 + ".png", "네.png", "a\nb\x1b[31m.png"]
    images = [example(tmp_path, f"{i}.png", (40, 80)) for i in range(4)]
    images = [replace(one, path=one.path.rename(tmp_path / name)) for one, name in zip(images, names)]
    assert len(take(training_data(dataset(*images), CONFIG, PLAIN), 4)) == 4
    for one in images:
        one.path.unlink()
        with pytest.raises(InputError, match=r"^[^\n\x1b]* \(image 1 of 1 in made by hand\)"), image_errors():
            take(training_data(dataset(one), CONFIG, PLAIN), 1)


def test_other_errors_of_tensorflow_pass() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError), image_errors():
        tf.reshape(tf.zeros([3]), [2])


def test_images_are_decoded_in_parallel_also_where_runs_repeat_to_the_bit(mixed: Dataset) -> None:
    """A stateful Python function would be called by one thread then."""
    graph = Pixels(mixed)
    function = tf.function(graph, input_signature=[tf.TensorSpec([], tf.int32)])
    operations = {operation.type for operation in function.get_concrete_function().graph.get_operations()}
    assert "PyFuncStateless" in operations
    assert "PyFunc" not in operations


@pytest.mark.parametrize(
    "make", [lambda data: training_data(data, CONFIG, PLAIN).batches(), lambda data: inference_data(data, CONFIG)]
)
def test_no_iterator_waits_for_a_tuning_thread_that_sleeps(
    mixed: Dataset, make: Callable[[Dataset], tf.data.Dataset]
) -> None:
    assert make(mixed).options().autotune.enabled is False


def test_empty_data_set_is_refused() -> None:
    for build in (lambda: training_data(dataset(), CONFIG, PLAIN), lambda: inference_data(dataset(), CONFIG)):
        with pytest.raises(InputError, match="made by hand: expected at least one image, found none"):
            build()


@pytest.mark.parametrize("batch_size", [1, 3])
def test_inference_gives_every_image_once_in_order(mixed: Dataset, batch_size: int) -> None:
    batches = list(inference_data(mixed, CONFIG, batch_size).as_numpy_iterator())
    sizes = [len(batch["image_index"]) for batch in batches]
    assert sizes == {1: [1] * 7, 3: [3, 3, 1]}[batch_size]
    joined = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0] if key != "images"}
    assert sorted(joined) == ["image_index", "image_sizes", "original_sizes"]
    np.testing.assert_array_equal(joined["image_index"], range(7))
    np.testing.assert_array_equal(joined["original_sizes"], [(one.height, one.width) for one in mixed.examples])
    images = [(image, size) for batch in batches for image, size in zip(batch["images"], batch["image_sizes"])]
    for one, (image, size) in zip(mixed.examples, images):
        height, width = size.astype(int)
        expected = np.zeros_like(image)
        expected[:height, :width] = resize(tf.constant(read_image(one.path)), CONFIG)
        np.testing.assert_array_equal(image, expected)


def test_element_spec_of_inference_does_not_depend_on_the_data(mixed: Dataset, tmp_path: Path) -> None:
    alone = dataset(example(tmp_path, "alone.png", (30, 30)))
    spec = inference_data(mixed, CONFIG, 4).element_spec
    assert inference_data(alone, CONFIG, 4).element_spec == spec
    assert spec["images"].shape.as_list() == [None, None, None, 3]
    static = ImageConfig(static_size=(64, 96))
    assert inference_data(mixed, static, 4).element_spec["images"].shape.as_list() == [None, 64, 96, 3]
