"""Detect in every kind of source, and write every kind of result."""

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data import media, video
from tfrcnn.data.example import ImageDetections
from tfrcnn.data.media import Camera
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError
from tfrcnn.predicting.ahead import run_ahead
from tfrcnn.predicting.selection import Selection, parse_classes, parse_thresholds
from tfrcnn.prediction import Failure, find_images, predict_images, predict_stream, search_images
from tfrcnn.views import ViewPredictor, Views

COUNT = 5  # frames of a video


class OneBoxInEach:
    """A stand-in for `Predictor`: a certain box over the left half of a picture, an uncertain one over all of it."""

    categories = (Category(7, "left"), Category(30, "all, really"))

    def __init__(self, stop_at: int = 0) -> None:
        self.calls, self.stop_at = 0, stop_at

    def detect(self, image: np.ndarray, image_id: int) -> ImageDetections:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        height, width = image.shape[:2]
        boxes = np.array([[0, 0, height, width / 2], [0, 0, height, width]], np.float32)
        return ImageDetections(image_id, boxes, np.array([0.75, 0.25], np.float32), np.array([0, 1], np.int32))


def predictor(stop_at: int = 0) -> Any:
    return OneBoxInEach(stop_at)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20), (90, 90, 90)).save(path)
    return path


def clip(path: Path) -> Path:
    pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with video.VideoWriter(path) as writer:
        for i in range(COUNT):
            writer.write(np.full((20, 40, 3), 90, np.uint8), i / 10)
    return path


def lines(out: Path) -> list[Any]:
    return [json.loads(line) for line in (out / "detections.jsonl").read_text(encoding="utf-8").splitlines()]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_images_in_memory_are_named_by_their_position(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.new("L", (30, 20)).save(content, "JPEG")
    images = [
        content.getvalue(),
        Image.new("RGBA", (31, 20)),
        np.zeros((20, 32, 3), np.uint8),
        np.full((20, 33, 3), 99.5, np.float32),
        bytearray(content.getvalue()),
        b"no image",
        np.zeros((20, 32, 5)),
    ]
    result = predict_images(predictor(), images, tmp_path / "out")
    entries = read(tmp_path / "out/images.json")["images"]
    assert [entry["file_name"] for entry in entries] == [f"image-{i}" for i in range(1, 6)]
    assert [entry["width"] for entry in entries] == [30, 31, 32, 33, 30]
    assert [str(error).split(":")[0].split(" ")[0] for error in result.unreadable] == ["image-6", "image-7"]
    assert (tmp_path / "out/image-4.png").is_file()


def test_patterns_and_folders_give_their_pictures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["b.png", "a.jpg", "deep/c.png", "deep/er/d.png", "x[1].png"]
    b, a, c, d, odd = (picture(tmp_path / name) for name in names)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    assert find_images([str(tmp_path / "*.png")]) == [b, odd]
    search = search_images([str(tmp_path / "*"), str(tmp_path)])
    assert search.images == [a, b, odd]
    assert search.left_out().startswith("2 files of no supported type (.txt 2); 2 subfolders")
    assert search_images([tmp_path / "*"], recursive=True).images == [a, b, c, d, odd]
    assert find_images([f"{tmp_path}/**/*.png"]) == [b, c, d, odd]
    assert find_images([odd]) == [odd]
    (tmp_path / "loop").symlink_to(tmp_path)
    picture(tmp_path / ".hidden/e.png")
    assert find_images([f"{tmp_path}/**/*.png"]) == [b, c, d, odd]
    assert find_images([f"{tmp_path}/.hidden/*.png"]) == [tmp_path / ".hidden/e.png"]
    with pytest.raises(InputError, match=r"a\*\*: expected a pattern such as"):
        find_images([tmp_path / "a**"])
    with pytest.raises(InputError, match=r"\*\.gif: expected images \(.*\), found none"):
        find_images([tmp_path / "*.gif"])
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("0", "PNG")
    assert find_images(["0"]) == [Path("0")]  # a file, not a camera
    assert search_images(["1", 2, np.int64(3), Camera(4)]).sources[-1].content == Camera(4)


@pytest.mark.parametrize(
    "source",
    ["ftp://host/a.png", "file:///a.png", "http://[", "http://", -1, "nothing.png", "x" * 300, "a\0b", "/dev/null"],
)
def test_a_source_that_is_none_costs_only_itself(source: Any, tmp_path: Path) -> None:
    good = picture(tmp_path / "a.png")
    result = predict_images(predictor(), [source, good], tmp_path / "out")
    assert [one.source for one in result.done] == [good]
    assert str(source).lstrip("-") in str(result.unreadable[0])
    assert [one.source for one in predict_images(predictor(), ["", good], tmp_path / "empty").done] == [good]


def test_videos_in_folders_are_left_out_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "b.MP4").write_bytes(b"")
    monkeypatch.setattr("tfrcnn.data.search.can_read_videos", lambda: True)
    assert [source.is_video for source in search_images([tmp_path]).sources] == [False, True]
    monkeypatch.setattr("tfrcnn.data.search.can_read_videos", lambda: False)
    search = search_images([tmp_path])
    assert len(search.sources) == 1
    assert search.left_out() == "1 video (read after pip install av)"


def test_a_video_has_one_line_per_frame_and_an_annotated_copy(tmp_path: Path) -> None:
    before, movie, after = picture(tmp_path / "a.png"), clip(tmp_path / "b.mp4"), picture(tmp_path / "c.png")
    out = tmp_path / "out"
    result = predict_images(predictor(), [before, movie, after], out, formats=("coco", "csv", "yolo"))
    assert [(one.source, one.frame) for one in result.done] == [
        (before, None),
        *((movie, i) for i in range(COUNT)),
        (after, None),
    ]
    frames = [line for line in lines(out) if "frame" in line]
    assert [(line["frame"], line["seconds"], line["drawn"]) for line in frames] == [
        (i, i / 10, "b.mp4") for i in range(COUNT)
    ]
    drawn = list(video.read_frames(out / "b.mp4"))
    assert [frame.seconds for frame in drawn] == pytest.approx([i / 10 for i in range(COUNT)])
    assert np.ptp(drawn[0].pixels) > 50  # a box is on the grey frame
    entries = read(out / "images.json")["images"]
    assert [entry["id"] for entry in entries] == [1, 7, 2, 3, 4, 5, 6]
    assert [entry.get("frame") for entry in entries] == [None, None, *range(COUNT)]
    assert len(read(out / "detections.json")) == 2 * 7
    rows = list(csv.DictReader((out / "detections.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["frame"] for row in rows[::2]] == ["", *map(str, range(COUNT)), ""]
    assert len(list((out / "labels/b").glob("00000?.txt"))) == COUNT
    assert sorted(path.name for path in out.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("pictures", [True, False])
def test_an_interrupted_video_continues_at_its_next_frame(pictures: bool, tmp_path: Path) -> None:
    movie, more = clip(tmp_path / "b.mp4"), picture(tmp_path / "c.png")
    whole, out = tmp_path / "whole", tmp_path / "out"
    options: dict[str, Any] = {"pictures": pictures, "formats": ("coco", "csv", "yolo")}
    predict_images(predictor(), [movie, more], whole, **options)
    with pytest.raises(KeyboardInterrupt):
        predict_images(predictor(stop_at=3), [movie, more], out, **options)
    assert [line.get("frame") for line in lines(out)[1:]] == [0, 1]
    assert not (out / "b.mp4").exists()
    result = predict_images(predictor(), [movie, more], out, resume=True, **options)
    assert [one.frame for one in result.done] == [2, 3, 4, None]
    assert lines(out) == lines(whole)
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    assert names == sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))
    for name in names:
        if (out / name).is_file() and not name.endswith((".mp4", ".png")):
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    if pictures:
        copies = zip(video.read_frames(out / "b.mp4"), video.read_frames(whole / "b.mp4"))
        same = [np.array_equal(a.pixels, b.pixels) for a, b in copies]
        assert same == [True] * COUNT
    assert predict_images(predictor(), [movie, more], out, resume=True, **options).resumed == 2


def test_a_video_that_breaks_off_keeps_the_frames_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = list(video.read_frames(clip(tmp_path / "b.mp4")))

    def break_off(source: Any) -> Any:
        yield from frames[:3]
        raise InputError(f"{source}: expected a video that can be read, found an error after 3 frames: Invalid data")

    monkeypatch.setattr("tfrcnn.predicting.video.read_frames", break_off)
    result = predict_images(predictor(), [tmp_path / "b.mp4", picture(tmp_path / "c.png")], tmp_path / "out")
    assert [one.frame for one in result.done] == [0, 1, 2, None]
    assert ["after 3 frames" in str(error) for error in result.unreadable] == [True]
    assert len(list(video.read_frames(tmp_path / "out/b.mp4"))) == 3
    monkeypatch.undo()
    again = predict_images(predictor(), [tmp_path / "b.mp4"], tmp_path / "out", resume=True)
    assert [one.frame for one in again.done] == [3, 4]


def test_a_frame_without_its_line_is_named_and_no_frame_gets_the_boxes_of_another(tmp_path: Path) -> None:
    movie, out = clip(tmp_path / "b.mp4"), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        predict_images(predictor(stop_at=4), [movie], out)
    log = (out / "detections.jsonl").read_bytes().splitlines(keepends=True)
    (out / "detections.jsonl").write_bytes(b"".join(log[:2] + log[3:]))
    with pytest.raises(InputError, match=r"line 3: .*delete this line and those after it"):
        predict_images(predictor(), [movie], out, resume=True)
    (out / "detections.jsonl").write_bytes(b"".join(log[:2]))
    assert [one.frame for one in predict_images(predictor(), [movie], out, resume=True).done] == [1, 2, 3, 4]


def test_a_full_disk_keeps_the_frames_before_and_the_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    movie, out, calls = clip(tmp_path / "b.mp4"), tmp_path / "out", []

    def fail(writer: Any, pixels: Any, seconds: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(writer, pixels, seconds)

    original = video.VideoWriter.write
    with monkeypatch.context() as patch:
        patch.setattr(video.VideoWriter, "write", fail)
        with pytest.raises(
            InputError, match=r"No space left on device; 0 of 1 images are done .*continue with --resume"
        ):
            predict_images(predictor(), [movie], out)
    assert [path.name for path in out.iterdir()] == ["detections.jsonl"]
    result = predict_images(predictor(), [movie], out, resume=True)
    assert [one.frame for one in result.done] == [2, 3, 4]
    assert len(list(video.read_frames(out / "b.mp4"))) == COUNT


def test_an_empty_video_leaves_no_copy(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "b.mp4").write_bytes(b"no video")
    result = predict_images(predictor(), [tmp_path / "b.mp4"], tmp_path / "out")
    assert "expected a video" in str(result.unreadable[0])
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".json", ".jsonl"]


def stop_a_camera(out: Path) -> None:
    """Detect in frames that never end, and press Ctrl-C after the third."""
    video._DEVICES[sys.platform] = ("lavfi", "testsrc=rate=30:size=64x48")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and a shell's & start processes that ignore it
    count = 0
    for _ in predict_stream(predictor(), search_images(["0"]).sources, out):
        count += 1
        if count == 3:
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print(count)


def test_ctrl_c_ends_a_camera_and_keeps_its_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    # The signal goes to a process of its own, because a worker of pytest would die of it where its handler is not ours.
    folder = repr(str(tmp_path / "out"))
    program = f"import pathlib, test_prediction_sources as test; test.stop_a_camera(pathlib.Path({folder}))"
    child = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=120
    )
    assert child.returncode == 0, child.stderr
    count = int(child.stdout)
    assert count >= 3
    assert len(list(video.read_frames(tmp_path / "out/camera-0.mp4"))) == count
    assert len(lines(tmp_path / "out")) == count + 2
    (tmp_path / "out/detections.jsonl").write_bytes(
        (tmp_path / "out/detections.jsonl").read_bytes().rpartition(b'{"file_name"')[0]
    )
    monkeypatch.setitem(video._DEVICES, sys.platform, ("lavfi", "testsrc=rate=30:size=64x48"))
    (failure,) = predict_stream(predictor(), search_images(["0"]).sources, tmp_path / "out", resume=True)
    assert isinstance(failure, Failure)
    assert str(failure.error).startswith("camera-0: cannot be continued")


def test_without_pictures_nothing_is_drawn_and_a_run_with_pictures_is_another(tmp_path: Path) -> None:
    image, out = picture(tmp_path / "a.png"), tmp_path / "out"
    result = predict_images(predictor(), [image], out, pictures=False, formats=("jsonl",))
    assert (result.done[0].drawn, [path.name for path in out.iterdir()]) == (None, ["detections.jsonl"])
    with pytest.raises(InputError, match="expected pictures None, found False: continue with the same"):
        predict_images(predictor(), [image], out, resume=True)
    assert predict_images(predictor(), [image], out, pictures=False, resume=True).resumed == 1
    assert len(read(out / "detections.json")) == 2


def test_formats_can_be_added_when_a_run_is_continued(tmp_path: Path) -> None:
    images = [picture(tmp_path / name) for name in ("one/a.png", "two/a.png")]
    predict_images(predictor(), images, tmp_path / "out")
    predict_images(predictor(), images, tmp_path / "out", resume=True, formats=("csv", "yolo"))
    assert (tmp_path / "out/labels/a-2.txt").read_text(encoding="ascii").splitlines() == [
        "0 0.250000 0.500000 0.500000 1.000000 0.750000",
        "1 0.500000 0.500000 1.000000 1.000000 0.250000",
    ]
    assert (tmp_path / "out/classes.txt").read_text(encoding="utf-8") == "left\nall, really\n"
    rows = list(csv.reader((tmp_path / "out/detections.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[1] == [str(images[0]), "40", "20", "left", "0.0", "0.0", "20.0", "20.0", "0.75", "7", "", ""]
    assert len(rows) == 5
    wrong: tuple[Any, ...] = ("coco", 5, ["coco", 5])
    for formats, message in zip(wrong, ("a list of some of .*'coco'", "a list of some of .*5", "some of .*5")):
        with pytest.raises(InputError, match=f"formats: expected {message}$"):
            predict_images(predictor(), [], tmp_path / "none", formats=formats)
    with pytest.raises(InputError, match="formats: expected some of coco, jsonl, csv, yolo, found 'xml'"):
        predict_images(predictor(), images, tmp_path / "new", formats=("xml",))


def test_written_csv_is_a_data_set(tmp_path: Path) -> None:
    predict_images(predictor(), [picture(tmp_path / "a.png")], tmp_path / "out", 0.5, formats=("csv",))
    dataset = load_dataset(str(tmp_path / "out/detections.csv"), tmp_path)
    assert [example.boxes.tolist() for example in dataset.examples] == [[[0, 0, 20, 20]]]


@pytest.mark.parametrize(
    ("options", "scores"),
    [
        ({}, [0.75, 0.25]),
        ({"score_threshold": 0.5}, [0.75]),
        ({"score_threshold": 0.5, "class_thresholds": {"all, really": 0.24}}, [0.75, 0.25]),
        ({"class_thresholds": {"left": 0.8}}, [0.25]),
        ({"classes": ["all, really"]}, [0.25]),
        ({"classes": []}, []),
    ],
)
def test_detections_are_chosen_by_class_and_score(options: Any, scores: list[float], tmp_path: Path) -> None:
    (one,) = predict_images(predictor(), [picture(tmp_path / "a.png")], tmp_path / "out", **options).done
    assert one.detections.scores.tolist() == scores
    if options.get("classes") != []:
        assert one.best is not None
        assert one.best.score == (0.25 if "classes" in options else 0.75)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ["lefd"]}, "classes: no category has the name 'lefd'; the nearest: 'left'"),
        ({"class_thresholds": {"x": 0.5}}, "score_threshold: no category has the name 'x'; the nearest: "),
        ({"class_thresholds": {"left": 1.5}}, r"score_threshold: expected a number in \[0, 1\], found 1.5"),
        ({"score_threshold": float("nan")}, r"score_threshold: expected a number in \[0, 1\], found nan"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_written(options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        predict_images(predictor(), [picture(tmp_path / "a.png")], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_names_of_classes_may_contain_signs() -> None:
    names = ["red", "a,b", "x=y", "a"]
    categories = [Category(number, name) for number, name in enumerate(names)]
    assert parse_classes("red, a,b", names) == ("red", "a,b")
    assert parse_classes("a,red", names) == ("a", "red")
    assert parse_thresholds("0.4,red=0.6,a,b=0.7", names) == (0.4, {"red": 0.6, "a,b": 0.7})
    assert parse_thresholds("x=y=0.1", names) == (None, {"x=y": 0.1})
    assert Selection(0.1, {"red": 0.2}, ["red", "a"]).thresholds(categories).tolist() == pytest.approx(
        [0.2, np.inf, np.inf, 0.1]
    )


@pytest.mark.parametrize("text", ["", "much", "1.5", "red=", "red=2", "0.5,", "nan"])
def test_a_threshold_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="score_threshold: expected"):
        parse_thresholds(text, ["red"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5,0.6", "one number for all other classes, found '0.5,0.6'"),
        ("red=0.5,red=0.6", "each class once, found 'red' again"),
    ],
)
def test_two_thresholds_for_the_same_are_refused(text, message):
    with pytest.raises(InputError, match=f"score_threshold: expected {message}"):
        parse_thresholds(text, ["red"])


@pytest.mark.parametrize(("text", "name"), [("=0.5", "''"), ("red=0.5 white=0.4", "'red=0.5 white'")])
def test_a_threshold_of_no_class_names_what_was_read(text: str, name: str) -> None:
    with pytest.raises(InputError, match=f"^score_threshold: no category has the name {name}; the nearest: 'red'$"):
        parse_thresholds(text, ["red"])


def test_images_are_read_beside_detection_but_not_far_ahead(tmp_path: Path) -> None:
    """Reading runs in other threads while the detector works, and waits for it: memory stays flat."""
    sources = search_images([picture(tmp_path / f"{i}.png") for i in range(40)]).sources
    state: dict[str, Any] = {"read": 0, "detected": 0, "ahead": 0, "threads": set()}

    class Watching(media.Source):
        def read(self) -> np.ndarray:
            state["read"] += 1
            state["threads"].add(threading.get_ident())
            state["ahead"] = max(state["ahead"], state["read"] - state["detected"])
            return super().read()

    class Slow(OneBoxInEach):
        def detect(self, image: np.ndarray, image_id: int) -> ImageDetections:
            time.sleep(0.005)
            state["detected"] += 1
            return super().detect(image, image_id)

    watched = [Watching(source.content, source.name, source.stem) for source in sources]
    stream = predict_stream(Slow(), watched, tmp_path / "out", pictures=False)  # type: ignore[arg-type]
    assert [result.detections.image_id for result in stream if not isinstance(result, Failure)] == list(range(1, 41))
    assert threading.get_ident() not in state["threads"]
    assert 2 <= state["ahead"] <= 2 * 4 + 1


def test_tasks_before_an_error_are_still_yielded() -> None:
    def tasks() -> Any:
        for i in range(3):
            yield lambda i=i: i
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as executor:
        ahead = run_ahead(executor, tasks(), 8)
        assert [next(ahead).result() for _ in range(3)] == [0, 1, 2]
        with pytest.raises(KeyboardInterrupt):
            next(ahead)


class Batching(OneBoxInEach):
    """Detects in batches, and fails on one that holds a picture of width 43."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[tuple[int, ...]]] = []

    def detect_batch(self, images: Any, image_ids: Any) -> list[ImageDetections]:
        self.batches.append([image.shape[:2] for image in images])
        if any(image.shape[1] == 43 for image in images):
            raise RuntimeError("out of memory")
        return [self.detect(image, image_id) for image, image_id in zip(images, image_ids)]


def test_pictures_of_one_size_are_detected_in_together(tmp_path: Path) -> None:
    images = []
    for number, width in enumerate([40, 40, 40, 41, 40, 43, 43, 40, 40]):
        images.append(tmp_path / f"{number}.png")
        Image.new("RGB", (width, 20)).save(images[-1])
    images[2].write_bytes(b"no image")
    detector: Any = Batching()
    result = predict_images(detector, images, tmp_path / "batches", batch=4)
    assert detector.batches == [[(20, 40)] * 2, [(20, 43)] * 2]
    assert [str(error).split(": expected")[0] for error in result.unreadable] == [str(images[2])]
    predict_images(predictor(), images, tmp_path / "single")
    assert lines(tmp_path / "batches") == lines(tmp_path / "single")
    for wrong, shown in ((0, "0"), ("4", "'4'"), (10**30, "10")):
        batch: Any = wrong
        with pytest.raises(InputError, match=rf"batch: expected a whole number in 1\.\.1,024, found {shown}"):
            predict_images(detector, images, tmp_path / "none", batch=batch)
    assert not (tmp_path / "none").exists()


def test_frames_of_a_video_are_detected_in_together(tmp_path: Path) -> None:
    movie, detector = clip(tmp_path / "b.mp4"), Batching()
    detected: Any = detector
    predict_images(detected, [movie], tmp_path / "batches", batch=2)
    assert [len(batch) for batch in detector.batches] == [2, 2]  # the fifth frame is alone
    predict_images(predictor(), [movie], tmp_path / "single")
    assert lines(tmp_path / "batches") == lines(tmp_path / "single")


def test_one_path_is_one_source_and_not_its_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    picture(tmp_path / "b.png")
    assert search_images("a.png").images == search_images(Path("a.png")).images == [Path("a.png")]


def test_a_password_in_an_address_is_not_in_its_name() -> None:
    (source,) = search_images(["rtsp://admin:secret@10.0.0.1/live"]).sources
    assert source.name == "rtsp://10.0.0.1/live"
    assert source.content == "rtsp://admin:secret@10.0.0.1/live"


@pytest.mark.parametrize(("text", "expected"), [("0", (0.0, {})), ("1", (1.0, {})), ("0.4,1=0.6", (0.4, {"1": 0.6}))])
def test_a_threshold_is_a_number_where_classes_are_called_numbers(text: str, expected: Any) -> None:
    assert parse_thresholds(text, ["0", "1"]) == expected


def test_a_run_of_other_views_or_another_detector_is_not_continued(tmp_path: Path) -> None:
    class Detector:
        def __init__(self, digest: str) -> None:
            self.digest, self._predictor = digest, predictor()
            self.categories = self._predictor.categories

        def detect(self, image: Any, image_id: int | str = "") -> ImageDetections:
            return self._predictor.detect(image, image_id)

    images = [picture(tmp_path / "a.png")]
    whole, tiled = (ViewPredictor(Detector("a"), Views(tiles)) for tiles in (None, 64))
    predict_images(whole, images, tmp_path / "out")
    assert predict_images(ViewPredictor(Detector("a")), images, tmp_path / "out", resume=True).resumed == 1
    for other in (tiled, ViewPredictor(Detector("b"))):
        with pytest.raises(InputError, match=r"expected detector .*continue with the same detector and options"):
            predict_images(other, images, tmp_path / "out", resume=True)
