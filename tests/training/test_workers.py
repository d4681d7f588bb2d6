"""Training on several machines: processes that know each other by TF_CONFIG, on the loopback device."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.models import load_detector
from tfrcnn.training.run import load_run
from tfrcnn.training.strategy import make_strategy
from tfrcnn.training.workers import divide, gather, position

PROGRAM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tfrcnn.training.strategy import make_strategy
strategy = make_strategy("auto")
import keras
from test_run import fresh_detector, make_dataset, settings
from tfrcnn.errors import InputError
from tfrcnn.training.run import train
from tfrcnn.training.workers import gather, position

folder, mode = Path(sys.argv[2]), sys.argv[3]
data = make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)

class Die(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if mode == "die" and position().worker == 1 and len(self.model.history.epoch) == 1 and batch == 1:
            os._exit(9)

with strategy.scope():
    if mode == "new":
        contents = gather(bytes(range(position().worker, 7)))
        assert contents == [bytes(range(7)), bytes(range(1, 7))], contents
    out = folder / ("run" if position().worker == 0 else "nowhere")
    try:
        run = train(fresh_detector(), *data, out, settings(), callbacks=[Die()], resume=mode == "resume")
    except InputError as error:
        sys.exit(f"error: {error}")
    print([row["val_AP"] for row in run.history])
"""


def start_workers(folder: Path, mode: str, count: int = 2) -> list[tuple[int, str, str]]:
    """Run the program as several workers, or alone, and return the exit code and the texts of each."""
    folder.mkdir(exist_ok=True)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    processes = []
    for index in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(folder), mode],
                env={**os.environ, "TF_CONFIG": json.dumps(config) if count > 1 else ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    texts = [process.communicate(timeout=600) for process in processes]
    return [(process.returncode, *text) for process, text in zip(processes, texts)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of an uninterrupted run of two workers, and what they printed."""
    folder = tmp_path_factory.mktemp("whole")
    results = start_workers(folder, "new")
    assert [code for code, _, _ in results] == [0, 0], results[0][2][-2000:] + results[1][2][-2000:]
    return folder, results


def weights_of(folder: Path) -> list[np.ndarray]:
    return load_detector(folder / "last").get_weights()


@pytest.mark.slow
def test_two_workers_train_as_one_and_only_the_chief_writes_and_prints(whole, tmp_path):
    folder, (chief, other) = whole
    assert "epoch 3/3" in chief[1]
    assert len(other[1].splitlines()) == 1  # the program's own line
    assert other[1] == chief[1].splitlines(keepends=True)[-1]
    assert not (folder / "nowhere").exists()
    assert start_workers(tmp_path, "alone", count=1)[0][0] == 0
    alone = load_run(tmp_path / "run")
    together = load_run(folder / "run")
    for row, expected in zip(together.history, alone.history, strict=True):
        assert list(row) == list(expected)
        # the samples of the RPN do not depend on the network; a proposal at the border of a choice can change
        for name in row:
            tolerance = 1e-5 if name.startswith("rpn") else 5e-3
            values = np.array([row[name], expected[name]], float)  # an undefined score is NaN
            np.testing.assert_allclose(*values, rtol=tolerance, atol=0.05 if name.startswith("val") else 0)
    for one, two in zip(weights_of(tmp_path / "run"), weights_of(folder / "run"), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-2, atol=1e-3 * abs(one).max())


@pytest.mark.soak
def test_a_worker_that_dies_ends_the_others_and_both_resume_to_the_bit(whole, tmp_path):
    (code, _, error), (died, _, _) = start_workers(tmp_path, "die")
    assert (code, died) == (1, 9)
    message = error.splitlines()[-1]
    assert "another worker ended" in message
    assert "resume=True" in message
    results = start_workers(tmp_path, "resume")
    assert [code for code, _, _ in results] == [0, 0], results[0][2][-2000:] + results[1][2][-2000:]
    assert load_run(tmp_path / "run").history == load_run(whole[0] / "run").history
    for one, two in zip(weights_of(whole[0] / "run"), weights_of(tmp_path / "run"), strict=True):
        np.testing.assert_array_equal(two, one)


def test_one_process_does_all_the_work():
    assert position() == (0, 1)
    assert gather(b"x") == [b"x"]
    assert divide(lambda part: [2 * i for i in part], (1, 2, 3)) == [2, 4, 6]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "TF_CONFIG must be JSON"),
        ("[]", "TF_CONFIG must be JSON"),
        ('{"cluster": {"worker": ["a:1"]}}', '"task"'),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', '"index"'),
        ("", "expected TF_CONFIG, for example"),
    ],
)
def test_a_wrong_list_of_workers_is_one_line(monkeypatch, text, expected):
    monkeypatch.setenv("TF_CONFIG", text)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    with pytest.raises(InputError, match=expected):
        make_strategy("multi-worker")


def test_a_machine_with_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert make_strategy("auto").num_replicas_in_sync == make_strategy("none").num_replicas_in_sync == 1
    with pytest.raises(InputError, match="auto, none, mirrored, multi-worker, found 'tpu'"):
        make_strategy("tpu")
