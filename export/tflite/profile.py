"""Time of each stage of a TensorFlow Lite file.

LiteRT does not report the time of each operator, because XNNPACK runs many as one. So the graph is cut after each
stage, and a stage takes what it adds to the time. A cascade alternates between RoIAlign and heads, which no cut
separates: its RoIAlign counts as head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..measure.ledger import WARM_UP
from ..stage_names import STAGES, layer_of, stage_of
from . import flatbuffer
from .runtime import TFLiteRuntime, letterbox


def profile(
    path: Path, threads: int, picture: np.ndarray, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Measure the stages in LiteRT, see `Target.profile`; `clock` returns seconds."""
    from ai_edge_litert.interpreter import Interpreter

    model = path.read_bytes()
    image = letterbox(picture, TFLiteRuntime(path, threads).size)[None]
    stage_of_operator = _stages_of(flatbuffer.operator_names(model))
    cuts = []
    for last in range(len(STAGES)):
        content = flatbuffer.truncate(model, [stage <= last for stage in stage_of_operator])
        cuts.append(Interpreter(model_content=content, num_threads=threads))
        cuts[-1].allocate_tensors()
    times = np.zeros((len(cuts), WARM_UP + rounds))
    for turn in range(WARM_UP + rounds):
        for i, cut in enumerate(cuts):
            cut.set_tensor(cut.get_input_details()[0]["index"], image)
            started = clock()
            cut.invoke()
            times[i, turn] = 1000 * (clock() - started)
    medians = np.median(times[:, WARM_UP:], axis=1)
    return dict(zip(STAGES, np.maximum(np.diff(medians, prepend=0.0), 0.0).tolist()))


def _stages_of(names: Sequence[str]) -> list[int]:
    """Return the position in `STAGES` of each operator; one without a layer belongs to the stage before it."""
    has_cascade = any(layer_of(name) == "cascade" for name in names)
    stages, stage = [], STAGES[0]
    for name in names:
        stage = stage_of(name) or stage
        stages.append(STAGES.index("head" if has_cascade and stage == "roi_align" else stage))
    return stages
