"""Options of a run: their defaults, and the options that a resumed run must keep."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tfrcnn.cli.job import DEFAULT_EMA, Job, _detector, make_job
from tfrcnn.config import Category, TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, preset, save_detector
from tfrcnn.training.run import SETUP

DATA = {"train": "data/train.json", "val": "data/VOC@val"}


def stored(folder: Path, job: Job) -> Path:
    """Make a run folder of a run with these options."""
    folder.mkdir()
    (folder / SETUP).write_text(json.dumps({"options": job.to_dict()}), encoding="utf-8")
    return folder


def test_what_is_not_given_is_the_preset_s(tmp_path: Path) -> None:
    job = make_job(tmp_path / "run", {**DATA, "epochs": 3}, resume=False)
    training = preset("mobilenet_v2_fpn").training
    assert (job.model, job.backbone_weights, job.image_size, job.metric) == (
        "mobilenet_v2_fpn",
        "imagenet",
        None,
        "coco",
    )
    assert job.preset().training == training.replace(epochs=3)
    assert job.preset().detector == preset("mobilenet_v2_fpn").detector


@pytest.mark.parametrize(
    ("model", "weights"), [("tiny_fpn", "none"), ("resnet50_fpn", "imagenet"), ("vgg16", "imagenet")]
)
def test_backbones_with_imagenet_weights_start_from_them(model: str, weights: str, tmp_path: Path) -> None:
    assert make_job(tmp_path, {**DATA, "model": model}, resume=False).backbone_weights == weights


def test_what_became_of_the_box_heads_layers_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tfrcnn.models.build_detector", lambda *_: SimpleNamespace(weights_note="fc6 and fc7 start"))
    job = make_job(tmp_path, {**DATA, "model": "vgg16"}, resume=False)
    _detector(job, job.preset().detector, has_state=False)
    assert capsys.readouterr().out == "fc6 and fc7 start\n"


def test_the_seed_decides_the_weights_that_training_starts_from(tmp_path: Path) -> None:
    category = (Category(1, "cell"),)

    def kernel(seed: int) -> np.ndarray:
        options = {"train": "a", "val": "b", "model": "tiny_fpn", "seed": seed}
        job = make_job(tmp_path / "run", options, resume=False)
        config = job.preset().detector.replace(categories=category)
        return _detector(job, config, has_state=False).trainable_variables[0].numpy()

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert np.abs(kernel(1) - kernel(2)).max() > 0.01


def test_paths_are_absolute_and_validation_images_are_where_the_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = make_job(Path("run"), {**DATA, "images": "../images"}, resume=False)
    assert job.train == str(tmp_path / "data/train.json")
    assert job.val == str(tmp_path / "data/VOC@val")
    assert job.images == job.val_images == str(tmp_path.parent / "images")
    joined = make_job(Path("run"), {**DATA, "val": "07@val+12@val", "images": "a"}, resume=False)
    assert (joined.images, joined.val_images) == (str(tmp_path / "a"), None)
    other = make_job(Path("run"), {**DATA, "images": "a", "val_images": "b"}, resume=False)
    assert (other.images, other.val_images) == (str(tmp_path / "a"), str(tmp_path / "b"))


def test_each_of_several_data_sets_is_absolute_and_so_is_a_preset_s_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.json").write_text('{"preset": "vgg16", "training": {"scheme": "alternating", "epochs": 32}}')
    options = {**DATA, "train": "07@train+12@train", "model": "mine.json"}
    job = make_job(Path("run"), options, resume=False)
    assert job.train == f"{tmp_path}/07@train+{tmp_path}/12@train"
    assert (job.model, job.scheme, job.epochs) == (str(tmp_path / "mine.json"), "alternating", 32)


def test_a_preset_s_file_that_learns_from_given_proposals_needs_them(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text('{"preset": "vgg16", "training": {"scheme": "fast-rcnn-only"}}')
    with pytest.raises(InputError, match="--proposals RUN is needed"):
        make_job(tmp_path / "run", {**DATA, "model": str(tmp_path / "mine.json")}, resume=False)


@pytest.mark.parametrize(
    ("model", "options", "ema"),
    [
        ("mobilenet_v2_fpn", {}, preset("mobilenet_v2_fpn").training.ema),
        ("mobilenet_v2_fpn", {"ema": True}, preset("mobilenet_v2_fpn").training.ema),
        ("mobilenet_v2_fpn", {"ema": None}, None),
        ("resnet50_fpn", {}, None),
        ("resnet50_fpn", {"ema": True}, DEFAULT_EMA),
    ],
)
def test_averaging_is_the_preset_s_unless_turned_on_or_off(
    model: str, options: dict[str, Any], ema: float | None, tmp_path: Path
) -> None:
    assert make_job(tmp_path, {**DATA, "model": model, **options}, resume=False).preset().training.ema == ema


def test_mixed_precision_is_what_suits_the_machine(tmp_path: Path) -> None:
    import tensorflow as tf

    expected = "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"
    assert make_job(tmp_path, {**DATA, "precision": True}, resume=False).precision == expected
    assert make_job(tmp_path, DATA, resume=False).precision == "float32"


def test_resumed_run_remembers_its_options(tmp_path: Path) -> None:
    options = {**DATA, "model": "tiny_fpn", "epochs": 5, "precision": True, "ema": True, "seed": 3, "image_size": 64}
    job = make_job(tmp_path / "run", options, resume=False)
    out = stored(tmp_path / "run", job)
    assert make_job(out, {}, resume=True) == job
    assert make_job(out, options, resume=True) == job


def test_resumed_run_keeps_the_precision_it_was_begun_with(tmp_path: Path) -> None:
    begun_elsewhere = make_job(tmp_path, DATA, resume=False).replace(precision="mixed_float16")
    out = stored(tmp_path / "run", begun_elsewhere)
    assert make_job(out, {"precision": True}, resume=True).precision == "mixed_float16"


def test_resumed_run_is_told_every_option_that_differs(tmp_path: Path) -> None:
    out = stored(tmp_path / "run", make_job(tmp_path, DATA, resume=False))
    with pytest.raises(InputError) as error:
        make_job(out, {"batch_size": 3, "precision": True, "metric": "voc"}, resume=True)
    message = (
        r"with other options: --batch-size was \d+, is 3, --mixed-precision was 'float32', is 'mixed_.*', --metric was"
    )
    assert re.search(message, str(error.value))


def test_training_json_of_another_form_is_refused(tmp_path: Path) -> None:
    out = stored(tmp_path / "run", make_job(tmp_path, DATA, resume=False))
    options = json.loads((out / SETUP).read_text(encoding="utf-8"))["options"]
    (out / SETUP).write_text(json.dumps({"options": {**options, "speed": 1}}), encoding="utf-8")
    with pytest.raises(InputError, match="no field 'speed'"):
        make_job(out, {}, resume=True)


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Make a run folder to start from."""
    categories = (Category(1, "cell"), Category(2, "cat"))
    save_detector(build_detector(preset("tiny_fpn", categories).detector), tmp_path / "imported")
    return tmp_path / "imported"


def test_a_run_that_starts_from_another_has_its_network_and_its_preset_s_training(
    imported: Path, tmp_path: Path
) -> None:
    job = make_job(tmp_path / "run", {**DATA, "init": str(imported), "image_size": 96}, resume=False)
    assert (job.model, job.backbone_weights, job.init) == ("tiny_fpn", "none", str(imported))
    assert job.preset().detector.image.static_size == (96, 96)
    assert job.preset().detector.categories == ()
    assert job.preset().training == preset("tiny_fpn").training


@pytest.mark.parametrize(
    "options", [{"init": "mine"}, {"proposals": "mine", "scheme": "fast-rcnn-only"}], ids=["init", "proposals"]
)
def test_a_run_of_a_preset_s_file_hands_its_training_on(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    training = preset("tiny_fpn").training.replace(epochs=3, weight_decay=0.25)
    detector = build_detector(preset("tiny_fpn", (Category(1, "cell"),)).detector.replace(preset="mine"))
    save_detector(detector, "mine", {"training": training.to_dict()})
    job = make_job(Path("run"), {**DATA, **options}, resume=False)
    expected = training.replace(scheme=options.get("scheme", "joint"))
    if "proposals" in options:
        job = job.replace(backbone_weights="imagenet")  # nothing is frozen with random weights
    assert job.preset().training == expected
    save_detector(detector, "mine")
    assert make_job(Path("run"), {**DATA, "init": "mine"}, resume=False).preset().training == TrainingConfig()


def test_network_and_weights_are_named_once(imported: Path, tmp_path: Path) -> None:
    options = {**DATA, "init": str(imported), "model": "vgg16", "backbone_weights": "imagenet"}
    with pytest.raises(InputError, match=r"--init brings its own .*: leave --model and --backbone-weights out"):
        make_job(tmp_path / "run", options, resume=False)
    with pytest.raises(InputError, match=r"no detector in .*nowhere"):
        make_job(tmp_path / "run", {**DATA, "init": str(tmp_path / "nowhere")}, resume=False)


def test_a_detector_that_learns_from_proposals_has_the_network_that_gives_them(imported: Path, tmp_path: Path) -> None:
    options = {**DATA, "scheme": "fast-rcnn-only", "proposals": str(imported)}
    job = make_job(tmp_path / "run", options, resume=False)
    assert (job.model, job.backbone_weights, job.proposals) == ("tiny_fpn", "none", str(imported))
    assert job.preset().detector == preset("tiny_fpn").detector
    assert job.preset().training == preset("tiny_fpn").training.replace(scheme="fast-rcnn-only")
    with pytest.raises(InputError, match="--proposals brings the network: leave --model and --init out"):
        make_job(tmp_path / "run", {**options, "model": "vgg16", "init": str(imported)}, resume=False)
    with pytest.raises(InputError, match=r"no detector in .*nowhere"):
        make_job(tmp_path / "run", {**options, "proposals": str(tmp_path / "nowhere")}, resume=False)


def test_weights_have_to_be_named_where_there_are_none_to_download(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights to download for fasterrcnn_resnet50_fpn: give --backbone-weights"):
        make_job(tmp_path, {**DATA, "model": "fasterrcnn_resnet50_fpn"}, resume=False)


def test_random_weights_are_not_frozen(tmp_path: Path) -> None:
    options = {**DATA, "model": "resnet50_fpn"}
    pretrained = make_job(tmp_path, options, resume=False).preset().training
    assert (pretrained.frozen_stages, pretrained.freeze_batch_norm) == (2, True)
    scratch = make_job(tmp_path, {**options, "backbone_weights": "none"}, resume=False).preset().training
    assert scratch == pretrained.replace(frozen_stages=0, freeze_batch_norm=False)
