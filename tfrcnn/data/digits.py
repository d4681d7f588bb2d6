"""A detection data set that needs no download: real handwritten digits on textured scenes, in COCO format.

The digits are scikit-learn's 1,797 (8 x 8 pixels, 16 grey levels, 43 writers; E. Alpaydin and C. Kaynak, UCI 1998).
Each digit is enlarged, rotated a little, coloured and placed in a scene of smooth noise, a gradient and lines. No two
digits share a pixel, so each box fits the visible ink exactly.

Legend: H, W pixels of a scene; h, w pixels of a digit; ink is opacity in [0, 1], [h, w].
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
from tfrcnn.files import atomic, naming
from tfrcnn.seeds import check_seed

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIDES = (128, 144, 160, 176, 192)  # heights and widths of scenes: landscape, portrait and square
HEIGHTS = (16, 56)  # of the digits, pixels
MAX_DIGITS = 6  # per scene
EMPTY = 0.1  # share of the scenes without a digit
MIN_CONTRAST = 90  # grey levels between ink and the scene around it
MAX_OVERLAP = 0.15  # of two boxes, as a share of the smaller one
PLACES_TRIED = 30  # a crowded scene leaves the digit out after so many


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene.

    Attributes:
        image: [H, W, 3] uint8 RGB.
        background: [H, W, 3] uint8 RGB, the scene without digits.
        boxes: [N, 4] int64 yxyx, tight: ink touches each side.
        labels: [N] digits, 0..9.
        sources: [N] indices in scikit-learn's set.
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
    heights: tuple[int, int] = HEIGHTS,
    aspect: float | None = None,
) -> dict[str, Path]:
    """Write digit scenes in COCO format: OUT/instances_{train,val,test}.json and OUT/images/*.png.

    The sets share no digit. The same seed gives the same pixels, and the first scenes of a set do not depend on its
    size. Category ids are 10, 20, ... 100 for the digits 0 to 9; labels are 0..9. Each annotation has an additional
    entry "source", the index of the digit in scikit-learn's set.

    Args:
        out: folder to write to; made if missing.
        train: number of training scenes.
        val: number of validation scenes.
        test: number of test scenes.
        seed: seed of all draws, at least 0.
        only: sets to write. The files of other sets do not change.
        heights: least and greatest height of a digit, pixels.
        aspect: width of a digit over its height, for example 8, before it is rotated and varied by 15 %; None keeps the
            width it was written with.

    Returns:
        JSON file of each set that was written, by "train", "val", "test".

    Raises:
        InputError: scikit-learn is not installed, or a number is out of range.
    """
    sizes = {"train": train, "val": val, "test": test}
    for split, size in sizes.items():
        if size < 1:
            raise InputError(f"digit scenes: {split} must be at least 1 scene, found {size}")
    check_seed(seed)
    digits, labels = _load_digits()
    # 67 % of the digits are for training, 13 % for validation and 20 % for testing.
    shuffled = np.random.default_rng(seed).permutation(len(digits))
    cuts = [round(0.67 * len(digits)), round(0.80 * len(digits))]
    paths: dict[str, Path] = {}
    for number, (split, pool) in enumerate(zip(sizes, np.split(shuffled, cuts))):
        if split not in only:
            continue
        scenes = (
            make_scene(np.random.default_rng([seed, number, index]), digits, labels, pool, heights, aspect)
            for index in range(sizes[split])
        )
        paths[split] = _write(Path(out), split, 100_000 * number, scenes)
    return paths


def make_scene(
    rng: np.random.Generator,
    digits: np.ndarray,
    labels: np.ndarray,
    pool: np.ndarray,
    heights: tuple[int, int] = HEIGHTS,
    aspect: float | None = None,
) -> Scene:
    """Compose one scene of up to six digits, or of none.

    Args:
        rng: source of all draws.
        digits: [n, 8, 8] ink in [0, 1].
        labels: [n] digits, 0..9.
        pool: indices of the digits to draw from.
        heights: see `make_digit_scenes`.
        aspect: see `make_digit_scenes`.
    """
    height, width = rng.choice(SIDES, size=2)
    background = _background(rng, height, width)
    image = background.astype(np.float64)
    occupied = np.zeros((height, width), bool)
    boxes = np.zeros((0, 4), np.int64)
    sources: list[int] = []
    count = 0 if rng.random() < EMPTY else rng.integers(1, MAX_DIGITS + 1)
    # Heights are log-uniform. The largest digit is placed first, while there is room.
    low, high = heights
    drawn = np.sort(low * (high / low) ** rng.uniform(size=count))[::-1].round().astype(int)
    for source, digit_height in zip(rng.choice(pool, size=count, replace=False), drawn):
        ink = _ink(rng, digits[source], digit_height, aspect)
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
            'the digit scenes need scikit-learn, which is not installed: pip install "tfrcnn[demo]"'
        ) from error
    data = load_digits()
    return data.images / 16.0, data.target


def _background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw smooth noise on a gradient, grain, and long thin lines that resemble strokes: [H, W, 3] uint8."""
    base = rng.uniform(30, 225, 3)
    coarse = rng.normal(0, 16, (4, *rng.integers(4, 9, 2))).astype(
        np.float32
    )  # one per channel, and one for all channels
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


def _ink(rng: np.random.Generator, digit: np.ndarray, height: int, aspect: float | None) -> np.ndarray:
    """Enlarge a digit to about `height` pixels, rotate it by up to 12 degrees and crop it to its ink: [h, w]."""
    small = Image.fromarray(np.pad((digit * 255).round().astype(np.uint8), 2))
    large = small.resize((144, 144), Image.Resampling.BICUBIC)
    turned = np.asarray(large.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC)) / 255.0
    stroke = _cropped(((turned - 0.3) / 0.5).clip(0, 1))  # sharpen the edges that enlarging blurred
    written = stroke.shape[1] * height / stroke.shape[0]
    width = max(3, round((aspect * height if aspect else written) * rng.uniform(0.85, 1.15)))
    sized = Image.fromarray((stroke * 255).round().astype(np.uint8)).resize((width, height), Image.Resampling.BOX)
    ink = np.asarray(sized) / 255.0
    return _cropped(np.where(ink < 0.25, 0.0, ink))  # faint ink does not count for the box


def _cropped(ink: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(rng: np.random.Generator, ink: np.ndarray, occupied: np.ndarray, boxes: np.ndarray) -> np.ndarray | None:
    """Find a box [4] yxyx in which a digit shares no pixel of ink with earlier digits, or None."""
    (height, width), (scene_height, scene_width) = ink.shape, occupied.shape
    for _ in range(PLACES_TRIED):
        y, x = rng.integers(0, scene_height - height + 1), rng.integers(0, scene_width - width + 1)
        box = np.array([y, x, y + height, x + width])
        sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
        smaller = np.minimum(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), height * width)
        apart = np.all(np.prod(sides.clip(0), axis=1) <= MAX_OVERLAP * smaller)
        if apart and not (occupied[y : y + height, x : x + width] & (ink > 0)).any():
            return box
    return None


def _color(rng: np.random.Generator, around: float) -> np.ndarray:
    """Draw a colour [3] in 0..255 that contrasts with a luminance of `around`."""
    candidates = rng.uniform(0, 255, (64, 3))
    extreme = np.full((1, 3), 0.0 if around > 127.5 else 255.0)  # the fallback: it always contrasts
    candidates = np.concatenate([candidates, extreme])
    color: np.ndarray = candidates[np.argmax(np.abs(_luminance(candidates) - around) >= MIN_CONTRAST)]
    return color


def _luminance(pixels: np.ndarray) -> np.ndarray:
    luminance: np.ndarray = pixels @ np.array([0.299, 0.587, 0.114])
    return luminance


def _write(out: Path, split: str, first_id: int, scenes: Iterable[Scene]) -> Path:
    """Write the images of a set, then its JSON file: if the file exists, all images do."""
    path = out / f"instances_{split}.json"
    path.unlink(missing_ok=True)
    (out / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        name, image_id = f"{split}_{number:05d}.png", first_id + number
        with naming(out / "images" / name):
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
