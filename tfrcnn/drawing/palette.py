"""The colours of every picture: Okabe and Ito's, then four of Paul Tol's.

They stay distinct with the common colour deficiencies.
"""

from __future__ import annotations

from typing import Any

Color = tuple[int, int, int]  # RGB, 0..255

ORANGE, SKY, GREEN, YELLOW = (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)
VERMILION, PURPLE, BLUE = (213, 94, 0), (204, 121, 167), (0, 114, 178)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

# A box gets the colour of its label; its tag names the label, because labels beyond the palette repeat colours.
PALETTE: tuple[Color, ...] = (
    *(ORANGE, SKY, GREEN, YELLOW, VERMILION, PURPLE, BLUE),
    *((153, 221, 255), (255, 170, 187), (170, 170, 0), (136, 34, 85)),
)


def color_of(label: int) -> Color:
    """Return the colour of a label, the same in every picture.

    Args:
        label: 0 or more; labels beyond the palette start it again.

    Returns:
        RGB, 0..255.

    Example:
        color_of(0)  # (230, 159, 0)
    """
    return PALETTE[label % len(PALETTE)]


def to_hex(color: Color) -> str:
    """Write a colour as matplotlib reads it: "#e69f00"."""
    return "#{:02x}{:02x}{:02x}".format(*color)


# Yellow lines are hard to see on white: figures leave it out.
LINE_COLORS = tuple(to_hex(color) for color in (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK))
DASHES = ("-", "--", ":", "-.")


def line_style(number: int) -> dict[str, Any]:
    """Return matplotlib's colour and line style of the curve `number`: every colour solid, then dashed, ..."""
    return {
        "color": LINE_COLORS[number % len(LINE_COLORS)],
        "linestyle": DASHES[number // len(LINE_COLORS) % len(DASHES)],
    }
