"""Old home of pictures with boxes; use `tfrcnn.drawing`."""

from tfrcnn.deprecation import moved
from tfrcnn.drawing.pen import Font as _font  # noqa: F401, N813 - scripts import it from here

NAMES = ("PALETTE", "color_of", "contact_sheet", "draw_comparison", "draw_detections", "save_png")
__getattr__ = moved(__name__, dict.fromkeys(NAMES, "tfrcnn.drawing"))
