"""A run folder as a model of the server: TensorFlow runs it, and it can explain its detections."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import InputError
from .backends import OUTPUTS, RefusedError, decode, describe_signatures, limit_threads, unusable
from .protocol import EXPLAIN

MAX_HEAT = 1024  # pixels of the longer side of a heat map


class RunBackend:
    """A run folder in TensorFlow, see `backends.Backend`; it answers "explain" too."""

    batch = 1

    def __init__(self, path: Path, max_pixels: int, threads: int | None = None) -> None:
        limit_threads(threads)
        from ..runtimes import load

        self.predictor, self.max_pixels = load(path), max_pixels
        categories = [category.to_dict() for category in self.predictor.categories]
        self.description: dict[str, Any] = {"format": "run folder", "categories": categories, "explains": True}
        self.signatures = describe_signatures()

    def run(self, signature: str, images: Any) -> dict[str, np.ndarray]:
        """Detect, see `Backend.run`."""
        parts = []
        for position, image in enumerate(images):
            pixels = image if signature == "serving_default" else decode(image, position, self.max_pixels)
            try:
                parts.append(self._detect(pixels))
            except InputError as error:
                raise RefusedError(unusable(signature, position)) from error
        return {name: np.stack([part[name] for part in parts]) for name in OUTPUTS}

    def explain(self, data: bytes, detection: int, method: str) -> dict[str, Any]:
        """Explain one detection of a picture.

        Args:
            data: The picture's file.
            detection: Its position among the detections of the picture.
            method: "grad-cam" or "eigen-cam".

        Returns:
            "heat", a PNG in base64 to lay over the picture; "proposal" [y1, x1, y2, x2] as fractions of height and
            width; "proposal_score", "proposal_rank" and "logit", see `tfrcnn.explanation.Explanation`.

        Raises:
            RefusedError: There is no such detection or method, or the file is no picture.
            CostlyError: The picture has more pixels than the limit.
        """
        from ...explanation import color_heat, explain

        pixels = decode(data, 0, self.max_pixels)
        try:
            result = explain(self.predictor, pixels, detection, method)  # type: ignore[arg-type]  # it checks both
        except InputError as error:
            raise RefusedError(f"{EXPLAIN}: {error}") from error
        heat = Image.fromarray(color_heat(result.heat))
        heat.thumbnail((MAX_HEAT, MAX_HEAT))
        png = io.BytesIO()
        heat.save(png, "PNG")
        return {
            "heat": {"b64": base64.b64encode(png.getvalue()).decode()},
            "proposal": (result.proposal / np.tile(pixels.shape[:2], 2)).tolist(),
            "proposal_score": result.proposal_score,
            "proposal_rank": result.proposal_rank,
            "logit": result.logit,
        }

    def _detect(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return what an exported file returns for one picture: always as many rows as it may detect objects."""
        detections = self.predictor.detect(pixels)
        count, rows = len(detections), self.predictor.detections.max_detections
        ids = np.array([category.id for category in self.predictor.categories], np.float32)
        values = (detections.boxes / np.tile(pixels.shape[:2], 2), ids[detections.labels], detections.scores)
        outputs = {name: np.zeros((rows, *np.shape(value)[1:]), np.float32) for name, value in zip(OUTPUTS, values)}
        for name, value in zip(OUTPUTS, values):
            outputs[name][:count] = value
        return {**outputs, "num_detections": np.array(count, np.float32)}
