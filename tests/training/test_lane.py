"""The main job on another TensorFlow, for `make test-lane`: a short run, then each export format, verified."""

import pytest

from tfrcnn.export import TARGETS, ExportOptions, export
from tfrcnn.training.run import load_run, train

from .test_run import fresh_detector, make_dataset, settings

pytestmark = pytest.mark.soak  # here other tests show this


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A run of one epoch: its folder, and its validation data."""
    folder = tmp_path_factory.mktemp("lane")
    data, validation = make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)
    train(fresh_detector(), data, validation, folder / "run", settings().replace(epochs=1))
    return folder, validation


def test_a_run_is_loaded_from_its_folder(job):
    run = load_run(job[0] / "run")
    assert [row["step"] for row in run.history] == [3]
    assert 0 < run.history[0]["loss"] < 10


@pytest.mark.parametrize("name", TARGETS)
def test_an_export_is_verified(job, name):
    folder, validation = job
    options = ExportOptions(name, score_threshold=0.0)
    report = export(load_run(folder / "run").detector, folder / f"detector{TARGETS[name].suffix}", options, validation)
    assert report.passed, report.faults
