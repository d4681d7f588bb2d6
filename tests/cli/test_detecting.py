"""Options for better detections from the same weights."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrcnn.cli.detecting import ViewOptions, check_settings, read_settings
from tfrcnn.config import DetectionConfig
from tfrcnn.errors import InputError
from tfrcnn.export import runtimes
from tfrcnn.views import Views


def test_settings_are_json_or_text_with_the_prefix_of_training_or_without() -> None:
    settings = read_settings(["class_agnostic_nms=true", "detector.detections.nms=soft_gaussian", "nms_iou=0.4"])
    assert settings == {"class_agnostic_nms": True, "nms": "soft_gaussian", "nms_iou": 0.4}
    assert read_settings(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nms", "--set: expected FIELD=VALUE, found 'nms'"),
        ("nms=agnostic", "DetectionConfig.nms must be one of .*soft_gaussian.*, found 'agnostic'"),
        ("sigma=1", "DetectionConfig has no field 'sigma'; its fields are .*nms_sigma"),
        ("nms_sigma=0", "DetectionConfig.nms_sigma must be above 0, found 0"),
        ("class_agnostic_nms=yes", "DetectionConfig.class_agnostic_nms must be .*, found 'yes'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line_before_any_work(text: str, message: str, tfrcnn: Callable) -> None:
    for command in ("export --out a.onnx --format onnx", "evaluate", "predict a.png --out b"):
        result = tfrcnn(*command.split(), "--model", "no/such", "--set", text)
        assert result.code == 2
        assert len(result.err.splitlines()) == 1
    with pytest.raises(InputError, match=message):
        read_settings([text])


def test_no_options_leave_the_predictor_as_it_is() -> None:
    predictor = object()
    assert ViewOptions().wrap(predictor) is predictor


def test_the_options_become_views(tmp_path: Path) -> None:
    class Predictor:
        categories = ()
        detections = DetectionConfig(class_agnostic_nms=True)

    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "mask.png")
    options = ViewOptions(640, 0.3, True, "1, 1.5", "fusion", tmp_path / "mask.png")
    wrapped = options.wrap(Predictor())
    assert wrapped.views == Views(640, 0.3, flip=True, scales=(1.0, 1.5), merge="fusion", class_agnostic=True)
    assert wrapped.region.mask(9, 9).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ViewOptions(tiles=3), "Views.tiles must be None or 32 to 100,000 pixels, found 3"),
        (ViewOptions(overlap=1.0), r"Views.overlap must be in \[0, 0.9\], found 1.0"),
        (ViewOptions(scales="1;2"), "--scales: expected numbers, for example 1,1.5, found '1;2'"),
        (ViewOptions(scales=""), "--scales: expected numbers, for example 1,1.5, found ''"),
        (ViewOptions(region=Path("no.png")), "no.png"),
    ],
)
def test_views_out_of_range_are_one_line(options: ViewOptions, message: str) -> None:
    with pytest.raises(InputError, match=message):
        options.wrap(type("Predictor", (), {"categories": (), "detections": DetectionConfig()})())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tile-overlap 0.3", "--tile-overlap needs --tiles, or a scale above 1 in --scales"),
        ("--tile-overlap 0.3 --scales 0.5,1", "--tile-overlap needs --tiles, or a scale above 1 in --scales"),
        ("--merge fusion", "--merge needs several views to merge: --tiles, --flip or --scales"),
        ("--merge nms --scales 1", "--merge needs several views to merge: --tiles, --flip or --scales"),
        ("--scales 1;2", "--scales: expected numbers, for example 1,1.5, found '1;2'"),
        ("--set score_threshold=0.3", "--set score_threshold: use the option --score-threshold"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused_before_any_work(
    options: str, message: str, tfrcnn: Callable
) -> None:
    for command in ("evaluate", "predict a.png --out b"):
        result = tfrcnn(*command.split(), "--model", "no/such", *options.split())
        assert (result.code, result.err) == (2, f"error: {message}\n")


@pytest.mark.parametrize("options", ["--tile-overlap 0.3 --scales 1,1.5", "--merge nms --flip"])
def test_options_of_views_that_belong_together_are_taken(options: str, tfrcnn: Callable) -> None:
    result = tfrcnn("evaluate", "--model", "no/such", *options.split())
    assert result.err.startswith("error: no/such: expected a run folder")  # the next that is checked


def test_settings_that_the_kind_of_nms_does_not_use_are_refused() -> None:
    with pytest.raises(InputError, match="--set nms_sigma changes nothing with nms=hard: add --set nms=soft_gaussian"):
        check_settings({"nms_sigma": 0.3}, DetectionConfig())
    with pytest.raises(InputError, match="--set nms_iou changes nothing with nms=soft_gaussian, which uses nms_sigma"):
        check_settings({"nms_iou": 0.3}, DetectionConfig(nms="soft_gaussian"))
    check_settings({"nms_sigma": 0.3, "nms": "soft_gaussian"}, DetectionConfig(nms="soft_gaussian"))


def test_the_nms_inside_an_exported_file_cannot_be_changed(
    tfrcnn: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runtimes, "format_of", lambda path: "onnx")
    with pytest.raises(InputError, match=r"a\.onnx: NMS is inside an exported file: export .* --set nms=soft_linear"):
        runtimes.load("a.onnx", detections={"nms": "soft_linear"})


def test_views_are_refused_with_proposals(tfrcnn: Callable, tmp_path: Path) -> None:
    result = tfrcnn("evaluate", "--model", tmp_path, "--data", "no.json", "--proposals", "--flip")
    assert (result.code, result.err) == (
        2,
        "error: --set and the options of views cannot be combined with --proposals\n",
    )


@pytest.mark.slow
def test_a_new_user_detects_in_tiles_with_another_nms(tfrcnn: Callable, tmp_path: Path, coco: Callable) -> None:
    from tfrcnn.config import Category, DetectionConfig
    from tfrcnn.models import build_detector, preset, save_detector

    config = preset("tiny_fpn", (Category(1, "red"), Category(2, "white"))).detector
    limits = DetectionConfig(score_threshold=0.0, max_detections=5)
    image = config.image.replace(min_size=64, max_size=64)
    save_detector(build_detector(config.replace(detections=limits, image=image)), tmp_path / "run")
    data = coco(tmp_path / "data")
    options = ("--tiles", 48, "--flip", "--set", "class_agnostic_nms=true", "--set", "nms=soft_gaussian")
    pictures = sorted((tmp_path / "data").glob("*.png"))[:1]
    result = tfrcnn(
        "predict", "--model", tmp_path / "run", *pictures, "--out", tmp_path / "out", *options, "--score-threshold", 0
    )
    assert result.code == 0, result.err
    assert len(json.loads((tmp_path / "out/detections.json").read_text())) > 5
    result = tfrcnn("evaluate", "--model", tmp_path / "run", "--data", data, *options)
    assert result.code == 0, result.err
    assert "AP50" in result.out
