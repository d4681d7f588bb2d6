"""Pictures: boxes on images and on matplotlib axes, contact sheets, and the figures of runs and evaluations.

    draw_*  draw on an image with Pillow and return a picture
    show_*  draw on matplotlib axes, in a notebook for example
    plot_*  write a figure to a file

Colours come from one palette (`PALETTE`), in which a label has the same colour in every picture. matplotlib is
imported by the first `show_*` or `plot_*` call.

Example:
    from tfrcnn.drawing import draw_detections

    example = tfrcnn.load_dataset("streets/VOC@val").examples[0]
    picture = draw_detections(read_image(example.path), example.boxes, example.labels, None, ["car", "person"])
    picture.save("street.png")
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfrcnn.drawing.animation import plot_animation as plot_animation
    from tfrcnn.drawing.axes import show_boxes as show_boxes
    from tfrcnn.drawing.axes import show_image as show_image
    from tfrcnn.drawing.explorer import AnchorExplorer as AnchorExplorer
    from tfrcnn.drawing.explorer import anchor_explorer as anchor_explorer
    from tfrcnn.drawing.figures import plot_confusion as plot_confusion
    from tfrcnn.drawing.figures import plot_curves as plot_curves
    from tfrcnn.drawing.figures import plot_precision_recall as plot_precision_recall
    from tfrcnn.drawing.figures import plot_recall as plot_recall
    from tfrcnn.drawing.images import contact_sheet as contact_sheet
    from tfrcnn.drawing.images import draw_comparison as draw_comparison
    from tfrcnn.drawing.images import draw_detections as draw_detections
    from tfrcnn.drawing.images import save_png as save_png
    from tfrcnn.drawing.palette import PALETTE as PALETTE
    from tfrcnn.drawing.palette import color_of as color_of

_HOMES = {
    "animation": ("plot_animation",),
    "axes": ("show_boxes", "show_image"),
    "explorer": ("AnchorExplorer", "anchor_explorer"),
    "figures": ("plot_confusion", "plot_curves", "plot_precision_recall", "plot_recall"),
    "images": ("contact_sheet", "draw_comparison", "draw_detections", "save_png"),
    "palette": ("PALETTE", "color_of"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PALETTE",
    "AnchorExplorer",
    "anchor_explorer",
    "color_of",
    "contact_sheet",
    "draw_comparison",
    "draw_detections",
    "plot_animation",
    "plot_confusion",
    "plot_curves",
    "plot_precision_recall",
    "plot_recall",
    "save_png",
    "show_boxes",
    "show_image",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value
