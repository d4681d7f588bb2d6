"""One writer per folder: locks, and how the lock of a process that has ended is recognised."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tfrcnn import locks
from tfrcnn.errors import InputError
from tfrcnn.files import is_free
from tfrcnn.locks import LOCK, POLL, FolderLock, acquire_in_turn, check_unlocked, locked

HOLD = """
import sys, time
from pathlib import Path
from tfrcnn.locks import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    yield process
    process.kill()
    process.communicate()


def leave_lock(folder: Path, **changes):
    """Leave a lock file as a process of this host that has ended leaves it."""
    folder.mkdir(exist_ok=True)
    with locked(folder):
        holder = json.loads((folder / LOCK).read_text())
    (folder / LOCK).write_text(json.dumps({**holder, **changes}))


def test_a_second_process_is_refused_with_the_host_and_the_number_of_the_first(holder, tmp_path):
    message = rf"run is in use by process {holder.pid} on the host \S+, since 20.*: wait"
    with pytest.raises(InputError, match=message), locked(tmp_path / "run"):
        pass
    with pytest.raises(InputError, match=f"in use by process {holder.pid}"):
        check_unlocked(tmp_path / "run")


def test_the_lock_of_a_killed_process_is_taken_over(holder, tmp_path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / LOCK).is_file()
    check_unlocked(tmp_path / "run")
    with locked(tmp_path / "run") as lock:
        lock.check()


def test_two_threads_of_one_process_exclude_each_other_too(tmp_path):
    with locked(tmp_path / "run"), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        check_unlocked(tmp_path / "run")
    check_unlocked(tmp_path / "run")


def test_a_lock_of_another_host_is_respected_and_says_how_to_remove_it(tmp_path):
    leave_lock(tmp_path / "run", host="elsewhere", boot="another", pid=7)
    message = rf"locked by process 7 on the host elsewhere, since .*: if that process has ended, remove .*{LOCK}"
    with pytest.raises(InputError, match=message):
        check_unlocked(tmp_path / "run")
    (tmp_path / "run" / LOCK).unlink()
    check_unlocked(tmp_path / "run")


@pytest.mark.parametrize("changes", [{"boot": "before"}, {"host": "container"}], ids=["rebooted", "container"])
def test_a_lock_that_this_machine_left_before_is_taken_over(changes, tmp_path):
    leave_lock(tmp_path / "run", **changes)
    with locked(tmp_path / "run") as lock:
        lock.check()


@pytest.mark.parametrize(
    ("pid", "is_taken"),
    [(2**22 + 1, True), (2**31 - 1, True), (os.getppid(), False), (1, False)],
    ids=["ended", "largest", "alive", "first"],
)
def test_without_locks_of_the_kernel_the_number_of_the_process_decides(pid, is_taken, tmp_path, monkeypatch):
    leave_lock(tmp_path / "run", pid=pid)
    monkeypatch.setattr("tfrcnn.locks.fcntl", None)
    if is_taken:
        check_unlocked(tmp_path / "run")
    else:
        with pytest.raises(InputError, match=f"in use by process {pid}"):
            check_unlocked(tmp_path / "run")


def test_without_locks_of_the_kernel_a_number_of_before_the_last_boot_means_nothing(tmp_path, monkeypatch):
    leave_lock(tmp_path / "run", pid=os.getppid(), boot="before")
    monkeypatch.setattr("tfrcnn.locks.fcntl", None)
    check_unlocked(tmp_path / "run")


def test_without_locks_of_the_kernel_a_restarted_container_takes_its_lock_over(tmp_path, monkeypatch):
    """Its processes have the numbers of those before, here this test's own."""
    leave_lock(tmp_path / "run", uptime=0.5)
    monkeypatch.setattr("tfrcnn.locks.fcntl", None)
    with locked(tmp_path / "run"), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        check_unlocked(tmp_path / "run")
    leave_lock(tmp_path / "run", uptime="damaged")
    with pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        check_unlocked(tmp_path / "run")


def test_without_locks_of_the_kernel_the_lock_of_another_container_is_respected(tmp_path, monkeypatch):
    """Its processes run on this machine and cannot be seen."""
    leave_lock(tmp_path / "run", host="container", pid=2**22 + 1)
    monkeypatch.setattr("tfrcnn.locks.fcntl", None)
    with pytest.raises(InputError, match=rf"if that process has ended, remove .*{LOCK}"):
        check_unlocked(tmp_path / "run")


HOLDER = b'{"host": "a", "pid": %s, "since": "", "boot": null}'


@pytest.mark.parametrize(("pid", "is_one"), [(-1, False), (0, False), (1, True), (2**31 - 1, True), (2**31, False)])
def test_a_holder_has_the_number_of_a_process(pid, is_one):
    assert (locks.parsed(HOLDER % b"%d" % pid) is not None) == is_one


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"host": 1}', b"\xff", HOLDER % b'"1"', HOLDER % b"1e9", HOLDER % (b"9" * 20)]
)
def test_a_damaged_lock_file_is_taken_over(content, tmp_path, monkeypatch):
    monkeypatch.setattr("tfrcnn.locks._PATIENCE", 0.0)
    (tmp_path / LOCK).write_bytes(content)
    with locked(tmp_path) as lock:
        lock.check()
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_leaves_nothing(tmp_path):
    with locked(tmp_path / "new"):
        assert is_free(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "old"):
        raise ZeroDivisionError
    assert list((tmp_path / "old").iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(OSError, match=f"No space left on device: '.*{LOCK}'"), locked(tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()


def test_the_holder_notices_that_the_folder_is_gone(tmp_path):
    with locked(tmp_path / "run") as lock:
        shutil.rmtree(tmp_path / "run")
        with pytest.raises(InputError, match="was removed or moved while this process was writing to it"):
            lock.check()


def test_the_holder_notices_that_another_process_took_over(tmp_path):
    with locked(tmp_path / "run") as lock:
        (tmp_path / "run" / LOCK).unlink()
        with locked(tmp_path / "run"), pytest.raises(InputError, match="taken over by process"):
            lock.check()


def test_a_message_cuts_the_host_that_a_lock_file_names(tmp_path):
    leave_lock(tmp_path / "run", host="h" * 5000, since="s" * 5000, boot="other")
    with pytest.raises(InputError) as refusal, locked(tmp_path / "run"):
        pass
    cut = "h" * 97 + "..."
    assert f"locked by process {os.getpid()} on the host {cut}, since sss" in str(refusal.value)
    assert len(str(refusal.value)) < 500 + 2 * len(str(tmp_path))


def test_a_download_waits_for_another_one_and_says_so_once(tmp_path, monkeypatch, capsys):
    lock, other, naps = FolderLock(tmp_path), FolderLock(tmp_path), []
    other.acquire()

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            other.release()

    monkeypatch.setattr("tfrcnn.locks.time.sleep", nap)
    acquire_in_turn(lock, "digits")
    lock.check()
    lock.release()
    assert naps == [POLL, POLL]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"waiting for another download of digits: {tmp_path} is in use by process {os.getpid()}")


def test_a_lock_that_another_process_took_is_not_removed_by_the_first(tmp_path):
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.acquire()
    first.path.unlink()
    second.acquire()
    first.release()
    second.check()
    second.release()
    assert not first.path.exists()


def test_a_holder_that_has_not_written_its_name_yet_is_waited_for(tmp_path, monkeypatch):
    holder = {"host": "elsewhere", "pid": 7, "since": "now", "boot": "another"}
    with open(tmp_path / LOCK, "x") as file:
        locks.fcntl.flock(file, locks.fcntl.LOCK_EX)
        monkeypatch.setattr("tfrcnn.locks.time.sleep", lambda seconds: (tmp_path / LOCK).write_text(json.dumps(holder)))
        with pytest.raises(InputError, match="locked by process 7 on the host elsewhere, since now"):
            check_unlocked(tmp_path)


def test_a_holder_that_writes_no_name_is_another_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tfrcnn.locks._PATIENCE", 0.0)
    with open(tmp_path / LOCK, "x") as file:
        locks.fcntl.flock(file, locks.fcntl.LOCK_EX)
        with pytest.raises(InputError, match="in use by another process: wait until it ends, or choose another folder"):
            check_unlocked(tmp_path)


def test_a_file_that_is_removed_while_it_is_locked_is_made_again(tmp_path, monkeypatch):
    def removing(descriptor, operation):
        monkeypatch.undo()
        (tmp_path / LOCK).unlink()
        locks.fcntl.flock(descriptor, operation)

    for is_new in (True, False):
        (tmp_path / LOCK).unlink(missing_ok=True)
        if not is_new:
            leave_lock(tmp_path)
        monkeypatch.setattr("tfrcnn.locks.fcntl.flock", removing)
        with locked(tmp_path) as lock:
            lock.check()


def test_a_file_that_is_removed_before_it_is_opened_is_made_again(tmp_path, monkeypatch):
    leave_lock(tmp_path)
    open_file = os.open

    def removing(path, flags):
        if not flags & os.O_CREAT:
            monkeypatch.undo()
            (tmp_path / LOCK).unlink()
        return open_file(path, flags)

    monkeypatch.setattr("tfrcnn.locks.os.open", removing)
    with locked(tmp_path) as lock:
        lock.check()


def test_a_process_of_another_user_is_alive(tmp_path, monkeypatch):
    def refuse(number, signal):
        raise PermissionError

    leave_lock(tmp_path, pid=2**22 + 1)
    monkeypatch.setattr("tfrcnn.locks.fcntl", None)
    monkeypatch.setattr(os, "kill", refuse)
    with pytest.raises(InputError, match=f"in use by process {2**22 + 1}"):
        check_unlocked(tmp_path)


def test_a_file_system_without_locks_is_as_a_system_without_them(tmp_path, monkeypatch):
    def refuse(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("tfrcnn.locks.fcntl.flock", refuse)
    leave_lock(tmp_path, pid=os.getppid())
    with pytest.raises(InputError, match=f"in use by process {os.getppid()}"):
        check_unlocked(tmp_path)
    leave_lock(tmp_path / "ended", pid=2**22 + 1)
    check_unlocked(tmp_path / "ended")
