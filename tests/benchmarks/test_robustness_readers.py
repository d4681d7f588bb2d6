"""The fuzzers of the COCO and VOC readers, and the measurement of the doctor, with small counts."""

import importlib
import sys
from pathlib import Path

import pytest

from tfrcnn.data.read import load_dataset

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "robustness"


@pytest.fixture
def program(monkeypatch):
    """Return a function that imports a program of benchmarks/robustness from its folder, as it runs."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in {path.stem for path in FOLDER.glob("*.py")} & set(sys.modules):
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco", "voc"])
def test_no_damaged_input_escapes_a_reader(program, name):
    outcomes = program("readers").fuzz(1000, 1, program(name).write)
    assert outcomes["escaped"] == 0
    assert min(outcomes["read"], outcomes["refused"]) > 30  # neither is all that the damage leads to


def test_a_reader_that_fails_is_counted(program, monkeypatch, capsys):
    readers = program("readers")
    monkeypatch.setattr(readers, "read_dataset", lambda data: {}[data])
    outcomes = readers.fuzz(7, 0, program("coco").write, show=1)
    assert outcomes == {"escaped": 7}
    assert capsys.readouterr().out.count("KeyError") == 1


def test_the_doctor_is_measured_on_links_to_real_images(program, data_root, tmp_path):
    scale = program("doctor_scale")
    data = scale.write(tmp_path, data_root / "coco_val2017_66" / "instances.json", 150)
    dataset = load_dataset(data)
    assert len(dataset) == 150
    assert sum(len(example.boxes) for example in dataset.examples) > 560
