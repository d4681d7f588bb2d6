"""The benchmark of `tfrcnn predict`, with a stand-in for the detector."""

import importlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.data.example import ImageDetections

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


class Slow:
    """Takes a hundredth of a second per picture, without work for a processor."""

    categories = (Category(1, "red"),)

    def detect(self, image: np.ndarray, image_id: int = 0) -> ImageDetections:
        time.sleep(0.01)
        return ImageDetections(image_id, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


def test_it_prints_the_ratio_and_the_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    benchmark: Any = importlib.import_module("predict_throughput")
    ratio = benchmark.measure(Slow(), benchmark.make_pictures((48, 64), None), count=20, rounds=2, draw=False)
    for name in ("predict_throughput", "common"):
        del sys.modules[name]
    printed = capsys.readouterr().out
    assert f"ratio: {ratio:.3f}" in printed
    assert "growth from the first quarter to the last: " in printed
    assert printed.count("round ") == 2
