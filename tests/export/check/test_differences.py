"""How far stages are apart, and which stage of an export diverges first."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export import TARGETS, ExportOptions, export
from tfrcnn.export.check.differences import differences, first_divergent
from tfrcnn.export.check.report import Report
from tfrcnn.export.check.verification import edge_cases
from tfrcnn.export.contract import prepare
from tfrcnn.export.stages import STAGES, run_stages
from tfrcnn.kernels import PORTABLE
from tfrcnn.models import build_blank_detector, build_detector, preset


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(1)
    config = preset("tiny_fpn", (Category(1, "a"), Category(2, "b"))).detector
    image = config.image.replace(min_size=96, max_size=96, static_size=(96, 96))
    return build_detector(
        config.replace(image=image, detections=DetectionConfig(score_threshold=0.0, max_detections=20))
    )


@pytest.fixture(scope="module")
def outputs(detector):
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3)), tf.float32)
    return {name: value.numpy() for name, value in run_stages(detector, images, tf.constant([[96.0, 96.0]])).items()}


def test_the_stages_end_with_what_the_network_detects(detector, outputs):
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3)), tf.float32)
    whole = detector.network([images, tf.constant([[96.0, 96.0]])])
    np.testing.assert_array_equal(outputs["detections_0"], whole["boxes"])
    np.testing.assert_array_equal(outputs["detections_1"], whole["scores"])
    assert {name.rsplit("_", 1)[0] for name in outputs} == set(STAGES)


def test_a_run_does_not_differ_from_itself_nor_in_the_order_of_proposals(outputs):
    assert differences(outputs, outputs) == dict.fromkeys(STAGES, 0.0)
    order = np.random.default_rng(0).permutation(outputs["proposals_0"].shape[1])
    shuffled = {**outputs, **{n: v[:, order] for n, v in outputs.items() if n.startswith(("proposals", "roi", "head"))}}
    assert differences(shuffled, outputs) == dict.fromkeys(STAGES, 0.0)


@pytest.mark.parametrize("stage", STAGES)
def test_the_stage_that_is_off_is_named(stage, outputs):
    name = f"{stage}_0"
    # boxes move by five pixels, all else by a hundredth of its largest value
    shift = 5.0 if stage in ("proposals", "detections") else 0.01 * np.abs(outputs[name]).max()
    off = differences({**outputs, name: outputs[name] + np.float32(shift)}, outputs)
    assert first_divergent(off, "float32") == stage


def test_round_off_is_no_divergence_and_what_is_not_a_number_is(outputs):
    assert first_divergent(differences({n: v * (1 + 1e-6) for n, v in outputs.items()}, outputs), "float32") is None
    assert first_divergent(differences({**outputs, "rpn_0": outputs["rpn_0"] * np.nan}, outputs), "float32") == "rpn"


@pytest.fixture
def one_picture(monkeypatch):
    """Lets an export be judged by one picture: seven of as many sizes show no more faults, and take a minute."""
    for user in ("check.verification", "exporting"):
        monkeypatch.setattr(f"tfrcnn.export.{user}.edge_cases", lambda: edge_cases()[-1:])


def half_a_cell_off(features, crops, strides, config):
    shift = 0.5 * tf.gather(tf.constant(strides, tf.float32), crops.levels)[:, None]
    return PORTABLE.roi_align(features, crops._replace(boxes=crops.boxes - shift), strides, config)


@pytest.mark.slow
@pytest.mark.usefixtures("one_picture")
def test_an_export_half_a_cell_off_in_roi_align_is_found_out(detector, tmp_path, monkeypatch):
    kernels = replace(PORTABLE, name="off", roi_align=half_a_cell_off)
    monkeypatch.setattr("tfrcnn.export.tflite.writer._kernels", lambda *_: kernels)
    report = export(detector, tmp_path / "a.tflite", ExportOptions("tflite"))
    assert not report.passed
    assert report.first_divergent == "roi_align"
    assert not (tmp_path / "a.tflite").exists()
    assert (tmp_path / "a.failed.tflite").is_file()
    written = json.loads((tmp_path / "a.failed.tflite.report.json").read_text())
    assert written["first_divergent"] == "roi_align"
    assert "| first stage that diverges | roi_align |" in (tmp_path / "a.failed.tflite.report.md").read_text()


@pytest.mark.soak
@pytest.mark.usefixtures("one_picture")
def test_kernels_that_no_format_has_are_found_out(detector, tmp_path):
    def halved(*args):
        kept = PORTABLE.nms(*args)
        return kept._replace(scores=tf.where(kept.scores > 0, kept.scores / 2, kept.scores))

    kernels = replace(PORTABLE, name="soft", nms=halved)
    soft = build_blank_detector(detector.config, kernels=kernels)
    soft.set_weights(detector.get_weights())
    report = export(soft, tmp_path / "a", ExportOptions("saved_model"))
    assert not report.passed
    assert (tmp_path / "a.failed").is_dir()


@pytest.mark.slow
@pytest.mark.usefixtures("one_picture")
@pytest.mark.parametrize("format", ["onnx", pytest.param("saved_model", marks=pytest.mark.soak)])
def test_a_head_with_other_weights_is_found_out_in_every_format(format, detector, tmp_path, monkeypatch):
    def spoilt(*args, **kwargs):
        copy = prepare(*args, **kwargs)
        kernel = next(w for w in copy.box_head.trainable_weights if len(w.shape) == 2)
        kernel.assign(kernel * 1.1)
        return copy

    monkeypatch.setattr(f"tfrcnn.export.{format}.writer.prepare", spoilt)
    report = export(detector, tmp_path / f"a{TARGETS[format].suffix}", ExportOptions(format))
    assert not report.passed
    assert report.first_divergent == "head"


def test_representative_images_that_come_once_are_there_for_the_stages_too(detector, tmp_path, monkeypatch):
    read = []

    def read_all(_detector, path, options, *_):
        read.append(len(list(options.representative)))
        path.touch()
        return Report("tflite", "int8", 1, 0, 0.0, 0.0, 0, 0, 1, 1.0, 1.0, None, None, ())

    monkeypatch.setattr(TARGETS["tflite"], "write", read_all)
    monkeypatch.setattr("tfrcnn.export.exporting._verify", read_all)
    images = (np.zeros((8, 8, 3), np.uint8) for _ in range(3))
    export(detector, tmp_path / "a.tflite", ExportOptions("tflite", "int8", representative=images))
    assert read == [3, 3]


@pytest.mark.slow
def test_a_report_without_fault_has_no_stages(detector, tmp_path):
    report = export(detector, tmp_path / "a.tflite", ExportOptions("tflite"))
    assert report.passed
    assert report.stages is None
    assert {"op": "FULLY_CONNECTED", "count": 3, "dtypes": "float32 [float32] -> float32"} in report.operators
    assert "| FULLY_CONNECTED | 3 | float32 [float32] → float32 |" in report.to_markdown()
    assert replace(report, faults=("x",), stages={"rpn": 0.5}).to_markdown().count("rpn") == 1
