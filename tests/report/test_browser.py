"""The page in Chromium: it asks no network for anything, its filters choose, and its pictures enlarge.

Playwright comes from PyPI and drives a Chromium of the system, for example Debian's (apt install chromium). A browser
of Playwright's own (playwright install chromium) is used if there is one.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def page(opened, written) -> Iterator[object]:
    """Open the report."""
    yield from opened(written.path)


def shown(page) -> int:
    return page.locator("#gallery li:visible").count()


def choose(page, name: str, value: str | None = None, **options: str) -> None:
    page.locator(f'select[name="{name}"]').select_option(value, **options)


def test_filters_show_the_pictures_that_agree_with_all_of_them(page) -> None:
    assert shown(page) == 13
    choose(page, "Class", label="🦊 fox (1)")
    assert shown(page) == 1
    assert page.locator("#gallery .shown").inner_text() == "1 of 13 pictures"
    choose(page, "Fault", "box-beyond-image")
    assert shown(page) == 0  # the fox is in another picture
    choose(page, "Class", "")
    assert shown(page) == 1
    assert page.locator("#gallery li:visible figcaption").inner_text().startswith("1.png")
    page.get_by_role("button", name="Show all").click()
    assert shown(page) == 13
    choose(page, "Split", "val")
    assert shown(page) == 3


def test_every_choice_shows_as_many_pictures_as_it_says(page) -> None:
    for select in page.locator("#gallery select").all():
        for option in select.locator("option").all()[1:]:
            select.select_option(option.get_attribute("value"))
            assert f"({shown(page)})" in option.inner_text()
        select.select_option("")


def test_class_and_size_are_of_one_object(page) -> None:
    choose(page, "Size in the network", "medium")
    assert shown(page) == 2
    choose(page, "Class", label="🦊 fox (1)")
    assert shown(page) == 0


def test_a_picture_is_enlarged_by_mouse_and_by_keyboard(page) -> None:
    first = page.locator("#gallery .zoom").first
    first.click()
    assert page.locator("#zoom").is_visible()
    assert page.locator("#zoom img").get_attribute("src") == first.locator("img").get_attribute("src")
    page.keyboard.press("Escape")
    assert not page.locator("#zoom").is_visible()
    first.focus()
    page.keyboard.press("Enter")
    page.locator("#zoom button").click()
    assert not page.locator("#zoom").is_visible()


def test_all_pictures_are_decoded_and_nothing_is_wider_than_the_window(page, tmp_path: Path) -> None:
    page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.images].slice(0, -1).every((image) => image.naturalWidth > 0)")
    folder = Path(os.environ.get("TFRCNN_SCREENSHOTS", tmp_path))  # to look at
    path = folder / f"data_report_{page.viewport_size['width']}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 50_000
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
