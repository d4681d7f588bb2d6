"""A whole export format in one module: a folder with a Keras file, run by Keras.

The tests put it into `tfrcnn.export` as `toy`, with a line in `TARGETS`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from .artefact import DESCRIPTION, check_exists, check_images, parse_description
from .target import Target


class Toy(Target):
    name = "toy"
    summary = "a format for tests"
    suffix = ".toy"
    runtimes = ("Toy runtime",)

    def recognises(self, path):
        return path.suffix == self.suffix

    def write(self, detector, path, options):
        from .contract import describe, prepare

        copy = prepare(detector, options.image_size, options.max_detections, options.score_threshold)
        path.mkdir()
        copy.save(path / "detector.keras")
        (path / DESCRIPTION).write_text(json.dumps(describe(copy.config, self.name, options.precision)))

    def load(self, path, threads=None, runtime=None):
        return ToyRuntime(path)


class ToyRuntime:
    def __init__(self, path: Path) -> None:
        import keras

        import tfrcnn.models  # noqa: F401  # registers the classes of the Keras file

        check_exists(path)
        self.description = parse_description(path, (path / DESCRIPTION).read_bytes())
        self.model = keras.models.load_model(path / "detector.keras")

    def run(self, images):
        from .contract import category_ids, to_contract

        images = check_images(images).astype(np.float32)
        sizes = np.tile(np.float32(images.shape[1:3]), (len(images), 1))
        outputs = to_contract(self.model(images), sizes, category_ids(self.model.config))
        return {name: value.numpy() for name, value in outputs.items()}
