"""The report on data, read by a parser: its numbers, its pictures, its names, and that it needs nothing else."""

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

import tfrcnn
from tfrcnn.data.read import read_dataset
from tfrcnn.errors import InputError
from tfrcnn.printable import printable
from tfrcnn.report.choose import choose

NO_BOXES = ("-", "-", "-", "data")


def test_the_page_loads_nothing(written) -> None:
    source = written.path.read_text(encoding="utf-8")
    for element in written.page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
            assert element.attributes.get(name, "#").startswith(("#", "data:")), element
        assert "style" not in element.attributes, "the policy forbids it"
        assert not any(name.startswith("on") for name in element.attributes)
    assert not re.search(r"@import|url\(|fetch\(|https?://", source)


def test_the_policy_of_the_page_allows_its_script_and_its_style_only(written) -> None:
    (policy,) = (e.attributes["content"] for e in written.page.all("meta", **{"http-equiv": "Content-Security-Policy"}))
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("script", "style"):
        (element,) = written.page.all(tag)
        digest = base64.b64encode(hashlib.sha256("".join(element.texts).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_names_are_shown_as_they_are_and_never_run(written, data_sets) -> None:
    rows = [e.text for e in written.page.all("th", scope="row")]
    names = [c.name for c in read_dataset(data_sets[0])[0].categories]
    for name in names:
        assert printable(name) in rows
    assert "\u202e" not in written.path.read_text(encoding="utf-8")
    assert r"hidden\u202egnp.exe\x1b[31m" in rows
    options = [e.text for e in written.page.all("option")]
    assert "🦊 fox (1)" in options
    assert [row["name"] for row in written.numbers["classes"]] == names


def test_every_picture_has_a_text_and_every_heading_its_level(written) -> None:
    images = written.page.all("img")
    assert len(images) > 20
    for image in images[:-1]:  # the last is filled by the script
        assert image.attributes["alt"]
        assert re.match(r"data:image/jpeg;base64,[\w+/=]+$", image.attributes["src"])
        assert {"width", "height"} <= image.attributes.keys()
    levels = [int(e.tag[1]) for e in written.page.elements if re.fullmatch(r"h\d", e.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for svg in written.page.all("svg"):
        assert svg.attributes.get("aria-hidden") == "true" or svg.attributes["role"] == "img"
    assert written.page.all("html")[0].attributes["lang"] == "en"


def test_ids_are_unique_and_links_lead_to_them(written) -> None:
    ids = [e.attributes["id"] for e in written.page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    targets = [e.attributes["href"][1:] for e in written.page.all("a")]
    assert targets
    assert set(targets) <= set(ids)
    for svg in written.page.all("svg", role="img"):
        assert set(svg.attributes["aria-labelledby"].split()) <= set(ids)


def test_counts_are_those_of_the_data(written) -> None:
    numbers = written.numbers
    data, val = numbers["splits"]["data"], numbers["splits"]["val"]
    assert (data["summary"]["images"], data["summary"]["boxes"]) == (10, 14)
    assert (val["summary"]["images"], val["summary"]["boxes"]) == (3, 3)
    plain = next(row for row in numbers["classes"] if row["name"] == "plain")
    assert plain["splits"] == {"data": {"boxes": 9, "images": 9}, "val": {"boxes": 3, "images": 3}}
    for key in ("box_sizes", "box_ratios"):
        assert sum(data[key]) == 14
        assert len(numbers["bins"][key]) == len(data[key]) + 1
    for key in ("box_sides", "box_centres"):
        assert sum(map(sum, data[key])) == 14
    cells = {(y, x): n for y, row in enumerate(val["box_centres"]) for x, n in enumerate(row) if n}
    assert cells == {(5, 3): 3}  # (25 / 120, 25 / 160) of 24 cells
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers


def test_faults_are_the_doctor_s_with_their_pictures(written, data_sets) -> None:
    of_anchors = ("object-too-small", "object-unlike-anchors", "small-objects", "long-objects", "unlike-anchors")
    splits = {name: split["faults"] for name, split in written.numbers["splits"].items()}
    train, val = ({kind: n for kind, n in splits[name].items() if kind not in of_anchors} for name in ("data", "val"))
    assert train == tfrcnn.diagnose(data_sets[0]).counts()
    assert val == {"image-in-two-splits": 1, "category-without-boxes": 5}
    counts = splits["data"]
    headings = [e.text for e in written.page.all("h3")]
    for kind in counts:
        assert sum(text.endswith(f" {kind}") for text in headings) == 1
    alts = [e.attributes["alt"] for e in written.page.all("img")]
    assert "box-beyond-image: 1.png, 1 object" in alts
    assert "inverted-box: 2.png, 1 object" in alts
    assert "image-in-two-splits: copy.png, 1 object" in alts


def test_copies_and_near_duplicates_of_the_splits_are_shown_in_pairs(written) -> None:
    numbers = written.numbers
    assert [Path(pair["image"]).name for pair in numbers["images_in_two_splits"]] == ["copy.png"]
    (near,) = numbers["near_duplicates_in_two_splits"]
    assert (Path(near["image"]).name, Path(near["same_as"]).name) == ("similar.jpg", "5.png")
    assert numbers["copied_images"] == numbers["near_duplicates"] == []
    assert "Images of “val” with a near-duplicate in “data”: 1" in [e.text for e in written.page.all("h3")]


def test_the_gallery_can_be_filtered_by_what_is_in_its_pictures(written) -> None:
    items = [e.attributes["data-items"] for e in written.page.all("li") if "data-items" in e.attributes]
    assert len(items) == 13
    assert "|".join(NO_BOXES) in items
    assert sum("box-beyond-image" in entry for entry in items) == 1
    assert {entry.rpartition("|")[2] for entry in items} == {"data", "val"}
    labels = [e.text for e in written.page.all("label")]
    assert [label.split(" any")[0] for label in labels] == ["Class", "Size in the network", "Fault", "Split"]
    options = {e.attributes["value"] for e in written.page.all("option")}
    assert {value for entry in items for item in entry.split() for value in item.split("|")} <= options


def test_the_page_names_the_augmentations_that_are_on(written) -> None:
    texts = [e.text for e in written.page.all("p")]
    assert any(re.search("resized, padded, and changed by .*horizontal flip", text) for text in texts)


def test_twelve_augmented_pictures_have_the_frame_of_the_network(written) -> None:
    captions = [e.text for e in written.page.all("figcaption")]
    assert sum(bool(re.fullmatch(r"\d\.png, \d+ x \d+ px", text)) for text in captions) == 12


def test_the_same_seed_chooses_the_same_pictures_and_rare_values_come_first() -> None:
    items = [((str(n % 3), "small", "-", "data"),) for n in range(60)] + [(("7", "tiny", "nan-box", "data"),)]
    chosen = choose(items, 5, seed=1)
    assert chosen == choose(items, 5, seed=1)
    assert len({tuple(choose(items, 5, seed)) for seed in range(4)}) > 1
    assert {items[n][0][0] for n in chosen} == {"0", "1", "2", "7"}
    assert len(choose(items, 100, 0)) == 61
    assert choose([], 5, 0) == choose(items, 0, 0) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "report.json"}, "expected a file name that ends in .html, found report.json"),
        ({"pictures": -1}, "pictures: expected a whole number in 0..1,000, found -1"),
        ({"pictures": 1001}, "found 1001"),
        ({"seed": -1}, "seed: expected a whole number of at least 0"),
        ({"pictures": "5"}, "pictures: expected a whole number in 0..1,000, found '5'"),
        ({"seed": "x"}, "seed: expected a whole number of at least 0, found 'x'"),
    ],
)
def test_arguments_are_checked_before_anything_is_read(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        tfrcnn.data_report(**{"data": "no/such.json", "out": "report.html", **change})


def test_data_that_are_refused_still_have_a_page(tmp_path: Path, write_report: Callable) -> None:
    (tmp_path / "bad.json").write_text('{"images": [}', encoding="utf-8")
    numbers, page = write_report(str(tmp_path / "bad.json"))
    assert numbers["refused"]
    assert any(re.fullmatch("refused *1 . syntax-error", e.text) for e in page.all("h3"))
    assert "The data cannot be used yet." in [e.text for e in page.all("strong")]


def test_a_data_set_without_a_box_has_a_page(data_sets, tmp_path: Path, write_report: Callable) -> None:
    content = json.loads(Path(data_sets[0]).read_text(encoding="utf-8"))
    content |= {"annotations": [], "categories": [{"id": 1, "name": " "}, {"id": 2, "name": "n" * 10_000}]}
    data = tmp_path / "train.json"
    data.write_text(json.dumps(content), encoding="utf-8")
    numbers, page = write_report(str(data), images=Path(data_sets[0]).parent)
    assert numbers["splits"]["data"]["recall_ceiling"]["0.5"] is None
    assert [e.text for e in page.all("th", scope="row")] == ["(no name)", "n" * 299 + "…", "data"]
    assert "no object (4)" not in [e.text for e in page.all("option")]  # a filter of one choice is left out
    assert sum("as training sees it, 0 objects" in e.attributes["alt"] for e in page.all("img")) == 12


def test_images_that_cannot_be_read_have_no_pictures(tmp_path: Path, data_sets, write_report: Callable) -> None:
    shutil.copytree(Path(data_sets[0]).parent, tmp_path / "data")
    for name in ("5.png", "6.png"):
        path = tmp_path / "data" / name
        path.write_bytes(path.read_bytes()[:-500])  # the headers can be read
    numbers, page = write_report(str(tmp_path / "data/train.json"))
    assert numbers["splits"]["data"]["faults"]["truncated-image"] == 2
    assert not any(re.search(r"\b[56]\.png", e.attributes["alt"]) for e in page.all("img"))
    assert sum("as training sees it" in e.attributes["alt"] for e in page.all("img")) == 12


def test_an_error_leaves_the_earlier_page(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("earlier", encoding="utf-8")
    with pytest.raises(InputError, match="found nothing"):
        tfrcnn.data_report("no/such.json", tmp_path / "report.html", preset=tfrcnn.preset("tiny_fpn"))
    assert [path.read_text(encoding="utf-8") for path in tmp_path.iterdir()] == ["earlier"]


def test_a_fault_of_an_annotation_file_has_the_picture_of_the_same_name(tmp_path: Path, write_report: Callable) -> None:
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    for name, xmax in (("a", "30"), ("b", "wide")):
        Image.new("RGB", (40, 30), "red" if name == "a" else "blue").save(tmp_path / f"JPEGImages/{name}.png")
        corners = f"<xmin>1</xmin><ymin>1</ymin><xmax>{xmax}</xmax><ymax>20</ymax>"
        box = f"<object><name>cat</name><bndbox>{corners}</bndbox></object>"
        text = f"<annotation><filename>{name}.png</filename>{box}</annotation>"
        (tmp_path / f"Annotations/{name}.xml").write_text(text, encoding="utf-8")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\n", encoding="utf-8")
    numbers, page = write_report(f"{tmp_path}@train")
    assert numbers["splits"]["data"]["faults"] == {"bad-value": 1, "image-size-missing": 2}
    alts = [e.attributes["alt"] for e in page.all("img")]
    assert "bad-value: b.png, 0 objects" in alts
    assert "image-size-missing: a.png, 1 object" in alts
