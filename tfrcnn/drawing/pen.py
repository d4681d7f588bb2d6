"""Draws outlines and tags with Pillow, in sizes that suit the picture, at places that hide the least.

Lines and letters scale with the picture, so that a thumbnail and a photograph of 6000 pixels are both readable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfrcnn.drawing import fonts
from tfrcnn.drawing.palette import BLACK, WHITE, Color

# Fractions of the longer side: 3 px lines and 16 px letters on a picture of 640. The minima are what can still be read.
LINE, MIN_LINE = 1 / 240, 1
FONT, MIN_FONT = 1 / 40, 10
# In a large picture of small objects the letters follow the objects: a quarter of their usual side, but 16 px or more.
SHARE, SMALL_FONT = 1 / 4, 16

ALONG = (0, 1, 0.5, 0.25, 0.75)  # places along a side of a box, as fractions, the preferred ones first
TAG_WEIGHT = 10.0  # hiding a tag is worse than hiding as much of an object: it cannot be read any more

Box = tuple[float, float, float, float]  # x1, y1, x2, y2: Pillow's order


class Font:
    """Draws text of any script in one size.

    Attributes:
        size: height of the letters in pixels.
        base: font of ASCII text, the same on every machine. It sets the height of a line.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.base = ImageFont.load_default(size)
        self._loaded: dict[str, Any] = {fonts.BASE: self.base}

    @property
    def line_height(self) -> int:
        """The height of a line of text in pixels."""
        return math.ceil(self.base.getbbox("Ågjy")[3] * 1.1)

    def getlength(self, text: str) -> float:
        """Return the width of text in pixels."""
        return float(sum(font.getlength(part) for font, part in self._runs(text)))

    def draw(self, canvas: ImageDraw.ImageDraw, position: tuple[float, float], text: str, color: Any) -> None:
        """Draw text from the upper left corner of its line."""
        x, y = position
        for font, part in self._runs(text):
            if font is self.base:
                canvas.text((x, y), part, color, font)
            else:
                canvas.text((x, y + self.size), part, color, font, anchor="ls")  # `base` is `size` above its baseline
            x += font.getlength(part)

    def _runs(self, text: str) -> list[tuple[Any, str]]:
        return [(self._load(path), part) for path, part in fonts.runs(fonts.visible(text))]

    def _load(self, path: str) -> Any:
        if path not in self._loaded:
            self._loaded[path] = ImageFont.truetype(path, self.size)
        return self._loaded[path]


class Obstacles:
    """Boxes that tags should not hide.

    They are in an array that grows: a list would become an array again with each tag.
    """

    def __init__(self) -> None:
        self._sides = np.empty((4, 64))  # x1, y1, x2, y2 of each box in a column
        self._count = 0

    @property
    def corners(self) -> np.ndarray:
        """[N, 4] x1, y1, x2, y2."""
        return self._sides[:, : self._count].T

    def append(self, box: Box) -> None:
        if self._count == self._sides.shape[1]:
            self._sides = np.concatenate([self._sides, np.empty_like(self._sides)], axis=1)
        self._sides[:, self._count] = box
        self._count += 1

    def hidden(self, places: Sequence[Box]) -> np.ndarray:
        """Return for each place the parts of the boxes that it covers, summed: 1 is a whole box."""
        left, top, right, bottom = np.array(places).reshape(-1, 4).T[:, :, None]
        x1, y1, x2, y2 = boxes = self._sides[:, : self._count]
        # most boxes are far from all places
        near = (x2 > left.min()) & (x1 < right.max()) & (y2 > top.min()) & (y1 < bottom.max())
        x1, y1, x2, y2 = boxes[:, near]
        parts = np.maximum(np.minimum(right, x2) - np.maximum(left, x1), 0)
        parts *= np.maximum(np.minimum(bottom, y2) - np.maximum(top, y1), 0)
        parts /= np.maximum((x2 - x1) * (y2 - y1), 1)
        total: np.ndarray = parts.sum(axis=-1)
        return total


class Pen:
    """Draws on one picture and keeps its tags apart.

    Attributes:
        size: width and height of the picture.
        line: line width in pixels.
        font: font of the tags.
        objects: boxes outlined so far, clipped to the picture.
        tags: plates drawn so far.
    """

    def __init__(self, picture: Image.Image, boxes: Sequence[Box] = ()) -> None:
        """
        Args:
            picture: to draw on.
            boxes: the boxes that will be drawn, for the size of lines and letters.
        """
        letters = max(picture.size) * FONT
        if boxes:
            side = float(np.median([min(x2 - x1, y2 - y1) for x1, y1, x2, y2 in boxes]))
            letters = min(letters, max(SMALL_FONT, SHARE * side))
        self.size = picture.size
        self.draw = ImageDraw.Draw(picture)
        self.line = max(MIN_LINE, round(letters / FONT * LINE))
        self.font = Font(max(MIN_FONT, round(letters)))
        self.objects = Obstacles()
        self.tags = Obstacles()

    def outline(self, box: Box, color: Color, dashed: bool = False) -> None:
        """Draw the outline of a box, clipped to the picture, with a halo that sets it off from any background."""
        x1, y1, x2, y2 = clipped = self._clipped(box)
        self.objects.append(clipped)
        if dashed:
            for start, end in ((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1)):
                self._dashes(start, end, color)
        else:
            self.draw.rectangle((x1 - 1, y1 - 1, x2 + 1, y2 + 1), outline=_contrast(color), width=self.line + 2)
            self.draw.rectangle((x1, y1, x2, y2), outline=color, width=self.line)

    def tag(self, box: Box, text: str, color: Color, below: bool = False) -> None:
        """Write text on a plate of the box's colour.

        The plate touches the box and stays within the picture. It takes the first place that covers no outlined object
        and no earlier tag: above the box (`below`: below it), on its other side, left or right of it, inside it. If all
        places cover something, it takes the one that hides the smallest parts of objects and tags. Draw all outlines
        first.
        """
        pad = self.line
        text = fit_text(text, self.font, self.size[0] - 2 * pad)
        places = self._places(self._clipped(box), self.font.getlength(text) + 2 * pad, self.font.line_height, below)
        hidden = TAG_WEIGHT * self.tags.hidden(places) + self.objects.hidden(places)
        plate = places[int(np.argmin(hidden.round(6)))]  # argmin takes the first of ties
        self.tags.append(plate)
        self.draw.rectangle(plate, fill=color)
        self.font.draw(self.draw, (plate[0] + pad, plate[1]), text, _contrast(color))

    def _places(self, box: Box, width: float, height: float, below: bool) -> list[Box]:
        """Return the places of a tag of this size in the picture, the preferred ones first."""
        x1, y1, x2, y2 = box
        right, bottom = max(self.size[0] - width, 0.0), max(self.size[1] - height, 0.0)
        xs = [min(max(x1 + part * (x2 - width - x1), 0.0), right) for part in ALONG]
        ys = [min(max(y1 + part * (y2 - height - y1), 0.0), bottom) for part in ALONG]
        rows, inner_rows = [y1 - height, y2], ys[:2]
        if below:
            rows, inner_rows = rows[::-1], inner_rows[::-1]
        outside = [(x, y) for y in rows for x in xs] + [(x, y) for x in (x2, x1 - width) for y in ys]
        inside = [(x, y) for y in inner_rows for x in xs]
        corners = [(x, y) for x, y in outside if 0 <= x <= right and 0 <= y <= bottom] + inside
        return [(x, y, x + width, y + height) for x, y in corners]

    def _clipped(self, box: Box) -> Box:
        right, bottom = self.size[0] - 1.0, self.size[1] - 1.0
        x1, x2 = (min(max(x, 0.0), right) for x in box[::2])
        y1, y2 = (min(max(y, 0.0), bottom) for y in box[1::2])
        return x1, y1, x2, y2

    def _dashes(self, start: tuple[float, float], end: tuple[float, float], color: Color) -> None:
        length = math.dist(start, end)
        pieces = max(1, round(length / (10 * self.line)))  # a dash takes 6 line widths, the gap after it 4
        (x1, y1), (x2, y2) = start, end
        for thickness, ink in ((self.line + 2, _contrast(color)), (self.line, color)):
            for piece in range(pieces):
                a, b = piece / pieces, (piece + 0.6) / pieces
                ends = (x1 + a * (x2 - x1), y1 + a * (y2 - y1), x1 + b * (x2 - x1), y1 + b * (y2 - y1))
                self.draw.line(ends, fill=ink, width=thickness)


def fit_text(text: str, font: Font, width: float) -> str:
    """Shorten text to `width` pixels; an ellipsis marks the cut."""
    text = fonts.visible(text)
    if font.getlength(text) <= width:
        return text
    fits, too_long = 0, len(text)  # letters before the ellipsis
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.getlength(text[:middle] + "…") <= width:
            fits = middle
        else:
            too_long = middle
    return text[:fits] + "…" if fits else ""


def _contrast(color: Color) -> Color:
    """Return black or white, the one further from the colour in luminance."""
    return BLACK if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 110 else WHITE
