"""Compare tiles with SAHI (pip install sahi), on the same detector: AP and time of large pictures.

    python benchmarks/tiles_vs_sahi.py --model runs/digits --data digits/instances_test.json --tile 192

The large pictures are mosaics of the data set's pictures; tiles cut their objects anywhere. Both look at tiles of the
same size and overlap and at the whole picture, alternately. SAHI runs with its defaults and without its progress
output.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import tfrcnn
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, Example, ImageDetections

OVERLAP = 0.2
GREY = 120  # between pictures of different sizes


def mosaics(dataset: Dataset, rows: int, columns: int) -> Iterator[tuple[np.ndarray, Example]]:
    """Yield mosaics of rows x columns pictures, with their objects."""
    height, width = max(e.height for e in dataset.examples), max(e.width for e in dataset.examples)
    for start in range(0, len(dataset) - rows * columns + 1, rows * columns):
        parts = dataset.examples[start : start + rows * columns]
        picture = np.full((rows * height, columns * width, 3), GREY, np.uint8)
        boxes = []
        for i, part in enumerate(parts):
            top, left = i // columns * height, i % columns * width
            picture[top : top + part.height, left : left + part.width] = read_image(part.path, part.orientation)
            boxes.append(part.boxes + np.array([top, left, top, left], np.float32))
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("labels", "crowd", "difficult", "area")
        }
        count = len(joined["labels"])
        ids = np.arange(start * 1000 + 1, start * 1000 + 1 + count)
        example = Example(
            start, Path(f"{start}.png"), *picture.shape[:2], np.concatenate(boxes), orientation=1, annotation_ids=ids,
            **joined,
        )  # fmt: skip
        yield picture, example


class Stopwatch:
    """A predictor that counts the seconds it detects.

    Attributes:
        seconds: so far.
    """

    def __init__(self, predictor: Any) -> None:
        self.predictor, self.categories, self.seconds = predictor, predictor.categories, 0.0

    def detect(self, image: np.ndarray, image_id: int | str = "") -> ImageDetections:
        started = time.perf_counter()
        detections: ImageDetections = self.predictor.detect(image, image_id)
        self.seconds += time.perf_counter() - started
        return detections


def with_sahi(predictor: Any, tile: int, threshold: float) -> Callable[[np.ndarray, int], ImageDetections]:
    """Return a function that detects in tiles as SAHI does."""
    from sahi.models.base import DetectionModel
    from sahi.predict import get_sliced_prediction
    from sahi.prediction import ObjectPrediction
    from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list

    class Model(DetectionModel):
        def load_model(self) -> None:
            self.model = predictor

        def perform_inference(self, image: np.ndarray) -> None:
            self._original_predictions = predictor.detect(np.ascontiguousarray(image))

        def _create_object_prediction_list_from_original_predictions(
            self, shift_amount_list: Any = None, full_shape_list: Any = None
        ) -> None:
            seen = self._original_predictions
            shift, shape = fix_shift_amount_list(shift_amount_list)[0], fix_full_shape_list(full_shape_list)
            self._object_prediction_list_per_image = [
                [
                    ObjectPrediction(
                        bbox=[x1, y1, x2, y2],
                        category_id=label,
                        score=score,
                        category_name=predictor.categories[label].name,
                        shift_amount=shift,
                        full_shape=shape[0] if shape else None,
                    )
                    for (y1, x1, y2, x2), score, label in zip(
                        seen.boxes.tolist(), seen.scores.tolist(), seen.labels.tolist()
                    )
                ]
            ]

    model = Model(model_path="unused", confidence_threshold=threshold, device="cpu")

    def detect(picture: np.ndarray, image_id: int) -> ImageDetections:
        result = get_sliced_prediction(
            picture,
            model,
            slice_height=tile,
            slice_width=tile,
            overlap_height_ratio=OVERLAP,
            overlap_width_ratio=OVERLAP,
            verbose=0,
        )
        rows = sorted(result.object_prediction_list, key=lambda one: -one.score.value)
        boxes = [[one.bbox.miny, one.bbox.minx, one.bbox.maxy, one.bbox.maxx] for one in rows]
        return ImageDetections(
            image_id,
            np.array(boxes, np.float32).reshape(-1, 4),
            np.array([one.score.value for one in rows], np.float32),
            np.array([one.category.id for one in rows], np.int32),
        )

    return detect


def compare(model: str, data: str, tile: int, rows: int, columns: int) -> dict[str, tuple[float, ...]]:
    """Return AP, AP50, and milliseconds per picture in all and outside the detector, of each way."""
    detector = tfrcnn.load_detector(model)
    threshold = detector.config.detections.score_threshold
    dataset = tfrcnn.load_dataset(data, categories=detector.config.categories)
    predictor = Stopwatch(tfrcnn.Predictor(detector))
    ways: dict[str, Callable[[np.ndarray, int], ImageDetections]] = {
        "tfrcnn, whole picture": predictor.detect,
        "tfrcnn, tiles": tfrcnn.ViewPredictor(predictor, tfrcnn.Views(tiles=tile, overlap=OVERLAP)).detect,
        "SAHI": with_sahi(predictor, tile, threshold),
    }
    pictures = list(mosaics(dataset, rows, columns))
    detections: dict[str, list[ImageDetections]] = {name: [] for name in ways}
    seconds, outside = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for number, (picture, example) in enumerate([pictures[0], *pictures]):
        for name, detect in ways.items():
            predictor.seconds, started = 0.0, time.perf_counter()
            seen = detect(picture, int(example.image_id))
            if number:  # the first only warms up
                seconds[name] += time.perf_counter() - started
                outside[name] += time.perf_counter() - started - predictor.seconds
                detections[name].append(seen)
    large = Dataset("mosaics", dataset.categories, tuple(example for _, example in pictures))
    many = detector.config.detections.replace(max_detections=1000)
    results = {}
    for name in ways:
        headline = tfrcnn.evaluate(large, detections[name], "coco", many).headline
        times = (1000 * total[name] / len(pictures) for total in (seconds, outside))
        results[name] = (headline["AP"], headline["AP50"], *times)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="RUN")
    parser.add_argument("--data", required=True, metavar="DATA")
    parser.add_argument("--tile", type=int, default=192, metavar="N")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=5)
    options = parser.parse_args()
    print("| | AP | AP50 | ms per picture | of these outside the detector |\n|---|---|---|---|---|")
    for name, (ap, ap50, ms, rest) in compare(
        options.model, options.data, options.tile, options.rows, options.columns
    ).items():
        print(f"| {name} | {100 * ap:.1f} | {100 * ap50:.1f} | {ms:.0f} | {rest:.0f} |")


if __name__ == "__main__":
    main()
