"""The report on an evaluation, read by a parser: its numbers, its pictures, its names, and its bounded size."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tfrcnn
from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.evaluate import evaluate
from tfrcnn.evaluation.read_results import read_coco_results
from tfrcnn.printable import printable
from tfrcnn.report.evaluation import check_report, evaluation_report, page_path


def test_the_page_loads_nothing_and_every_element_has_its_text(evaluated) -> None:
    source = evaluated.path.read_text(encoding="utf-8")
    for element in evaluated.page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert element.attributes.get(name, "#").startswith(("#", "data:")), element
        assert "style" not in element.attributes, "the policy forbids it"
        assert not any(name.startswith("on") for name in element.attributes)
    assert not re.search(r"@import|url\(|fetch\(|https?://", source)
    ids = [e.attributes["id"] for e in evaluated.page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    assert {e.attributes["href"][1:] for e in evaluated.page.all("a")} <= set(ids)
    assert all(e.attributes["alt"] for e in evaluated.page.all("img")[:-1])
    assert len(evaluated.page.all("script")) == 1


def test_hostile_names_are_shown_and_never_run(evaluated, scenes) -> None:
    rows = [e.text for e in evaluated.page.all("th", scope="row")]
    for category in scenes[0].categories:
        assert printable(category.name)[:200] in [row[:200] for row in rows]
    source = evaluated.path.read_text(encoding="utf-8")
    assert "\u202e" not in source
    assert "<script>alert" not in source
    assert len(max(rows, key=len)) <= 300


def test_the_numbers_are_in_the_json_next_to_the_page(evaluated) -> None:
    stored = json.loads(evaluated.path.with_suffix(".json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(evaluated.numbers))
    types = evaluated.numbers["errors"]["types"]
    assert {name: row["count"] for name, row in types.items()} == {
        "cls": 2,
        "loc": 1,
        "both": 0,
        "dup": 1,
        "bkg": 2,
        "miss": 1,
    }
    assert evaluated.numbers["comparison"]["metrics"]["AP50"]["difference"]["value"] > 0
    assert set(evaluated.numbers["score_threshold"]) == {row["name"] for row in evaluated.numbers["classes"]}
    assert evaluated.numbers["predict_option"].startswith("--score-threshold ")


def test_difficult_objects_count_on_the_whole_page_as_in_the_metric(scenes, tmp_path) -> None:
    dataset, detections, _ = scenes
    examples = tuple(replace(e, difficult=np.full(len(e.labels), e.image_id % 2 == 1)) for e in dataset.examples)
    marked = replace(dataset, examples=examples)
    options = {"other": detections, "pictures": 0, "resamples": 100}
    coco = evaluation_report(marked, detections, tmp_path / "coco", **options)
    metrics = coco["comparison"]["metrics"]
    assert metrics["AP"]["first"]["value"] == pytest.approx(coco["headline"]["AP"], abs=1e-9)
    assert coco["errors"] == evaluation_report(dataset, detections, tmp_path / "plain", pictures=0)["errors"]
    objects = sum(row["objects"] for row in coco["classes"])
    assert objects == coco["counts"]["ground_truth"]
    voc = evaluate(marked, detections, "voc")
    numbers = evaluation_report(marked, detections, tmp_path / "voc", evaluation=voc, **options)
    assert sum(row["objects"] for row in numbers["classes"]) == voc.counts["ground_truth"] < objects


def test_every_kind_of_error_has_its_pictures(evaluated) -> None:
    captions = [e.text for e in evaluated.page.all("figcaption")]
    for kind in ("false: background", "missed object", "wrong class", "poor box", "duplicate"):
        assert any(text.startswith(f"{kind}: ") for text in captions), kind
    items = [e.attributes["data-items"].split("|") for e in evaluated.page.all("li") if "data-items" in e.attributes]
    assert all(len(item) == 4 for item in items)


def test_the_number_of_pictures_is_bounded_however_many_errors_there_are(scenes, tmp_path, parse) -> None:
    dataset, _, _ = scenes
    rng = np.random.default_rng(0)
    noise = []
    for example in dataset.examples:
        corner = rng.uniform(0, 90, (60, 2))
        boxes = np.concatenate([corner, corner + 9], axis=1).astype(np.float32)
        scores = np.linspace(0.9, 0.1, 60, dtype=np.float32)
        noise.append(ImageDetections(example.image_id, boxes, scores, np.zeros(60, np.int32)))
    tfrcnn.evaluation_report(dataset, noise, tmp_path / "a.html", pictures=2)
    page = parse((tmp_path / "a.html").read_text(encoding="utf-8"))
    assert len(page.all("img")) <= 2 * 7 + 1


@pytest.mark.parametrize("images", [0, 1])
def test_nothing_detected_has_a_page(scenes, tmp_path, parse, images: int) -> None:
    dataset = Dataset("none", scenes[0].categories, scenes[0].examples[:images])
    numbers = tfrcnn.evaluation_report(dataset, [], tmp_path, [])
    page = parse((tmp_path / "evaluation.html").read_text(encoding="utf-8"))
    assert numbers["calibration"]["ece"] is None
    assert page.all("h1")[0].text == "Evaluation"


def test_many_classes_have_a_page_of_limited_size(tmp_path, scenes) -> None:
    categories = tuple(Category(number, f"class {number}") for number in range(150))
    dataset = Dataset("many", categories, scenes[0].examples)
    tfrcnn.evaluation_report(dataset, scenes[1], tmp_path / "a.html", pictures=0)
    assert (tmp_path / "a.html").stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_precision": 0}, "min_precision: expected a number in (0, 1], found 0"),
        ({"min_recall": 1.5}, "min_recall: expected a number in (0, 1], found 1.5"),
        ({"pictures": 201}, "pictures: expected a whole number in 0..200, found 201"),
        ({"resamples": 1}, "resamples: expected a whole number in 100..100,000, found 1"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, found -1"),
        ({"min_precision": "0.9"}, "min_precision: expected a number in (0, 1], found '0.9'"),
        ({"min_recall": None}, "min_recall: expected a number in (0, 1], found None"),
        ({"pictures": "5"}, "pictures: expected a whole number in 0..200, found '5'"),
        ({"resamples": 100.5}, "resamples: expected a whole number in 100..100,000, found 100.5"),
        ({"seed": None}, "seed: expected a whole number of at least 0, found None"),
        ({"max_detections": "5"}, "max_detections: expected a whole number of at least 1, found '5'"),
    ],
)
def test_arguments_are_checked_before_the_work(scenes, tmp_path, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        tfrcnn.evaluation_report(scenes[0], scenes[1], tmp_path / "a.html", **change)
    assert list(tmp_path.iterdir()) == []


def test_the_numbers_replace_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "test.json").write_text('{"images": []}')
    for out in ("test.html", "run"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run/evaluation.json").write_text('{"AP": 0.5}')
        with pytest.raises(InputError, match=r"the numbers next to the page would replace .*\.json"):
            check_report(tmp_path / out)
    (tmp_path / "mine.json").write_text('{"predict_option": ""}')
    assert check_report(tmp_path / "mine.html") == tmp_path / "mine.html"


def test_a_page_is_a_file_or_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dir.html").mkdir()
    assert page_path(tmp_path) == tmp_path / "evaluation.html"
    assert page_path(tmp_path / "a.HTML") == tmp_path / "a.HTML"
    for path in ("file", "dir.html"):
        with pytest.raises(InputError, match="out: expected a"):
            page_path(tmp_path / path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, r"detections\[0\].image_id: expected an image of"),
        ({"category_id": "x"}, r"detections\[0\].category_id: expected a category of"),
        ({"bbox": [1, 2, 3]}, r"detections\[0\].bbox: expected \[x, y, width, height\] of finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "expected width and height of at least 0, found -3 and 4"),
        ({"score": None}, r"detections\[0\].score: expected a number of finite numbers"),
    ],
)
def test_detections_to_compare_with_are_checked(scenes, tmp_path, change: dict, message: str) -> None:
    entry = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}
    path = tmp_path / "detections.json"
    path.write_text(json.dumps([entry]), encoding="utf-8")
    (image,) = read_coco_results(path, scenes[0])
    assert image.boxes.tolist() == [[2, 1, 6, 4]]
    path.write_text(json.dumps([{**entry, **change}]), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_coco_results(path, scenes[0])
