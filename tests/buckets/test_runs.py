"""A run folder in a bucket: resumable after each object, one writer, and nothing there is lost."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.buckets import lock as locking
from tfrcnn.buckets import transfers
from tfrcnn.buckets.lock import TakenOverError
from tfrcnn.buckets.runs import bucket_run
from tfrcnn.errors import InputError
from tfrcnn.locks import LOCK
from tfrcnn.training.bucket import SendRun, send_run, working_folder

from .conftest import BUCKET

RUN = f"{BUCKET}/runs/cells"


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "_WAITS", (0.0, 0.0))
    monkeypatch.setattr(locking, "_POLL", 0.01)
    monkeypatch.setattr(locking, "WATCH", 0.05)


@pytest.fixture
def fail_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[str]]:
    """A bucket that refuses all objects after some; returns the names that were sent."""
    from fsspec.implementations.memory import MemoryFileSystem

    put_file = MemoryFileSystem.put_file  # of the file system itself, also for a second limit

    def limit(count: int) -> list[str]:
        names: list[str] = []

        def put(self: Any, path: str, target: str, **options: Any) -> None:
            if len(names) >= count:
                raise OSError("no connection")
            names.append(target.removeprefix("/bucket/runs/cells/"))
            put_file(self, path, target, **options)

        monkeypatch.setattr(MemoryFileSystem, "put_file", put)
        return names

    return limit


def write_epoch(folder: Path, number: int) -> None:
    """Write what an epoch leaves: the best and the newest detector, the history and the state."""
    for place in (folder, folder / "last"):
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("model-*"):
            old.unlink()
        (place / f"model-{number}.weights.h5").write_text(str(number))
        (place / "config.json").write_text(json.dumps({"weights": f"model-{number}.weights.h5"}))
    (folder / "history.csv").write_text("row\n" * number)
    (folder / "training_state.npz").write_text(str(number))


def begin(folder: Path) -> None:
    (folder / "training.json").write_text("{}")


def content(bucket: Any) -> dict[str, bytes]:
    return {
        name.removeprefix("/bucket/runs/cells/"): bucket.cat_file(name)
        for name in bucket.find("/bucket/runs/cells")
        if not name.endswith(LOCK)
    }


def local(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".tmp" not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_a_bucket_holds_what_the_working_folder_holds_after_each_epoch(bucket: Any) -> None:
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        (run.folder / ".part.tmp.npz").write_text("a file that is being written")
        for number in (1, 2, 3):
            write_epoch(run.folder, number)
            run.send()
            assert content(bucket) == local(run.folder)
    assert not bucket.exists(f"/bucket/runs/cells/{LOCK}")


def test_a_file_that_did_not_change_is_not_sent_again(bucket: Any, fail_after: Any) -> None:
    names = fail_after(100)
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        run.send()
        (run.folder / "history.csv").write_text("row")
        run.send()
    assert names == ["training.json", "history.csv"]


def write_run(number: int) -> None:
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        write_epoch(run.folder, number)


def stop_sending(count: int, fail_after: Any) -> list[str]:
    """Send an epoch, and `count` files of the next one; return their names."""
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        write_epoch(run.folder, 1)
        run.send()
        write_epoch(run.folder, 2)
        names = fail_after(count)
        run.send()
    return names


@pytest.mark.parametrize("count", range(6))
def test_a_bucket_is_resumable_wherever_sending_ends(count: int, bucket: Any, fail_after: Any, cache: Path) -> None:
    """The state is of the last epoch that was sent whole, and each config.json names weights that are there."""
    with pytest.raises(InputError, match="cannot be written: no connection"):
        stop_sending(count, fail_after)
    after = content(bucket)
    assert (after["training.json"], after["training_state.npz"]) == (b"{}", b"1")
    for place in ("", "last/"):
        assert f"{place}{json.loads(after[f'{place}config.json'])['weights']}" in after
    (cache / "runs").rename(cache / "another-machine")
    fail_after(100)
    with bucket_run(RUN, resume=True) as run:
        assert local(run.folder) == after
        write_epoch(run.folder, 2)
    assert content(bucket) == local(run.folder)


def test_the_state_is_sent_last(bucket: Any, fail_after: Any) -> None:
    names = stop_sending(100, fail_after)
    assert names[-1] == "training_state.npz"
    assert names.index("last/model-2.weights.h5") < names.index("last/config.json")
    assert [name for name in content(bucket) if "model-1" in name] == []


def test_epochs_that_could_not_be_sent_are_sent_by_the_next_command_on_this_machine(
    bucket: Any, fail_after: Any, cache: Path
) -> None:
    whole = rf"the whole run is in {cache}/runs/memory/bucket/runs/cells: the same command with resume=True sends it"
    fail_after(3)
    with pytest.raises(InputError, match=whole):
        write_run(1)
    fail_after(100)
    with bucket_run(RUN, resume=True) as run:
        assert (run.folder / "training_state.npz").read_text() == "1"
    assert content(bucket) == local(run.folder)


def test_a_run_that_went_on_elsewhere_is_fetched_and_epochs_that_were_never_sent_are_kept_aside(
    bucket: Any, fail_after: Any, cache: Path, capsys: Any
) -> None:
    with pytest.raises(InputError):
        stop_sending(0, fail_after)
    fail_after(100)
    (cache / "runs").rename(cache / "here")
    with bucket_run(RUN, resume=True) as run:
        for number in (2, 3):
            write_epoch(run.folder, number)
    (cache / "runs").rename(cache / "there")
    (cache / "here").rename(cache / "runs")
    with bucket_run(RUN, resume=True) as run:
        assert local(run.folder) == content(bucket)
        assert (run.folder / "training_state.npz").read_text() == "3"
    aside = capsys.readouterr().err.strip().rpartition("is kept in ")[2]
    assert (Path(aside) / "training_state.npz").read_text() == "2"


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a.txt": 5}', '{"a.txt": [1]}', "\xff"])
def test_a_damaged_list_of_what_was_sent_costs_a_copy_of_the_run(bucket: Any, capsys: Any, text: str) -> None:
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        write_epoch(run.folder, 1)
    (run.folder / ".sent.tmp.json").write_text(text, encoding="latin-1")
    with bucket_run(RUN, resume=True) as again:
        assert local(again.folder) == content(bucket)
    assert "is kept in" in capsys.readouterr().err


def test_a_full_disk_is_named_when_a_run_is_fetched(bucket: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        write_epoch(run.folder, 1)
    (cache / "runs").rename(cache / "elsewhere")

    def refuse(filesystem: Any, source: str, target: str, **_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    monkeypatch.setattr(type(bucket), "get_file", refuse)
    with pytest.raises(InputError, match=rf"^{run.folder}/\S+: the disk is full"), bucket_run(RUN, resume=True):
        pass


def test_a_new_run_refuses_a_folder_that_is_not_empty_and_a_resumed_one_an_empty_folder(bucket: Any) -> None:
    with pytest.raises(InputError, match=f"{RUN}: expected a run, found no training.json"), bucket_run(RUN, True):
        pass
    bucket.pipe("/bucket/runs/cells/notes.txt", b"1")
    with pytest.raises(InputError, match=f"{RUN} exists and is not an empty folder"), bucket_run(RUN, False):
        pass
    assert list(content(bucket)) == ["notes.txt"]


def test_a_working_folder_whose_bucket_was_emptied_starts_again_empty(bucket: Any) -> None:
    write_run(1)
    bucket.rm("/bucket/runs", recursive=True)
    write_run(2)
    assert "model-1.weights.h5" not in content(bucket)


def put_lock(bucket: Any, **changes: Any) -> None:
    holder = {**locking.this_process(), "host": "other", "boot": "other", "beat": 0.0, **changes}
    bucket.pipe(f"/bucket/runs/cells/{LOCK}", json.dumps(holder).encode())


def test_one_process_writes_and_another_is_refused_while_it_is_alive(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "BEAT", 0.005)
    monkeypatch.setattr(locking, "WATCH", 5.0)
    with (
        bucket_run(RUN, resume=False),
        pytest.raises(InputError, match=rf"{RUN} is in use by process \d+ on the host"),
        bucket_run(RUN, resume=False),
    ):
        pass


def test_the_lock_of_a_process_that_writes_it_no_more_is_taken(bucket: Any, capsys: Any) -> None:
    put_lock(bucket)
    with bucket_run(RUN, resume=False):
        pass
    assert "waiting to see whether process" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"host": 5, "pid": "x", "since": null, "boot": 1}'])
def test_a_lock_that_names_no_process_is_taken_when_nobody_writes_it(bucket: Any, capsys: Any, text: str) -> None:
    bucket.pipe(f"/bucket/runs/cells/{LOCK}", text.encode())
    with bucket_run(RUN, resume=False):
        pass
    assert "waiting to see whether process 0 on the host unknown" in capsys.readouterr().err


def test_a_message_cuts_the_host_that_a_lock_names(bucket: Any) -> None:
    with bucket_run(RUN, resume=False) as run:
        put_lock(bucket, host="h" * 5000)
        with pytest.raises(TakenOverError, match=r"on the host h{97}[.]{3}, since"):
            run.send()
        put_lock(bucket, key=run._lock._holder["key"])


def test_a_process_whose_lock_was_taken_sends_nothing(bucket: Any) -> None:
    with bucket_run(RUN, resume=False) as run:
        begin(run.folder)
        put_lock(bucket, pid=7)
        with pytest.raises(TakenOverError, match="was taken over by process 7 on the host other"):
            run.send()
        assert content(bucket) == {}
        put_lock(bucket, key=run._lock._holder["key"])


def test_training_goes_on_if_an_epoch_cannot_be_sent(bucket: Any, fail_after: Any, capsys: Any) -> None:
    with working_folder(RUN, resume=False) as folder:
        begin(folder)
        send_run()
        write_epoch(folder, 1)
        fail_after(0)
        SendRun().on_epoch_end(0)
        fail_after(100)
        assert "no connection; training goes on, and the next epoch sends it again" in capsys.readouterr().err
    assert content(bucket) == local(folder)


def test_a_local_run_folder_is_used_as_it_is(tmp_path: Path) -> None:
    with working_folder(tmp_path / "run", resume=False) as folder:
        send_run()
    assert folder == tmp_path / "run"
