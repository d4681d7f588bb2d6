"""Detects objects in image files and writes annotated images and COCO results to a folder.

OUT/NAME.png          each image with its detections
OUT/detections.jsonl  one line per image, written as soon as it is done; see `tfrcnn.results`
OUT/detections.json   COCO results: [{"image_id", "category_id", "bbox": [x, y, width, height], "score"}, ...]
OUT/images.json       images and categories: {"images": [{"id", "file_name", "width", "height"}], "categories": [...]}

The last two are written at the end. A run that a full disk, a kill or Ctrl-C ends keeps its lines and continues there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.data.search import ImageSearch as ImageSearch
from tfrcnn.data.search import find_images as find_images
from tfrcnn.data.search import search_images as search_images
from tfrcnn.drawing import draw_detections, save_png
from tfrcnn.errors import InputError
from tfrcnn.evaluation.coco_results import to_coco_results
from tfrcnn.files import is_free
from tfrcnn.results import LOG, Results

if TYPE_CHECKING:
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
        done: one result per image that this call detected in.
        unreadable: one error per image that could not be read or detected in.
        resumed: number of images that an earlier call had done.
    """

    done: tuple[Prediction, ...]
    unreadable: tuple[InputError, ...]
    resumed: int = 0


def predict_images(
    predictor: Predictor,
    images: Sequence[Path],
    out: str | Path,
    score_threshold: float = 0.0,
    progress: bool = False,
    resume: bool = False,
) -> Predictions:
    """Detect objects in images, and write annotated images and COCO results to a folder.

    Images that cannot be read are skipped and reported. Images of the same name become NAME.png, NAME-2.png, ...

    Args:
        predictor: detector to run.
        images: image files, see `find_images`. Image ids are 1, 2, ... in this order.
        out: a new or empty folder, so that no file is overwritten.
        score_threshold: lowest score of a detection that is drawn and written.
        progress: show a progress bar.
        resume: continue in `out`: images that are done keep their results, and those that could not be read are tried
            again. Use the same detector.

    Returns:
        The results per image, and the errors of unreadable images.

    Raises:
        InputError: the folder is not empty, or was written with other categories or another threshold; the disk is
            full. What is done then stays in `out`.

    Example:
        predict_images(tfrcnn.Predictor(detector), find_images(["photos/"]), "out", score_threshold=0.5)
    """
    out = Path(out)
    if not (resume and (out / LOG).is_file()):
        check_new_folder(out)
    setup = {"categories": [c.to_dict() for c in predictor.categories], "score_threshold": score_threshold}
    done: list[Prediction] = []
    unreadable: list[InputError] = []
    with Results(out, setup) as results:
        remaining = [path for path in images if not results.is_done(path)]
        count = len(images) - len(remaining)
        try:
            for path in tqdm(remaining, desc="detecting", unit="image", disable=not progress, leave=False):
                image_id = results.id_of(path)
                try:
                    image, shown = _detect(predictor, path, image_id, score_threshold)
                except InputError as error:
                    unreadable.append(error)
                    results.add(path, {"error": str(error)})
                    continue
                done.append(_write(predictor, path, image, shown, results))
            results.finish(images)
        except OSError as error:
            kept = f"{count + len(done):,} of {len(images):,} images are done and kept in {out / LOG}"
            cause = f"cannot write {error.filename or out}: {error.strerror or error}"
            raise InputError(f"{cause}; {kept}; continue with --resume (Python: resume=True)") from error
    return Predictions(tuple(done), tuple(unreadable), count)


def check_new_folder(out: Path) -> None:
    """Check that a folder is new or empty.

    Raises:
        InputError: the folder is not empty.
    """
    if not is_free(out):
        hint = ", or continue it with --resume (Python: resume=True)" if (out / LOG).is_file() else ""
        raise InputError(f"{out} exists and is not an empty folder: choose another{hint}")


def _detect(
    predictor: Predictor, path: Path, image_id: int, score_threshold: float
) -> tuple[np.ndarray, ImageDetections]:
    """Read an image and detect in it.

    Raises:
        InputError: the image cannot be read, or the detector fails on it.
    """
    image = read_image(path)
    try:
        detections = predictor.detect(image, image_id)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # runtimes raise exceptions of all kinds, for example if memory is too small
        reason = next(iter(str(error).splitlines()), "")
        raise InputError(f"{path}: the detector failed on this image: {type(error).__name__}: {reason}") from error
    sure = detections.scores >= score_threshold
    return image, ImageDetections(
        detections.image_id, detections.boxes[sure], detections.scores[sure], detections.labels[sure]
    )


def _write(predictor: Predictor, path: Path, image: np.ndarray, shown: ImageDetections, results: Results) -> Prediction:
    """Draw an image and add its line to the results."""
    names = [category.name for category in predictor.categories]
    drawn = results.folder / f"{results.free_name(path)}.png"
    save_png(draw_detections(image, shown.boxes, shown.labels, shown.scores, names), drawn)
    dataset = Dataset(str(results.folder), predictor.categories, (_example(shown.image_id, path, image),))
    line: dict[str, Any] = {
        "width": image.shape[1],
        "height": image.shape[0],
        "drawn": drawn.name,
        "detections": to_coco_results(dataset, [shown]),
    }
    results.add(path, line)
    return Prediction(path, drawn, shown)


def _example(image_id: int | str, path: Path, image: np.ndarray) -> Example:
    """Describe an image without annotations for `to_coco_results`."""
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
