"""Ray for real: blocks on two workers, a worker and a whole run that are killed, and `Detect` in Ray Data.

Each test runs Ray in processes of its own: it changes signals and loggers of the process that starts it.
"""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tfrcnn.batch import Detect

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ray", "pyarrow"))), reason="Ray is not installed: pip install 'tfrcnn[ray]'"
)

LIMIT = 600  # seconds for a run, which takes half a minute on two idle cores


def command(model: Path, *words: str) -> list[str]:
    options = ["--model", str(model), "--out", "out", "--engine", "ray", "--workers", "2"]
    return [sys.executable, "-m", "tfrcnn.cli.main", "predict", "pictures", *options, *words]


def run(model: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    options = {"capture_output": True, "text": True, "check": False, "timeout": LIMIT}
    return subprocess.run(command(model, *words), cwd=folder, **options)


@contextmanager
def running(model: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a run of blocks of five pictures, and kill it at the end unless it has ended."""
    words = command(model, "--block-size", "5")
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def parts(folder: Path) -> dict[str, int]:
    """The files of the finished blocks, and when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "out/detections").glob("part-*.parquet")}


@pytest.mark.slow
def test_two_workers_do_all_blocks_and_a_second_run_does_none(model: Path, pictures: Path) -> None:
    done = run(model, pictures.parent, "--block-size", "2")
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert [line.partition(": expected")[0] for line in lines] == [f"error: {pictures}/04.png"]
    assert "10 pictures, 18 detections." in done.stdout
    images = json.loads((pictures.parent / "out/images.json").read_text())["images"]
    assert [image["width"] for image in images] == [40, 42, 44, 46, 50, 52, 54, 56, 58]
    before = parts(pictures.parent)
    again = run(model, pictures.parent, "--block-size", "2", "--resume")
    assert "5 blocks done before." in again.stdout
    assert parts(pictures.parent) == before


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder with links to a picture that takes tens of milliseconds to decode."""
    (tmp_path / "pictures").mkdir()
    Image.effect_noise((3000, 2000), 90).convert("RGB").save(tmp_path / "large.jpg")
    for number in range(200):
        (tmp_path / "pictures" / f"{number:03d}.jpg").symlink_to(tmp_path / "large.jpg")
    return tmp_path


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> Any:
    """Wait until a condition holds while a process runs, and return what it returned."""
    deadline = time.monotonic() + LIMIT
    while not (result := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return result


def actors(process: subprocess.Popen[str]) -> set[int]:
    """The processes of Ray's workers below a process."""
    parents, pids = {}, set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal():
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                    pids.add(int(folder.name))
        except OSError:  # it has ended
            continue

    def is_below(pid: int) -> bool:
        return pid == process.pid or (pid in parents and is_below(parents[pid]))

    return {pid for pid in pids if is_below(pid)}


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(model: Path, many: Path) -> None:
    with running(model, many) as process:
        wait_for(lambda: parts(many), process)
        first = actors(process)
        os.kill(min(first), signal.SIGKILL)
        wait_for(lambda: actors(process) - first, process)  # another takes its place
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, err
    assert "200 pictures, 400 detections." in out
    rows = json.loads((many / "out/detections.json").read_text())
    assert [row["image_id"] for row in rows] == [1 + i // 2 for i in range(400)]


@pytest.mark.slow
def test_a_run_that_is_killed_continues_after_its_finished_blocks(model: Path, many: Path) -> None:
    with running(model, many) as process:
        wait_for(lambda: len(parts(many)) >= 6, process)
        pids = actors(process)
    deadline = time.monotonic() + LIMIT
    while any(Path(f"/proc/{pid}").exists() for pid in pids):  # Ray ends its workers
        assert time.monotonic() < deadline
        time.sleep(0.1)
    before = parts(many)
    assert 6 <= len(before) < 40
    done = run(model, many, "--block-size", "5", "--resume")
    assert done.returncode == 0, done.stderr
    assert f"{len(before)} blocks done before." in done.stdout
    after = parts(many)
    assert len(after) == 40
    assert before.items() <= after.items()
    assert len(json.loads((many / "out/detections.json").read_text())) == 400


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Ray about its own settings
@pytest.mark.parametrize("batch_format", ["pyarrow", "pandas", "numpy"])
def test_each_batch_format_of_ray_data_gives_the_same_rows(batch_format: str, model: Path, pictures: Path) -> None:
    """By the functions with which Ray Data makes batches of blocks, and blocks of results; no cluster is needed."""
    block, builder = (
        pytest.importorskip(f"ray.data.{name}") for name in ("block", "_internal.delegating_block_builder")
    )
    table = pytest.importorskip("pyarrow").Table
    detect, joined = Detect(model, threads=1), builder.DelegatingBlockBuilder()
    for names in (["04.png"], ["05.png", "04.png"], ["06.png"]):  # the first block has no detections
        rows = [{"bytes": (pictures / name).read_bytes(), "path": name} for name in names]
        batch = block.BlockAccessor.for_block(table.from_pylist(rows)).to_batch_format(batch_format)
        joined.add_block(block.BlockAccessor.batch_to_block(detect(batch)))
    rows = block.BlockAccessor.for_block(joined.build()).to_arrow().to_pylist()
    assert [row["file_name"] for row in rows] == ["04.png", "05.png", "04.png", "06.png"]
    assert [row["names"] for row in rows] == [[], ["cat", "dog"], [], ["cat", "dog"]]
    assert rows[1]["boxes"][0] == pytest.approx([2, 5, 10, 25])
    assert [bool(row["error"]) for row in rows] == [True, False, True, False]


RAY_DATA = """
import sys
import ray
import tfrcnn.batch
from tfrcnn.batch.engine import running_ray

detect = tfrcnn.batch.Detect
with running_ray(3, 1):  # two actors keep a processor each, and the third reads and writes
    pictures = ray.data.read_binary_files(sys.argv[2], include_paths=True)
    workers = ray.data.ActorPoolStrategy(size=2)
    for name, function, options in (
        ("object", detect(sys.argv[1]), {}),
        ("class", detect, {"fn_constructor_args": (sys.argv[1],), "compute": workers}),
    ):
        pictures.map_batches(function, batch_size=4, batch_format="pyarrow", **options).write_parquet(name)
    for batch_format in ("pandas", "numpy"):
        rows = pictures.map_batches(detect(sys.argv[1]), batch_size=4, batch_format=batch_format).take_all()
        print(sorted((row["file_name"], len(row["boxes"])) for row in rows))
"""


@pytest.mark.slow
def test_ray_data_maps_batches_and_writes_plain_parquet_files(model: Path, pictures: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    words = [sys.executable, "-c", RAY_DATA, str(model), str(pictures)]
    done = subprocess.run(words, cwd=pictures.parent, check=True, capture_output=True, text=True, timeout=LIMIT)
    expected = [(str(pictures / f"{number:02d}.png"), 0 if number == 4 else 2) for number in range(10)]
    assert done.stdout == f"{expected}\n{expected}\n"
    for name in ("object", "class"):
        table = parquet.read_table(pictures.parent / name)
        rows = sorted(table.to_pylist(), key=lambda row: row["file_name"])
        assert [len(row["boxes"]) for row in rows] == [2, 2, 2, 2, 0, 2, 2, 2, 2, 2]
        assert rows[1]["boxes"][0] == pytest.approx([2, 4.2, 10, 21])
