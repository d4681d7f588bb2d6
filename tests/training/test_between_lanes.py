"""What moves between versions of TensorFlow: a run folder there and back, and the exported files.

    make test-lane TF=2.15
    .venv/bin/pytest -m soak tests/training/test_between_lanes.py

Run as a program by the Python of the lane, this file makes the run and the files there, or checks a folder there.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.export import TARGETS, ExportOptions, export, load, verify
from tfrcnn.inference import Predictor
from tfrcnn.models import load_detector, preset, save_detector
from tfrcnn.training.run import train

from .test_run import fresh_detector, make_dataset, settings

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
OTHER_PYTHON = Path(os.environ.get("TFRCNN_LANE_PYTHON", ROOT / "build/lanes/2.15/bin/python"))
ALL_SCORES = preset("tiny_fpn").detector.detections.replace(score_threshold=0.0)


def make(folder):
    """Train, export in each format without a comparison, and note what the run detects."""
    data, validation, training = make_dataset(folder), make_dataset(folder, 3, 1), settings().replace(epochs=1)
    detector = train(fresh_detector(), data, validation, folder / "run", training).detector
    for name, target in TARGETS.items():
        export(detector, folder / f"detector{target.suffix}", ExportOptions(name, score_threshold=0.0), check=False)
    np.savez(folder / "detections.npz", **detections(folder / "run"))


def detections(run):
    """Return what the detector in a folder detects in a picture."""
    picture = np.random.default_rng(0).integers(0, 256, (60, 72, 3)).astype(np.uint8)
    result = Predictor(load_detector(run, detections=ALL_SCORES)).detect(picture)
    return {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}


def check(folder, run):
    """Compare what a folder detects here with what was noted where it was made."""
    expected, actual = np.load(folder / "detections.npz"), detections(folder / run)
    assert len(expected["scores"]) > 5
    np.testing.assert_array_equal(actual["labels"], expected["labels"])
    np.testing.assert_allclose(actual["scores"], expected["scores"], atol=1e-5)
    np.testing.assert_allclose(actual["boxes"], expected["boxes"], atol=1e-3)  # pixels


def in_lane(*arguments):
    command = [OTHER_PYTHON, "-m", "tests.training.test_between_lanes", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the folder that the other version filled."""
    if not OTHER_PYTHON.is_file():
        pytest.skip(f"{OTHER_PYTHON}: no such file; make test-lane TF=2.15 makes it")
    folder = tmp_path_factory.mktemp("made")
    in_lane("make", folder)
    return folder


def test_a_run_folder_moves_here_and_back(made):
    check(made, "run")
    save_detector(load_detector(made / "run"), made / "back")
    in_lane("check", made, "back")


@pytest.mark.parametrize("name", TARGETS)
def test_an_exported_file_detects_as_the_run_here(made, name):
    path = made / f"detector{TARGETS[name].suffix}"
    reference = Predictor(load_detector(made / "run", detections=ALL_SCORES))
    report = verify(reference, load(path), path, make_dataset(made, 3, 1))
    assert report.passed, report.faults
    assert report.detections > 5


if __name__ == "__main__":
    action, *paths = sys.argv[1:]
    {"make": make, "check": check}[action](*map(Path, paths))
