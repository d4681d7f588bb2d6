"""COCO's JSON as text: spare masks are dropped, and each list may be there once."""

import json

import pytest

from tfrcnn.data.coco_json import LISTS, parse_lists

MASK = [[0, 0, 4, 0, 4, 4]]


def text_of(*pairs: tuple[str, object]) -> str:
    """An object with these keys, which may repeat."""
    return "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in pairs) + "}"


@pytest.mark.parametrize("again", [False, True], ids=["plain", "with the word images again"])
@pytest.mark.parametrize("box", [[1, 2, 3, 4], [0, 0, 0, 1], "1 2 3 4"])
def test_a_mask_beside_a_box_is_dropped(box: object, again: bool) -> None:
    info = {"info": "images"} if again else {}
    content = {"images": [], "annotations": [{"id": 1, "bbox": box, "segmentation": MASK}], **info}
    parsed = parse_lists(json.dumps(content))
    assert parsed == {"images": [], "annotations": [{"id": 1, "bbox": box}], **info}


@pytest.mark.parametrize("again", [False, True], ids=["plain", "with the word images again"])
@pytest.mark.parametrize("box", [{}, {"bbox": []}, {"bbox": [0, 0, 0, 0]}, {"bbox": None}])
def test_a_mask_without_a_box_stays(box: dict[str, object], again: bool) -> None:
    info = {"info": "images"} if again else {}
    content = {"images": [], "annotations": [{"id": 1, **box, "segmentation": MASK}], **info}
    assert parse_lists(json.dumps(content)) == content


@pytest.mark.parametrize("name", LISTS)
def test_a_second_list_is_an_error_at_its_key(name: str) -> None:
    first = text_of((name, []), ("info", f"{name}:"))
    text = f'{first[:-1]},\n  "{name}" \t: [1]}}'
    with pytest.raises(json.JSONDecodeError, match=f"^'{name}' again, expected each list once") as error:
        parse_lists(text)
    assert (error.value.lineno, error.value.colno) == (2, 3)


def test_a_file_that_has_everything_twice_is_an_error() -> None:
    with pytest.raises(json.JSONDecodeError, match=r"^'images' again"):
        parse_lists(text_of(*((name, []) for name in (*LISTS, *LISTS))))


def test_three_lists_are_an_error_at_the_last() -> None:
    text = text_of(("images", []), ("images", []), ("images", []))
    with pytest.raises(json.JSONDecodeError) as error:
        parse_lists(text)
    assert error.value.pos == text.rindex('"images"')


def test_another_key_may_be_there_twice_and_the_last_counts() -> None:
    text = text_of(("images", [1]), ("info", 1), ("info", 2), ("categories", ["images"]))
    assert text.count('"images"') == 2
    assert parse_lists(text) == {"images": [1], "info": 2, "categories": ["images"]}


def test_objects_within_each_other_may_each_have_the_list() -> None:
    content = {"images": [{"images": 1}], "info": {"images": 2}}
    assert parse_lists(json.dumps(content)) == content


@pytest.mark.parametrize("text", ["[1, 2]", "3", "null", '"images"'])
def test_json_of_another_kind_is_returned_as_it_is(text: str) -> None:
    assert parse_lists(text) == json.loads(text)


def test_text_that_is_no_json_is_an_error_with_its_place() -> None:
    with pytest.raises(json.JSONDecodeError) as error:
        parse_lists('{"images": [],\n "annotations": [}')
    assert (error.value.lineno, error.value.colno) == (2, 18)
