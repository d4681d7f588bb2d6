"""`tfrcnn.batch.Detect` as Ray Data, Spark and a plain program call it; no engine is needed."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tfrcnn.batch
from tfrcnn.batch import Detect
from tfrcnn.errors import InputError
from tfrcnn.export import runtimes


def column(*values: object) -> np.ndarray:
    array = np.empty(len(values), object)
    for position, value in enumerate(values):
        array[position] = value
    return array


def test_a_batch_of_paths_becomes_a_row_per_picture(model: Path, pictures: Path) -> None:
    rows = Detect(model, threads=1)({"path": column(str(pictures / "00.png"), str(pictures / "01.png"))})
    assert tuple(rows) == ("file_name", "width", "height", "boxes", "scores", "labels", "names", "error")
    assert rows["file_name"].tolist() == [str(pictures / "00.png"), str(pictures / "01.png")]
    assert (rows["width"].tolist(), rows["height"].tolist()) == ([40, 42], [20, 20])
    np.testing.assert_allclose(rows["boxes"][0], [[2, 4, 10, 20], [5, 10, 15, 30]], rtol=1e-6)
    np.testing.assert_allclose(rows["scores"][1], [0.9, 0.6])
    assert (rows["labels"][1], rows["names"][1], rows["error"].tolist()) == ([0, 1], ["cat", "dog"], ["", ""])


def test_pictures_are_contents_pixels_or_parts_of_a_row(model: Path, pictures: Path) -> None:
    content, pixels = (pictures / "03.png").read_bytes(), np.zeros((20, 46, 3), np.uint8)
    detect = Detect(model, threads=1)
    batches: list[dict] = [
        {"path": column("s3://bucket/03.png"), "bytes": column(content)},  # Ray's read_binary_files
        {"path": column("file:/a/03.png"), "content": column(content)},  # Spark's binaryFile
        {"path": column("a/03.png"), "image": pixels[None]},  # Ray's read_images
        {"image": column({"bytes": content, "path": "a/03.png"})},  # Hugging Face
        {"image/encoded": column(content), "image/filename": column("03.png")},  # TFRecord
    ]
    for batch in batches:
        rows = detect(batch)
        assert (rows["width"][0], rows["height"][0], rows["error"][0]) == (46, 20, "")
        assert rows["file_name"][0].endswith("03.png")
    assert detect({"item": column(content)})["file_name"].tolist() == [""]
    named = Detect(model, column="scan", name_column="patient", threads=1)
    assert named({"path": column("x"), "scan": column(content), "patient": column(17)})["file_name"].tolist() == ["17"]


def test_a_name_may_be_bytes_or_missing(model: Path, pictures: Path) -> None:
    content = (pictures / "03.png").read_bytes()
    batch = {"image/encoded": column(*[content] * 4), "image/filename": column(b"a.jpg", None, float("nan"), "b.jpg")}
    assert Detect(model, threads=1)(batch)["file_name"].tolist() == ["a.jpg", "", "", "b.jpg"]


def test_a_missing_value_of_pandas_costs_its_row_alone(model: Path, pictures: Path) -> None:
    pandas = pytest.importorskip("pandas")
    good, detect = str(pictures / "03.png"), Detect(model, threads=1)
    for missing in (pandas.NA, pandas.NaT, None):
        named = detect(
            pandas.DataFrame({"image": [good, good], "path": pandas.Series([missing, "b.jpg"], dtype=object)})
        )
        assert named["file_name"].tolist() == [good, "b.jpg"]
        assert named["error"].tolist() == ["", ""]
        rows = detect(pandas.DataFrame({"path": pandas.Series([missing, good], dtype=object)}))
        assert rows["error"].tolist() == ["image-1: expected a picture, found none", ""]


def test_a_picture_that_cannot_be_read_is_a_row_with_an_error(model: Path, pictures: Path) -> None:
    good = str(pictures / "00.png")
    values = [str(pictures / "04.png"), good, "none.png", None, float("nan"), b"", "ftp://a/b.png", "a.mp4", 3, good]
    rows = Detect(model, batch=4, threads=1)({"item": column(*values)})
    assert [bool(error) for error in rows["error"]] == [True, False, *[True] * 7, False]
    assert rows["error"][0].startswith(f"{pictures / '04.png'}: expected a JPEG")
    assert rows["error"][3] == "image-4: expected a picture, found none"
    assert rows["error"][7] == "a.mp4: expected a picture, found a video or a camera"
    assert [rows[name][0] for name in ("width", "height")] == [0, 0]
    assert [len(rows[name][0]) for name in ("boxes", "scores", "labels", "names")] == [0, 0, 0, 0]
    assert len(rows["boxes"][9]) == 2


def test_names_that_are_not_utf8_are_escaped_because_tables_are_utf8(model: Path, pictures: Path) -> None:
    odd = (pictures / "00.png").rename(pictures / "caf\udce9.png")
    rows = Detect(model, threads=1)({"path": column(str(odd), "none\udce9.png")})
    assert rows["file_name"][0].endswith(r"caf\udce9.png")
    assert rows["error"][1].encode("utf-8").startswith(rb"none\udce9.png: ")


def test_scores_and_classes_are_chosen(model: Path, pictures: Path) -> None:
    batch = {"path": column(str(pictures / "00.png"))}
    for options, names in (
        ({"score_threshold": 0.7}, ["cat"]),
        ({"score_threshold": {"cat": 0.95}}, ["dog"]),
        ({"classes": "dog"}, ["dog"]),
        ({"classes": [0, 1], "score_threshold": {1: 0.6}}, ["cat"]),
    ):
        assert Detect(model, threads=1, **options)(batch)["names"][0] == names


def test_batches_give_the_rows_of_single_pictures(model: Path, pictures: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.new("RGB", (30, 20)).save(tmp_path / f"{name}.png")
    names = [tmp_path / "a.png", tmp_path / "b.png", pictures / "04.png", pictures / "00.png", tmp_path / "c.png"]
    batch = {"path": column(*map(str, names))}
    single, several = (Detect(model, batch=size, threads=1)(batch) for size in (1, 3))
    for name, values in single.items():
        assert values.tolist() == several[name].tolist()


def test_the_model_is_loaded_once_per_process_and_again_when_it_is_replaced(
    model: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load(*arguments: object) -> object:
        loads.append(arguments)
        return runtimes.load(*arguments)

    monkeypatch.setattr("tfrcnn.batch.detect.load", load)
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model.read_bytes())
    detect, batch = Detect(copy, threads=1), {"path": column(str(pictures / "00.png"))}
    pickled = pickle.dumps(detect)
    assert (len(loads), len(pickled) < 1000) == (0, True)
    for _ in range(3):  # an engine unpickles it for every task
        pickle.loads(pickled)(batch)
    assert len(loads) == 1
    replacement = tmp_path / "new.onnx"
    replacement.write_bytes(model.read_bytes())
    replacement.rename(copy)
    detect(batch)
    assert len(loads) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "none.onnx"}, "none.onnx: expected a run folder"),
        ({"threads": 0}, "threads: expected a whole number"),
        ({"batch": 0}, "batch: expected a whole number"),
    ],
)
def test_wrong_options_fail_where_the_object_is_made(options: dict, message: str, model: Path) -> None:
    with pytest.raises(InputError, match=message):
        Detect(**{"model": model, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected a column of pictures .*, found id: name it as column"),
        ({"column": "scan"}, "column: expected one of id, found 'scan'"),
        ({"column": "id", "name_column": "name"}, "column: expected one of id, found 'name'"),
    ],
)
def test_a_batch_without_the_column_says_what_it_has(options: dict, message: str, model: Path) -> None:
    with pytest.raises(InputError, match=message):
        Detect(model, threads=1, **options)({"id": column(1)})


def test_spark_maps_frames_to_frames_of_the_schema(model: Path, pictures: Path) -> None:
    """`mapInPandas` passes an iterator of DataFrames and takes one. Spark needs Java, so that pandas plays its part."""
    pd = pytest.importorskip("pandas")
    detect = Detect(model, threads=1)
    frames = (pd.DataFrame({"path": [str(pictures / f"{number:02d}.png")], "id": [number]}) for number in (0, 4))
    results = list(map(detect, frames))
    assert [list(result.columns) for result in results] == [
        [field.split(" ")[0] for field in tfrcnn.batch.SPARK_SCHEMA.split(", ")]
    ] * 2
    assert [len(result["boxes"][0]) for result in results] == [2, 0]
    assert [bool(result["error"][0]) for result in results] == [False, True]
    assert isinstance(results[0]["boxes"][0][0][0], float)  # plain lists: Spark converts no matrices


def test_a_table_keeps_its_types_where_no_picture_has_detections(model: Path, pictures: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    detect = Detect(model, threads=1)
    tables = [detect(pyarrow.table({"path": [str(pictures / name)]})) for name in ("04.png", "00.png")]
    rows = pyarrow.concat_tables(tables).to_pylist()
    assert [len(row["boxes"]) for row in rows] == [0, 2]
    assert rows[1]["file_name"] == str(pictures / "00.png")
    assert tables[0].schema == tables[1].schema


def test_workers_import_no_tensorflow(model: Path, pictures: Path) -> None:
    code = """if True:
        import sys
        import tfrcnn.batch
        rows = tfrcnn.batch.Detect(sys.argv[1], threads=1)({"path": [sys.argv[2]]})
        print(len(rows["boxes"][0]), {"tensorflow", "keras", "ray", "pandas"} & set(sys.modules))"""
    command = [sys.executable, "-c", code, str(model), str(pictures / "00.png")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "2 set()\n"
