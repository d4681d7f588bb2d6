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
from pathlib import Path

import pytest
from PIL import Image

from tfrcnn.batch import Detect

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("ray", "pyarrow"))), reason="Ray is not installed: pip install 'tfrcnn[ray]'"
)


def command(model: Path, *words: str) -> list[str]:
    options = ["--model", str(model), "--out", "out", "--engine", "ray", "--workers", "2"]
    return [sys.executable, "-m", "tfrcnn.cli.main", "predict", "pictures", *options, *words]


def run(model: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(model, *words), cwd=folder, capture_output=True, text=True, check=False)


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


def wait_for_parts(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    while len(parts(folder)) < count:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


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


@pytest.mark.soak
def test_a_worker_that_is_killed_loses_nothing(model: Path, many: Path) -> None:
    with subprocess.Popen(
        command(model, "--block-size", "5"), cwd=many, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_parts(many, 1, process)
        while len(first := actors(process)) < 2:  # the second may start much later than the first
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        os.kill(min(first), signal.SIGKILL)
        while not (others := actors(process) - first):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        out, err = process.communicate(timeout=1800)
    assert (process.returncode, len(others)) == (0, 1), err
    assert "200 pictures, 400 detections." in out
    rows = json.loads((many / "out/detections.json").read_text())
    assert [row["image_id"] for row in rows] == [1 + i // 2 for i in range(400)]


@pytest.mark.soak
def test_a_run_that_is_killed_continues_after_its_finished_blocks(model: Path, many: Path) -> None:
    with subprocess.Popen(
        command(model, "--block-size", "5"), cwd=many, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for_parts(many, 6, process)
        pids = actors(process)
        process.kill()
    deadline = time.monotonic() + 600
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

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
pictures = ray.data.read_binary_files("pictures", include_paths=True)
detect = tfrcnn.batch.Detect
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


@pytest.mark.soak
def test_ray_data_maps_batches_and_writes_plain_parquet_files(model: Path, pictures: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    words = [sys.executable, "-c", RAY_DATA, str(model)]
    done = subprocess.run(words, cwd=pictures.parent, check=True, capture_output=True, text=True)
    expected = [(str(pictures / f"{number:02d}.png"), 0 if number == 4 else 2) for number in range(10)]
    assert done.stdout == f"{expected}\n{expected}\n"
    for name in ("object", "class"):
        table = parquet.read_table(pictures.parent / name)
        rows = sorted(table.to_pylist(), key=lambda row: row["file_name"])
        assert [len(row["boxes"]) for row in rows] == [2, 2, 2, 2, 0, 2, 2, 2, 2, 2]
        assert rows[1]["boxes"][0] == pytest.approx([2, 4.2, 10, 21])
