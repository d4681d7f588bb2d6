"""Whole runs in a bucket: resumed on another machine to the bit, and written by the chief alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrcnn.models import load_detector
from tfrcnn.training import workers
from tfrcnn.training.recipe import Recipe
from tfrcnn.training.run import train
from tfrcnn.training.workers import Position, run_folder

from ..training.test_run import Interrupt, fresh_detector, make_dataset, settings
from .conftest import BUCKET

RUN = f"{BUCKET}/runs/cells"


@pytest.mark.slow
def test_a_run_that_another_machine_resumes_equals_the_uninterrupted_one_to_the_bit(
    bucket: Any, cache: Path, tmp_path: Path
) -> None:
    data, training = make_dataset(tmp_path, 6), settings(patience=None).replace(epochs=2)
    whole = train(fresh_detector(), data, None, tmp_path / "whole", training)
    with pytest.raises(KeyboardInterrupt):
        train(fresh_detector(), data, None, RUN, training, callbacks=[Interrupt(epoch=1)])
    (cache / "runs").rename(cache / "another-machine")
    resumed = train(fresh_detector(), data, None, RUN, training, resume=True)
    assert resumed.history == whole.history
    detectors = load_detector(f"{RUN}/last"), load_detector(whole.folder / "last")
    for one, other in zip(*(detector.get_weights() for detector in detectors), strict=True):
        np.testing.assert_array_equal(one, other)
    assert bucket.exists("/bucket/runs/cells/curves.png")
    with pytest.raises(Exception, match=r"was started by tfrcnn\.train: resume it from Python"):
        Recipe.of_run(RUN)


def test_workers_other_than_the_chief_do_not_touch_the_bucket(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "position", lambda: Position(1, 2))
    monkeypatch.setattr(workers, "gather", lambda content: [b"", content])
    with run_folder(RUN, resume=False) as folder:
        assert folder.name == "cells"
    assert bucket.find("/bucket") == []
