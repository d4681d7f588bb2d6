"""`tfrcnn feed` and `tfrcnn train --feeders`, in processes of their own."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tfrcnn.cli import main as cli
from tfrcnn.data import feeders
from tfrcnn.errors import LostFeederError
from tfrcnn.training import callbacks

from ..data.test_feeders import two_free_ports

pytestmark = pytest.mark.slow


def start(port: int) -> subprocess.Popen[str]:
    """Start a feeder, and return when it feeds."""
    command = [sys.executable, "-m", "tfrcnn.cli.main", "feed", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    address = f"127.0.0.1:{port}"
    assert line == f"Feeds at {address} and 127.0.0.1:{port + 1}. Train with --feeders {address}\n"
    return process


@pytest.fixture
def two() -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Two feeders by their addresses."""
    started = {f"127.0.0.1:{port}": start(port) for port in two_free_ports(2)}
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


def contents(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.h5")} | {
        "history.csv": (run / "history.csv").read_bytes()
    }


def test_a_run_with_feeders_is_the_run_without_also_after_a_kill(
    tmp_path: Path, coco: Callable, tfrcnn: Callable, two: dict[str, subprocess.Popen[str]]
) -> None:
    train = coco(tmp_path / "data", "train.json")
    options = ["train", "--train", train, "--model", "tiny_fpn", "--epochs", "12", "--batch-size", "1", "--swa", "0.5"]
    assert tfrcnn(*options, "--out", tmp_path / "plain").code == 0
    first, second = two
    fed = [*options, "--out", tmp_path / "fed", "--feeders", f"{first},{second}"]
    save_state = callbacks.save_state

    def save_state_then_kill(*arguments: object) -> None:
        save_state(*arguments)  # type: ignore[arg-type]
        two[second].kill()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "save_state", save_state_then_kill)
        patch.setattr(feeders, "_SECONDS_BETWEEN", 0.5)
        patch.setattr(feeders, "PATIENCE", 3.0)
        code, _, error = tfrcnn(*fed)
    assert code == 2
    assert f"error: the feeder {second} has not answered for 3 s. The run goes on after its last complete" in error
    assert tfrcnn("train", "--out", tmp_path / "fed", "--resume", "--feeders", first).code == 0
    assert contents(tmp_path / "fed") == contents(tmp_path / "plain")


def test_feeders_that_do_not_answer_are_refused_before_the_data_are_read(
    tmp_path: Path, coco: Callable, tfrcnn: Callable
) -> None:
    train = coco(tmp_path / "data", "train.json")
    address = f"127.0.0.1:{two_free_ports(1)[0]}"
    code, out, error = tfrcnn("train", "--train", train, "--out", tmp_path / "run", "--feeders", address)
    assert (code, out) == (2, "")
    assert error == f"error: --feeders: expected `tfrcnn feed` at {address}, found that nothing answers there\n"
    assert not (tmp_path / "run").exists()


def test_sigterm_ends_a_feeder_at_once(two: dict[str, subprocess.Popen[str]]) -> None:
    for process in two.values():
        process.send_signal(signal.SIGTERM)
    for process in two.values():
        assert process.wait(20) == 0
        assert process.communicate() == ("", "")


def test_a_process_that_threads_would_keep_leaves_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose(*_: object, **__: object) -> None:
        raise LostFeederError("the feeder a:1 has not answered")

    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(cli, "app", lose)
    monkeypatch.setattr("os._exit", leave)
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["train"])
    assert capsys.readouterr().err == "error: the feeder a:1 has not answered\n"
