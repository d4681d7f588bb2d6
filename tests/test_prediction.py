"""Detect in picture files: the accepted files, the output, and no overwriting."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.example import ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.prediction import find_images, predict_images


class OneBoxInEach:
    """A stand-in for `Predictor`: a certain box over the left half of a picture, an uncertain one over all of it."""

    categories = (Category(7, "left"), Category(30, "all"))

    def detect(self, image: np.ndarray, image_id: int) -> ImageDetections:
        height, width = image.shape[:2]
        boxes = np.array([[0, 0, height, width / 2], [0, 0, height, width]], np.float32)
        return ImageDetections(image_id, boxes, np.array([0.75, 0.25], np.float32), np.array([0, 1], np.int32))


PREDICTOR: Any = OneBoxInEach()


def picture(path: Path, size: tuple[int, int] = (40, 20)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 90, 90)).save(path)
    return path


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_empty_list_of_sources_finds_nothing() -> None:
    assert find_images([]) == []


def test_folder_gives_its_pictures_by_name_and_nothing_else(tmp_path: Path) -> None:
    names = ["b.JPG", "a.png", "c.jpeg", ".hidden.png", "deeper/d.png"]
    b, a, c, _, _ = (picture(tmp_path / name) for name in names)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "folder.png").mkdir()
    assert find_images([tmp_path]) == [a, b, c]


def test_files_are_taken_in_the_order_given_whatever_their_extension_and_once(tmp_path: Path) -> None:
    b, a = picture(tmp_path / "b.png"), picture(tmp_path / "a.png")
    odd = a.rename(tmp_path / "a.data")
    assert find_images([b, odd, tmp_path]) == [b, odd]


@pytest.mark.parametrize("name", ["nothing.png", "empty"])
def test_source_without_pictures_is_an_error_that_names_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{name}: expected"):
        find_images([tmp_path / name])


def test_results_are_in_coco_form_with_ids_that_are_explained(tmp_path: Path) -> None:
    images = [picture(tmp_path / "a.png", (40, 20)), picture(tmp_path / "b.png", (60, 30))]
    result = predict_images(PREDICTOR, images, tmp_path / "out")
    assert read(tmp_path / "out/detections.json") == [
        {"image_id": 1, "category_id": 7, "bbox": [0, 0, 20, 20], "score": 0.75},
        {"image_id": 1, "category_id": 30, "bbox": [0, 0, 40, 20], "score": 0.25},
        {"image_id": 2, "category_id": 7, "bbox": [0, 0, 30, 30], "score": 0.75},
        {"image_id": 2, "category_id": 30, "bbox": [0, 0, 60, 30], "score": 0.25},
    ]
    assert read(tmp_path / "out/images.json") == {
        "images": [
            {"id": 1, "file_name": str(images[0]), "width": 40, "height": 20},
            {"id": 2, "file_name": str(images[1]), "width": 60, "height": 30},
        ],
        "categories": [{"id": 7, "name": "left"}, {"id": 30, "name": "all"}],
    }
    assert [prediction.source for prediction in result.done] == images
    assert result.unreadable == ()


def test_scores_below_the_threshold_are_neither_drawn_nor_written(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png", (400, 200))
    predict_images(PREDICTOR, [image], tmp_path / "all", 0.25)
    predict_images(PREDICTOR, [image], tmp_path / "sure", 0.26)
    assert len(read(tmp_path / "all/detections.json")) == 2
    assert [detection["score"] for detection in read(tmp_path / "sure/detections.json")] == [0.75]
    right_edges = []
    for name in ("all", "sure"):
        with Image.open(tmp_path / name / "a.png") as drawn:
            right_edges.append(np.asarray(drawn)[100, 399].tolist())
    assert right_edges[0] != [90, 90, 90]
    assert right_edges[1] == [90, 90, 90]


def test_pictures_of_one_name_do_not_overwrite_each_other_nor_the_results(tmp_path: Path) -> None:
    names = ["one/a.png", "two/A.jpg", "two/a.png", "two/images.png"]
    images = [picture(tmp_path / name) for name in names]
    result = predict_images(PREDICTOR, images, tmp_path / "out")
    assert [prediction.drawn.name for prediction in result.done] == ["a.png", "A-2.png", "a-3.png", "images-2.png"]
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_unreadable_picture_is_told_and_the_others_are_done(tmp_path: Path) -> None:
    good, bad = picture(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    result = predict_images(PREDICTOR, [bad, good], tmp_path / "out")
    assert [prediction.detections.image_id for prediction in result.done] == [2]
    assert [str(bad) in str(error) for error in result.unreadable] == [True]
    assert {detection["image_id"] for detection in read(tmp_path / "out/detections.json")} == {2}


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    before = image.read_bytes()
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        predict_images(PREDICTOR, [image], tmp_path)
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
