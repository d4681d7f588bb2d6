"""The categories of COCO 2017: 80 of the ids 1 to 90. torchvision's detectors have an output for each of the 90."""

from __future__ import annotations

from tfrcnn.config import Category

_NAMES = """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, ,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, ,
backpack, umbrella, , , handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite,
baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, , wine glass, cup, fork,
knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, , dining table, , , toilet, , tv, laptop, mouse, remote, keyboard,
cell phone, microwave, oven, toaster, sink, refrigerator, , book, clock, vase, scissors, teddy bear,
hair drier, toothbrush"""


def coco_categories(all_ids: bool = False) -> tuple[Category, ...]:
    """Return COCO's categories in the order of their ids.

    Args:
        all_ids: Return a category for each of the ids 1 to 90. Ids that COCO skips are named "unused 12" and so on.

    Returns:
        80 categories, or 90 with `all_ids`.
    """
    names = enumerate((name.strip() for name in _NAMES.split(",")), start=1)
    return tuple(Category(i, name or f"unused {i}") for i, name in names if name or all_ids)
