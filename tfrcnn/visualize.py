"""Old home of pictures with boxes; use `tfrcnn.drawing`."""

from tfrcnn.deprecation import moved

NAMES = ("PALETTE", "color_of", "contact_sheet", "draw_comparison", "draw_detections", "save_png")
__getattr__ = moved(__name__, dict.fromkeys(NAMES, "tfrcnn.drawing"))
