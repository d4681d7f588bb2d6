"""Detectors, results and runs in a bucket of a local S3 server.

Needs moto and s3fs: pip install "moto[server]" "tfrcnn[remote]"
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.buckets import lock as locking
from tfrcnn.buckets import transfers
from tfrcnn.buckets.models import local_model
from tfrcnn.buckets.runs import bucket_run
from tfrcnn.cli.sending import sending
from tfrcnn.errors import InputError
from tfrcnn.locks import LOCK

from ..local_s3 import run_server, use_bucket
from .test_models import DETECTOR
from .test_runs import begin, local, write_epoch
from .test_sending import write

RUN = "s3://bucket/runs/cells"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    yield from run_server()


@pytest.fixture(autouse=True)
def s3(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(transfers, "_WAITS", (0.0,))
    monkeypatch.setattr(locking, "_POLL", 0.01)
    monkeypatch.setattr(locking, "WATCH", 0.1)
    yield from use_bucket(server, tmp_path, monkeypatch)


def names(s3: Any) -> list[str]:
    s3.invalidate_cache()
    return sorted(name.removeprefix("bucket/runs/cells/") for name in s3.find("bucket/runs/cells"))


def test_a_run_is_sent_resumed_here_without_a_copy_and_fetched_elsewhere(s3: Any, cache: Path) -> None:
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        run.send()
        write_epoch(run.folder, 1)
    before = local(run.folder)
    assert names(s3) == sorted(before)
    state = run.folder / "training_state.npz"
    stamp = state.stat().st_mtime_ns
    with bucket_run(RUN, resume=True):
        assert state.stat().st_mtime_ns == stamp
    (cache / "runs").rename(cache / "another-machine")
    with bucket_run(RUN, resume=True) as run:
        assert local(run.folder) == before
        write_epoch(run.folder, 2)
    assert names(s3) == sorted(local(run.folder))


def test_one_process_holds_the_lock(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket_run(RUN, resume=False):
        holder = json.loads(s3.cat_file(f"bucket/runs/cells/{LOCK}"))
        monkeypatch.setattr(locking.BucketLock, "_is_alive", lambda self, other: other["key"] == holder["key"])
        with pytest.raises(InputError, match=f"{RUN} is in use by process"):  # noqa: SIM117
            with bucket_run(RUN, resume=False):
                pass
    assert names(s3) == []


def test_a_bucket_that_does_not_exist_is_one_line_before_training() -> None:
    with pytest.raises(InputError, match=r"^s3://none/run: "):  # noqa: SIM117
        with bucket_run("s3://none/run", resume=False):
            pass


def test_a_detector_and_results_are_read_from_and_written_to_a_bucket(s3: Any) -> None:
    description = {"format": 2, "weights": "model-0.weights.h5", "detector": DETECTOR}
    s3.pipe_file("bucket/runs/cells/config.json", json.dumps(description).encode())
    s3.pipe_file("bucket/runs/cells/model-0.weights.h5", b"weights")
    assert (local_model(RUN) / "model-0.weights.h5").read_bytes() == b"weights"
    s3.pipe_file("bucket/runs/cells/model-0.weights.h5", b"Weights")
    assert (local_model(RUN) / "model-0.weights.h5").read_bytes() == b"Weights"
    sending(write, "out", new=True)(out=Path(f"{RUN}/exports/cells"))
    assert "exports/cells/saved_model.pb" in names(s3)
