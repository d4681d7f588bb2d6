"""The fuzzer of exported files, with few inputs; and how the runtimes' outputs are compared."""

import numpy as np
import pytest

from tfrcnn.export.artefact import OUTPUTS


@pytest.mark.soak
def test_damaged_exports_are_refused_in_one_line_or_work_and_no_process_dies(program, tmp_path):
    artefacts = program("artefacts")
    outcomes = artefacts.fuzz(count=16, seed=0, cli_every=8, folder=tmp_path)
    assert sum(outcomes.values()) == 16
    assert not {kind for _, kind in outcomes} & set(artefacts.BAD), outcomes


def test_the_comparison_of_runtimes_is_in_pixels(program):
    runtimes = program("runtimes")
    values = (np.array([[[0.1, 0.1, 0.2, 0.3]]]), np.array([[3.0]]), np.array([[0.5]]), np.array([1.0]))
    expected = dict(zip(OUTPUTS, values))
    moved = {**expected, "detection_boxes": values[0] + 0.01, "detection_scores": values[2] - 0.2}
    compared = runtimes.compare(moved, expected, np.array([100, 200]))
    assert compared == pytest.approx({"boxes": 2.0, "scores": 0.2, "classes": 0.0, "n": 1})
    assert runtimes.compare(expected, expected, np.array([100, 200]))["boxes"] == 0.0
