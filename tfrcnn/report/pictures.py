"""Pictures inside a page, and the filters that choose among them.

A picture has items, for example one per object in it. An item is a tuple with one value per filter. The page shows the
pictures with an item that agrees with every filter: "class 2" and "small" then means a small object of class 2.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image

MAX_BYTES = 45_000  # per picture, so that the number of pictures limits the size of the page
QUALITIES = (85, 70, 50, 30)  # of JPEG; the first that keeps within MAX_BYTES, else the last
NOTHING = "-"  # the value of an item that has none, for example the class of an image without objects

Item = tuple[str, ...]


class Picture(NamedTuple):
    """A picture in a page.

    Attributes:
        source: data URI of a JPEG.
        width: in pixels.
        height: in pixels.
        alt: what it shows, for those who do not see it.
        caption: text below it.
        items: what it can be found by, one value per filter each, without spaces and bars.
    """

    source: str
    width: int
    height: int
    alt: str
    caption: str
    items: tuple[Item, ...] = ()

    @property
    def data_items(self) -> str:
        """The items as the page's script reads them."""
        return " ".join("|".join(item) for item in self.items)


class Pair(NamedTuple):
    """Two pictures next to each other, and a line about them."""

    first: Picture
    second: Picture
    text: str


class Choice(NamedTuple):
    """One entry of a filter; `total` pictures have its value."""

    value: str
    text: str
    total: int


class Filter(NamedTuple):
    """A filter of pictures.

    Attributes:
        place: of its value in an item.
        label: text in front of it.
        choices: its entries.
    """

    place: int
    label: str
    choices: tuple[Choice, ...]


def embed(image: Image.Image, alt: str, caption: str = "", items: Sequence[Item] = ()) -> Picture:
    """Encode an RGB picture for a page; see `Picture`."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    source = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(source, image.width, image.height, alt, caption, tuple(items))


def filters(pictures: Sequence[Picture], texts: Mapping[str, Mapping[str, str]]) -> list[Filter]:
    """Make the filters of a gallery.

    Args:
        pictures: of the gallery; an item has one value per filter.
        texts: by label of the filter: the text of each value, in the order to list them. Values that no picture has
            are left out.
    """
    result = []
    for place, (label, entries) in enumerate(texts.items()):
        counts = Counter(value for picture in pictures for value in {item[place] for item in picture.items})
        choices = (Choice(value, text, counts[value]) for value, text in entries.items() if counts[value])
        result.append(Filter(place, label, tuple(choices)))
    return result
