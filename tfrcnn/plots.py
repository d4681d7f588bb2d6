"""Old home of boxes on matplotlib axes; use `tfrcnn.drawing`."""

from tfrcnn.deprecation import moved

__getattr__ = moved(__name__, dict.fromkeys(("show_boxes", "show_image"), "tfrcnn.drawing"))
