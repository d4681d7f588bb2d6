"""Images that look the same: the hash, and which pairs are listed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from tfrcnn.data import near_duplicates as module
from tfrcnn.data.example import Example
from tfrcnn.data.near_duplicates import BITS, MAX_DISTANCE, image_hash, image_hashes, near_duplicates


def scene(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A picture with a few smooth patches, as photographs have."""
    small = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def example(tmp_path: Path) -> Callable[..., Example]:
    """Return a function that writes a picture and describes it."""

    def write(image: Image.Image, name: str, **options: object) -> Example:
        image.save(tmp_path / name, **options)
        nothing = np.zeros([0], bool)
        boxes, labels = np.zeros([0, 4], np.float32), np.zeros([0], np.int32)
        return Example(name, tmp_path / name, *image.size[::-1], boxes, labels, nothing, nothing, labels, 1, labels)

    return write


def test_the_hash_of_a_ramp_is_all_ones_and_of_its_mirror_all_zeros(example: Callable) -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 255, 5, np.uint8), (40, 1)))
    assert image_hash(example(ramp, "ramp.png")).tolist() == [True] * BITS
    mirrored = ramp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert image_hash(example(mirrored, "mirrored.png")).tolist() == [False] * BITS


@pytest.mark.parametrize("seed", range(3))
def test_the_hash_is_imagehash_s(seed: int, example: Callable) -> None:
    peer = pytest.importorskip("imagehash")
    image = scene(seed)
    assert image_hash(example(image, "a.png")).tolist() == peer.dhash(image, hash_size=16).hash.reshape(-1).tolist()


@pytest.mark.parametrize(
    ("name", "change", "options"),
    [
        ("smaller.png", lambda image: image.resize((60, 45)), {}),
        ("larger.png", lambda image: image.resize((200, 150)), {}),
        ("compressed.jpg", lambda image: image, {"quality": 25}),
        ("grey.png", lambda image: image.convert("L"), {}),
        ("brighter.png", lambda image: image.point(lambda value: min(255, value * 1.2)), {}),
        ("palette.gif", lambda image: image, {}),
    ],
)
def test_a_changed_copy_is_a_near_duplicate(name: str, change: Callable, options: dict, example: Callable) -> None:
    image = scene(0)
    examples = [example(image, "a.png"), example(scene(1), "b.png"), example(change(image), name, **options)]
    pairs = near_duplicates(examples, image_hashes(examples))
    assert [(pair.image, pair.other) for pair in pairs] == [(examples[0], examples[2])]
    assert 0 <= pairs[0].distance <= MAX_DISTANCE


def test_a_turned_file_is_compared_upright(example: Callable) -> None:
    image, exif = scene(0), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned = example(image.transpose(Image.Transpose.ROTATE_90), "turned.jpg", exif=exif, quality=95)
    pairs = near_duplicates([example(image, "a.png")], image_hashes([example(image, "a.png")]), *both(turned))
    assert pairs == []  # as the boxes see it: their annotation says that the orientation is not applied
    upright = replace(turned, orientation=6)
    assert len(near_duplicates([example(image, "a.png")], image_hashes([example(image, "a.png")]), *both(upright))) == 1


def test_every_image_of_one_set_is_listed_with_the_closest_of_the_other(example: Callable) -> None:
    near, far = example(scene(0).resize((90, 68)), "near.png"), example(scene(0), "far.jpg", quality=5)
    images = [example(scene(number), f"{number}.png") for number in range(3)]
    pairs = near_duplicates([far, near], image_hashes([far, near]), images, image_hashes(images))
    assert [pair.image for pair in pairs] == [near, far]
    assert {pair.other for pair in pairs} == {images[0]}
    assert pairs[0].distance <= pairs[1].distance


def test_unreadable_images_and_empty_sets_have_no_near_duplicates(example: Callable, tmp_path: Path) -> None:
    broken = replace(example(scene(0), "a.png"), path=tmp_path / "none.png")
    assert image_hashes([broken]) == [None]
    assert near_duplicates([broken, broken], image_hashes([broken, broken])) == []
    assert near_duplicates([], []) == []
    good = [example(scene(0), "a.png")]
    assert near_duplicates(good, image_hashes(good), [], []) == []


def test_more_images_than_are_compared_at_once(example: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [example(scene(number % 5).resize((60 + number, 50)), f"{number}.png") for number in range(10)]
    hashes = image_hashes(images)
    expected = near_duplicates(images, hashes)
    assert len(expected) == 5
    monkeypatch.setattr(module, "_MAX_DISTANCES", 50)
    assert near_duplicates(images, hashes) == expected


def both(one: Example) -> tuple[list[Example], list[np.ndarray | None]]:
    return [one], image_hashes([one])
