"""Draw each augmentation on scenes of digits, with its boxes.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/draw_augmentations.py [--out docs/augmentations.png]

The program trains nothing and takes about a minute.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import tfrcnn
from tfrcnn.data.digits import NAMES, make_digit_scenes
from tfrcnn.drawing import contact_sheet, draw_detections

SIDE, COLUMNS, SCENES, COLORS = 128, 5, 8, 64
STRENGTHS: dict[str, Any] = {
    "horizontal_flip": True,
    "vertical_flip": True,
    "quarter_turns": True,
    "random_crop": 1.0,
    "scale_jitter": (0.5, 0.7),
    "rotation": 30.0,
    "shear": 20.0,
    "mosaic": 1.0,
    "copy_paste": 1.0,
    "mixup": 1.0,
    "color_jitter": 0.8,
    "blur": 3.0,
    "noise": 40.0,
    "cutout": 1.0,
}
OFF = tfrcnn.TrainingConfig(batch_size=1, horizontal_flip=False, seed=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("augmentations.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = make_digit_scenes(folder, train=SCENES, only=("train",))["train"]
        dataset = tfrcnn.load_dataset(str(path))
        index = max(range(SCENES), key=lambda i: len(dataset.examples[i].boxes))
        plain = draw(dataset, OFF, index)
        tiles = [draw(dataset, OFF.replace(**{name: value}), index, plain) for name, value in STRENGTHS.items()]
    contact_sheet([plain, *tiles], COLUMNS, options.out, ["none", *STRENGTHS])
    with Image.open(options.out) as sheet:
        sheet.quantize(COLORS).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


def draw(
    dataset: tfrcnn.Dataset, training: tfrcnn.TrainingConfig, index: int, plain: Image.Image | None = None
) -> Image.Image:
    """Draw an image of the training batches and its boxes, in the first epoch where it differs from `plain`."""
    image = tfrcnn.ImageConfig(static_size=(SIDE, SIDE))
    for batch in tfrcnn.training_data(dataset, image, training).batches().as_numpy_iterator():
        if batch["image_index"][0] == index:
            real = batch["labels"][0] >= 0
            pixels = batch["images"][0].round().astype(np.uint8)
            tile = draw_detections(pixels, batch["boxes"][0][real], batch["labels"][0][real], None, NAMES)
            if plain is None or np.any(np.asarray(tile) != np.asarray(plain)):
                return tile
    raise AssertionError("batches are endless")


if __name__ == "__main__":
    main()
