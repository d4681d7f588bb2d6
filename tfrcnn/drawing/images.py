"""Draws boxes on images, and images on sheets, with Pillow.

Legend: H, W pixels of the input image; N boxes, [y1, x1, y2, x2] in pixels of that image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from tfrcnn.drawing.fonts import visible_name
from tfrcnn.drawing.palette import BLACK, WHITE, Color, color_of
from tfrcnn.drawing.pen import Box, Font, Pen, fit_text
from tfrcnn.errors import InputError
from tfrcnn.files import atomic
from tfrcnn.overlap import pairwise_iou

if TYPE_CHECKING:
    from tfrcnn.data.example import Example, ImageDetections

MIN_SIDE = 480  # pixels; a smaller picture has no room for letters of `pen.MIN_FONT`


def draw_detections(
    image: np.ndarray | Image.Image,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    names: Sequence[str],
    long_side: int | None = None,
) -> Image.Image:
    """Draw boxes with their names and scores, each in the colour of its label.

    Args:
        image: [H, W, 3] uint8 RGB, or an RGB picture.
        boxes: [N, 4] yxyx pixels of `image`.
        labels: [N] in 0..len(names)-1.
        scores: [N]; the best is drawn on top. None writes no scores, for ground truth.
        names: category names, by label.
        long_side: longer side of the result in pixels. None keeps the size of `image`.

    Returns:
        A new RGB picture; `image` does not change.

    Raises:
        InputError: the image is not uint8 RGB, lengths differ, a box has a NaN, a label has no name, or `long_side` is
            below 1.

    Example:
        detections = predictor.detect(image)
        draw_detections(image, detections.boxes, detections.labels, detections.scores, ["cat", "dog"])
    """
    picture, scale = _canvas(image, long_side)
    entries = _entries(boxes, labels, scores, names, scale)
    pen = Pen(picture, [box for box, _, _ in entries])
    for box, _, color in entries:
        pen.outline(box, color)
    for box, text, color in reversed(entries):  # the best scores choose the places of their tags first
        pen.tag(box, text, color)
    return picture


def draw_comparison(
    image: np.ndarray | Image.Image,
    example: Example,
    detections: ImageDetections,
    names: Sequence[str],
    score_threshold: float = 0.5,
    long_side: int | None = 480,
) -> Image.Image:
    """Draw detections (solid, coloured) and ground truth (dashed, white) on one picture.

    An object gets a white name tag only if no drawn detection of its label overlaps it by IoU 0.5: white tags are
    mistakes.

    Args:
        image: [H, W, 3] uint8 RGB, upright, as `example` describes it.
        example: ground truth of the image.
        detections: detections in the image.
        names: category names, by label.
        score_threshold: detections of higher scores are drawn.
        long_side: longer side of the result in pixels. None keeps the size of `image`.

    Returns:
        A new RGB picture.

    Raises:
        InputError: see `draw_detections`.

    Example:
        draw_comparison(read_image(example.path), example, predictor.detect(example.path), names).save("compared.png")
    """
    picture, scale = _canvas(image, long_side)
    sure = detections.scores > score_threshold
    boxes, labels, scores = detections.boxes[sure], detections.labels[sure], detections.scores[sure]
    entries = _entries(boxes, labels, scores, names, scale)
    truths = _entries(example.boxes, example.labels, None, names, scale)
    pen = Pen(picture, [box for box, _, _ in (*entries, *truths)])
    overlap = pairwise_iou(example.boxes, boxes) * (example.labels[:, None] == labels[None, :])
    for box, _, color in entries:
        pen.outline(box, color)
    for box, _, _ in truths:
        pen.outline(box, WHITE, dashed=True)
    for box, text, color in reversed(entries):
        pen.tag(box, text, color)
    for (box, text, _), is_detected in zip(truths, np.any(overlap >= 0.5, axis=1)):
        if not is_detected:
            pen.tag(box, text, WHITE, below=True)
    return picture


def readable_side(height: int, width: int) -> int:
    """Return the longer side in pixels to draw a picture with, so that letters do not hide what they name.

    Args:
        height: of the picture.
        width: of the picture.

    Returns:
        The picture's longer side, or `MIN_SIDE` if that is longer.

    Example:
        readable_side(96, 128)  # 480
    """
    return max(height, width, MIN_SIDE)


def contact_sheet(
    tiles: Sequence[Image.Image],
    columns: int,
    path: str | Path,
    captions: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Arrange pictures on a white sheet, row by row, and save it as PNG.

    Each picture is centred in its cell; cells are as large as the largest picture.

    Args:
        tiles: pictures of any sizes.
        columns: pictures per row.
        path: file to write or replace.
        captions: text below each tile.
        title: text above all tiles.

    Raises:
        InputError: there is no tile, `columns` is not positive, or the number of captions differs from the tiles.

    Example:
        contact_sheet([Image.open("a.png"), Image.open("b.png")], 2, "sheet.png", ["before", "after"])
    """
    if not tiles or columns < 1 or (captions is not None and len(captions) != len(tiles)):
        count = "no" if captions is None else len(captions)
        raise InputError(
            f"sheet {path}: expected tiles, a column, and a caption for each tile or none, "
            f"found {len(tiles)} tiles, {columns} columns, {count} captions"
        )
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    font = Font(max(14, round(height / 26)))
    line = font.line_height
    gap, below, above = max(6, width // 40), (line if captions else 0), (round(1.8 * line) if title else 0)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, above + rows * (height + below + gap) + gap), WHITE)
    draw = ImageDraw.Draw(sheet)
    if title:
        font.draw(draw, (gap, gap), fit_text(title, font, sheet.width - 2 * gap), BLACK)
    for number, tile in enumerate(tiles):
        x = gap + (number % columns) * (width + gap)
        y = gap + above + (number // columns) * (height + below + gap)
        sheet.paste(tile, (x + (width - tile.width) // 2, y + (height - tile.height) // 2))
        if captions is not None:
            font.draw(draw, (x, y + height), fit_text(captions[number], font, width), BLACK)
    save_png(sheet, path)


def save_png(picture: Image.Image, path: str | Path) -> None:
    """Save a picture as PNG; an existing file is replaced only when the new one is complete.

    Args:
        picture: any picture of a mode that PNG holds.
        path: file to write or replace; missing folders are made.

    Example:
        save_png(draw_detections(image, boxes, labels, None, names), "out/truth.png")
    """
    with atomic(path) as temporary:
        # the fastest level: a fifth larger files in a quarter of the time
        picture.save(temporary, format="PNG", compress_level=1)


def _entries(
    boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None, names: Sequence[str], scale: np.ndarray
) -> list[tuple[Box, str, Color]]:
    """Return outline, tag and colour per box, in ascending order of the scores; `scale` comes from `_canvas`."""
    boxes, labels = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(labels)
    if len(labels) != len(boxes) or (scores is not None and len(scores) != len(boxes)):
        counts = f"{len(boxes)} boxes, {len(labels)} labels" + ("" if scores is None else f", {len(scores)} scores")
        raise InputError(f"picture: expected as many labels and scores as boxes, found {counts}")
    if np.isnan(boxes).any():  # Pillow would draw for minutes
        raise InputError(f"picture: expected numbers as boxes, found NaN in {int(np.isnan(boxes).any(axis=1).sum())}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
        raise InputError(
            f"picture: expected labels in 0..{len(names) - 1}, found {int(labels.min())}..{int(labels.max())}"
        )
    corners = boxes[:, [1, 0, 3, 2]] * scale
    first, second = corners[:, :2], corners[:, 2:]  # of an inverted box, the second is above or left of the first
    outlines = np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1).tolist()
    texts = [visible_name(names[label]) for label in labels.tolist()]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores)]
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    return [(tuple(outlines[i]), texts[i], color_of(int(labels[i]))) for i in order]


def _canvas(image: np.ndarray | Image.Image, long_side: int | None) -> tuple[Image.Image, np.ndarray]:
    """Return a copy to draw on, and the (x, y, x, y) factors from pixels of `image` to pixels of the copy."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"picture: expected [H, W, 3] uint8, found {list(image.shape)} {image.dtype}")
        image = Image.fromarray(image)
    elif not isinstance(image, Image.Image):
        raise InputError(f"picture: expected an array or a PIL image, found {type(image).__name__}")
    elif image.mode != "RGB":
        raise InputError(f"picture: expected mode RGB, found {image.mode}")
    if long_side is None:
        return image.copy(), np.ones(4)
    if long_side < 1:
        raise InputError(f"picture: expected a long_side of at least 1 pixel, found {long_side}")
    factor = long_side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    picture = image.resize(size, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS)
    return picture, np.tile(np.array(size) / image.size, 2)
