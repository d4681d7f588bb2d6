"""Resuming: data that have moved, other numbers of epochs, callbacks, one process at a time, a folder that is gone."""

import dataclasses
import json
import random
import re
import shutil

import keras
import numpy as np
import pytest
from tensorflow.python.framework import config

from tfrcnn.compat import KERAS_2
from tfrcnn.config import DetectionConfig
from tfrcnn.data.example import Dataset
from tfrcnn.errors import InputError
from tfrcnn.files import read_json, write_json
from tfrcnn.locks import locked
from tfrcnn.models import build_detector, load_detector, preset
from tfrcnn.training.collapse import explain_collapse
from tfrcnn.training.companions import callbacks_of_worker, check_callbacks
from tfrcnn.training.folder import SETUP, STATE, check_same, is_complete, prepare_folder
from tfrcnn.training.measures import reported_names
from tfrcnn.training.recipe import Recipe
from tfrcnn.training.run import train
from tfrcnn.training.state import META
from tfrcnn.training.workers import Position

from .test_run import Interrupt, fresh_detector, make_dataset, settings

ROW = {"loss": 1.0, "step": 300, "val_AP": 0.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)


def moved(dataset, folder):
    """The same data set in another place."""
    examples = tuple(dataclasses.replace(e, path=folder / e.path.name) for e in dataset.examples)
    return Dataset(str(folder / "instances.json"), dataset.categories, examples)


def leave_state(out, phase, epoch):
    meta = np.frombuffer(json.dumps({"phase": phase, "epoch": epoch, "history": []}).encode(), np.uint8)
    np.savez(out / STATE, **{META: meta})


def setup_of(scheme="joint", epochs=12, **options):
    training = preset("tiny_fpn").training.replace(scheme=scheme, epochs=epochs)
    return {
        "train": {"source": "a", "images": 1, "annotations": ""},
        "validation": None,
        "metric": "coco",
        "training": training.to_dict(),
        "detector": preset("tiny_fpn").detector.to_dict(),
        "options": options,
    }


class TestDataThatHaveMoved:
    def test_a_run_is_resumed_where_its_data_are_and_notes_the_place(self, set_up_only, data, tmp_path):
        run, detector = tmp_path / "run", fresh_detector()
        state = random.getstate()
        set_up_only(detector, *data, run, settings())
        assert random.getstate() == state
        assert not config.is_op_determinism_enabled()
        there = [moved(each, tmp_path / "there") for each in data]
        set_up_only(detector, *there, run, settings(), resume=True)
        setup = read_json(run / SETUP)
        assert setup["train"]["source"] == setup["validation"]["source"] == str(tmp_path / "there/instances.json")
        first, second, *rest = there[0].examples
        second = dataclasses.replace(second, boxes=second.boxes + 1)
        other = Dataset(there[0].source, data[0].categories, (first, second, *rest))
        with pytest.raises(InputError, match=r"other settings: train\.annotations was"):
            train(detector, other, there[1], run, settings(), resume=True)

    def test_joined_data_sets_with_equal_image_ids_are_the_same_elsewhere(self, data):
        def joined(folder):
            examples = (dataclasses.replace(e, image_id=f"{folder}/b.json:{e.image_id}") for e in data[0].examples)
            return Dataset(f"{folder}/a.json+{folder}/b.json", data[0].categories, tuple(examples))

        assert joined("/here").fingerprint() == joined("/there/it/is").fingerprint()

    def test_an_augmentation_that_cannot_work_is_refused_before_the_folder_is_claimed(self, data, tmp_path):
        with pytest.raises(InputError, match="augment"):
            train(fresh_detector(), *data, tmp_path / "run", settings(), augment=lambda image: image)
        assert not (tmp_path / "run").exists()

    def test_a_users_augmentation_must_be_the_one_of_the_run(self, set_up_only, data, tmp_path):
        """Its name is all that can be compared."""

        def one(image, boxes, labels, seed):
            return image, boxes, labels

        arguments = (fresh_detector(), *data, tmp_path / "run", settings())
        set_up_only(*arguments, augment=one)
        set_up_only(*arguments, augment=one, resume=True)
        with pytest.raises(InputError, match=r"with other settings: options\.augment was '.*one', is None"):
            train(*arguments, resume=True)

    def test_start_weights_may_have_moved_but_not_changed(self, tmp_path):
        for folder, content in {"a": b"1", "b": b"1", "c": b"2"}.items():
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "weights.h5").write_bytes(content)
        prepare_folder(tmp_path / "run", setup_of(backbone_weights=str(tmp_path / "a/weights.h5")), False)
        check_same(tmp_path / "run", setup_of(backbone_weights=str(tmp_path / "b/weights.h5")))
        with pytest.raises(InputError, match=r"options\.backbone_weights was"):
            check_same(tmp_path / "run", setup_of(backbone_weights=str(tmp_path / "c/weights.h5")))
        shutil.rmtree(tmp_path / "a")
        check_same(tmp_path / "run", setup_of(backbone_weights=str(tmp_path / "c/weights.h5")))

    def test_without_the_new_place_the_error_says_how_to_pass_it(self, tmp_path):
        options = dict.fromkeys(("images", "val_images", "init", "proposals"), None)
        setup = setup_of(**options, model="tiny_fpn", backbone_weights="none")
        setup["train"]["source"] = str(tmp_path / "gone/train.json")
        detector = preset("tiny_fpn", (), 64).detector.to_dict()
        prepare_folder(tmp_path / "run", {**setup, "metric": "coco", "detector": detector}, False)
        with pytest.raises(InputError, match=r"gone/train\.json.*have moved, pass their new place: .*--train DATA"):
            Recipe.of_run(tmp_path / "run").run(tmp_path / "run", resume=True, log=lambda _: None)

    def test_validation_images_follow_the_training_images_to_their_new_folder(self, tmp_path):
        options = {"model": "tiny_fpn", "init": None, "proposals": None}
        setup = setup_of(**options, backbone_weights="none", images="/old", val_images="/old")
        setup["validation"] = {"source": "/old/val.json", "images": 1, "annotations": ""}
        detector = preset("tiny_fpn", (), 64).detector.to_dict()
        prepare_folder(tmp_path / "run", {**setup, "metric": "coco", "detector": detector}, False)
        recipe = Recipe.of_run(tmp_path / "run").replace(images="/new").resolved()
        assert (recipe.images, recipe.val_images) == ("/new", "/new")


class TestOtherNumbersOfEpochs:
    @pytest.mark.parametrize("epochs", [5, 12, 30])
    def test_a_run_is_extended_or_ends_at_once_and_draws_new_pictures(self, epochs, tmp_path):
        prepare_folder(tmp_path, setup_of(epochs=12), False)
        leave_state(tmp_path, 1, 5)
        (tmp_path / "curves.png").touch()
        assert is_complete(tmp_path, epochs) is False
        prepare_folder(tmp_path, setup_of(epochs=epochs), True)
        assert read_json(tmp_path / SETUP)["training"]["epochs"] == epochs
        assert (tmp_path / "curves.png").exists() == (epochs == 12)

    def test_fewer_than_are_done_are_refused(self, tmp_path):
        prepare_folder(tmp_path, setup_of(epochs=12), False)
        leave_state(tmp_path, 1, 5)
        with pytest.raises(InputError, match="with 4 epochs: 5 are done"):
            prepare_folder(tmp_path, setup_of(epochs=4), True)
        assert read_json(tmp_path / SETUP)["training"]["epochs"] == 12

    def test_the_epochs_of_a_scheme_change_only_in_its_first_step(self, tmp_path):
        prepare_folder(tmp_path, setup_of("alternating"), False)
        leave_state(tmp_path, 1, 6)
        check_same(tmp_path, setup_of("alternating", 20))
        leave_state(tmp_path, 3, 1)
        with pytest.raises(InputError, match=r"20 epochs: step 3 of 4 of the scheme alternating has begun with 12"):
            check_same(tmp_path, setup_of("alternating", 20))

    @pytest.mark.soak
    def test_the_rest_of_the_run_is_that_of_a_run_of_as_many_epochs(self, data, tmp_path):
        short = settings(schedule="step", milestones=(0.7,))  # both runs have the same rates in their first epoch
        whole = train(fresh_detector(), *data, tmp_path / "whole", short)
        with pytest.raises(KeyboardInterrupt):
            train(fresh_detector(), *data, tmp_path / "run", short.replace(epochs=5), callbacks=[Interrupt(1)])
        resumed = train(fresh_detector(), *data, tmp_path / "run", short, resume=True)
        assert resumed.history == whole.history


class TestCallbacks:
    NAMES = reported_names(settings(), "coco")

    @pytest.mark.parametrize(
        ("callback", "message"),
        [
            (keras.callbacks.EarlyStopping(), "EarlyStopping monitors 'val_loss', which this run does not report"),
            (keras.callbacks.EarlyStopping("val_AP50"), "monitors 'val_AP50': pass mode='max', which Keras"),
            (
                keras.callbacks.ReduceLROnPlateau("val_AP50"),
                "needs TensorFlow 2.16" if KERAS_2 else "monitors 'val_AP50': pass mode='max', which Keras",
            ),
            pytest.param(
                keras.callbacks.ModelCheckpoint("a.keras", "classifier_loss", save_best_only=True),
                "pass mode='min'",
                marks=pytest.mark.skipif(KERAS_2, reason="Keras 2 keeps the smallest, as is right for a loss"),
            ),
            (keras.callbacks.BackupAndRestore("backup"), "BackupAndRestore is not needed, leave it out"),
            (keras.callbacks.CSVLogger, "must be a list of Keras callbacks, found <class"),
        ],
    )
    def test_one_that_cannot_work_is_refused_before_the_run(self, callback, message):
        with pytest.raises(InputError, match=message):
            check_callbacks([callback], self.NAMES)

    def test_one_that_swaps_averages_between_the_writes_of_a_run_is_refused(self):
        if not hasattr(keras.callbacks, "SwapEMAWeights"):
            pytest.skip("this version of Keras has no SwapEMAWeights")
        with pytest.raises(InputError, match=r"SwapEMAWeights\(swap_on_epoch=True\) is not needed"):
            check_callbacks([keras.callbacks.SwapEMAWeights(swap_on_epoch=True)], self.NAMES)

    def test_those_that_can_work_are_not(self):
        works = [
            keras.callbacks.EarlyStopping("val_AP50", mode="max"),
            *([] if KERAS_2 else [keras.callbacks.ReduceLROnPlateau("loss")]),
            keras.callbacks.ModelCheckpoint("{epoch}.keras"),
            keras.callbacks.CSVLogger("log.csv"),
        ]
        check_callbacks(works, self.NAMES)
        check_callbacks([keras.callbacks.EarlyStopping("val_mine", mode="max")], None)
        with pytest.raises(InputError, match="must be a list"):
            check_callbacks(works[0], self.NAMES)

    def test_of_several_workers_the_chief_alone_writes_what_they_write(self, monkeypatch, tmp_path):
        def callbacks():
            checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "saved/{epoch}.keras"))
            return [keras.callbacks.CSVLogger(tmp_path / "log.csv"), checkpoint, keras.callbacks.TerminateOnNaN()]

        for worker in (0, 1):
            monkeypatch.setattr("tfrcnn.training.companions.position", lambda worker=worker: Position(worker, 2))
            passed = callbacks()
            log, checkpoint, other = callbacks_of_worker(passed, tmp_path / "temporary/run")
            assert (log is passed[0]) == (worker == 0)
            assert checkpoint is passed[1]
            assert other is passed[2]
            place = "saved" if worker == 0 else "temporary/checkpoints/1"
            assert checkpoint.filepath == str(tmp_path / place / "{epoch}.keras")
        assert callbacks_of_worker(None, tmp_path) == []

    def test_every_scheme_reports_what_its_steps_measure(self):
        assert reported_names(settings(scheme="rpn-only"), "coco")[-3:] == [
            "val_rpn_loss",
            "val_rpn_objectness_loss",
            "val_rpn_box_loss",
        ]
        assert "val_mAP" in reported_names(settings(scheme="unshared"), "voc")
        names = reported_names(settings(), "coco", DetectionConfig(max_detections=300))
        assert ("val_AR300" in names, "val_AR100" in names) == (True, False)
        assert not any(name.startswith("val_") for name in reported_names(settings(), None))

    @pytest.mark.soak
    @pytest.mark.skipif(KERAS_2, reason="check_callbacks refuses it")
    def test_the_rate_of_a_plateau_and_what_it_remembers_are_resumed_to_the_bit(self, data, tmp_path):
        def callbacks():
            return [keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=1, mode="min", min_delta=100.0)]

        whole = train(fresh_detector(), *data, tmp_path / "whole", settings(), callbacks=callbacks())
        with pytest.raises(KeyboardInterrupt):
            train(fresh_detector(), *data, tmp_path / "run", settings(), callbacks=[*callbacks(), Interrupt(2)])
        resumed = train(
            build_detector(whole.detector.config),
            *data,
            tmp_path / "run",
            settings(),
            resume=True,
            callbacks=callbacks(),
        )
        assert resumed.history == whole.history
        for one, other in zip(
            load_detector(resumed.folder / "last").get_weights(), load_detector(whole.folder / "last").get_weights()
        ):
            np.testing.assert_array_equal(one, other)
        plain = train(fresh_detector(), *data, tmp_path / "plain", settings())
        assert plain.history[1] == whole.history[1]
        assert plain.history[2] != whole.history[2]


class TestOneWriter:
    def test_a_run_in_a_folder_that_another_writes_to_is_refused(self, data, tmp_path):
        detector, run = fresh_detector(), tmp_path / "run"
        with locked(run):
            (run / SETUP).touch()  # as if the other had begun
            for resume in (False, True):
                with pytest.raises(InputError, match=r"run is in use by process \d+ on the host"):
                    train(detector, *data, run, settings(), resume=resume)

    def test_a_recipe_says_so_before_it_checks_the_data(self, tmp_path):
        with locked(tmp_path / "run"), pytest.raises(InputError, match="in use by process"):
            Recipe("nothing").run(tmp_path / "run")

    @pytest.mark.slow
    def test_a_run_whose_folder_is_removed_ends_with_one_line(self, data, tmp_path):
        class Remove(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                shutil.rmtree(tmp_path / "run", ignore_errors=True)

        with pytest.raises(InputError, match="run was removed or moved while this process was writing to it"):
            train(fresh_detector(), *data, tmp_path / "run", settings(), callbacks=[Remove()])


class TestRunsThatFindNothing:
    @pytest.mark.parametrize(
        ("rows", "detections", "message"),
        [
            (
                [{**ROW, "loss": 2.0}, {**ROW, "loss": 9.0}],
                0,
                r"no detection at all.*rate of 0\.02 is too high.*0\.002",
            ),
            ([{**ROW, "loss": 2.0}, {**ROW, "loss": 0.5, "step": 20}], 5, "no correct detection.*20 steps are too few"),
            ([{**ROW, "step": 0}], 0, "0 steps are too few"),
            ([{**ROW, "loss": 2.0}, {**ROW, "loss": 0.5}], 5, r"does not suit the data, or boxes are wrong"),
            ([{**ROW, "loss": 2.0}, {**ROW, "loss": 2.01}], 5, r"too high, or too low to learn.*--lr-finder"),
            ([{**ROW, "val_AP": 0.0004}], 5, r"next to no correct detection.*val_AP is at most 0\.0004"),
        ],
    )
    def test_the_probable_cause_is_named_with_what_to_try(self, rows, detections, message, tmp_path):
        write_json(tmp_path / "evaluation.json", {"counts": {"detections": detections}})
        training = settings().replace(learning_rate=0.02)
        assert re.search(message, explain_collapse(tmp_path, rows, training, "coco"))

    def test_a_run_that_finds_more_than_chance_in_any_epoch_has_none(self, tmp_path):
        write_json(tmp_path / "evaluation.json", {"counts": {"detections": 0}})
        assert explain_collapse(tmp_path, [{**ROW, "val_AP": 0.01}, ROW], settings(), "coco") is None
        assert explain_collapse(tmp_path, [{**ROW, "val_AP": None}], settings(), "coco") is None
        assert explain_collapse(tmp_path, [ROW], settings(scheme="rpn-only"), "coco") is None
