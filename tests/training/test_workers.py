"""Training on several machines: processes that know each other by TF_CONFIG, on the loopback device."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.models import load_detector
from tfrcnn.training.run import load_run
from tfrcnn.training.strategy import make_strategy
from tfrcnn.training.workers import divide, gather, position

PROGRAM = Path(__file__).with_name("worker_program.py")
LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on."""
    sockets = [socket.create_server((LOOPBACK, 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_workers(
    folder: Path, mode: str, kind: str = "tiny_fpn", count: int = 2, places: dict[str, list[str]] | None = None
) -> list[tuple[int, str, str]]:
    """Run the program as several workers, or alone.

    Args:
        folder: of data and run.
        mode: of the program.
        kind: of the program.
        count: workers.
        places: the command that starts a program in the network of each address; None is the loopback device.

    Returns:
        The exit code and the texts of each.
    """
    folder.mkdir(exist_ok=True)
    hosts = list(places or {LOOPBACK: []}) * (1 if places else count)
    addresses = [f"{host}:{port}" for host, port in zip(hosts, free_ports(count))]
    processes = []
    for index, host in enumerate(hosts):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        processes.append(
            subprocess.Popen(
                [*(places or {}).get(host, []), sys.executable, str(PROGRAM), str(folder), mode, kind],
                env={**os.environ, "TF_CONFIG": json.dumps(config) if count > 1 else ""},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    try:
        texts = [process.communicate(timeout=1800) for process in processes]
    finally:
        for process in processes:
            process.kill()  # none runs, unless one took too long
    return [(process.returncode, *text) for process, text in zip(processes, texts)]


def run_workers(folder: Path, mode: str, kind: str = "tiny_fpn", **options: Any) -> list[str]:
    """Run the program, which must succeed on all workers, and return what each printed."""
    results = start_workers(folder, mode, kind, **options)
    assert not any(code for code, _, _ in results), "".join(error[-2000:] for _, _, error in results)
    return [text for _, text, _ in results]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of an uninterrupted run of two workers, and what they printed."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run_workers(folder, "new")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Return the folder of the same run in one process."""
    folder = tmp_path_factory.mktemp("alone")
    run_workers(folder, "new", count=1)
    return folder


def weights_of(folder: Path) -> list[np.ndarray]:
    return load_detector(folder / "last").get_weights()


def momenta_of(folder: Path) -> dict[str, np.ndarray]:
    """Return what SGD remembers of the gradients of all steps."""
    with np.load(folder / "training_state.npz") as state:
        return {name: state[name] for name in state.files if name.endswith("_momentum")}


def check_same(run: Path, expected: Path, tolerance: float = 1e-5, least: float = 0) -> None:
    """Check that two runs have the same losses and weights but for round-off.

    The tolerance of weights is relative to the largest of each variable, at least to `least`.
    """
    together, alone = load_run(run), load_run(expected)
    for row, other in zip(together.history, alone.history, strict=True):
        assert list(row) == list(other)
        for name in row:
            values = np.array([row[name], other[name]], float)  # an undefined score is NaN
            is_score = name.startswith("val_A")
            np.testing.assert_allclose(*values, rtol=tolerance, atol=0.05 if is_score else 0, err_msg=name)
    for one, two in zip(weights_of(expected), weights_of(run), strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=tolerance * max(abs(one).max(), least))


def check_equal(run: Path, expected: Path) -> None:
    """Check that two runs are the same to the bit."""
    assert load_run(run).history == load_run(expected).history
    for one, two in zip(weights_of(expected), weights_of(run), strict=True):
        np.testing.assert_array_equal(two, one)


@pytest.mark.slow
def test_two_workers_train_as_one_and_only_the_chief_writes_and_prints(whole, alone):
    folder, (chief, other) = whole
    assert "epoch 3/3" in chief
    assert len(other.splitlines()) == 1  # the program's own line
    assert other == chief.splitlines(keepends=True)[-1]
    assert not (folder / "nowhere").exists()
    check_same(folder / "run", alone / "run")


@pytest.mark.slow
def test_two_workers_train_mobilenet_as_one_with_the_norms_of_the_whole_batch(tmp_path):
    for name, count in (("together", 2), ("alone", 1)):
        run_workers(tmp_path / name, "new", "mobilenet_v2_fpn", count=count)
    runs = tmp_path / "together/run", tmp_path / "alone/run"
    check_same(*runs, least=0.01)  # shifts of norms start at 0
    together, alone = map(momenta_of, runs)
    assert len(alone) > 150
    largest = max(abs(momentum).max() for momentum in alone.values())
    for name, momentum in alone.items():
        # the next norm takes away a shift, so the gradient of some is 0 but for round-off; of others it is 5 % at most
        error = max(0.1 * abs(momentum).max(), 1e-6 * largest)
        np.testing.assert_allclose(together[name], momentum, rtol=0, atol=error, err_msg=name)


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_others_and_any_number_of_workers_resume(whole, tmp_path):
    (code, _, error), (died, _, _) = start_workers(tmp_path / "run", "die")
    assert (code, died) == (1, 9)
    assert time.time() - (tmp_path / "run/died").stat().st_mtime < 60
    message = error.splitlines()[-1]
    assert "another worker ended" in message
    assert "resume=True" in message
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    run_workers(tmp_path / "run", "resume")
    check_equal(tmp_path / "run/run", whole[0] / "run")
    run_workers(tmp_path / "copy", "resume", count=1)
    check_same(tmp_path / "copy/run", whole[0] / "run")


@pytest.mark.soak
@pytest.mark.parametrize(("kind", "tolerance", "least"), [("alternating", 1e-5, 0), ("mixed_float16", 1e-2, 0.01)])
def test_two_workers_train_every_kind_of_run_as_one(kind, tolerance, least, tmp_path):
    for name, count in (("together", 2), ("alone", 1)):
        run_workers(tmp_path / name, "new", kind, count=count)
    check_same(tmp_path / "together/run", tmp_path / "alone/run", tolerance, least)


@pytest.mark.soak
def test_the_callbacks_of_keras_work_on_two_workers_and_only_the_chief_writes(tmp_path):
    run_workers(tmp_path, "new", "callbacks")
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    saved = {path.name for path in (tmp_path / "saved").iterdir()}
    assert saved == {"1.keras", "2.keras", "3.keras", "best.weights.h5"}
    model = keras.models.load_model(tmp_path / "saved/3.keras")
    assert int(model.steps) == load_run(tmp_path / "run").history[-1]["step"]
    assert list((tmp_path / "logs").rglob("events*"))


@pytest.fixture
def networks():
    """Return two addresses in two network namespaces that a cable joins, and the command that enters each."""
    if not shutil.which("ip"):
        pytest.skip("this test makes network namespaces, and there is no ip")
    names = {f"tfrcnn-{os.getpid()}-{i}": f"10.77.0.{i}" for i in (1, 2)}
    a, b = names
    commands = [f"netns add {name}" for name in names]
    commands += [f"link add cable netns {a} type veth peer name cable netns {b}"]
    for name, address in names.items():
        commands += [f"-n {name} addr add {address}/24 dev cable", f"-n {name} link set cable up"]
        commands += [f"-n {name} link set lo up"]
    try:
        for command in commands:
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"ip {command}: {done.stderr.strip()}")
        yield {address: ["ip", "netns", "exec", name] for name, address in names.items()}
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.slow
def test_two_workers_in_two_networks_train_as_on_one_machine(whole, networks, tmp_path):
    run_workers(tmp_path, "new", places=networks)
    check_equal(tmp_path / "run", whole[0] / "run")


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
        # a text in place of a list: its letters would count as workers
        ('{"cluster": {"worker": "host:1"}, "task": {"type": "worker", "index": 0}}', "lists of host:port"),
        ('{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}', "lists of host:port"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "lists of host:port"),
        ('{"cluster": {"worker": ["a:1", 5]}, "task": {"type": "worker", "index": 0}}', "lists of host:port"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1e999}}', '"index"'),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0.9}}', '"index"'),
        ("[" * 100_000, "TF_CONFIG must be JSON"),
        ("", "expected TF_CONFIG, for example"),
    ],
)
def test_a_wrong_list_of_workers_is_one_line(monkeypatch, text, expected):
    monkeypatch.setenv("TF_CONFIG", text)
    monkeypatch.delenv("SLURM_STEP_NUM_TASKS", raising=False)
    with pytest.raises(InputError, match=expected) as refused:
        make_strategy("multi-worker")
    assert len(str(refused.value)) < 1500


def test_a_machine_with_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert make_strategy("auto").num_replicas_in_sync == make_strategy("none").num_replicas_in_sync == 1
    with pytest.raises(InputError, match="auto, none, mirrored, multi-worker, found 'tpu'"):
        make_strategy("tpu")
