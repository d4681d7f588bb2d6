"""Detectors saved by earlier releases load and detect the same.

`tests/saved/VERSION` holds a small detector saved by VERSION, and the detections of VERSION in `picture`.
"""

import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import tfrcnn
import tfrcnn.models
from tfrcnn.compat import KERAS_2

SAVED = Path(__file__).resolve().parent.parent / "saved"
VERSIONS = sorted(path.name for path in SAVED.iterdir())


def assert_detects_as_before(detector, folder):
    before = np.load(folder / "detections.npz")
    after = {name: value.numpy()[0] for name, value in detector(before["picture"][None].astype(np.float32)).items()}
    assert after["num_detections"] == before["num_detections"]
    assert before["num_detections"] > 5
    np.testing.assert_array_equal(after["labels"], before["labels"])
    np.testing.assert_allclose(after["scores"], before["scores"], atol=1e-5)  # a score in (0, 1), summed in float32
    np.testing.assert_allclose(after["boxes"], before["boxes"], atol=1e-3)  # pixels


def weights_in(path):
    arrays = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: arrays.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    return arrays


@pytest.mark.parametrize("version", VERSIONS)
def test_a_folder_saved_by_an_earlier_version_detects_the_same(version):
    detector = tfrcnn.load_detector(SAVED / version)
    assert [(c.id, c.name) for c in detector.config.categories] == [(3, "cell"), (90, "Plättchen")]
    assert detector.config.rpn.box_loss == detector.config.head.box_loss == tfrcnn.BoxLossConfig("smooth_l1", 1 / 9)
    assert_detects_as_before(detector, SAVED / version)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_folder_is_written_as_the_earlier_version_wrote_it(version, tmp_path):
    """With Keras 2 too: so a folder moves between TensorFlow 2.15 and newer ones, in both directions."""
    tfrcnn.save_detector(tfrcnn.load_detector(SAVED / version), tmp_path)
    arrays, before = (weights_in(folder / "model-0.weights.h5") for folder in (tmp_path, SAVED / version))
    assert list(arrays) == list(before)
    assert all(np.array_equal(arrays[name], before[name]) for name in before)


@pytest.mark.skipif(KERAS_2, reason="Keras 2 does not read .keras files of Keras 3")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_keras_file_saved_by_an_earlier_version_detects_the_same(version, tmp_path):
    folder, path = SAVED / version, tmp_path / "detector.keras"
    with zipfile.ZipFile(path, "w") as archive:  # a .keras file is a zip of the same weights and two JSON files
        for name in ("config.json", "metadata.json"):
            archive.write(folder / "keras" / name, name)
        archive.write(folder / "model-0.weights.h5", "model.weights.h5")
    assert_detects_as_before(keras.models.load_model(path), folder)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_starts_from_a_detector_saved_by_an_earlier_version(version):
    recipe = tfrcnn.Recipe("train.json", init=str(SAVED / version)).resolved()
    assert recipe.detector == tfrcnn.load_detector(SAVED / version).config
    assert recipe.training == tfrcnn.preset("tiny_fpn").training
