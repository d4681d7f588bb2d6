"""Pictures of images with their boxes, and sheets of them. Pillow only: nothing here needs TensorFlow.

Legend: H, W pixels of the image as given; N boxes, [y1, x1, y2, x2] in pixels of that image. Lines and letters
scale with the picture, so that a thumbnail and a photograph of 6000 pixels are both readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfrcnn.data.example import Example, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.inputs import pairwise_iou
from tfrcnn.files import atomic

# Okabe and Ito's seven and four more of Paul Tol's: distinguishable with the common colour deficiencies. A label
# keeps its colour over all pictures; the names beside the boxes tell apart what the colours cannot.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
    (153, 221, 255),
    (255, 170, 187),
    (170, 170, 0),
    (136, 34, 85),
)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
# Fractions of the longer side: 3 px lines and 16 px letters on a picture of 640, and never less than can be read.
LINE, LEAST_LINE = 1 / 240, 1
FONT, LEAST_FONT = 1 / 40, 10

Box = tuple[float, float, float, float]  # x1, y1, x2, y2: Pillow's order
Color = tuple[int, int, int]


def color_of(label: int) -> Color:
    """The colour of a label, RGB 0..255; the same in every picture."""
    return PALETTE[label % len(PALETTE)]


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
        image: [H, W, 3] uint8 RGB, or a picture of that mode.
        boxes: [N, 4] yxyx pixels of `image`.
        labels: [N] in 0..len(names)-1.
        scores: [N], best drawn last and so on top; None (for ground truth) writes no scores.
        names: by label.
        long_side: enlarges or reduces the picture to this longer side before drawing; None keeps its size.

    Returns:
        A new RGB picture; `image` is not changed.

    Raises:
        InputError: the image is not uint8 RGB, lengths differ, or a label has no name.
    """
    picture, scale = _canvas(image, long_side)
    pen = _Pen(picture)
    entries = _entries(boxes, labels, scores, names, scale)
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
    """Detections (solid, coloured) and ground truth (dashed, white) on one picture.

    An object's name is written only where no detection shown has found it (IoU 0.5, same label), so that white
    tags mean mistakes.

    Args:
        image: [H, W, 3] uint8 RGB, the upright image that `example` describes.
        score_threshold: least score of a detection to be shown.

    Raises:
        InputError: as `draw_detections`.
    """
    picture, scale = _canvas(image, long_side)
    pen = _Pen(picture)
    sure = detections.scores >= score_threshold
    boxes, labels, scores = detections.boxes[sure], detections.labels[sure], detections.scores[sure]
    entries = _entries(boxes, labels, scores, names, scale)
    truths = _entries(example.boxes, example.labels, None, names, scale)
    overlap = pairwise_iou(example.boxes, boxes) * (example.labels[:, None] == labels[None, :])
    for box, _, color in entries:
        pen.outline(box, color)
    for box, _, _ in truths:
        pen.outline(box, WHITE, dashed=True)
    for box, text, color in reversed(entries):
        pen.tag(box, text, color)
    for (box, text, _), is_found in zip(truths, np.any(overlap >= 0.5, axis=1)):
        if not is_found:
            pen.tag(box, text, WHITE, below=True)
    return picture


def contact_sheet(
    tiles: Sequence[Image.Image],
    columns: int,
    path: str | Path,
    captions: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Put pictures on one sheet, row by row on white, each in the middle of its cell, and save it as PNG.

    The file is replaced whole.

    Args:
        tiles: of any sizes; a cell is as large as the largest.
        captions: one for each tile, written below it.
        title: written above.

    Raises:
        InputError: there is no tile, `columns` is not positive, or the captions are not as many as the tiles.
    """
    if not tiles or columns < 1 or (captions is not None and len(captions) != len(tiles)):
        found = f"{len(tiles)} tiles, {columns} columns, {'no' if captions is None else len(captions)} captions"
        raise InputError(f"sheet {path}: expected tiles, a column, and a caption for each tile or none, found {found}")
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width, height = max(tile.width for tile in tiles), max(tile.height for tile in tiles)
    font = _font(max(14, round(height / 26)))
    line = _line_height(font)
    gap, below, above = max(6, width // 40), (line if captions else 0), (round(1.8 * line) if title else 0)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, above + rows * (height + below + gap) + gap), WHITE)
    draw = ImageDraw.Draw(sheet)
    if title:
        draw.text((gap, gap), _fitted(title, font, sheet.width - 2 * gap), BLACK, font)
    for number, tile in enumerate(tiles):
        x = gap + (number % columns) * (width + gap)
        y = gap + above + (number // columns) * (height + below + gap)
        sheet.paste(tile, (x + (width - tile.width) // 2, y + (height - tile.height) // 2))
        if captions is not None:
            draw.text((x, y + height), _fitted(captions[number], font, width), BLACK, font)
    save_png(sheet, path)


def save_png(picture: Image.Image, path: str | Path) -> None:
    """Save as PNG, replacing `path` whole."""
    with atomic(path) as temporary:
        picture.save(temporary, format="PNG")


class _Pen:
    """Lines and tags whose sizes suit one picture, and where its tags already are."""

    def __init__(self, picture: Image.Image) -> None:
        self.size = picture.size
        self.draw = ImageDraw.Draw(picture)
        self.line = max(LEAST_LINE, round(max(picture.size) * LINE))
        self.font = _font(max(LEAST_FONT, round(max(picture.size) * FONT)))
        self.tags: list[Box] = []

    def outline(self, box: Box, color: Color, dashed: bool = False) -> None:
        """The outline of a box, kept within the picture, with a halo that sets it off from any background."""
        right, bottom = self.size[0] - 1, self.size[1] - 1
        x1, y1, x2, y2 = (
            _inside(box[0], right),
            _inside(box[1], bottom),
            _inside(box[2], right),
            _inside(box[3], bottom),
        )
        if dashed:
            for start, end in ((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1)):
                self._dashes(start, end, color)
        else:
            self.draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_contrast(color), width=self.line + 2)
            self.draw.rectangle((x1, y1, x2, y2), outline=color, width=self.line)

    def tag(self, box: Box, text: str, color: Color, below: bool = False) -> None:
        """Text on a plate of the box's colour: above or below the box where there is room, else inside it, always
        within the picture, and where it covers least of the tags before it."""
        width, height = self.size
        pad = self.line
        text = _fitted(text, self.font, width - 2 * pad)
        tag_width, tag_height = self.font.getlength(text) + 2 * pad, _line_height(self.font)
        xs = [min(max(x, 0), width - tag_width) for x in (box[0], box[2] - tag_width)]
        places = [box[1] - tag_height, box[3], box[1], box[3] - tag_height]
        if below:
            places = [box[3], box[1] - tag_height, box[3] - tag_height, box[1]]
        ys = [y for y in places if 0 <= y <= height - tag_height] or [min(max(box[1], 0), height - tag_height)]
        plates: list[Box] = [(x, y, x + tag_width, y + tag_height) for y in ys for x in xs]
        plate = min(plates, key=lambda p: sum(_overlap(p, other) for other in self.tags))  # the first of equals
        self.tags.append(plate)
        self.draw.rectangle(plate, fill=color)
        self.draw.text((plate[0] + pad, plate[1]), text, _contrast(color), self.font)

    def _dashes(self, start: tuple[float, float], end: tuple[float, float], color: Color) -> None:
        length = math.dist(start, end)
        pieces = max(1, round(length / (10 * self.line)))  # a dash takes 6 line widths, the gap after it 4
        (x1, y1), (x2, y2) = start, end
        for thickness, ink in ((self.line + 2, _contrast(color)), (self.line, color)):
            for piece in range(pieces):
                a, b = piece / pieces, (piece + 0.6) / pieces
                ends = (x1 + a * (x2 - x1), y1 + a * (y2 - y1), x1 + b * (x2 - x1), y1 + b * (y2 - y1))
                self.draw.line(ends, fill=ink, width=thickness)


def _entries(
    boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None, names: Sequence[str], scale: np.ndarray
) -> list[tuple[Box, str, Color]]:
    """What is drawn for each box, in ascending order of the scores; `scale` is that of `_canvas`."""
    boxes, labels = np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(labels)
    if len(labels) != len(boxes) or (scores is not None and len(scores) != len(boxes)):
        found = f"{len(boxes)} boxes, {len(labels)} labels" + ("" if scores is None else f", {len(scores)} scores")
        raise InputError(f"picture: expected as many labels and scores as boxes, found {found}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(names)):
        raise InputError(
            f"picture: expected labels in 0..{len(names) - 1}, found {int(labels.min())}..{int(labels.max())}"
        )
    outlines = (boxes[:, [1, 0, 3, 2]] * scale).tolist()
    texts = [names[label] for label in labels.tolist()]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores)]
    order = range(len(boxes)) if scores is None else np.argsort(scores, kind="stable")
    return [(tuple(outlines[i]), texts[i], color_of(int(labels[i]))) for i in order]


def _canvas(image: np.ndarray | Image.Image, long_side: int | None) -> tuple[Image.Image, np.ndarray]:
    """A copy to draw on, and the (x, y, x, y) factors from pixels of `image` to its own."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"picture: expected [H, W, 3] uint8, found {list(image.shape)} {image.dtype}")
        image = Image.fromarray(image)
    elif image.mode != "RGB":
        raise InputError(f"picture: expected mode RGB, found {image.mode}")
    if long_side is None:
        return image.copy(), np.ones(4)
    factor = long_side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    picture = image.resize(size, Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.LANCZOS)
    return picture, np.tile(np.array(size) / image.size, 2)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _line_height(font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return math.ceil(font.getbbox("Ågjy")[3] * 1.1)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """The text, or its beginning and an ellipsis where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    shorter = (text[:n] + "…" for n in range(len(text) - 1, 0, -1))
    return next((candidate for candidate in shorter if font.getlength(candidate) <= width), "")


def _contrast(color: Color) -> Color:
    """Black or white, whichever is further from the colour in luminance."""
    return BLACK if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 110 else WHITE


def _inside(value: float, limit: float) -> float:
    return min(max(value, 0.0), limit)


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
