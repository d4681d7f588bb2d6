"""The results of blocks: whole Parquet files, COCO's results of all, and what a continued run refuses."""

import json
from pathlib import Path

import pytest

from tfrcnn.batch import Detect
from tfrcnn.batch.blocks import find_blocks
from tfrcnn.batch.engine import MAX_STARTS, Work
from tfrcnn.batch.parts import SETUP, Parts
from tfrcnn.errors import InputError
from tfrcnn.export.runtimes import load
from tfrcnn.prediction import predict_images
from tfrcnn.results import check_new_folder

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def work(model: Path, tmp_path: Path) -> Work:
    categories = [category.to_dict() for category in load(model).categories]
    return Work(Detect(model, threads=1), Parts(tmp_path / "out", categories))


def run(work: Work, pictures: Path, block_size: int = 4) -> int:
    """Do all blocks, as the workers of an engine do, and return their number."""
    blocks = find_blocks([str(pictures)], block_size=block_size).blocks
    work.parts.start({}, blocks)
    for number, block in enumerate(blocks):
        assert work.run(number, block).fault == ""
    return len(blocks)


def test_a_block_is_a_parquet_file_that_any_reader_understands(work: Work, pictures: Path) -> None:
    assert run(work, pictures) == 3
    files = sorted((work.parts.folder / "detections").iterdir())
    assert [file.name for file in files] == [f"part-0000{i}.parquet" for i in range(3)]
    tables = [parquet.read_table(file) for file in files]
    table = pyarrow.concat_tables(tables)  # one schema, also where no picture has detections
    assert str(table.schema.field("boxes").type) == "list<element: list<element: float>>"
    assert [table.num_rows, tables[0].num_rows] == [10, 4]
    row = table.slice(1, 1).to_pylist()[0]
    assert row["boxes"] == [pytest.approx([2, 4.2, 10, 21]), pytest.approx([5, 10.5, 15, 31.5])]
    assert row["names"] == ["cat", "dog"]
    categories = json.loads(table.schema.metadata[b"tfrcnn"])["categories"]
    assert [(category["id"], category["name"]) for category in categories] == [(3, "cat"), (90, "dog")]


def test_coco_results_are_those_of_a_prediction_in_one_process(work: Work, pictures: Path, tmp_path: Path) -> None:
    work.parts.write_coco(run(work, pictures))
    predict_images(load(work.detect._options.path), [pictures], tmp_path / "local", pictures=False)
    for name in ("detections.json", "images.json"):
        results, expected = (
            json.loads((folder / name).read_text()) for folder in (work.parts.folder, tmp_path / "local")
        )
        assert results == expected
    assert work.parts.count(3)[:2] == (10, 18)
    assert work.parts.count(3)[2][0].startswith(f"{pictures / '04.png'}: expected a JPEG")


def test_no_picture_gives_empty_results(work: Work, pictures: Path) -> None:
    for path in pictures.iterdir():
        path.write_bytes(b"")
    work.parts.write_coco(run(work, pictures))
    assert json.loads((work.parts.folder / "detections.json").read_text()) == []
    assert json.loads((work.parts.folder / "images.json").read_text())["images"] == []


def test_a_block_that_fails_midway_leaves_no_file_and_a_finished_one_stays(work: Work, pictures: Path) -> None:
    run(work, pictures, block_size=10)
    path = work.parts.path(0)
    before = path.stat().st_mtime_ns
    (block,) = find_blocks([str(pictures)], block_size=10).blocks
    assert work.run(0, block).fault == ""
    assert path.stat().st_mtime_ns == before

    class Failing:
        def rows(self):
            yield from [("00.png", str(pictures / "00.png"))] * 20
            raise OSError(28, "No space left on device")

    for _ in range(2 * MAX_STARTS):  # no death
        assert work.run(1, Failing()).fault == "OSError: [Errno 28] No space left on device"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_block_whose_worker_dies_each_time_is_left_out(work: Work, pictures: Path) -> None:
    class Deadly:
        def rows(self):
            raise SystemExit("killed")

    run(work, pictures, block_size=10)
    work.parts.path(0).unlink()
    for _ in range(MAX_STARTS):
        work.parts.begin(0)  # and its worker is killed
    assert work.run(0, Deadly()).fault == f"its worker died {MAX_STARTS} times"
    work.parts.forget_starts(0)
    assert run(work, pictures, block_size=10) == 1


def test_a_run_continues_with_the_same_pictures_and_options_only(work: Work, pictures: Path) -> None:
    blocks = find_blocks([str(pictures)], block_size=4).blocks
    work.parts.start({"score_threshold": 0.5}, blocks)
    work.parts.start({"score_threshold": 0.5}, blocks)
    place = work.parts.folder / "setup.json"
    with pytest.raises(InputError, match=rf"{place}: score_threshold: expected 0.6, found 0.5: continue with the same"):
        work.parts.start({"score_threshold": 0.6}, blocks)
    with pytest.raises(InputError, match="blocks: expected 2, found 3"):
        work.parts.start({"score_threshold": 0.5}, blocks[:2])
    (pictures / "05.png").rename(pictures / "99.png")
    with pytest.raises(InputError, match=r"pictures: expected '.*', found '.*': continue with the same pictures"):
        work.parts.start({"score_threshold": 0.5}, find_blocks([str(pictures)], block_size=4).blocks)
    with pytest.raises(InputError, match="is not an empty folder: choose another, or continue it with --resume"):
        check_new_folder(work.parts.folder, SETUP)


def test_a_folder_of_something_else_is_refused(work: Work, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"out exists and is not an empty folder: choose another$"):
        work.parts.start({}, ())


def test_a_damaged_part_is_named(work: Work, pictures: Path) -> None:
    count = run(work, pictures)
    work.parts.path(1).write_bytes(b"PAR1 damaged")
    with pytest.raises(InputError, match=r"part-00001.parquet: cannot be read: .*: delete it and continue"):
        work.parts.write_coco(count)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": [[5]]}, "expected a box, a score and a class for each detection"),
        ({"scores": [[0.5, 0.25]]}, "expected a box, a score and a class for each detection"),
        ({"boxes": [[[1.0, 2.0, 3.0]]]}, "expected a box, a score and a class for each detection"),
        ({"boxes": None}, "boxes"),
        ({"error": None}, "error"),
    ],
)
def test_a_part_whose_columns_do_not_belong_together_is_named(work: Work, change: dict, reason: str) -> None:
    values = {"boxes": [[[1.0, 2.0, 3.0, 4.0]]], "scores": [[0.5]], "labels": [[1]], "names": [["dog"]], "error": [""]}
    columns = {"file_name": ["a.jpg"], "width": [9], "height": [9], **values, **change}
    table = pyarrow.table({name: column for name, column in columns.items() if column is not None})
    work.parts.path(0).parent.mkdir(parents=True)
    parquet.write_table(table, work.parts.path(0))
    with pytest.raises(InputError, match=rf"part-00000.parquet: cannot be read: .*{reason}.*: delete it and continue"):
        work.parts.write_coco(1)


def test_a_part_with_a_damaged_footer_is_one_line(work: Work, pictures: Path) -> None:
    count = run(work, pictures)
    content = work.parts.path(1).read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    work.parts.path(1).write_bytes(content[:start] + b"\xff" * 16 + content[start + 16 :])  # pyarrow raises OSError
    for read in (work.parts.count, work.parts.write_coco):
        with pytest.raises(InputError) as refused:
            read(count)
        assert str(refused.value).startswith(f"{work.parts.path(1)}: cannot be read: ")
        assert "\n" not in str(refused.value)
