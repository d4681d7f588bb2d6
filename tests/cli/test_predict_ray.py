"""`tfrcnn predict --engine ray` as a user calls it; the blocks are done in this process, without Ray."""

import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrcnn.batch.engine import Done, Work
from tfrcnn.config import Category, DetectionConfig
from tfrcnn.data.example import ImageDetections
from tfrcnn.export import runtimes

RAY = ("--engine", "ray")


class TwoBoxes:
    """A stand-in for a detector: a red box of score 0.7 and a white one of score 0.6 in every picture."""

    categories = (Category(1, "red"), Category(2, "white"))
    detections = DetectionConfig(score_threshold=0.0)

    def detect(self, image: np.ndarray, image_id: int) -> ImageDetections:
        boxes = np.array([[0, 0, 10, 10], [5, 5, 20, 20]], np.float32)
        return ImageDetections(image_id, boxes, np.array([0.7, 0.6], np.float32), np.array([0, 1], np.int32))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A path that looks like a run folder, and loads the stand-in; and three pictures."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (40, 30)).save(tmp_path / "pictures" / name)
    monkeypatch.setattr(runtimes, "load", lambda path, **options: TwoBoxes())
    monkeypatch.setattr("tfrcnn.batch.detect.load", lambda *arguments: TwoBoxes())
    monkeypatch.setattr("tfrcnn.cli.startup.filter_stderr", lambda: None)  # it replaces the stream that pytest reads
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An engine in this process; the list has the numbers of the blocks that it was given."""
    pytest.importorskip("pyarrow")
    numbers: list[int] = []

    @contextmanager
    def running(workers: int | None, threads: int) -> Iterator[int]:
        yield workers or 2

    def run(work: Work, tasks: list, workers: int, threads: int) -> Iterator[Done]:
        for task in reversed(tasks):  # in any order
            numbers.append(task[0])
            if not Path("dies").exists():
                yield work.run(*task)

    monkeypatch.setattr("tfrcnn.batch.engine.check_engine", lambda: None)
    monkeypatch.setattr("tfrcnn.batch.engine.running_ray", running)
    monkeypatch.setattr("tfrcnn.batch.engine.run_blocks", run)
    return numbers


def test_blocks_become_parquet_files_and_coco_results(tfrcnn: Callable, model: Path, engine: list[int]) -> None:
    Path("pictures/b.png").write_bytes(b"")
    Path("pictures/notes.txt").touch()
    result = tfrcnn("predict", "pictures", "--model", model, "--out", "out", *RAY, "--block-size", "2")
    assert result.code == 2
    assert result.err.startswith(f"error: {Path.cwd()}/pictures/b.png: expected a JPEG")
    assert result.out.splitlines() == [
        "out/detections/part-00001.parquet: done, 1 of 2",
        "out/detections/part-00000.parquet: done, 2 of 2",
        "3 pictures, 4 detections.",
        "Left out: 1 file of no supported type (.txt 1).",
        "",
        "All detections are in out/detections and out/detections.json.",
    ]
    images = json.loads(Path("out/images.json").read_text())["images"]
    assert [(image["id"], image["file_name"]) for image in images] == [(1, "pictures/a.png"), (3, "pictures/c.png")]
    assert [row["image_id"] for row in json.loads(Path("out/detections.json").read_text())] == [1, 1, 3, 3]


def test_resume_does_the_blocks_that_are_missing(tfrcnn: Callable, model: Path, engine: list[int]) -> None:
    arguments = ("predict", "pictures", "--model", model, "--out", "out", *RAY, "--block-size", "1")
    assert tfrcnn(*arguments, "--format", "parquet").code == 0
    assert not Path("out/detections.json").exists()
    again = tfrcnn(*arguments)
    assert (again.code, again.err) == (
        2,
        "error: out exists and is not an empty folder: choose another, or continue it with --resume\n",
    )
    Path("out/detections/part-00001.parquet").unlink()
    engine.clear()
    result = tfrcnn(*arguments, "--resume")
    assert (result.code, engine) == (0, [1])
    assert result.out.startswith("2 blocks done before.\n")
    assert len(json.loads(Path("out/detections.json").read_text())) == 6
    assert tfrcnn(*arguments, "--resume").out.startswith("3 blocks done before.\n")
    other = tfrcnn(*arguments, "--resume", "--classes", "red")
    assert (other.code, other.err.split(": expected")[0]) == (2, "error: out/setup.json: classes")


def test_a_block_whose_workers_die_is_named_and_the_rest_is_kept(
    tfrcnn: Callable, model: Path, engine: list[int]
) -> None:
    Path("dies").touch()
    result = tfrcnn("predict", "pictures", "--model", model, "--out", "out", *RAY)
    assert result.code == 2
    assert result.out.endswith("0 of 1 block are done and kept in out/detections.\n")
    assert result.err == (
        "error: out/detections/part-00000.parquet: missing: no worker could do it: continue with --resume\n"
    )
    Path("dies").unlink()
    assert tfrcnn("predict", "pictures", "--model", model, "--out", "out", *RAY, "--resume").code == 0


def test_classes_and_thresholds_reach_the_workers(tfrcnn: Callable, model: Path, engine: list[int]) -> None:
    for options, scores in (
        (("--score-threshold", "0.65"), [0.7]),
        (("--score-threshold", "red=0.8"), [0.6]),
        (("--classes", "white"), [0.6]),
    ):
        out = f"out{len(engine)}"
        assert tfrcnn("predict", "pictures/a.png", "--model", model, "--out", out, *RAY, *options).code == 0
        rows = json.loads(Path(out, "detections.json").read_text())
        assert [row["score"] for row in rows] == pytest.approx(scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--workers 2", "--workers needs --engine ray"),
        ("--threads 2", "--threads needs --engine ray"),
        ("--block-size 2", "--block-size needs --engine ray"),
        ("--column image", "--column needs --engine ray"),
        ("--name-column id", "--name-column needs --engine ray"),
        ("--format parquet", "--format: expected some of coco, jsonl, csv, yolo, found 'parquet'"),
        ("--engine ray --pictures", "--pictures cannot be combined with --engine ray"),
        ("--engine ray --set nms_iou=0.4", "--set cannot be combined with --engine ray"),
        ("--engine ray --tiles 320", "--tiles cannot be combined with --engine ray"),
        ("--engine ray --flip", "--flip cannot be combined with --engine ray"),
        ("--engine ray --scales 1,2", "--scales cannot be combined with --engine ray"),
        ("--engine ray --scales 1,2 --tile-overlap 0.1", "--tile-overlap cannot be combined with --engine ray"),
        ("--engine ray --region a.json", "--region cannot be combined with --engine ray"),
        ("--engine ray --format coco,csv", "--format: expected some of coco, parquet with --engine ray, found 'csv'"),
        ("--engine ray --column image", "--column and --name-column are for Parquet files, found none"),
        ("--engine dask", "'dask' is not one of 'local', 'ray'"),
    ],
)
def test_options_of_another_engine_are_refused(
    options: str, message: str, tfrcnn: Callable, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tfrcnn.batch.engine.check_engine", lambda: None)
    result = tfrcnn("predict", "pictures", "--model", model, "--out", "out", *options.split())
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert not Path("out").exists()


@pytest.mark.parametrize("package", ["ray", "pyarrow"])
def test_an_engine_that_is_not_installed_is_one_line(
    package: str, tfrcnn: Callable, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else "installed")
    result = tfrcnn("predict", "pictures", "--model", model, "--out", "out", *RAY)
    assert result.code == 2
    assert result.err == f"error: --engine ray needs {package}, which is not installed: pip install 'tfrcnn[ray]'\n"
