"""A detection data set that needs no download: real handwritten digits on textured scenes, in COCO form.

The digits are the 1,797 of scikit-learn (8 x 8 pixels, 16 grey levels, 43 writers; E. Alpaydin and C. Kaynak,
UCI 1998). Every digit is enlarged, turned a little, coloured and placed in a scene of smooth noise, a gradient and
lines. No two digits share a pixel, so each box is exactly as large as the ink that is visible.

Legend: H, W of a scene; h, w of a digit in it; "ink" is opacity in [0, 1], [h, w].
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tfrcnn.errors import InputError
from tfrcnn.files import atomic

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDES = (128, 144, 160, 176, 192)  # heights and widths of scenes: landscape, portrait and square
HEIGHTS = (16, 56)  # of the digits, pixels
MOST_DIGITS = 6  # in a scene
EMPTY = 0.1  # share of the scenes without a digit
LEAST_CONTRAST = 90  # grey levels between ink and the scene around it
LARGEST_OVERLAP = 0.15  # of two boxes, as a share of the smaller one
PLACES_TRIED = 30  # before a digit is left out of a crowded scene


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture.

    Attributes:
        image: [H, W, 3] uint8 RGB.
        background: [H, W, 3] uint8, the same without the digits.
        boxes: [N, 4] int64 yxyx, tight: a row or column of a box has at least one pixel of ink at each of its sides.
        labels: [N] 0..9, the digit.
        sources: [N] which of scikit-learn's digits it is.
    """

    image: np.ndarray
    background: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    sources: np.ndarray


def make_digit_scenes(
    out: str | Path,
    train: int = 600,
    val: int = 60,
    test: int = 120,
    seed: int = 0,
    only: Collection[str] = ("train", "val", "test"),
) -> dict[str, Path]:
    """Write the three sets: OUT/instances_{train,val,test}.json and OUT/images/*.png.

    A digit that is in one set is in no other. The same seed gives the same pixels; the first scenes of a set do not
    depend on how many follow. Category ids are 10, 20, ... 100 for the digits 0 to 9, unlike the labels 0..9. Each
    annotation has an entry "source" beside COCO's own: the number of the digit in scikit-learn's set.

    Args:
        train, val, test: number of scenes.
        only: the sets to write; the others are left as they are.

    Returns:
        {"train": path of its json, "val": ..., "test": ...}, of those that were written.

    Raises:
        InputError: scikit-learn is not installed, or a number is not positive.
    """
    sizes = {"train": train, "val": val, "test": test}
    for split, size in sizes.items():
        if size < 1:
            raise InputError(f"digit scenes: {split} must be at least 1 scene, found {size}")
    digits, labels = _load_digits()
    # Two thirds of the digits are to learn from; each third digit at random is held out, of these two fifths for val.
    shuffled = np.random.default_rng(seed).permutation(len(digits))
    cuts = [round(0.67 * len(digits)), round(0.80 * len(digits))]
    paths: dict[str, Path] = {}
    for number, (split, pool) in enumerate(zip(sizes, np.split(shuffled, cuts))):
        if split not in only:
            continue
        scenes = (
            make_scene(np.random.default_rng([seed, number, index]), digits, labels, pool)
            for index in range(sizes[split])
        )
        paths[split] = _write(Path(out), split, 100_000 * number, scenes)
    return paths


def make_scene(rng: np.random.Generator, digits: np.ndarray, labels: np.ndarray, pool: np.ndarray) -> Scene:
    """Compose one scene of up to six digits, or of none.

    Args:
        digits: [n, 8, 8] ink in [0, 1].
        labels: [n] 0..9.
        pool: indices of the digits that may be used.
    """
    height, width = rng.choice(SIDES, size=2)
    background = _background(rng, height, width)
    image = background.astype(np.float64)
    occupied = np.zeros((height, width), bool)
    boxes = np.zeros((0, 4), np.int64)
    sources: list[int] = []
    count = 0 if rng.random() < EMPTY else rng.integers(1, MOST_DIGITS + 1)
    # As many small digits as large ones, by ratio; the large ones first, while there is room.
    heights = np.sort(HEIGHTS[0] * (HEIGHTS[1] / HEIGHTS[0]) ** rng.uniform(size=count))[::-1].round().astype(int)
    for source, digit_height in zip(rng.choice(pool, size=count, replace=False), heights):
        ink = _ink(rng, digits[source], digit_height)
        box = _place(rng, ink, occupied, boxes)
        if box is None:
            continue
        y1, x1, y2, x2 = box
        region = image[y1:y2, x1:x2]
        color = _color(rng, _luminance(region).mean())
        region += ink[:, :, None] * (color - region)
        occupied[y1:y2, x1:x2] |= ink > 0
        boxes = np.append(boxes, box[None], axis=0)
        sources.append(int(source))
    kept = np.array(sources, np.int64)
    return Scene(image.round().astype(np.uint8), background, boxes, labels[kept], kept)


def _load_digits() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise InputError(
            'the digits are scikit-learn\'s, which is not installed: pip install "tfrcnn[demo]"'
        ) from error
    data = load_digits()
    return data.images / 16.0, data.target


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth noise on a gradient, some grain, and long thin lines to be mistaken for strokes: [H, W, 3] uint8."""
    base = rng.uniform(30, 225, 3)
    coarse = rng.normal(0, 16, (4, *rng.integers(4, 9, 2))).astype(np.float32)  # 3 channels and one for all of them
    noise = [np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse]
    slope_y, slope_x = rng.uniform(-30, 30, 2)
    gradient = np.linspace(-slope_y, slope_y, height)[:, None] + np.linspace(-slope_x, slope_x, width)[None, :]
    grain = rng.normal(0, rng.uniform(1, 6), (height, width, 1))
    scene = base + np.stack(noise[:3], axis=-1) * 0.6 + (noise[3] + gradient)[:, :, None] + grain
    picture = Image.fromarray(scene.round().clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 6)):
        (y1, y2), (x1, x2) = rng.uniform(0, height, 2), rng.uniform(0, width, 2)
        ends = (0.0, y1, width, y2) if rng.random() < 0.5 else (x1, 0.0, x2, height)  # from side to side
        color = tuple((base + rng.uniform(-70, 70, 3)).round().clip(0, 255).astype(int).tolist())
        draw.line(ends, fill=color, width=int(rng.integers(1, 4)))
    return np.asarray(picture)


def _ink(rng: np.random.Generator, digit: np.ndarray, height: int) -> np.ndarray:
    """A digit enlarged to about `height` pixels and turned by up to 12 degrees: [h, w], cropped to its ink."""
    small = Image.fromarray(np.pad((digit * 255).round().astype(np.uint8), 2))
    large = small.resize((144, 144), Image.Resampling.BICUBIC)
    turned = np.asarray(large.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC)) / 255.0
    stroke = _cropped(((turned - 0.3) / 0.5).clip(0, 1))  # harder edges than enlarging leaves
    width = max(3, round(stroke.shape[1] * height / stroke.shape[0] * rng.uniform(0.85, 1.15)))
    sized = Image.fromarray((stroke * 255).round().astype(np.uint8)).resize((width, height), Image.Resampling.BOX)
    ink = np.asarray(sized) / 255.0
    return _cropped(np.where(ink < 0.25, 0.0, ink))  # what can hardly be seen is no part of the box


def _cropped(ink: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(rng: np.random.Generator, ink: np.ndarray, occupied: np.ndarray, boxes: np.ndarray) -> np.ndarray | None:
    """Where a digit fits: its box [4] yxyx, sharing no pixel of ink with the digits before; None if none was found."""
    (height, width), (scene_height, scene_width) = ink.shape, occupied.shape
    for _ in range(PLACES_TRIED):
        y, x = rng.integers(0, scene_height - height + 1), rng.integers(0, scene_width - width + 1)
        box = np.array([y, x, y + height, x + width])
        sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
        smaller = np.minimum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), height * width)
        apart = np.all(np.prod(sides.clip(0), axis=1) <= LARGEST_OVERLAP * smaller)
        if apart and not (occupied[y : y + height, x : x + width] & (ink > 0)).any():
            return box
    return None


def _color(rng: np.random.Generator, around: float) -> np.ndarray:
    """A colour that stands out from a luminance of `around`, darker or lighter: [3] in 0..255."""
    candidates = rng.uniform(0, 255, (64, 3))
    extreme = np.full((1, 3), 0.0 if around > 127.5 else 255.0)  # stands out always, if none of those does
    candidates = np.concatenate([candidates, extreme])
    return candidates[np.argmax(np.abs(_luminance(candidates) - around) >= LEAST_CONTRAST)]


def _luminance(pixels: np.ndarray) -> np.ndarray:
    return pixels @ np.array([0.299, 0.587, 0.114])


def _write(out: Path, split: str, first_id: int, scenes: Iterable[Scene]) -> Path:
    """Write the images of a set, then its json: while that is there, so are its images."""
    path = out / f"instances_{split}.json"
    path.unlink(missing_ok=True)
    (out / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        name, image_id = f"{split}_{number:05d}.png", first_id + number
        Image.fromarray(scene.image).save(out / "images" / name, compress_level=1)
        height, width = scene.image.shape[:2]
        images.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for box, label, source in zip(scene.boxes.tolist(), scene.labels.tolist(), scene.sources.tolist()):
            y1, x1, y2, x2 = box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": _category_id(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                    "source": source,
                }
            )
    categories = [{"id": _category_id(d), "name": name, "supercategory": "digit"} for d, name in enumerate(NAMES)]
    info = {"description": f"handwritten digits on textured scenes, {split}"}
    content = {"info": info, "images": images, "annotations": annotations, "categories": categories}
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")
    return path


def _category_id(digit: int) -> int:
    return 10 * (digit + 1)
