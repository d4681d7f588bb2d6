"""The four steps: their starting weights, the weights they keep bit-identical, and resuming after an interruption."""

import csv
import hashlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

from tfrcnn.files import read_json
from tfrcnn.inference import Predictor
from tfrcnn.models import build_detector, load_detector, preset
from tfrcnn.training.folder import is_complete
from tfrcnn.training.run import train

from .test_run import CATEGORIES, make_dataset

pytestmark = pytest.mark.slow
PARTS = ("backbone", "fpn", "rpn_head", "box_head", "rpn_backbone", "rpn_fpn")
SHARED = ("backbone", "fpn")


def settings():
    """Return options that train batch norms and average weights, so that only the scheme fixes weights."""
    changes = {"scheme": "alternating", "epochs": 3, "batch_size": 2, "warmup_steps": 2, "ema": 0.9}
    return preset("tiny_fpn").training.replace(**changes)


def fresh_detector(seed=3):
    """Return a detector with dropout, so that its random state has to be restored too."""
    keras.utils.set_random_seed(seed)
    config = preset("tiny_fpn", CATEGORIES, image_size=64).detector
    return build_detector(config.replace(head=config.head.replace(dropout=0.5)))


def hashes(detector):
    """Return the SHA-256 of all weights per part, with batch norm statistics."""
    digests = {}
    for name in PARTS:
        part = getattr(detector, name)
        if part is not None:
            digests[name] = hashlib.sha256(b"".join(w.tobytes() for w in part.get_weights())).hexdigest()
    return digests


class Record(keras.callbacks.Callback):
    """Records the hashes of all parts when a step begins and ends, and the traces after each training step."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended, self.traces = [], [], []

    def on_train_begin(self, logs=None):
        self.begun.append(hashes(self.model.detector))
        compute_loss, count = self.model.compute_loss, []
        self.model.compute_loss = lambda *args, **kwargs: count.append(1) or compute_loss(*args, **kwargs)
        self.count = count
        self.traces.append([])

    def on_train_batch_end(self, batch, logs=None):
        self.traces[-1].append(len(self.count))

    def on_train_end(self, logs=None):
        self.ended.append(hashes(self.model.detector))


class InterruptStep(keras.callbacks.Callback):
    """Raises Ctrl-C in the n-th step that begins in this process: before its first image, or in an epoch."""

    def __init__(self, n, epoch=None):
        super().__init__()
        self.left, self.stop_in, self.epoch = n, epoch, 0

    def on_train_begin(self, logs=None):
        self.left -= 1
        if self.left == 0 and self.stop_in is None:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.left == 0 and self.epoch == self.stop_in and batch == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Return an uninterrupted run, its record, and the hashes of the detector that each step saved."""
    record = Record()
    folder = tmp_path_factory.mktemp("runs") / "whole"
    run = train(fresh_detector(), *data, folder, settings(), callbacks=[record])
    names = {0: "initial", 1: "1-rpn", 2: "2-fast-rcnn", 3: "3-rpn", 4: "last", "best": "."}
    return run, record, {step: hashes(load_detector(folder / name)) for step, name in names.items()}


def test_steps_3_and_4_leave_the_shared_weights_bit_identical(finished):
    _, record, left = finished
    for name in SHARED:
        assert left[2][name] == left[3][name] == left[4][name] == left["best"][name]
        # also in memory, because a saved average might hide a change
        assert left[2][name] == record.begun[2][name] == record.ended[2][name]
        assert left[2][name] == record.begun[3][name] == record.ended[3][name]


def test_step_1_trains_the_rpn_and_its_features_alone(finished):
    _, record, left = finished
    assert record.begun[0] == {**left[0], "rpn_backbone": left[0]["backbone"], "rpn_fpn": left[0]["fpn"]}
    assert {name for name in PARTS if left[1][name] != record.begun[0][name]} == {"rpn_head", "rpn_backbone", "rpn_fpn"}


def test_step_2_starts_from_its_own_initialisation_and_leaves_the_rpn_of_step_1_alone(finished):
    _, record, left = finished
    for name in ("backbone", "fpn", "box_head"):
        assert record.begun[1][name] == left[0][name]
    assert {name for name in PARTS if left[2][name] != left[1][name]} == {"backbone", "fpn", "box_head"}
    assert {name for name in PARTS if record.ended[1][name] != left[1][name]} == {"backbone", "fpn", "box_head"}


def test_step_3_trains_the_layers_of_the_rpn_anew_on_the_features_of_step_2(finished):
    _, record, left = finished
    expected = {**{name: left[2][name] for name in (*SHARED, "box_head")}, "rpn_head": left[0]["rpn_head"]}
    assert record.begun[2] == expected
    assert {name for name in left[3] if left[3][name] != expected[name]} == {"rpn_head"}


def test_step_4_trains_the_box_head_alone_from_that_of_step_2(finished):
    _, record, left = finished
    assert record.begun[3] == left[3]
    assert {name for name in left[4] if left[4][name] != left[3][name]} == {"box_head"}


def test_each_step_is_traced_once(finished):
    assert finished[1].traces == [[1] * 6] * 4


def test_the_result_is_one_ordinary_detector_and_the_steps_are_in_the_history(finished, data):
    run = finished[0]
    assert run.detector.config == fresh_detector().config
    assert len(Predictor(run.detector).detect_dataset(data[1])) == 3
    assert is_complete(run.folder)
    with open(run.folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # three epochs in two steps per task: two epochs each, of three training steps
    assert [(row["phase"], row["epoch"]) for row in rows] == [(p, e) for p in "1234" for e in "12"]
    assert [row["step"] for row in rows] == [str(3 * (i + 1)) for i in range(8)]
    for row in rows:
        is_rpn = row["phase"] in "13"
        assert bool(row["rpn_box_loss"]) == bool(row["val_rpn_loss"]) == is_rpn
        assert bool(row["classifier_loss"]) == bool(row["val_AP"]) == (not is_rpn)
    assert (run.folder / "curves.png").is_file()
    assert (run.folder / "predictions.png").is_file()


def test_the_detector_of_each_step_says_which_it_is(finished):
    folder = finished[0].folder
    labels = [read_json(folder / name / "config.json")["extra"]["phase"] for name in ("1-rpn", "2-fast-rcnn", "3-rpn")]
    assert labels == ["step 1 of 4, RPN", "step 2 of 4, Fast R-CNN", "step 3 of 4, RPN, features fixed"]
    assert not load_detector(folder / "2-fast-rcnn").config.shared_features
    assert load_detector(folder / "3-rpn").config.shared_features


@pytest.mark.soak
def test_a_run_interrupted_in_steps_and_between_them_equals_the_uninterrupted_one_to_the_bit(finished, data, tmp_path):
    whole, _, left = finished
    # in the second epoch of step 1; between steps 2 and 3; in the second epoch of step 4
    for i, interruption in enumerate((InterruptStep(1, epoch=1), InterruptStep(3), InterruptStep(2, epoch=1))):
        detector = fresh_detector(seed=100 + i if i else 3)  # resume with other weights: the folder has all of them
        with pytest.raises(KeyboardInterrupt):
            train(detector, *data, tmp_path / "run", settings(), resume=i > 0, callbacks=[interruption])
        assert not is_complete(tmp_path / "run")
    resumed = train(fresh_detector(seed=200), *data, tmp_path / "run", settings(), resume=True)
    assert resumed.history == whole.history
    for name, expected in zip((".", "last", "1-rpn", "2-fast-rcnn", "3-rpn"), [left[k] for k in ("best", 4, 1, 2, 3)]):
        assert hashes(load_detector(tmp_path / "run" / name)) == expected


@pytest.mark.soak
def test_kill_9_in_a_step_and_between_two_loses_nothing(finished, tmp_path):
    script = f"""if True:
        import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})
        from pathlib import Path
        from training.test_alternating import fresh_detector, settings
        from training.test_run import make_dataset
        from tfrcnn.training.run import train
        folder = Path({str(tmp_path)!r})
        data = make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)
        resume = (folder / "run" / "training.json").is_file()
        train(fresh_detector(), *data, folder / "run", settings(), resume=resume)
    """
    run = tmp_path / "run"
    # before training; with step 2 in its folder but not yet in the state. tests/training/test_run.py kills while files
    # are written.
    for written in ("initial/config.json", "2-fast-rcnn/config.json"):
        before = _stamp(run / written)
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while _stamp(run / written) == before and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert (run / "history.csv").read_bytes() == (finished[0].folder / "history.csv").read_bytes()


def _stamp(path):
    return path.stat().st_mtime_ns if path.exists() else None
