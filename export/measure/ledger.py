"""Time of a detection by stage, in each runtime.

Operators keep the names of their layers (`stages`), and most runtimes report how long each operator takes. An operator
between two layers has no layer in its name and counts to the one that ran before it.

The sum is not quite the time of a detection: measuring operators takes time, some runtimes run two at once, and images
are prepared and detections unpacked outside.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..stage_names import STAGES, stage_of

WARM_UP = 2  # detections before those that count
_EAGER = "EagerLocalExecute"  # a call of the whole graph from Python, too
_CALLS = ("PartitionedCall", "StatefulPartitionedCall", "If", "StatelessIf", "While", "StatelessWhile")


def sum_by_stage(operators: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Sum (name, milliseconds) of operators, in the order they ran, by stage."""
    totals = dict.fromkeys(STAGES, 0.0)
    stage = STAGES[0]
    for name, milliseconds in operators:
        stage = stage_of(name) or stage
        totals[stage] += milliseconds
    return totals


def median_by_stage(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the median milliseconds of each stage."""
    return {stage: float(np.median([one[stage] for one in rounds])) for stage in STAGES}


def profile_tensorflow(detect: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Measure the stages of a detection with TensorFlow's profiler; returns median milliseconds."""
    for _ in range(WARM_UP):
        detect()
    return median_by_stage([sum_by_stage(tensorflow_operators(detect)) for _ in range(rounds)])


def tensorflow_operators(detect: Callable[[], Any]) -> list[tuple[str, float]]:
    """Return name and milliseconds of every operator of one detection, in the order they began."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    options = tf.profiler.experimental.ProfilerOptions(host_tracer_level=3, python_tracer_level=0)  # 3: cheap ones too
    with tempfile.TemporaryDirectory() as folder:
        with tf.profiler.experimental.Profile(folder, options):
            detect()
        (written,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace()
        space.ParseFromString(written.read_bytes())
    operators = []
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name, _, kind = plane.event_metadata[event.metadata_id].name.rpartition(":")
                # "node:Kind"; TensorFlow's own events have "::", and a call contains other operators
                if name not in ("", _EAGER) and not name.endswith(":") and kind not in _CALLS:
                    began = line.timestamp_ns * 1000 + event.offset_ps
                    operators.append((began, name, event.duration_ps / 1e9))
    return [(name, milliseconds) for _, name, milliseconds in sorted(operators)]
