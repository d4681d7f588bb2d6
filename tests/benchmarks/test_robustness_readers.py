"""The fuzzers of the COCO, VOC and YOLO readers, and the measurement of the doctor, with small counts."""

import pytest

from tfrcnn.data.read import load_dataset


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
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


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("tables", 500), ("cvat", 500), ("records", 100)])
def test_no_damaged_table_or_shard_escapes_a_reader(program, name, count):
    outcomes = program("readers").fuzz(count, 1, program(name).write)
    assert outcomes["escaped"] == 0
    assert min(outcomes["read"], outcomes["refused"]) > 0.03 * count
