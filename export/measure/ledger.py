"""Where the time of a detection goes, stage by stage, in each runtime.

Operators keep the names of their layers (`stages`), and each runtime but one says how long each operator takes. LiteRT
does not, since XNNPACK runs many as one; there the graph is cut behind each stage, and a stage is what the time grows
by. Operators between two layers, which have no layer in their name, count to the one that ran before them.

The sum is not quite the time of a detection: measuring operators takes time, some runtimes run two at once, and images
are prepared and detections unpacked outside.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..runtimes import OPENVINO_ONE_SIZE, load
from ..stages import STAGES, stage_of

WARM_UP = 2
_EAGER = "EagerLocalExecute"  # a call of the whole graph from Python, too
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile")


def stage_milliseconds(
    path: Path, runtime: str, threads: int, picture: np.ndarray, rounds: int = 5
) -> dict[str, float]:
    """Medians of the milliseconds that each stage of one detection takes, by `STAGES`.

    Args:
        runtime: one of `runtimes.RUNTIMES` of the path's form.
        threads: of the runtime.
        picture: [H, W, 3] uint8.
    """
    if runtime == "LiteRT":
        return _litert(path, threads, picture, rounds)
    if runtime == "ONNX Runtime":
        return _onnx_runtime(path, threads, picture, rounds)
    if runtime in ("OpenVINO", OPENVINO_ONE_SIZE):
        return _openvino(path, threads, picture, rounds, one_size=runtime == OPENVINO_ONE_SIZE)
    return _tensorflow(path, threads, picture, rounds)


def sum_by_stage(operators: Iterable[tuple[str, float]]) -> dict[str, float]:
    """(name, milliseconds) of operators, in the order they ran -> milliseconds by stage."""
    totals = dict.fromkeys(STAGES, 0.0)
    stage = STAGES[0]
    for name, milliseconds in operators:
        stage = stage_of(name) or stage
        totals[stage] += milliseconds
    return totals


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {stage: float(np.median([one[stage] for one in rounds])) for stage in STAGES}


def _tensorflow(path: Path, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
    predictor = load(path, threads)
    for _ in range(WARM_UP):
        predictor.detect(picture)
    return _medians([sum_by_stage(_tensorflow_operators(predictor, picture)) for _ in range(rounds)])


def _tensorflow_operators(predictor: Any, picture: np.ndarray) -> list[tuple[str, float]]:
    """Name and milliseconds of every operator of one detection, in the order they began."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)  # 3: cheap ones too
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options):
            predictor.detect(picture)
        (written,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace()
        space.ParseFromString(written.read_bytes())
    found = []
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                # "node:Kind"; TensorFlow's own doings have "::", and a call holds other operators
                if name not in ("", _EAGER) and not name.endswith(":") and kind not in _CALLS:
                    began = line.timestamp_ns * 1000 + event.offset_ps
                    found.append((began, name, event.duration_ps / 1e9))
    return [(name, milliseconds) for _, name, milliseconds in sorted(found)]


def _onnx_runtime(path: Path, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
    from ..onnx.runtime import OnnxRuntime

    with tempfile.TemporaryDirectory() as folder:
        runtime = OnnxRuntime(path, threads, profile=Path(folder) / "profile")
        for _ in range(WARM_UP + rounds):
            runtime.run(picture[None])
        events = json.loads(runtime.finish_profile().read_text())
    runs: list[list[tuple[str, float]]] = []
    for event in sorted(events, key=lambda event: (event["ts"], event.get("cat") == "Node")):
        if event["name"] == "model_run":
            runs.append([])
        elif event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and runs:
            runs[-1].append((event["name"].removesuffix("_kernel_time"), event["dur"] / 1000))
    return _medians([sum_by_stage(run) for run in runs[WARM_UP:]])


def _openvino(path: Path, threads: int, picture: np.ndarray, rounds: int, one_size: bool) -> dict[str, float]:
    from ..onnx.openvino import OpenVinoRuntime

    runtime = OpenVinoRuntime(path, threads, profile=True, one_size=one_size)
    found = []
    for i in range(WARM_UP + rounds):
        runtime.run(picture[None])
        if i >= WARM_UP:
            nodes = [(node.node_name, 1000 * node.real_time.total_seconds()) for node in runtime.request.profiling_info]
            found.append(sum_by_stage(nodes))
    return _medians(found)


def _litert(path: Path, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
    from ai_edge_litert.interpreter import Interpreter

    from ..tflite import flatbuffer as tflite_model
    from ..tflite.runtime import TFLiteRuntime, letterbox

    model, size = path.read_bytes(), TFLiteRuntime(path, threads).size
    image = letterbox(picture, size)[None]
    of_operator, stage = [], STAGES[0]
    for name in tflite_model.operator_names(model):
        stage = stage_of(name) or stage
        of_operator.append(STAGES.index(stage))
    cuts = []
    for last in range(len(STAGES)):
        content = tflite_model.truncate(model, [stage <= last for stage in of_operator])
        cuts.append(Interpreter(model_content=content, num_threads=threads))
    for cut in cuts:
        cut.allocate_tensors()
    times: list[list[float]] = [[] for _ in cuts]
    for _ in range(WARM_UP + rounds):
        for cut, own in zip(cuts, times):
            cut.set_tensor(cut.get_input_details()[0]["index"], image)
            started = time.perf_counter()
            cut.invoke()
            own.append(1000 * (time.perf_counter() - started))
    medians = [float(np.median(own[WARM_UP:])) for own in times]
    grown = np.maximum(np.diff([0.0, *medians]), 0.0)
    return dict(zip(STAGES, grown.tolist()))
