"""The page in a real browser: charts render, nothing is asked for, tables sort and filter, keys are enough.

Needs Chromium on PATH and the package playwright: tests/programs/browser.sh brings both and runs these.
"""

import importlib.util

import browser
import pytest
from report_data import HOSTILE, comparison, gate, receipt, timings, whole

from dynq_numba.report import write

pytestmark = [
    pytest.mark.extra("report"),
    pytest.mark.skipif(
        browser.chromium() is None or importlib.util.find_spec("playwright") is None,
        reason="no Chromium or no playwright here: tests/programs/browser.sh brings them",
    ),
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    place = tmp_path_factory.mktemp("report") / "out.html"
    write(place, **whole())
    return place


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_renders_quietly(path, scheme):
    with browser.opened(path, color_scheme=scheme) as (page, errors, requests):
        assert page.locator("figure").count() == page.locator("figure svg").count() > 10
        assert page.locator(".failed").count() == 0 and page.evaluate("window.hacked") is None
        assert all(box["width"] > 100 and box["height"] > 40 for box in
                   (each.bounding_box() for each in page.locator("figure svg").all()))  # fmt: skip
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        # A chart's text has the page's colours in either scheme: enough of a contrast to be read.
        light = page.evaluate("""() => [...document.querySelectorAll('figure svg text')].map(each => {
            const [r, g, b] = getComputedStyle(each).fill.match(/[\\d.]+/g).map(Number);
            return (r + g + b) / 765; })""")
        assert len(light) > 50 and (max(light) < 0.55 if scheme == "light" else min(light) > 0.45)
        assert errors == [] and requests == []


def test_tables_sort_and_filter(path):
    with browser.opened(path) as (page, errors, _):
        table = page.locator("#layers table")
        head = table.locator("th", has_text="only it")
        values = lambda: [float(each or "-inf") for each in  # noqa: E731
                          table.locator("tbody tr td:nth-child(6)").all_inner_texts()]  # fmt: skip
        given = values()
        head.locator("button").click()
        assert values() == sorted(given, reverse=True) != given and head.get_attribute("aria-sort") == "descending"
        head.locator("button").press("Enter")
        assert values() == sorted(given) and head.get_attribute("aria-sort") == "ascending"
        table.locator("th", has_text="layer").first.locator("button").click()
        names = [each.lower() for each in table.locator("tbody tr td:first-child").all_inner_texts()]
        own = [each for each in names if each.startswith("/encoder")]
        assert own == sorted(own) and len(own) == 35 and head.get_attribute("aria-sort") == "none"
        box = page.locator("#layers input")
        box.fill("layer.3 intermediate")
        assert table.locator("tbody tr:visible").count() == 1
        assert page.locator("#layers output").inner_text() == "1 of 36 rows"
        box.fill(HOSTILE)
        assert table.locator("tbody tr:visible").count() == 1
        box.fill("nothing of the kind")
        assert table.locator("tbody tr:visible").count() == 0
        box.fill("")
        assert table.locator("tbody tr:visible").count() == 36 and errors == []


def test_keys_are_enough(path):
    with browser.opened(path) as (page, _, _):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.tagName"))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert {"A", "BUTTON", "DIV", "INPUT"} <= reached  # links, heads, tables that scroll, filters


def test_a_tooltip_shows_a_hostile_name_as_text(path):
    with browser.opened(path) as (page, errors, requests):
        bar = page.locator("#layers figure").nth(1).locator("svg path[aria-roledescription=bar]").first
        bar.scroll_into_view_if_needed()
        bar.hover()
        page.wait_for_selector("#vg-tooltip-element.visible")
        assert page.evaluate("window.hacked") is None and errors == [] and requests == []


def test_paper_shows_all_rows_in_dark_letters(path):
    with browser.opened(path, color_scheme="dark") as (page, errors, _):
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        scroll = page.locator("#layers .scroll")
        assert scroll.evaluate("each => each.scrollHeight <= each.clientHeight + 1")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert not page.locator("nav").is_visible() and not page.locator("#layers input").is_visible()
        assert len(page.pdf()) > 50_000 and errors == []


@pytest.mark.parametrize("parts", [
    {"comparison": comparison()}, {"comparison": comparison(layers=False)}, {"gate": gate("pass")},
    {"receipt": receipt()}, {"timings": timings()},
], ids=["layers", "outputs", "gate", "receipt", "timings"])  # fmt: skip
def test_each_kind_alone_on_a_narrow_screen(parts, tmp_path):
    write(tmp_path / "out.html", **parts)
    with browser.opened(tmp_path / "out.html", viewport={"width": 390, "height": 800}) as (page, errors, requests):
        assert page.locator("figure").count() == page.locator("figure svg").count()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and errors == [] and requests == []
