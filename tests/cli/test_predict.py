"""`tfrcnn predict` as a user calls it: every kind of source, every format, what it prints, and its exit code."""

import functools
import http.server
import io
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tfrcnn.cli.predict import _check_threshold
from tfrcnn.cli.predict_local import _Summary
from tfrcnn.config import Category, DetectionConfig
from tfrcnn.data.example import ImageDetections
from tfrcnn.data.video import VideoWriter, read_frames
from tfrcnn.errors import InputError
from tfrcnn.export import runtimes
from tfrcnn.predicting.detect import Failure, Prediction
from tfrcnn.predicting.selection import Selection

DOCS = Path(__file__).parents[2] / "docs"


class TwoBoxes:
    """A stand-in for a detector: a red box of score 0.31 and a white one of score 0.25 in every picture."""

    categories = (Category(1, "red"), Category(2, "white"))
    detections = DetectionConfig(score_threshold=0.0)

    def detect(self, image: np.ndarray, image_id: int) -> ImageDetections:
        boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 20]], np.float32)
        return ImageDetections(image_id, boxes, np.array([0.31, 0.25], np.float32), np.array([0, 1], np.int32))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path that looks like a run folder, and loads the stand-in."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(runtimes, "load", lambda path, **options: TwoBoxes())
    monkeypatch.setattr("tfrcnn.cli.startup.filter_stderr", lambda: None)  # it replaces the stream that pytest reads
    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "deep/c.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (90, 90, 90)).save(path)
    return tmp_path / "pictures"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def server(pictures: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(pictures))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def names(out: str = "out") -> list[str]:
    images = json.loads(Path(out, "images.json").read_text(encoding="utf-8"))["images"]
    return [image["file_name"] for image in images]


def test_folders_patterns_and_addresses_are_detected_in(
    tfrcnn: Callable, model: Path, pictures: Path, server: str
) -> None:
    sources = ("pictures/a.png", "pictures/*.png", "pictures/deep", f"{server}/b.png?size=full", f"{server}/none.png")
    result = tfrcnn("predict", *sources, "--model", model, "--out", "out", "--score-threshold", "0.3")
    assert result.code == 2
    assert result.err == f"error: {server}/none.png: expected an image, the server answers 404 File not found\n"
    assert names() == ["pictures/a.png", "pictures/b.png", "pictures/deep/c.png", f"{server}/b.png?size=full"]
    assert result.out.splitlines()[3] == f"{server}/b.png?size=full: 1 detection, drawn in out/b-2.png"
    assert Path("out/b-2.png").is_file()


def test_stdin_lists_sources_one_per_line(
    tfrcnn: Callable, model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = (pictures / "b.png").rename(pictures / "caf\udce9 1.png")
    lines = b"pictures/a.png\r\n\n" + str(odd.relative_to(Path.cwd())).encode("utf-8", "surrogateescape") + b"\nno.png"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines)))
    result = tfrcnn("predict", "-", "--model", model, "--out", "out", "--no-pictures")
    assert result.code == 2
    assert result.err == "error: no.png: expected an image or a folder of images, which does not exist\n"
    assert names() == ["pictures/a.png", "pictures/caf\udce9 1.png"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    empty = tfrcnn("predict", "-", "--model", model, "--out", "new")
    assert (empty.code, empty.err) == (2, "error: expected pictures on stdin, found no line\n")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_stdin_may_be_a_list_that_windows_wrote(
    tfrcnn: Callable, model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    content = io.BytesIO("pictures/a.png\r\npictures/b.png\r\n".encode(encoding))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(content))
    assert tfrcnn("predict", "-", "--model", model, "--out", "out", "--no-pictures").code == 0
    assert names() == ["pictures/a.png", "pictures/b.png"]


def test_a_closed_or_damaged_stdin_is_one_line(
    tfrcnn: Callable, model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after <&-
    closed = tfrcnn("predict", "-", "--model", model, "--out", "out")
    assert (closed.code, closed.err) == (2, "error: expected pictures on stdin, found no line\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfea")))
    damaged = tfrcnn("predict", "-", "--model", model, "--out", "out")
    assert damaged.code == 2
    assert damaged.err.startswith("error: stdin: expected UTF-8 or UTF-16 with a byte order mark")


def test_a_video_gives_an_annotated_video_and_a_row_per_frame(tfrcnn: Callable, model: Path) -> None:
    pytest.importorskip("av")
    with VideoWriter(Path("clip.mp4")) as writer:
        for i in range(10):
            writer.write(np.full((30, 40, 3), 90, np.uint8), i / 25)
    arguments = ("clip.mp4", "--model", model, "--out", "out", "--score-threshold", "0.3", "--format", "csv,coco")
    result = tfrcnn("predict", *arguments)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("clip.mp4: 10 frames, 10 detections, drawn in out/clip.mp4\n")
    assert len(list(read_frames(Path("out/clip.mp4")))) == 10
    rows = Path("out/detections.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1] == "clip.mp4,40,30,red,0.0,0.0,10.0,10.0,0.31,1,0,0.0"
    assert len(rows) == 11
    again = tfrcnn("predict", *arguments, "--resume")
    assert again.out.startswith("1 video done before.")
    Image.new("RGB", (40, 30)).save("a.png")
    tfrcnn("predict", "a.png", *arguments, "--resume")
    again = tfrcnn("predict", "a.png", *arguments, "--resume")
    assert again.out.startswith("1 picture and 1 video done before.")


def test_without_pyav_a_video_costs_only_itself(
    tfrcnn: Callable, model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("clip.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "av", None)
    result = tfrcnn("predict", "clip.mp4", "pictures/a.png", "--model", model, "--out", "out")
    assert (result.code, names()) == (2, ["pictures/a.png"])
    assert result.err == "error: clip.mp4: a video needs PyAV: pip install av\n"


@pytest.mark.parametrize(
    ("options", "written"),
    [
        ([], ["a.png", "detections.json", "detections.jsonl", "images.json"]),
        (["--no-pictures"], ["detections.json", "detections.jsonl", "images.json"]),
        (["--no-pictures", "--format", "jsonl"], ["detections.jsonl"]),
        (["--no-pictures", "--format", "csv"], ["detections.csv", "detections.jsonl"]),
        (["--format", "yolo"], ["a.png", "classes.txt", "detections.jsonl", "labels"]),
    ],
)
def test_formats_and_pictures_are_chosen(
    options: list[str], written: list[str], tfrcnn: Callable, model: Path, pictures: Path
) -> None:
    result = tfrcnn("predict", "pictures/a.png", "--model", model, "--out", "out", *options)
    assert (result.code, result.err) == (0, "")
    assert sorted(path.name for path in Path("out").iterdir()) == written
    assert any(f"out/{name}" in result.out.splitlines()[-1] for name in written)


@pytest.mark.parametrize(
    ("options", "scores"),
    [
        (["--score-threshold", "0.2"], [0.31, 0.25]),
        (["--score-threshold", "0.2,red=0.4"], [0.25]),
        (["--score-threshold", "red=0.3"], [0.31]),
        (["--score-threshold", "0.2", "--classes", "white"], [0.25]),
        (["--score-threshold", "0.2", "--classes", "white,red"], [0.31, 0.25]),
    ],
)
def test_classes_and_thresholds_are_chosen(
    options: list[str], scores: list[float], tfrcnn: Callable, model: Path, pictures: Path
) -> None:
    assert tfrcnn("predict", "pictures/a.png", "--model", model, "--out", "out", *options).code == 0
    rows = json.loads(Path("out/detections.json").read_text(encoding="utf-8"))
    assert [row["score"] for row in rows] == pytest.approx(scores)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "No detection above 0.5; the best score is 0.31 (red) in pictures/a.png."),
        (["--classes", "white"], "No detection above 0.5; the best score is 0.25 (white) in pictures/a.png."),
        (["--score-threshold", "red=0.6"], "No detection above the thresholds; the best score is 0.31 (red) in"),
        (["--score-threshold", "0.30"], ""),
    ],
)
def test_the_best_score_is_named_if_none_is_good_enough(
    options: list[str], line: str, tfrcnn: Callable, model: Path, pictures: Path
) -> None:
    result = tfrcnn("predict", "pictures", "--model", model, "--out", "out", "--no-pictures", *options)
    assert result.code == 0
    assert (line in result.out) if line else ("best score" not in result.out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pictures --classes blue", "--classes: no category has the name 'blue'; the nearest: 're"),
        ("pictures --classes Red", "--classes: no category has the name 'Red'; the nearest: 'red'"),
        ("pictures --score-threshold blue=0.5", "--score-threshold: no category has the name 'blue'"),
        ("pictures --score-threshold much", "--score-threshold: expected a number or CLASS=NUMBER, found 'much'"),
        ("pictures --score-threshold red=7", "--score-threshold: expected a number in 0..1, found '7'"),
        ("pictures --score-threshold 1", "--score-threshold: expected a number below 1, because no score is above 1"),
        ("pictures --batch 2 --flip", "--batch cannot be combined with the options of views"),
        ("pictures --format xml", "--format: expected some of coco, jsonl, csv, yolo, found 'xml'"),
        ("none.png", "none.png: expected an image or a folder of images, which does not exist"),
        ("none.png more.png", "2 faults"),
        ("pictures/*.gif", "pictures/*.gif: expected images (.bmp"),
        ("ftp://host/a.png", "ftp://host/a.png: expected an address of http, https"),
    ],
)
def test_a_wrong_source_or_option_is_one_error_before_anything_is_written(
    arguments: str, message: str, tfrcnn: Callable, model: Path, pictures: Path
) -> None:
    result = tfrcnn("predict", *arguments.split(), "--model", model, "--out", "out")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert not Path("out").exists()


def test_a_threshold_below_the_one_inside_a_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    detector = SimpleNamespace(detections=DetectionConfig(score_threshold=0.7))
    with pytest.raises(InputError, match=r"--score-threshold: expected at least 0\.7, .* found 0\.1"):
        _check_threshold(0.1, detector)
    _check_threshold(0.5, detector)  # the default
    assert capsys.readouterr().out == "The file has no detections of scores up to 0.7, the threshold inside it.\n"
    _check_threshold(0.8, detector)


def test_the_program_of_the_docs_reads_the_lines_of_pictures_videos_and_errors(
    model: Path, pictures: Path, tfrcnn: Callable, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    with VideoWriter(Path("v.mp4")) as writer:
        for i in range(2):
            writer.write(np.full((30, 40, 3), 90, np.uint8), i / 25)
    (pictures / "no-picture.jpg").write_bytes(b"no picture")
    tfrcnn("predict", "--model", model, pictures, "v.mp4", "--out", "predictions", "--score-threshold", "0.3")
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "prediction.md").read_text(encoding="utf-8"), re.DOTALL)
    (program,) = (block for block in blocks if "detections.jsonl" in block)
    capsys.readouterr()
    exec(program, {})
    printed = capsys.readouterr().out.splitlines()
    red = "red 0.3100000023841858 [0.0, 0.0, 10.0, 10.0]"
    assert printed == [f"{name} {red}" for name in (pictures / "a.png", pictures / "b.png", "v.mp4", "v.mp4")]


class Terminal(io.StringIO):
    """A terminal, whose text can be read."""

    def isatty(self) -> bool:
        return True

    def bar(self) -> str:
        """Return the state of the progress bar."""
        return self.getvalue().split("\r")[-1]


def test_bar_counts_a_video_when_it_is_done_and_shows_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, bars = Terminal(), []
    monkeypatch.setattr(sys, "stderr", terminal)

    def stream() -> Iterator[Prediction | Failure]:
        detections = TwoBoxes().detect(np.zeros((30, 40, 3), np.uint8), 1)
        for source, frame in (("a.png", None), ("v.mp4", 0), ("v.mp4", 1), ("b.png", None)):
            yield Prediction(Path(source), None, detections, frame)
            bars.append(terminal.bar())
        yield Failure("c.png", InputError("c.png: no image"))
        bars.append(terminal.bar())

    _Summary(Selection(0.5)).follow(stream(), 4)
    assert [bar.partition("/4 [")[0].split()[-1] for bar in bars] == ["1", "1", "1", "3", "4"]
    assert ["frame 0" in bars[1], "frame 1" in bars[2], "frame" in bars[3]] == [True, True, False]
