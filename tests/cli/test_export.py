"""`tfrcnn export`: other commands take its files, and errors are reported before anything is written."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tfrcnn.cli.export import parse_size
from tfrcnn.config import Category, DetectionConfig
from tfrcnn.errors import InputError
from tfrcnn.export.check.tolerances import TOLERANCES, Tolerance
from tfrcnn.export.stages import STAGES
from tfrcnn.models import build_detector, preset, save_detector


@pytest.mark.parametrize(("text", "size"), [(None, None), ("320", (320, 320)), ("320x448", (320, 448))])
def test_sizes_are_one_number_or_height_and_width(text: str | None, size: tuple[int, int] | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "320x", "1x2x3", "-32", "a"])
def test_another_form_of_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected N or HxW"):
        parse_size(text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--format tflite --out {new}.onnx", "expected a name that ends in .tflite for tflite"),
        ("--format tflite --precision int8 --out {new}.tflite", "int8 needs representative images"),
        (
            "--format onnx --precision dynamic --out {new}.onnx",
            "precision of onnx must be one of .*, found .dynamic.",
        ),
        (
            "--format saved_model --precision float16 --out {new}",
            "precision of saved_model must be one of float32",
        ),
        ("--format saved_model --out {used}", "exists: choose another name"),
        ("--format saved_model --out {new} --image-size 3.5", "expected N or HxW"),
        ("--format coreml --out {new}", "'coreml' is not one of"),
    ],
)
def test_wrong_options_are_one_clear_line(options: str, message: str, tmp_path: Path, tfrcnn: Callable) -> None:
    save_detector(build_detector(preset("tiny_fpn", (Category(1, "a"),)).detector), tmp_path / "run")
    (tmp_path / "used").mkdir()
    before = sorted(tmp_path.rglob("*"))
    places = options.format(new=tmp_path / "new", used=tmp_path / "used")
    code, out, err = tfrcnn("export", "--model", tmp_path / "run", *places.split())
    assert code == 2, out + err
    (error,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert re.search(message, error), error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_what_is_exported_is_evaluated_predicts_and_is_timed_like_its_run(
    tmp_path: Path, tfrcnn: Callable, coco: Callable
) -> None:
    keras.utils.set_random_seed(1)
    config = preset("tiny_fpn", (Category(1, "red"), Category(2, "white"))).detector
    image = config.image.replace(min_size=96, max_size=96, static_size=(96, 96))
    limits = DetectionConfig(score_threshold=0.0, max_detections=20)
    run, file, data = tmp_path / "run", tmp_path / "a.onnx", coco(tmp_path / "data")
    save_detector(build_detector(config.replace(image=image, detections=limits)), run)
    code, out, err = tfrcnn("export", "--model", run, "--format", "onnx", "--out", file, "--verify", data)
    assert code == 0, err
    assert "| verdict | within tolerance |" in out
    report = json.loads((tmp_path / "a.onnx.report.json").read_text())
    assert report["detections"] >= 20
    assert report["operators"][0]["count"] > 10
    numbers = []
    for model in (run, file):
        written = ("--json", tmp_path / f"{model.name}.json")
        assert tfrcnn("evaluate", "--model", model, "--data", data, *written).code == 0
        numbers.append(json.loads(written[1].read_text())["headline"])
    assert numbers[1] == pytest.approx(numbers[0], abs=1e-3)
    drawn = ("--out", tmp_path / "found", "--score-threshold", "0")
    assert tfrcnn("predict", tmp_path / "data", "--model", file, *drawn).code == 0
    assert len(json.loads((tmp_path / "found/detections.json").read_text())) >= 20
    together = ("--out", tmp_path / "together", "--score-threshold", "0", "--batch", "3", "--no-pictures")
    assert tfrcnn("predict", tmp_path / "data", "--model", file, *together).code == 0
    of_batches, single = (
        [(row["image_id"], row["category_id"], *row["bbox"], row["score"]) for row in json.loads(path.read_text())]
        for path in (tmp_path / "together/detections.json", tmp_path / "found/detections.json")
    )
    assert np.array(of_batches) == pytest.approx(np.array(single), abs=1e-3)
    once = ("--rounds", "1", "--threads", "1", "--no-stages", "--out", tmp_path / "latency")
    code, out, err = tfrcnn("benchmark", "--model", run, "--model", file, *once)
    assert code == 0, err
    runtimes = [line.split(" | ")[1] for line in out.splitlines()[2:7]]
    assert runtimes == ["Keras", "Keras, eager", "ONNX Runtime", "OpenVINO", "OpenVINO, one size"]
    assert (tmp_path / "latency/latency.csv").is_file()


@pytest.mark.slow
def test_an_int8_file_out_of_tolerance_is_reported_with_its_stages(
    tmp_path: Path, tfrcnn: Callable, coco: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "int8", Tolerance(None, 1e-4, None))  # 8 bits move every box by more
    config = preset("tiny_fpn", (Category(1, "red"), Category(2, "white"))).detector
    save_detector(build_detector(config), tmp_path / "run")
    options = "--format tflite --precision int8 --image-size 64 --score-threshold 0 --max-detections 10"
    data = coco(tmp_path / "data")
    out = tmp_path / "a.tflite"
    code, printed, err = tfrcnn(
        "export", "--model", tmp_path / "run", "--out", out, *options.split(), "--representative", data
    )
    assert code == 1, printed + err
    assert re.search(r"error: boxes differ by up to .* px, allowed 0.0001", err)
    assert not out.exists()
    assert (tmp_path / "a.failed.tflite").is_file()
    assert all(f"difference of {stage} on the worst image" in printed for stage in STAGES)
    assert "| first stage that diverges | " in printed
