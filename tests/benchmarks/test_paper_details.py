"""The programs whose results the notebooks store: what each row changes, and what the files hold."""

import json
from types import SimpleNamespace

import pytest

import tfrcnn


def test_each_detail_is_measured_once_per_seed_and_written_with_its_line(program, monkeypatch, tmp_path):
    details = program("details")
    calls = []

    def measure(datasets, folder, name, epochs, seed):
        calls.append((name, epochs, seed))
        return {"loss": 0.1, "recall50": 0.5, "recall70": 0.4, "AR": 0.3}

    monkeypatch.setattr(details, "digit_datasets", lambda folder, scenes: scenes)
    monkeypatch.setattr(details, "measure", measure)
    out = tmp_path / "new/details.json"
    details.main(["--work", str(tmp_path), "--out", str(out), "--epochs", "3", "--seeds", "2"])
    assert calls == [(name, 3, seed) for seed in (0, 1) for name in details.DETAILS]
    rows = json.loads(out.read_text())["rows"]
    assert [row["detail"] for row in rows] == 2 * list(details.DETAILS)
    assert rows[2]["line"] == "training.replace(momentum=0.0)"


def test_a_detail_changes_one_option_of_the_training_or_of_the_detector(program, monkeypatch, tmp_path):
    details = program("details")
    configs = {}

    def train(detector, train, val, folder, training):
        configs[folder.name] = (detector.config, training)
        raise StopIteration

    categories = (tfrcnn.Category(1, "digit"),)
    datasets = dict.fromkeys(("train", "val", "test"), tfrcnn.Dataset("none", categories, ()))
    monkeypatch.setattr(details.tfrcnn, "train", train)
    monkeypatch.setattr(details.tfrcnn, "build_detector", lambda config: SimpleNamespace(config=config))
    for name in ("as in the paper", "anchors across the boundary train too", "no momentum"):
        with pytest.raises(StopIteration):
            details.measure(datasets, tmp_path / name, name, 1, 0)
    (detector, training), (boundary, same), (_, still) = configs.values()
    assert detector.rpn.ignore_cross_boundary
    assert not boundary.rpn.ignore_cross_boundary
    assert boundary.replace(rpn=detector.rpn) == detector
    assert same == training
    assert training.momentum == 0.9
    assert still == training.replace(momentum=0.0)


def test_selective_search_needs_the_contributed_modules(program, monkeypatch, tmp_path):
    pytest.importorskip("cv2")  # comes with albumentations
    search = program("selective_search")
    monkeypatch.delattr(search.cv2, "ximgproc", raising=False)
    with pytest.raises(tfrcnn.InputError, match=r"OpenCV \S+ has no contributed modules"):
        search.main(["--out", str(tmp_path / "out.json")])
