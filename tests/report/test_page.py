"""The frame of reports: text from outside is shown, shortened and never markup; pictures have a limited size."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tfrcnn.printable import printable
from tfrcnn.report.page import MAX_TEXT, render
from tfrcnn.report.pictures import MAX_BYTES, NOTHING, embed, filters

MARKUP = st.sampled_from(
    ["</script>", "<!--", "]]>", '"', "'", "&amp;", "{{ 1 }}", "{% raw %}", "<img src=x>", "\u202e"]
)
TEXT = st.lists(MARKUP | st.text(max_size=8), max_size=4).map("".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=TEXT, message=TEXT, caption=TEXT, source=TEXT)
def test_any_text_is_shown_and_no_text_is_markup(
    written, parse, name: str, message: str, caption: str, source: str
) -> None:
    content = dict(written.content)
    for place in ("shared_pairs", "near_shared_pairs", "augmented"):  # less to read
        content[place] = []
    rows = [{**row, "name": name} for row in content["numbers"]["classes"][:1]]
    splits = {split: {**part, "source": source} for split, part in content["numbers"]["splits"].items()}
    content["numbers"] = {**content["numbers"], "classes": rows, "splits": splits}
    content["faults"] = [content["faults"][0]._replace(messages=[message], pictures=[])]
    content["pictures"] = [content["pictures"][0]._replace(caption=caption, alt=caption)]
    page = parse(render("data.html", **content))
    shown = [e.text for e in page.all("bdi")]
    for text in (name, message, caption, source):
        assert " ".join(printable(text).split() or ["(no name)"]) in shown
    assert len(page.all("script")) == 1
    tags = {e.tag for e in written.page.elements}
    assert {e.tag for e in page.elements} <= tags


@pytest.mark.parametrize(
    ("name", "shown"), [("", "(no name)"), (" ", "(no name)"), ("\x1f", r"\x1f"), ("\u3000", "(no name)")]
)
def test_a_name_of_nothing_is_named(name: str, shown: str, written, parse) -> None:
    numbers = {**written.numbers, "classes": [{**written.numbers["classes"][0], "name": name}]}
    page = parse(render("data.html", **{**written.content, "numbers": numbers, "pictures": []}))
    assert shown in [e.text for e in page.all("th", scope="row")]


def test_a_long_text_is_shortened(written) -> None:
    content = {**written.content, "numbers": {**written.numbers, "preset": "p"}}
    content["pictures"] = [content["pictures"][0]._replace(caption="c" * 10_000)]
    assert f">{'c' * (MAX_TEXT - 1)}…<" in render("data.html", **content)


def test_a_value_that_the_template_lacks_is_an_error(written) -> None:
    with pytest.raises(Exception, match="'pictures' is undefined"):
        render("data.html", **{name: value for name, value in written.content.items() if name != "pictures"})


def test_even_a_picture_of_noise_keeps_within_the_limit() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8))
    picture = embed(noise, "noise")
    data = base64.b64decode(re.fullmatch("data:image/jpeg;base64,(.*)", picture.source)[1])
    assert len(data) <= MAX_BYTES
    assert Image.open(io.BytesIO(data)).size == (picture.width, picture.height) == (400, 400)


def test_filters_count_pictures_not_items() -> None:
    image = Image.new("RGB", (8, 8))
    pictures = [
        embed(image, "a", items=[("0", "small"), ("0", "large")]),
        embed(image, "b", items=[("0", "small"), ("1", "small")]),
        embed(image, "c", items=[(NOTHING, NOTHING)]),
    ]
    by_class, by_size = filters(
        pictures, {"Class": {"0": "cat", "1": "dog", "2": "cow"}, "Size": {"small": "under 32 px"}}
    )
    assert (by_class.place, [(choice.text, choice.total) for choice in by_class.choices]) == (
        0,
        [("cat", 2), ("dog", 1)],
    )
    assert (by_size.place, [(choice.value, choice.total) for choice in by_size.choices]) == (1, [("small", 2)])
    assert pictures[1].data_items == "0|small 1|small"
