"""Detects objects in image files and writes annotated images and COCO results to a new folder.

OUT/NAME.png         each image with its detections
OUT/detections.json  COCO results: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...]
OUT/images.json      images and categories: {"images": [{"id", "file_name", "width", "height"}], "categories": [...]}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.drawing import draw_detections, save_png
from tfrcnn.errors import InputError
from tfrcnn.evaluation.coco import write_coco_results
from tfrcnn.files import is_free, write_json
from tfrcnn.inference import Predictor


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result for one image.

    Attributes:
        source: image file.
        drawn: annotated image file.
        detections: detections, with the `image_id` of the result files.
    """

    source: Path
    drawn: Path
    detections: ImageDetections


@dataclass(frozen=True, eq=False)
class Predictions:
    """The results of `predict_images`.

    Attributes:
        done: one result per image that could be read.
        unreadable: one error per image that could not.
    """

    done: tuple[Prediction, ...]
    unreadable: tuple[InputError, ...]


def find_images(sources: Sequence[str | Path]) -> list[Path]:
    """List the images in files and folders.

    Args:
        sources: image files with any extension, and folders. A folder contributes its files with an image extension,
            sorted by name, without hidden files and subfolders.

    Returns:
        Image files, each once.

    Raises:
        InputError: a source does not exist, or a folder holds no image.

    Example:
        find_images(["street.jpg", "photos/"])
    """
    extensions = {extension for group in EXTENSIONS.values() for extension in group}
    images: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(p for p in source.iterdir() if p.suffix.lower() in extensions and p.is_file())
            inside = [path for path in inside if not path.name.startswith(".")]
            if not inside:
                raise InputError(f"{source}: expected images ({', '.join(sorted(extensions))}), found none")
            images += inside
        elif source.is_file():
            images.append(source)
        else:
            raise InputError(f"{source}: expected an image or a folder of images, which does not exist")
    return list(dict.fromkeys(images))


def predict_images(
    predictor: Predictor, images: Sequence[Path], out: str | Path, score_threshold: float = 0.0, progress: bool = False
) -> Predictions:
    """Detect objects in images, and write annotated images and COCO results to a folder.

    Images that cannot be read are skipped and reported. Images of the same name become NAME.png, NAME-2.png, ...

    Args:
        predictor: detector to run.
        images: image files, see `find_images`. Image ids are 1, 2, ... in this order.
        out: a new or empty folder, so that no file is overwritten.
        score_threshold: lowest score of a detection that is drawn and written.
        progress: show a progress bar.

    Returns:
        The results per image, and the errors of unreadable images.

    Raises:
        InputError: the folder is not empty.

    Example:
        predict_images(tfrcnn.Predictor(detector), find_images(["photos/"]), "out", score_threshold=0.5)
    """
    out = Path(out)
    check_new_folder(out)
    categories = predictor.categories
    names = [category.name for category in categories]
    taken = {"detections", "images"}  # no image may be named like a result file
    done, unreadable, examples = [], [], []
    for image_id, path in enumerate(tqdm(images, desc="detecting", unit="image", disable=not progress, leave=False), 1):
        try:
            image = read_image(path)
        except InputError as error:
            unreadable.append(error)
            continue
        shown = _above(predictor.detect(image, image_id), score_threshold)
        drawn = out / f"{_free_name(path.stem, taken)}.png"
        save_png(draw_detections(image, shown.boxes, shown.labels, shown.scores, names), drawn)
        done.append(Prediction(path, drawn, shown))
        examples.append(_example(image_id, path, image))
    dataset = Dataset(str(out), categories, tuple(examples))
    write_coco_results(out / "detections.json", dataset, [prediction.detections for prediction in done])
    entries = [{"id": e.image_id, "file_name": str(e.path), "width": e.width, "height": e.height} for e in examples]
    write_json(out / "images.json", {"images": entries, "categories": [c.to_dict() for c in categories]})
    return Predictions(tuple(done), tuple(unreadable))


def check_new_folder(out: Path) -> None:
    """Check that a folder is new or empty.

    Raises:
        InputError: the folder is not empty.
    """
    if not is_free(out):
        raise InputError(f"{out} exists and is not an empty folder: choose another")


def _above(detections: ImageDetections, score_threshold: float) -> ImageDetections:
    sure = detections.scores >= score_threshold
    return ImageDetections(
        detections.image_id, detections.boxes[sure], detections.scores[sure], detections.labels[sure]
    )


def _free_name(stem: str, taken: set[str]) -> str:
    """Return `stem`, or the first of `stem`-2, `stem`-3, ... that is not taken in any case, and take it."""
    name, number = stem, 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.lower())
    return name


def _example(image_id: int, path: Path, image: np.ndarray) -> Example:
    """Describe an image without annotations for `write_coco_results`."""
    nothing = np.zeros(0, bool)
    return Example(
        image_id=image_id,
        path=path,
        height=image.shape[0],
        width=image.shape[1],
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int32),
        crowd=nothing,
        difficult=nothing,
        area=np.zeros(0, np.float32),
        orientation=1,
        annotation_ids=np.zeros(0, np.int64),
    )
