"""Latency side by side, and the ledger of stages."""

import csv
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS, load, to_onnx, to_tflite
from tfrcnn.export.check.verification import edge_cases
from tfrcnn.export.measure import ledger
from tfrcnn.export.measure.benchmark import (
    Latency,
    Process,
    benchmark,
    plot,
    render,
    render_stages,
    stage_milliseconds,
    write_csv,
)
from tfrcnn.export.measure.ledger import sum_by_stage
from tfrcnn.export.stages import STAGES, stage_of
from tfrcnn.export.tflite.flatbuffer import operator_names, truncate
from tfrcnn.models import build_detector, preset, save_detector

ROW = Latency("a.onnx", "OpenVINO", 2, 10.0, 12.5, 300.0, 43.2, 800.0, dict.fromkeys(STAGES, 1.5))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The same detector as a run folder, an ONNX and a TFLite file."""
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", (Category(1, "a"),)).detector
    config = config.replace(
        image=config.image.replace(min_size=96, max_size=96, static_size=(96, 96)),
        detections=DetectionConfig(score_threshold=0.0, max_detections=5),
    )
    detector, folder = build_detector(config), tmp_path_factory.mktemp("models")
    save_detector(detector, folder / "run")
    to_onnx(detector, folder / "a.onnx")
    to_tflite(detector, folder / "a.tflite")
    return folder


def test_operators_between_layers_count_to_the_one_before():
    operators = [("Cast", 1.0), ("network/backbone/a", 2.0), ("Transpose__4", 4.0), ("network/roi_align/x", 8.0)]
    outputs = sum_by_stage(operators)
    assert (outputs["preprocessing"], outputs["backbone"], outputs["roi_align"]) == (1.0, 6.0, 8.0)
    assert sum(outputs.values()) == 15.0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors.*:UserWarning")
def test_a_truncated_model_computes_what_is_wanted_and_what_that_needs(models):
    from ai_edge_litert.interpreter import Interpreter

    model = (models / "a.tflite").read_bytes()
    names = operator_names(model)
    cut = truncate(model, [stage_of(name) == "rpn" for name in names])
    kept = operator_names(cut)
    assert {stage_of(name) for name in kept} == {"preprocessing", "backbone", "rpn", None}
    assert sum(stage_of(name) == "rpn" for name in kept) == sum(stage_of(name) == "rpn" for name in names)
    # the same numbers as the whole model has inside
    image = np.random.default_rng(0).uniform(0, 255, (1, 96, 96, 3)).astype(np.float32)
    values = []
    for content in (model, cut):
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        name = next(name for name in kept if "objectness" in name)
        index = next(t["index"] for t in interpreter.get_tensor_details() if t["name"] == name)
        values.append(interpreter.get_tensor(index))
    np.testing.assert_array_equal(*values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "runtime"),
    [("run", "Keras"), ("a.tflite", "LiteRT"), *(("a.onnx", runtime) for runtime in TARGETS["onnx"].runtimes)],
)
def test_every_runtime_says_where_its_time_goes(name, runtime, models):
    if runtime.startswith("OpenVINO"):
        pytest.importorskip("openvino")
    # medians of many runs: with two, a machine that has more to do can hide a layer of LiteRT, which is a difference
    outputs = stage_milliseconds(models / name, runtime, 1, edge_cases()[-1], rounds=25)
    assert tuple(outputs) == STAGES
    # the geometry of this tiny network may be too quick to measure by differences, its layers are not
    assert all(outputs[stage] > 0 for stage in ("backbone", "rpn", "head"))
    assert all(milliseconds >= 0 for milliseconds in outputs.values())


@pytest.mark.slow
def test_a_call_of_the_graph_is_no_operator_of_tensorflows(models):
    predictor = load(models / "run")
    predictor.detect(edge_cases()[-1])
    names = [name for name, _ in ledger.tensorflow_operators(lambda: predictor.detect(edge_cases()[-1]))]
    assert len(names) > 100
    assert {name.split("/")[0].rstrip("_0123456789") for name in names if "/" in name} == {"faster_rcnn"}
    assert not any("Eager" in name for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", TARGETS["onnx"].runtimes[1:])
def test_openvino_detects_what_onnx_runtime_detects(runtime, models):
    pytest.importorskip("openvino")
    detectors = [load(models / "a.onnx", runtime=name) for name in ("ONNX Runtime", runtime)]
    for picture in edge_cases():  # of many sizes
        one, other = (detector.detect(picture) for detector in detectors)
        assert len(one.scores) > 0
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-2)


@pytest.mark.slow
def test_a_runtime_of_another_form_is_refused(models):
    with pytest.raises(InputError, match="runtime must be one of LiteRT, found 'OpenVINO'"):
        load(models / "a.tflite", runtime="OpenVINO")


def test_a_process_that_ended_between_two_questions_is_named(monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    ended.wait()
    monkeypatch.setattr(Process, "__init__", lambda self: None)
    process = Process()
    process.path, process.process = Path("cells.onnx"), ended
    with pytest.raises(InputError, match=r"^cells.onnx: its process ended with 0; tfrcnn predict shows why"):
        process.peak_mb()


def test_a_file_of_the_current_folder_is_not_taken_for_a_module(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("open('imported', 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^none.onnx: its process ended with 1"):
        Process(Path("none.onnx"), "ONNX Runtime", 1)
    assert not (tmp_path / "imported").exists()


def test_tables_have_a_row_for_each(tmp_path):
    other = Latency("b", "Keras", 2, 20.0, 20.0, 1.0, 1.0, 1.0, {})
    assert "| b | Keras | 2 | 20.0 | 20.0 | 2.00 |" in render([ROW, other])
    assert render_stages([ROW, other]).splitlines()[2:] == [f"| a.onnx | OpenVINO | 2 |{' 1.5 |' * 7} 10.5 |"]
    assert render_stages([other]) == ""
    write_csv([ROW, other], tmp_path / "a.csv")
    first, second = csv.DictReader((tmp_path / "a.csv").read_text().splitlines())
    assert (first["median_ms"], first["rpn_ms"], second["rpn_ms"]) == ("10.0", "1.5", "")
    plot([ROW, other], tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


@pytest.mark.slow
@pytest.mark.soak
def test_all_runtimes_are_measured_side_by_side(models, tmp_path):
    np.save(tmp_path / "0.npy", edge_cases()[-1])
    paths = [models / name for name in ("run", "a.onnx", "a.tflite")]
    results = benchmark(paths, [tmp_path / "0.npy"], (1,), rounds=2)
    assert [r.runtime for r in results] == ["Keras", "Keras, eager", *TARGETS["onnx"].runtimes, "LiteRT"]
    assert [set(r.stages) for r in results] == [set(STAGES), set(), *4 * [set(STAGES)]]
    assert all(0 < r.median_ms <= r.p95_ms and r.load_ms > 0 and r.size_mb > 0 and r.peak_mb > 50 for r in results)
