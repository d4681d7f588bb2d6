"""Detect in picture files: the accepted files, the output, and no overwriting."""

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tfrcnn.results
from tfrcnn.config import Category
from tfrcnn.data.example import ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.locks import locked
from tfrcnn.prediction import find_images, predict_images, search_images


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
    predict_images(PREDICTOR, [image], tmp_path / "all", 0.24)
    predict_images(PREDICTOR, [image], tmp_path / "sure", 0.25)
    assert len(read(tmp_path / "all/detections.json")) == 2
    assert [detection["score"] for detection in read(tmp_path / "sure/detections.json")] == [0.75]
    right_edges = []
    for name in ("all", "sure"):
        with Image.open(tmp_path / name / "a.png") as drawn:
            right_edges.append(np.asarray(drawn)[100, -1].tolist())
    assert right_edges[0] != [90, 90, 90]
    assert right_edges[1] == [90, 90, 90]


def test_pictures_of_one_name_do_not_overwrite_each_other_nor_the_results(tmp_path: Path) -> None:
    names = ["one/a.png", "two/A.jpg", "two/a.png", "two/images.png"]
    images = [picture(tmp_path / name) for name in names]
    result = predict_images(PREDICTOR, images, tmp_path / "out")
    assert [prediction.drawn.name for prediction in result.done] == ["a.png", "A-2.png", "a-3.png", "images-2.png"]
    assert len(list((tmp_path / "out").iterdir())) == 7


def test_unreadable_picture_is_told_and_the_others_are_done(tmp_path: Path) -> None:
    good, bad = picture(tmp_path / "good.png"), tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    result = predict_images(PREDICTOR, [bad, good], tmp_path / "out")
    assert [prediction.detections.image_id for prediction in result.done] == [2]
    assert [str(bad) in str(error) for error in result.unreadable] == [True]
    assert {detection["image_id"] for detection in read(tmp_path / "out/detections.json")} == {2}


class Failing:
    """A stand-in for `Predictor` that raises an error in its n-th picture, and detects in the others."""

    categories = OneBoxInEach.categories

    def __init__(self, number: int, error: BaseException) -> None:
        self.calls, self.number, self.error = 0, number, error

    def detect(self, image: np.ndarray, image_id: int) -> ImageDetections:
        self.calls += 1
        if self.calls == self.number:
            raise self.error
        return PREDICTOR.detect(image, image_id)


def lines(out: Path) -> list[Any]:
    return [json.loads(line) for line in (out / "detections.jsonl").read_text(encoding="utf-8").splitlines()]


def results(out: Path) -> list[Any]:
    return [read(out / name) for name in ("detections.json", "images.json")]


@pytest.fixture
def five(tmp_path: Path) -> list[Path]:
    return [picture(tmp_path / "in" / f"{i}.png", (40 + i, 20)) for i in range(5)]


def test_results_are_written_as_they_come(five: list[Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict_images(Failing(3, KeyboardInterrupt()), five, tmp_path / "out")  # type: ignore[arg-type]
    setup, first, second = lines(tmp_path / "out")
    assert setup == {
        "categories": [{"id": 7, "name": "left"}, {"id": 30, "name": "all"}],
        "score_threshold": 0.0,
    }
    assert (first["id"], first["file_name"], first["width"], first["height"]) == (1, str(five[0]), 40, 20)
    assert [detection["bbox"] for detection in second["detections"]] == [[0, 0, 20.5, 20], [0, 0, 41, 20]]
    assert (tmp_path / "out" / second["drawn"]).is_file()


@pytest.mark.parametrize("torn", [b"", b'{"id": 3, "file_na'])
def test_an_interrupted_run_continues_to_the_results_of_an_uninterrupted_one(
    five: list[Path], tmp_path: Path, torn: bytes
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict_images(PREDICTOR, five, whole)
    with pytest.raises(KeyboardInterrupt):
        predict_images(Failing(3, KeyboardInterrupt()), five, out)  # type: ignore[arg-type]
    with open(out / "detections.jsonl", "ab") as file:
        file.write(torn)
    result = predict_images(PREDICTOR, five, out, resume=True)
    assert (len(result.done), result.resumed) == (3, 2)
    assert results(out) == results(whole)
    assert lines(out) == lines(whole)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    again = predict_images(PREDICTOR, five, out, resume=True)
    assert (again.done, again.resumed) == ((), 5)
    assert results(out) == results(whole)


def test_a_run_that_is_continued_tries_unreadable_pictures_again_and_takes_new_ones(
    five: list[Path], tmp_path: Path
) -> None:
    content = five[1].read_bytes()
    five[1].write_bytes(b"")
    out = tmp_path / "out"
    assert len(predict_images(PREDICTOR, five, out).unreadable) == 1
    five[1].write_bytes(content)
    more = [*five, picture(tmp_path / "more/1.png")]
    result = predict_images(PREDICTOR, more, out, resume=True)
    assert [(one.source, one.detections.image_id) for one in result.done] == [(five[1], 2), (more[5], 6)]
    assert [image["id"] for image in read(out / "images.json")["images"]] == [1, 2, 3, 4, 5, 6]
    assert [detection["image_id"] for detection in read(out / "detections.json")] == [
        1,
        1,
        2,
        2,
        3,
        3,
        4,
        4,
        5,
        5,
        6,
        6,
    ]


@pytest.mark.parametrize("change", ["threshold", "categories", "a line"])
def test_a_run_is_not_continued_with_other_settings(five: list[Path], tmp_path: Path, change: str) -> None:
    out = tmp_path / "out"
    predict_images(PREDICTOR, five[:1], out)
    other = Failing(0, ValueError())
    if change == "categories":
        other.categories = (Category(1, "new"),)  # type: ignore[assignment]
    if change == "a line":
        (out / "detections.jsonl").write_bytes((out / "detections.jsonl").read_bytes() + b"[]\n")
    before = (out / "detections.jsonl").read_bytes()
    words = {"threshold": "expected score threshold 0.5, found 0.0", "categories": "expected categories"}
    with pytest.raises(InputError, match=words.get(change, "line 3: expected a result")):
        predict_images(other, five, out, 0.5 if change == "threshold" else 0.0, resume=True)  # type: ignore[arg-type]
    assert (out / "detections.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    "error", [RuntimeError("of the runtime\nand its trace"), InputError("too small"), MemoryError()]
)
def test_a_picture_that_the_detector_fails_on_costs_only_itself(
    five: list[Path], tmp_path: Path, error: Exception
) -> None:
    result = predict_images(Failing(2, error), five, tmp_path / "out")  # type: ignore[arg-type]
    assert [prediction.detections.image_id for prediction in result.done] == [1, 3, 4, 5]
    assert [str(fault).startswith(f"{five[1]}: ") for fault in result.unreadable] == [True]
    assert "\n" not in str(result.unreadable[0])
    assert lines(tmp_path / "out")[2]["error"] == str(result.unreadable[0])


@pytest.mark.parametrize("full", ["picture", "line", "end"])
def test_a_full_disk_keeps_what_is_done_and_the_run_continues(
    five: list[Path], tmp_path: Path, full: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "out", []
    where = {"picture": "tfrcnn.prediction.save_png", "line": "tfrcnn.results.Results.add"}

    def fail(*arguments: Any) -> None:
        calls.append(1)
        if full == "end" or len(calls) == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(*arguments)

    module, _, name = where.get(full, "tfrcnn.results.write_json").rpartition(".")
    original = getattr(tfrcnn.results.Results if full == "line" else sys.modules[module], name)
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{name}", fail)
        patch.setattr("tfrcnn.prediction.WRITERS", 1)  # so that the fourth call is the fourth picture's
        done = 5 if full == "end" else 3
        expected = f"No space left on device; {done} of 5 images are done and kept in .*jsonl; continue with --resume"
        with pytest.raises(InputError, match=expected):
            predict_images(PREDICTOR, five, out)
    assert not (out / "images.json").exists()
    assert predict_images(PREDICTOR, five, out, resume=True).resumed == done
    predict_images(PREDICTOR, five, tmp_path / "whole")
    assert results(out) == results(tmp_path / "whole")


@pytest.mark.parametrize("name", [b"caf\xe9.png", b"n" * 246 + b".png", "네.png".encode(), b"a\nb\x1b[31m.png"])
def test_pictures_of_every_name_are_detected_in(name: bytes, tmp_path: Path) -> None:
    image = picture(tmp_path / "in/a.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/in/" + name))
    for i in range(2):
        result = predict_images(PREDICTOR, [image, picture(tmp_path / "b.png")], tmp_path / "out", resume=bool(i))
    assert result.resumed == 2
    assert len(read(tmp_path / "out/detections.json")) == 4
    assert read(tmp_path / "out/images.json")["images"][0]["file_name"] == str(image)


def test_files_that_are_left_out_are_counted_with_the_reason(tmp_path: Path) -> None:
    for name in ("a.png", "b.webp", "c.TIFF", "deep/d.jpg", "deep/er/e.jpg", ".hidden.png", ".cache/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    for name in ("g.heic", "notes.txt", "more.TXT", "README"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "linked.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "loop").symlink_to(tmp_path)
    search = search_images([tmp_path])
    assert [path.name for path in search.images] == ["a.png", "b.webp", "c.TIFF"]
    assert search.left_out() == (
        "5 files of no supported type (.txt 2, .heic 1, links to nothing, pipes or devices 1, no extension 1); "
        "2 hidden files and folders; 2 subfolders (searched with --recursive, in Python recursive=True)"
    )
    deep = search_images([tmp_path], recursive=True)
    assert [path.name for path in deep.images] == ["a.png", "b.webp", "c.TIFF", "d.jpg", "e.jpg"]
    assert deep.left_out().endswith("2 hidden files and folders; 1 linked subfolder")
    assert search_images([tmp_path / "deep"], recursive=True).left_out() == ""


def test_a_folder_of_other_files_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"")
    (tmp_path / "deeper").mkdir()
    with pytest.raises(
        InputError, match=r"found none, but 1 file .* \(\.heic 1\); 1 subfolder \(searched with --recursive"
    ):
        find_images([tmp_path])


def test_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    before = image.read_bytes()
    with pytest.raises(InputError, match="exists and is not an empty folder"):
        predict_images(PREDICTOR, [image], tmp_path)
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "../a"), ("width", 0), ("detections", [{}]), ("file_name", 5), ("id", "1"), ("id", float("inf"))],
)
def test_a_changed_line_of_an_interrupted_run_is_named_and_writes_nothing_elsewhere(
    field: str, value: object, tmp_path: Path
) -> None:
    image, log = picture(tmp_path / "a.png"), tmp_path / "out/detections.jsonl"
    predict_images(PREDICTOR, [image], tmp_path / "out", formats=("yolo",))
    setup, line = log.read_text().splitlines()
    log.write_text(f"{setup}\n{json.dumps({**json.loads(line), field: value})}\n")
    with pytest.raises(
        InputError, match=r"detections\.jsonl, line 2: expected a result.*delete this line and those after"
    ):
        predict_images(PREDICTOR, [image], tmp_path / "out", formats=("yolo",), resume=True)
    assert not list(tmp_path.glob("out/*.txt")) or [path.name for path in tmp_path.glob("out/*.txt")] == ["classes.txt"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_process_writes_to_is_refused(five: list[Path], tmp_path: Path, resume: bool) -> None:
    out = tmp_path / "out"
    if resume:
        predict_images(PREDICTOR, five[:2], out)
    with locked(out), pytest.raises(InputError, match=f"out is in use by process {os.getpid()} on the host"):
        predict_images(PREDICTOR, five, out, resume=resume)
    assert predict_images(PREDICTOR, five, out, resume=resume).resumed == 2 * resume


@pytest.mark.parametrize("pictures", [False, True])
def test_a_folder_that_is_removed_meanwhile_is_named_and_nothing_is_said_to_be_kept(
    five: list[Path], tmp_path: Path, pictures: bool
) -> None:
    class Removing(Failing):
        def detect(self, image: np.ndarray, image_id: int) -> ImageDetections:
            if self.calls == 2:
                shutil.rmtree(tmp_path / "out")
            return super().detect(image, image_id)

    message = r"out was (removed or moved|taken over by someone who removed the lock)"
    with pytest.raises(InputError, match=message) as caught:
        predict_images(Removing(0, KeyboardInterrupt()), five, tmp_path / "out", pictures=pictures)  # type: ignore[arg-type]
    assert "kept" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
@pytest.mark.parametrize("name", ["detections.csv", "classes.txt"])
def test_a_full_disk_names_the_file_of_another_format(five: list[Path], tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    (tmp_path / "detections.jsonl").touch()
    with pytest.raises(OSError, match="No space left on device") as caught:
        predict_images(PREDICTOR, five, tmp_path, resume=True, formats=("csv", "yolo"))
    assert caught.value.filename == str(tmp_path / name)
