"""The page of errors in Chromium: it asks no network for anything; its filters, curves and tables work."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def page(opened, evaluated) -> Iterator[object]:
    """Open the report."""
    yield from opened(evaluated.path)


def test_the_filters_the_curves_the_tables_and_the_pictures_work(page, tmp_path: Path) -> None:
    shown = page.locator("#gallery li:visible")
    total = shown.count()
    for option in page.locator('#gallery select[name="Error"] option').all()[1:]:
        page.locator('#gallery select[name="Error"]').select_option(option.get_attribute("value"))
        assert f"({shown.count()})" in option.inner_text()
    page.get_by_role("button", name="Show all").click()
    shown.nth(total - 1).wait_for()
    assert total > 4

    reading = page.locator("form.curves output")
    best = reading.inner_text()
    assert best.startswith("above 0.")
    slider = page.locator('input[name="threshold"]')
    slider.focus()
    page.keyboard.press("End")
    assert reading.inner_text() == "above 1.00: precision -, recall 0.0 %, F1 0.0 %"
    page.locator('select[name="class"]').select_option("1")
    assert page.locator("[data-series]:not(.off)").count() == 2
    assert reading.inner_text() != best

    table = page.locator("#classes table")
    heading = table.locator("button.sort", has_text="objects")
    heading.focus()
    page.keyboard.press("Enter")
    cells = [int(text) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert cells == sorted(cells, reverse=True)
    page.keyboard.press("Enter")
    assert [int(text) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()] == sorted(cells)

    shown.first.locator(".zoom").click()
    assert page.locator("#zoom").is_visible()
    page.keyboard.press("Escape")

    page.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    page.wait_for_function("[...document.images].slice(0, -1).every((image) => image.naturalWidth > 0)")
    folder = Path(os.environ.get("TFRCNN_SCREENSHOTS", tmp_path))  # to look at
    path = folder / f"evaluation_{page.viewport_size['width']}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 50_000
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
