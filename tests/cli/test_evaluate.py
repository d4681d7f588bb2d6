"""`tfrcnn evaluate --proposals`: its output, its files and its errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest
from PIL import Image

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export import runtimes
from tfrcnn.models import build_detector, preset, save_detector
from tfrcnn.run_description import read_description


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("run")
    save_detector(build_detector(preset("tiny_fpn", (Category(1, "red"), Category(2, "white"))).detector), folder)
    return folder


def test_the_table_the_json_and_the_figure_are_of_the_proposals(
    run: Path, tmp_path: Path, coco: Callable, tfrcnn: Callable
) -> None:
    data = coco(tmp_path / "data")
    out = ("--json", tmp_path / "a.json", "--plots", tmp_path / "plots")
    result = tfrcnn("evaluate", "--model", run, "--data", data, "--proposals", *out)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith("Recall of proposals: 4 images, 8 objects, ")
    assert [line.split()[0] for line in lines[3:7]] == ["100", "300", "1000", "2000"]
    assert "recall.png is in " in result.out
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (content["model"], content["metric"]) == (str(run), "proposals")
    assert content["counts"]["proposals"] > 4 * 100  # more than the preset's 100 per image
    recall = content["recall"]
    assert recall["100"][0] <= recall["300"][0] <= recall["2000"][0]
    assert lines[6].split()[1] == f"{recall['2000'][0]:.3f}"
    assert lines[6].split()[4] == f"{content['average_recall']['AR@2000']:.3f}"
    assert content["average_recall"]["ARm@100"] is None  # the objects have 720 pixels, below 32^2
    with Image.open(tmp_path / "plots/recall.png") as picture:
        assert picture.size == (960, 660)


def test_a_metric_of_detections_is_refused_beside_proposals(run: Path, tfrcnn: Callable) -> None:
    result = tfrcnn("evaluate", "--model", run, "--data", "no/such.json", "--proposals", "--metric", "coco")
    assert result.code == 2
    assert result.err == "error: --metric cannot be combined with --proposals\n"


def test_an_exported_file_has_no_proposals_to_judge(tmp_path: Path, tfrcnn: Callable) -> None:
    (tmp_path / "a.onnx").write_bytes(b"anything")
    result = tfrcnn("evaluate", "--model", tmp_path / "a.onnx", "--data", "no/such.json", "--proposals")
    assert result.code == 2
    assert result.err.startswith("error: --proposals needs a run folder; ")


@pytest.mark.slow
def test_proposals_are_judged_on_objects_of_any_class(
    run: Path, tmp_path: Path, coco: Callable, tfrcnn: Callable
) -> None:
    data = coco(tmp_path / "data", categories=[{"id": 1, "name": "cup"}, {"id": 2, "name": "spoon"}])
    result = tfrcnn("evaluate", "--model", run, "--data", data, "--proposals")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Recall of proposals: 4 images, 8 objects, ")
    # detections have classes, and the detector has other ones
    result = tfrcnn("evaluate", "--model", run, "--data", data)
    assert result.code == 2
    assert "expected one of red, white, found 'cup' (4 boxes)" in result.err


@pytest.mark.parametrize("option", [("--max-detections", "5"), ("--score-threshold", "0.3")])
def test_limits_of_detections_are_refused_beside_proposals(
    run: Path, tfrcnn: Callable, option: tuple[str, str]
) -> None:
    result = tfrcnn("evaluate", "--model", run, "--data", "no/such.json", "--proposals", *option)
    assert result.code == 2
    assert result.err == "error: --max-detections and --score-threshold cannot be combined with --proposals\n"


def test_the_limits_of_detections_can_be_changed_and_are_in_the_table(
    run: Path, tmp_path: Path, coco: Callable, tfrcnn: Callable
) -> None:
    options = ("--max-detections", "150", "--score-threshold", "0", "--json", tmp_path / "a.json")
    result = tfrcnn("evaluate", "--model", run, "--data", coco(tmp_path / "data"), *options)
    assert (result.code, result.err) == (0, "")
    assert "at most 150 detections per image and class are judged" in result.out
    assert "the detector returns at most 150 per image, of scores above 0." in result.out
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content["limits"]["detections_per_image"] == 150
    assert 4 * 100 < content["counts"]["detections"] <= 4 * 150


@pytest.mark.parametrize(("option", "value"), [("max_detections", 0), ("score_threshold", 1.5)])
def test_a_limit_out_of_range_is_one_line(run: Path, tfrcnn: Callable, option: str, value: float) -> None:
    result = tfrcnn("evaluate", "--model", run, "--data", "no/such.json", f"--{option.replace('_', '-')}", value)
    assert result.code == 2
    assert option in result.err.replace("-", "_")
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--max-detections", "21"), "returns at most 20 per image, found 21; export it again with more"),
        (
            ("--score-threshold", "0.1"),
            "returns scores above 0.2 only, found 0.1; export it again with a lower threshold",
        ),
    ],
)
def test_an_exported_file_cannot_return_what_it_leaves_out(
    tmp_path: Path, tfrcnn: Callable, monkeypatch: pytest.MonkeyPatch, option: tuple[str, str], message: str
) -> None:
    predictor = SimpleNamespace(detections=DetectionConfig(max_detections=20, score_threshold=0.2))
    monkeypatch.setattr(runtimes, "format_of", lambda path: "onnx")
    monkeypatch.setattr(runtimes, "load", lambda path: predictor)
    result = tfrcnn("evaluate", "--model", tmp_path / "a.onnx", "--data", "no/such.json", *option)
    assert result.code == 2
    assert result.err == f"error: {option[0]}: {tmp_path / 'a.onnx'} {message}\n"


@pytest.mark.slow
def test_the_report_is_a_page_and_json_and_compares_with_a_model(
    run: Path, tmp_path: Path, coco: Callable, tfrcnn: Callable
) -> None:
    data, model = coco(tmp_path / "data"), tmp_path / "run"
    shutil.copytree(run, model)
    options = ("--report", tmp_path / "errors", "--compare", run, "--score-threshold", "0.0", "--min-recall", "0.5")
    result = tfrcnn("evaluate", "--model", model, "--data", data, *options, "--write-thresholds")
    assert (result.code, result.err) == (0, "")
    assert f"The page of errors is {tmp_path / 'errors/evaluation.html'} (" in result.out
    numbers = json.loads((tmp_path / "errors/evaluation.json").read_text(encoding="utf-8"))
    assert (numbers["min_recall"], numbers["detector"]) == (0.5, str(model))
    assert numbers["comparison"]["metrics"]["AP"]["difference"]["value"] == 0
    assert set(numbers["score_threshold"]) == {"red", "white"}
    limits = read_description(model)["detector"]["detections"]
    assert limits["class_score_thresholds"] == numbers["score_threshold"]
    assert f"{model} detects with the thresholds red " in result.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--compare", "other"), "--compare needs --report, the page of the comparison"),
        (("--write-thresholds",), "--write-thresholds needs --report, which finds them"),
        (("--min-recall", "0.5"), "--min-precision and --min-recall need --report, the page of the thresholds"),
        (("--score-threshold", "1"), "--score-threshold: expected a number below 1, because no score is above 1"),
        (("--score-threshold", "nan"), "--score-threshold: expected a number in 0..1, found 'nan'"),
        (("--set", "max_detections=5"), "--set max_detections: use the option --max-detections"),
        (("--report", "a", "--proposals"), "--report cannot be combined with --proposals"),
        (("--report", "a", "--min-recall", "0"), "min_recall: expected a number in (0, 1], found 0.0"),
    ],
)
def test_options_of_the_report_that_do_not_fit_are_refused(
    run: Path, tfrcnn: Callable, options: tuple[str, ...], message: str
) -> None:
    result = tfrcnn("evaluate", "--model", run, "--data", "no/such.json", *options)
    assert (result.code, result.err) == (2, f"error: {message}\n")
