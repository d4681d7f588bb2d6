"""The demo detector is trained once, resumed, and loaded again."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the digits are scikit-learn's")

from tfrcnn.demo import digit_datasets, digit_scenes, trained_on_digits
from tfrcnn.errors import InputError
from tfrcnn.training import callbacks

SCENES = {"train": 6, "val": 2, "test": 3}


@pytest.fixture(scope="module")
def interrupted_then_finished(tmp_path_factory):
    """Return a run of two epochs that was interrupted after the first and resumed."""
    folder = tmp_path_factory.mktemp("demo")
    save_state = callbacks.save_state

    def save_state_then_control_c(*arguments):
        save_state(*arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "save_state", save_state_then_control_c)
        with pytest.raises(KeyboardInterrupt):
            trained_on_digits(folder, SCENES, epochs=2)
    return trained_on_digits(folder, SCENES, epochs=2)


@pytest.mark.soak
def test_an_interrupted_run_continues_and_a_complete_one_is_loaded(interrupted_then_finished, capsys):
    run = interrupted_then_finished
    assert [row["epoch"] for row in run.history] == [1, 2]
    before = {path: path.stat().st_mtime_ns for path in run.folder.parent.rglob("*")}
    again = trained_on_digits(run.folder.parent, SCENES, epochs=2)
    assert {path: path.stat().st_mtime_ns for path in run.folder.parent.rglob("*")} == before
    assert capsys.readouterr() == ("", "")
    assert again.history == run.history
    for one, other in zip(again.detector.get_weights(), run.detector.get_weights()):
        np.testing.assert_array_equal(one, other)


@pytest.mark.soak
def test_a_folder_made_with_other_arguments_is_refused(interrupted_then_finished):
    folder = interrupted_then_finished.folder.parent
    with pytest.raises(InputError, match=r"expected .*epochs=3, .* found .*epochs=2, "):
        trained_on_digits(folder, SCENES, epochs=3)
    with pytest.raises(InputError, match=r"instances_train.json: expected 7 scenes, found 6: remove it"):
        trained_on_digits(folder, {**SCENES, "train": 7}, epochs=2)


def test_scenes_are_made_once(tmp_path):
    paths = digit_scenes(tmp_path, SCENES)
    written = {path: path.read_bytes() for path in paths.values()}
    paths["train"].write_bytes(written[paths["train"]] + b"\n")  # still valid, and different from a new file
    assert digit_scenes(tmp_path, SCENES) == paths
    assert paths["train"].read_bytes() != written[paths["train"]]


def test_only_scenes_that_are_missing_are_made(tmp_path):
    paths = digit_scenes(tmp_path, SCENES)
    written = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    paths["val"].unlink()
    (tmp_path / "images" / "train_00001.png").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"instances_train.json: expected 7 scenes, found 6: remove it"):
        digit_scenes(tmp_path, {**SCENES, "train": 7})
    assert digit_scenes(tmp_path, SCENES) == paths
    written[tmp_path / "images" / "train_00001.png"] = b"mine"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == written


def test_data_sets_are_those_of_the_scenes(tmp_path):
    datasets = digit_datasets(tmp_path, SCENES)
    assert {name: len(dataset) for name, dataset in datasets.items()} == SCENES
    assert len({dataset.categories for dataset in datasets.values()}) == 1
