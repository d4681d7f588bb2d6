"""Detect in picture files: annotated pictures and COCO results in a new folder.

OUT/NAME.png         each picture with its detections
OUT/detections.json  COCO results: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...]
OUT/images.json      what those ids mean: {"images": [{"id", "file_name", "width", "height"}], "categories": [...]}
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
from tfrcnn.errors import InputError
from tfrcnn.evaluation.coco import write_coco_results
from tfrcnn.files import is_free, write_json
from tfrcnn.inference import Predictor
from tfrcnn.visualize import draw_detections, save_png


@dataclass(frozen=True, eq=False)
class Prediction:
    """What `predict_images` did with one picture.

    Attributes:
        source: the picture.
        drawn: the annotated picture.
        detections: its `image_id` is that of the result files.
    """

    source: Path
    drawn: Path
    detections: ImageDetections


@dataclass(frozen=True, eq=False)
class Predictions:
    """What `predict_images` did: a `Prediction` for each picture it could read, an error for each of the others."""

    done: tuple[Prediction, ...]
    unreadable: tuple[InputError, ...]


def find_images(sources: Sequence[str | Path]) -> list[Path]:
    """The pictures among files and folders, in the order given; those of a folder by name, its subfolders left out.

    A file named by itself is taken whatever its extension, those of a folder by theirs.

    Raises:
        InputError: nothing is there, or a folder holds no picture.
    """
    extensions = {extension for group in EXTENSIONS.values() for extension in group}
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(p for p in source.iterdir() if p.suffix.lower() in extensions and p.is_file())
            inside = [path for path in inside if not path.name.startswith(".")]
            if not inside:
                raise InputError(f"{source}: expected pictures ({', '.join(sorted(extensions))}), found none")
            found += inside
        elif source.is_file():
            found.append(source)
        else:
            raise InputError(f"{source}: expected a picture or a folder of pictures, found nothing")
    return list(dict.fromkeys(found))


def predict_images(
    predictor: Predictor, images: Sequence[Path], out: str | Path, score_threshold: float = 0.0, progress: bool = False
) -> Predictions:
    """Detect in pictures and write the folder described above.

    Pictures that cannot be read are left out and told. Pictures of one name, from several folders, get NAME-2.png, ...

    Args:
        images: files, see `find_images`; image ids are 1, 2, ... in this order.
        out: a new or empty folder, so that no picture is overwritten.
        score_threshold: detections of lower scores are neither drawn nor written.

    Raises:
        InputError: something is in the folder.
    """
    out = Path(out)
    check_new_folder(out)
    categories = predictor.categories
    names = [category.name for category in categories]
    taken = {"detections", "images"}  # no picture's name may be mistaken for the results'
    done, unreadable, examples = [], [], []
    for image_id, path in enumerate(tqdm(images, desc="detecting", unit="image", disable=not progress, leave=False), 1):
        try:
            image = read_image(path)
        except InputError as error:
            unreadable.append(error)
            continue
        found = _above(predictor.detect(image, image_id), score_threshold)
        drawn = out / f"{_free_name(path.stem, taken)}.png"
        save_png(draw_detections(image, found.boxes, found.labels, found.scores, names), drawn)
        done.append(Prediction(path, drawn, found))
        examples.append(_example(image_id, path, image))
    dataset = Dataset(str(out), categories, tuple(examples))
    write_coco_results(out / "detections.json", dataset, [prediction.detections for prediction in done])
    entries = [{"id": e.image_id, "file_name": str(e.path), "width": e.width, "height": e.height} for e in examples]
    write_json(out / "images.json", {"images": entries, "categories": [c.to_dict() for c in categories]})
    return Predictions(tuple(done), tuple(unreadable))


def check_new_folder(out: Path) -> None:
    """Check that a folder is new or empty.

    Raises:
        InputError: something is in it.
    """
    if not is_free(out):
        raise InputError(f"{out} exists and is not an empty folder: choose another")


def _above(found: ImageDetections, score_threshold: float) -> ImageDetections:
    sure = found.scores >= score_threshold
    return ImageDetections(found.image_id, found.boxes[sure], found.scores[sure], found.labels[sure])


def _free_name(stem: str, taken: set[str]) -> str:
    """`stem`, or the first of `stem`-2, `stem`-3, ... that is not taken (not even in other capitals); now taken."""
    name, number = stem, 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name.lower())
    return name


def _example(image_id: int, path: Path, image: np.ndarray) -> Example:
    """A picture without annotations, as `write_coco_results` wants to know it."""
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
