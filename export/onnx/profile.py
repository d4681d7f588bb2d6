"""Time of each stage of an ONNX file, by the runtimes' own profiles."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from ..measure.ledger import WARM_UP, median_by_stage, sum_by_stage
from .openvino import OpenVinoRuntime
from .runtime import OnnxRuntime


def profile_onnx_runtime(path: Path, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
    """Measure the stages in ONNX Runtime, see `Target.profile`."""
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
    return median_by_stage([sum_by_stage(run) for run in runs[WARM_UP:]])


def profile_openvino(
    path: Path, threads: int, picture: np.ndarray, rounds: int, one_size: bool = False
) -> dict[str, float]:
    """Measure the stages in OpenVINO, see `Target.profile`; `one_size` as of `OpenVinoRuntime`."""
    runtime = OpenVinoRuntime(path, threads, profile=True, one_size=one_size)
    runs = []
    for _ in range(WARM_UP + rounds):
        runtime.run(picture[None])
        nodes = runtime.request.profiling_info
        runs.append(sum_by_stage((node.node_name, 1000 * node.real_time.total_seconds()) for node in nodes))
    return median_by_stage(runs[WARM_UP:])
