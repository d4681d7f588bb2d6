"""Pictures: boxes on images and on matplotlib axes, contact sheets, and the figures of runs and evaluations.

    draw_*  draw on an image with Pillow and return a picture
    show_*  draw on matplotlib axes, in a notebook for example
    plot_*  write a figure to a file

Colours come from one palette (`PALETTE`), in which a label has the same colour in every picture. matplotlib is
imported by the first `show_*` or `plot_*` call.

Example:
    from tfrcnn.drawing import draw_detections

    detections = predictor.detect(image)
    picture = draw_detections(image, detections.boxes, detections.labels, detections.scores, ["car", "person"])
    picture.save("street.png")
"""

from tfrcnn.drawing.axes import show_boxes, show_image
from tfrcnn.drawing.figures import plot_confusion, plot_curves, plot_precision_recall, plot_recall
from tfrcnn.drawing.images import contact_sheet, draw_comparison, draw_detections, save_png
from tfrcnn.drawing.palette import PALETTE, color_of

__all__ = [
    "PALETTE",
    "color_of",
    "contact_sheet",
    "draw_comparison",
    "draw_detections",
    "plot_confusion",
    "plot_curves",
    "plot_precision_recall",
    "plot_recall",
    "save_png",
    "show_boxes",
    "show_image",
]
