"""Whole runs: their files, exact resume, kills, faults."""

import csv
import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, Example
from tfrcnn.errors import InputError
from tfrcnn.files import read_json
from tfrcnn.inference import Predictor
from tfrcnn.models import build_detector, load_detector, preset
from tfrcnn.training.folder import check_folder
from tfrcnn.training.run import load_run, train

CATEGORIES = (Category(3, "bright"), Category(90, "dark"))


def make_dataset(folder, count=6, seed=0, noise=0):
    """Make grey images of 64 x 64 with one bright and one dark rectangle each. One image has none.

    Noise of as many grey levels is added.
    """
    rng = np.random.default_rng(seed)
    examples = []
    for i in range(count):
        pixels = np.full((64, 64, 3), 128, np.uint8)
        boxes = [] if i == 0 else [[4, 4, 28, 28], [34, 30, 62, 60]]
        for box, value in zip(boxes, (255, 0)):
            box[:2] = [box[0] + rng.integers(0, 4), box[1] + rng.integers(0, 4)]
            pixels[box[0] : box[2], box[1] : box[3]] = value
        if noise:
            pixels = np.uint8(np.clip(pixels + rng.uniform(-noise / 2, noise / 2, pixels.shape), 0, 255))
        path = folder / f"{seed}_{i}.png"
        Image.fromarray(pixels).save(path)
        n = len(boxes)
        examples.append(
            Example(
                image_id=i,
                path=path,
                height=64,
                width=64,
                boxes=np.array(boxes, np.float32).reshape(-1, 4),
                labels=np.arange(n, dtype=np.int32),
                crowd=np.zeros(n, bool),
                difficult=np.zeros(n, bool),
                area=np.full(n, 500, np.float32),
                orientation=1,
                annotation_ids=np.arange(n) + 2 * i + 1,
            )
        )
    return Dataset(f"made with seed {seed}", CATEGORIES, tuple(examples))


def settings(**changes):
    return preset("tiny_fpn").training.replace(epochs=3, batch_size=2, warmup_steps=2, ema=0.9, **changes)


def fresh_detector():
    keras.utils.set_random_seed(3)
    config = preset("tiny_fpn", CATEGORIES, image_size=64).detector
    return build_detector(config)


class Interrupt(keras.callbacks.Callback):
    """Raises Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.stop_in, self.epoch = epoch, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == self.stop_in and batch == 1:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """Return an uninterrupted run."""
    return train(fresh_detector(), *data, tmp_path_factory.mktemp("runs") / "whole", settings())


def test_a_run_leaves_everything_it_promises(finished):
    names = {path.name for path in finished.folder.iterdir()}
    assert names >= {"config.json", "last", "training.json", "training_state.npz", "history.csv", "evaluation.json"}
    assert names >= {"curves.png", "predictions.png", "tensorboard"}
    assert not [name for name in names if name.endswith("tmp") or name.startswith(".")]
    with open(finished.folder / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["3", "6", "9"]
    assert {"loss", "rpn_objectness_loss", "rpn_box_loss", "classifier_loss", "box_loss", "val_AP"} <= set(rows[0])


def test_the_best_detector_is_the_one_of_the_best_epoch(finished):
    scores = [row["val_AP"] for row in finished.history]
    extra = read_json(finished.folder / "config.json")["extra"]
    assert extra["epoch"] == max(i for i, score in enumerate(scores, start=1) if score == max(scores))
    assert extra["validation"]["AP"] == max(scores)
    assert read_json(finished.folder / "last" / "config.json")["extra"]["epoch"] == 3


@pytest.mark.slow
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(finished, data, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(fresh_detector(), *data, tmp_path / "run", settings(), callbacks=[Interrupt(epoch=1)])
    detector = build_detector(finished.detector.config)  # other random weights: the state file has all
    resumed = train(detector, *data, tmp_path / "run", settings(), resume=True)
    assert resumed.history == finished.history
    for one, other in zip(
        load_detector(resumed.folder / "last").get_weights(), load_detector(finished.folder / "last").get_weights()
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_resuming_a_complete_run_changes_nothing(finished, data):
    before = (finished.folder / "history.csv").read_bytes()
    again = train(fresh_detector(), *data, finished.folder, settings(), resume=True)
    assert again.history == finished.history
    assert (finished.folder / "history.csv").read_bytes() == before


def test_a_run_is_loaded_as_it_was_returned(finished):
    loaded = load_run(str(finished.folder))
    assert (loaded.folder, loaded.history) == (finished.folder, finished.history)
    for one, other in zip(loaded.detector.get_weights(), finished.detector.get_weights()):
        np.testing.assert_array_equal(one, other)


def test_no_run_is_loaded_where_there_is_none(tmp_path):
    with pytest.raises(InputError, match=r"expected a run, found no training.json in the folder"):
        load_run(tmp_path)


def test_a_used_folder_is_refused_without_resume(finished, data):
    with pytest.raises(InputError, match="is not an empty folder: choose another, or resume=True for the run in it"):
        train(fresh_detector(), *data, finished.folder, settings())


def test_resuming_with_other_settings_names_the_first_that_differs(finished, data):
    with pytest.raises(InputError, match=r"cannot resume .* with other settings: training\.seed was 0, is 1$"):
        train(fresh_detector(), *data, finished.folder, settings(seed=1), resume=True)


def test_options_are_kept_and_must_be_the_same_in_a_resumed_run(set_up_only, data, tmp_path):
    run = tmp_path / "run"
    set_up_only(fresh_detector(), *data, run, settings(), options={"weights": "mine"})
    assert read_json(run / "training.json")["options"] == {"weights": "mine"}
    with pytest.raises(InputError, match=r"options\.weights was 'mine', is None"):
        train(fresh_detector(), *data, run, settings(), resume=True)


def test_freezing_weights_that_were_never_trained_warns(set_up_only, data, tmp_path):
    frozen = settings(frozen_stages=1, freeze_batch_norm=True)
    with pytest.warns(UserWarning, match="never trained") as caught:
        set_up_only(fresh_detector(), *data, tmp_path / "run", frozen)
    caught = [warning for warning in caught if "never trained" in str(warning.message)]
    norms, stages = (str(warning.message) for warning in caught)
    assert "freeze_batch_norm freezes batch norms that were never trained: set it to False" in norms
    assert "frozen_stages=1 freezes stages that were never trained: set it to 0" in stages
    # The warning names the line that called `train`, here in the fixture, and no line of tfrcnn.
    assert {Path(warning.filename).parent for warning in caught} == {Path(__file__).parent}


def test_freezing_weights_that_were_trained_does_not_warn(set_up_only, finished, data, tmp_path):
    frozen = settings(frozen_stages=1, freeze_batch_norm=True)
    set_up_only(load_detector(finished.folder), *data, tmp_path / "run", frozen)


def test_there_must_be_a_run_to_resume(data, tmp_path):
    with pytest.raises(InputError, match="expected a run, found no training"):
        train(fresh_detector(), *data, tmp_path / "nothing", settings(), resume=True)


def test_categories_of_the_data_must_be_the_detectors(data, tmp_path):
    other = Dataset("other", (Category(1, "x"), Category(2, "y")), data[1].examples)
    with pytest.raises(InputError, match="categories of the validation data other"):
        train(fresh_detector(), data[0], other, tmp_path / "run", settings())


def test_annotations_that_have_changed_are_not_the_run_to_resume(finished, data):
    example = data[0].examples[1]
    moved = dataclasses.replace(example, boxes=example.boxes + 1)
    changed = Dataset(data[0].source, CATEGORIES, (data[0].examples[0], moved, *data[0].examples[2:]))
    with pytest.raises(InputError, match=r"cannot resume .* with other settings: train\.annotations was"):
        train(fresh_detector(), changed, data[1], finished.folder, settings(), resume=True)


def test_the_precision_of_detector_and_training_must_agree(data, tmp_path):
    with pytest.raises(InputError, match=r"built with precision 'float32', but TrainingConfig\.precision is 'mixed_"):
        train(fresh_detector(), *data, tmp_path / "run", settings(precision="mixed_bfloat16"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_without_a_defined_score_the_newest_detector_is_the_best(data, tmp_path):
    without_objects = Dataset("empty", CATEGORIES, data[1].examples[:1])
    run = train(fresh_detector(), data[0], without_objects, tmp_path / "run", settings().replace(epochs=2))
    assert read_json(run.folder / "config.json")["extra"]["epoch"] == 2


def test_what_a_kill_left_in_a_new_folder_does_not_block_it(tmp_path):
    (tmp_path / ".training.tmp.json").write_text("{")
    check_folder(tmp_path, resume=False)
    (tmp_path / ".hidden.json").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        check_folder(tmp_path, resume=False)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_names_its_images(data, tmp_path):
    detector = fresh_detector()
    detector.box_head.classifier.bias.assign([np.nan] * 3)
    with pytest.raises(InputError, match=r"not a finite number at step 0 \(.*classifier_loss nan") as error:
        train(detector, *data, tmp_path / "run", settings())
    assert sum(str(example.path) in str(error.value) for example in data[0].examples) == 2


@pytest.mark.slow
def test_detections_of_a_data_set_are_those_of_its_images_one_by_one(finished, data):
    predictor = Predictor(finished.detector)
    together = predictor.detect_dataset(data[1], batch_size=2)
    for example, detections in zip(data[1].examples, together):
        alone = predictor.detect(example.path)
        assert detections.image_id == example.image_id
        np.testing.assert_allclose(detections.scores, alone.scores, atol=1e-4)
        np.testing.assert_allclose(detections.boxes, alone.boxes, atol=1e-2)


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_a_folder_that_loads_and_resumes(data, finished, tmp_path):
    script = f"""if True:
        import sys; sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parent)!r})
        from pathlib import Path
        from test_run import fresh_detector, make_dataset, settings
        from tfrcnn.training.run import train
        folder = Path({str(tmp_path)!r})
        data = make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)
        resume = (folder / "run" / "training.json").is_file()
        train(fresh_detector(), *data, folder / "run", settings(), resume=resume)
    """
    run = tmp_path / "run"
    # during the write of the state, during the write of the weights, and between two files
    for after in (".training_state.tmp.npz", "last/.model-1.tmp.weights.h5", "last/config.json"):
        before = _stamp(run / after)
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while _stamp(run / after) == before and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        load_detector(run / "last")
        load_detector(run)
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert (run / "history.csv").read_bytes() == (finished.folder / "history.csv").read_bytes()


def _stamp(path):
    return path.stat().st_mtime_ns if path.exists() else None
