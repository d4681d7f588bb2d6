"""What the field's tools make of an exported ONNX file: it runs and detects the same, or is refused in one line."""

import numpy as np
import pytest

import tfrcnn.export
from tfrcnn.errors import InputError

from .detectors import picture

onnx = pytest.importorskip("onnx")
IMAGES = picture(1, 120, 160)


@pytest.fixture(scope="module")
def expected(runtime):
    return runtime.run(IMAGES)


def assert_same(path, expected, atol=1e-5):
    outputs = tfrcnn.export.load(path).runtime.run(IMAGES)
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, atol=atol, err_msg=name)


def slim(path, new):
    onnxslim = pytest.importorskip("onnxslim")
    onnx.save(onnxslim.slim(onnx.load(path)), new)


def prepare_for_quantisation(path, new):
    pytest.importorskip("sympy")
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # its symbolic shapes cannot follow sizes that a network rounds up, and it says so
    quant_pre_process(str(path), str(new), skip_symbolic_shape=True)


def convert_to_opset(path, new, opset):
    onnx.save(onnx.version_converter.convert_version(onnx.load(path), opset), new)


@pytest.mark.slow
@pytest.mark.parametrize("tool", [slim, prepare_for_quantisation])
def test_a_tool_keeps_the_results(path, expected, tmp_path, tool):
    tool(path, tmp_path / "new.onnx")
    assert_same(tmp_path / "new.onnx", expected)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 21])
def test_a_later_opset_keeps_the_results(path, expected, tmp_path, opset):
    convert_to_opset(path, tmp_path / "new.onnx", opset)
    assert_same(tmp_path / "new.onnx", expected)


@pytest.mark.slow
def test_onnx_runtimes_converter_to_float16_keeps_the_detections(path, expected, tmp_path):
    float16 = pytest.importorskip("onnxruntime.transformers.float16")
    onnx.save(float16.convert_float_to_float16(onnx.load(path), keep_io_types=True), tmp_path / "new.onnx")
    outputs = tfrcnn.export.load(tmp_path / "new.onnx").runtime.run(IMAGES)
    assert abs(outputs["num_detections"][0] - expected["num_detections"][0]) <= 3
    np.testing.assert_allclose(outputs["detection_scores"][0, :20], expected["detection_scores"][0, :20], atol=0.02)


def test_an_opset_that_onnx_runtime_lacks_is_one_clear_line(path, tmp_path):
    convert_to_opset(path, tmp_path / "new.onnx", 22)
    try:
        assert tfrcnn.export.load(tmp_path / "new.onnx").runtime.run(IMAGES)["num_detections"][0]
    except InputError as error:
        assert "new.onnx: ONNX Runtime has no RoiAlign of opset 22; keep the opset" in str(error)  # noqa: PT017


def test_weights_in_another_file_are_refused_with_the_way_to_one_file(path, expected, tmp_path):
    new = tmp_path / "new.onnx"
    onnx.save(onnx.load(path), new, save_as_external_data=True, location="weights", size_threshold=100)
    with pytest.raises(InputError, match=r"its weights are in another file.*: onnx\.save\(onnx\.load\('.*'\), NEW\)"):
        tfrcnn.export.load(new)
    onnx.save(onnx.load(new), tmp_path / "one.onnx")  # as the message says
    assert_same(tmp_path / "one.onnx", expected)


def test_onnx_runtimes_own_format_is_loaded(path, expected, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "a.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert_same(tmp_path / "a.ort", expected)
    with pytest.raises(InputError, match=r"a\.ort: OpenVINO does not read \.ort files: load the \.onnx file"):
        tfrcnn.export.load(tmp_path / "a.ort", runtime="OpenVINO")


@pytest.mark.slow
def test_openvinos_own_format_is_loaded(path, expected, tmp_path):
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.convert_model(path), tmp_path / "a.xml", compress_to_fp16=False)
    assert_same(tmp_path / "a.xml", expected, atol=1e-3)
    with pytest.raises(InputError, match=r"a\.xml: ONNX Runtime does not read \.xml files: load the \.onnx file"):
        tfrcnn.export.load(tmp_path / "a.xml", runtime="ONNX Runtime")
    (tmp_path / "a.bin").unlink()
    with pytest.raises(InputError, match=r"a\.xml: "):
        tfrcnn.export.load(tmp_path / "a.xml")


@pytest.mark.parametrize("suffix", [".ort", ".xml"])
@pytest.mark.parametrize("content", [b"", b"<annotation></annotation>"])
def test_other_files_of_these_names_are_no_detectors(tmp_path, content, suffix):
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError, match="expected a run folder"):
        tfrcnn.export.load(tmp_path / f"a{suffix}")
