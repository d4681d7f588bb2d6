"""A detector at an address is copied once, checked by version, and loaded as its copy."""

import json
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.buckets.models import local_model, newest_version
from tfrcnn.cli.serve import check_model
from tfrcnn.cli.startup import start_detector
from tfrcnn.config import Category
from tfrcnn.data import copies
from tfrcnn.errors import InputError
from tfrcnn.export.runtimes import load
from tfrcnn.files import address_in
from tfrcnn.models import build, load_detector
from tfrcnn.models.presets import preset
from tfrcnn.training.start import run_of
from tfrcnn.weights.importing import run_folder
from tfrcnn.weights.published import network_of

from .conftest import BUCKET

RUN = f"{BUCKET}/runs/cells"
DETECTOR = preset("tiny_fpn", (Category(1, "cell"),)).detector.to_dict()


def put_run(bucket: Any, weights: str = "model-0.weights.h5", place: str = "/bucket/runs/cells") -> None:
    description = {"format": 2, "weights": weights, "versions": {}, "detector": DETECTOR, "extra": {}}
    bucket.pipe(f"{place}/config.json", json.dumps(description).encode())
    bucket.pipe(f"{place}/{weights}", weights.encode())


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("s3://bucket/run", "s3://bucket/run"),
        (Path("s3://bucket/run"), "s3://bucket/run"),
        ("hdfs:///run", "hdfs:///run"),
        ("runs/cells", None),
        ("C:/runs", None),
        (Path("a/s3:/b"), None),
    ],
)
def test_an_address_is_distinguished_from_a_path(path: str | Path, address: str | None) -> None:
    assert address_in(path) == address


def test_a_run_folder_is_copied_without_the_files_that_only_training_needs(bucket: Any) -> None:
    put_run(bucket)
    for name in ("training.json", "split.json", "training_state.npz", "history.csv", "tensorboard/events", "last/a"):
        bucket.pipe(f"/bucket/runs/cells/{name}", b"{}")
    copy = local_model(RUN)
    names = ["config.json", "model-0.weights.h5", "split.json", "training.json"]
    assert sorted(path.name for path in copy.iterdir()) == names


def test_the_newest_detector_of_a_run_is_copied_with_how_the_run_was_set_up(bucket: Any) -> None:
    put_run(bucket, place="/bucket/runs/cells/last")
    bucket.pipe("/bucket/runs/cells/training.json", b"{}")
    copy = local_model(f"{RUN}/last/")
    assert (copy / "model-0.weights.h5").is_file()
    assert (copy.parent / "training.json").is_file()


def test_weights_that_a_run_has_replaced_are_copied_again_and_removed_from_the_copy(bucket: Any) -> None:
    put_run(bucket)
    local_model(RUN)
    bucket.rm("/bucket/runs/cells/model-0.weights.h5")
    put_run(bucket, "model-1.weights.h5")
    assert [path.name for path in local_model(RUN).glob("model-*")] == ["model-1.weights.h5"]


def test_weights_that_a_run_replaces_during_the_copy_are_looked_up_again(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_run(bucket)
    copy_file = copies._copy_file

    def replace_once(*arguments: Any) -> Any:
        entry = copy_file(*arguments)
        if bucket.exists("/bucket/runs/cells/model-0.weights.h5"):
            bucket.rm("/bucket/runs/cells/model-0.weights.h5")
            put_run(bucket, "model-1.weights.h5")
        return entry

    monkeypatch.setattr(copies, "_copy_file", replace_once)
    assert (local_model(RUN) / "model-1.weights.h5").read_bytes() == b"model-1.weights.h5"


def test_a_saved_model_and_an_exported_file_are_copied_whole(bucket: Any) -> None:
    for name in ("saved_model.pb", "variables/variables.index"):
        bucket.pipe(f"/bucket/cells/{name}", b"1")
    bucket.pipe("/bucket/cells.onnx", b"onnx")
    bucket.pipe("/bucket/other.pbtxt", b"1")
    copy = local_model(f"{BUCKET}/cells")
    assert sorted(path.name for path in copy.rglob("*.*")) == ["saved_model.pb", "variables.index"]
    assert local_model(f"{BUCKET}/cells.onnx").read_bytes() == b"onnx"
    bucket.pipe("/bucket/cells.onnx", b"other")
    assert local_model(Path(f"{BUCKET}/cells.onnx")).read_bytes() == b"other"
    assert not (copy.parent / "other.pbtxt").exists()


def test_every_way_to_a_detector_takes_an_address(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put_run(bucket)

    def stop(*arguments: Any, **options: Any) -> None:
        raise InputError("building a network takes seconds")

    monkeypatch.setattr(build, "build_blank_detector", stop)
    for way in (load_detector, load):
        with pytest.raises(InputError, match=rf"^{local_model(RUN)}/config\.json: building a network"):
            way(RUN)
    for way in (start_detector, run_folder, run_of, network_of, check_model):
        assert str(local_model(RUN)) in str(way(RUN))


def test_a_folder_of_versions_in_a_bucket_is_served_by_its_highest_complete_version(bucket: Any) -> None:
    for name in ("9/model.onnx", "9/version.json", "10/model.onnx", "11/report.json", "rolled-back-12/model.onnx"):
        bucket.pipe(f"/bucket/models/{name}", name.encode())
    assert newest_version(f"{BUCKET}/models/") == f"{BUCKET}/models/10/model.onnx"
    bucket.pipe("/bucket/models/12/saved_model.pb", b"1")
    assert newest_version(f"{BUCKET}/models") == f"{BUCKET}/models/12"
    assert newest_version(f"{BUCKET}/models/12") is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (f"{BUCKET}/none", "memory://bucket/none: expected a file or a folder, found nothing"),
        (f"{BUCKET}/pictures", r"pictures: expected a run folder \(with config\.json\), a SavedModel or an exported"),
    ],
)
def test_an_address_without_a_detector_is_one_line(model: str, message: str, bucket: Any) -> None:
    bucket.pipe("/bucket/pictures/a.jpg", b"1")
    with pytest.raises(InputError, match=message):
        local_model(model)


def test_a_web_server_is_not_asked_for_a_folder() -> None:
    with pytest.raises(InputError, match="expected an exported file, because a web server does not list its files"):
        local_model("https://host/runs/cells")
