"""The report of a verification, and what is out of tolerance."""

import json
from dataclasses import replace

import pytest

from tfrcnn.export.check.report import Report
from tfrcnn.export.check.tolerances import TOLERANCES


def test_faults_are_said_in_numbers():
    limit = TOLERANCES["float32"]
    assert list(limit.faults(1e-4, 0.01, 0, 0.5, 0.5)) == []
    assert len(list(limit.faults(2e-3, 0.06, 1, 0.4, 0.5))) == 4
    assert list(TOLERANCES["int8"].faults(0.5, 9.0, 7, 0.495, 0.5)) == []
    (fault,) = TOLERANCES["int8"].faults(0, 0, 0, 0.48, 0.5)
    assert fault == "AP falls from 0.5000 to 0.4800, allowed 0.01"


def test_the_report_is_written_for_people_and_for_programs(tmp_path):
    report = Report("onnx", "float32", 3, 12, 1e-5, 1e-3, 0, 0, 12345678, 10.0, 20.0, None, None, ())
    report.write(tmp_path / "a.onnx")
    assert json.loads((tmp_path / "a.onnx.report.json").read_text())["detections"] == 12
    text = (tmp_path / "a.onnx.report.md").read_text()
    assert "| size bytes | 12,345,678 |" in text
    assert "| verdict | within tolerance |" in text
    assert not replace(report, faults=("bad",)).passed


@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8"])
def test_without_ap_a_precision_that_rounds_is_judged_by_partners(precision):
    limit = TOLERANCES[precision]
    assert list(limit.faults(0.5, 9.0, 7, None, None, 0.99)) == []
    (fault,) = limit.faults(0.5, 9.0, 160, None, None, 0.0, 160)
    assert fault == "0.0% of 160 detections have a partner, expected 97% at least"
    assert list(limit.faults(0.5, 9.0, 7, 0.5, 0.5, 0.5)) == []  # AP is measured
    assert list(limit.faults(0.5, 9.0, 3, None, None, 28 / 31, 31)) == []  # of few
    assert len(list(limit.faults(0.5, 9.0, 2, None, None, 0.0, 2))) == 1
    for undecided in (0.0, -1.0, float("nan")):  # an AP that cannot fall
        assert len(list(limit.faults(0.5, 9.0, 7, undecided, undecided, 0.5))) == 1


def test_without_detections_nothing_is_judged():
    for precision in ("float16", "dynamic", "int8"):
        limit = TOLERANCES[precision]
        assert limit.judges(0, 0.5, None)
        assert limit.judges(9, None, 0.1)
        assert not limit.judges(9, None, None)
        assert not limit.judges(0, 0.0, None)
        assert not limit.judges(0, float("nan"), None)
    assert TOLERANCES["float32"].judges(1, None, None)
    assert not TOLERANCES["float32"].judges(0, None, None)


def test_not_judged_is_a_verdict_for_people_and_for_programs(tmp_path):
    report = Report("onnx", "int8", 3, 0, 0.0, 0.0, 0, 0, 9, 10.0, 20.0, None, None, (), judged=False)
    assert (report.passed, report.verdict) == (False, "not judged")
    report.write(tmp_path / "a.onnx")
    assert json.loads((tmp_path / "a.onnx.report.json").read_text())["verdict"] == "not judged"
    assert "| verdict | not judged: there is no detection" in (tmp_path / "a.onnx.report.md").read_text()
    assert replace(report, faults=("bad",)).verdict == "out of tolerance"


def test_the_old_name_form_works_and_warns():
    report = Report("onnx", "float32", 3, 12, 1e-5, 1e-3, 0, 0, 12345678, 10.0, 20.0, None, None, ())
    with pytest.warns(DeprecationWarning, match="use Report.format instead"):
        assert report.form == "onnx"
