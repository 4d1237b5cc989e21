"""The page in a real Chromium, from a file: it draws, filters, sorts, and no model text ever runs."""

import pytest
from fake_run import make_fake_run
from read_page import HOSTILE

from browsing import is_too_wide, unknown_to_plotly
from kleash.monitor.pages.report import write_report

pytestmark = pytest.mark.slow


@pytest.fixture
def opened(new_page, tmp_path):
    """Open the report of a fake run; returns the page and the list of what went wrong on it."""

    def open_report(*, width=1280, scheme="light", **story):
        path = write_report(make_fake_run(tmp_path, **story))
        page, troubles = new_page("file:", width=width, scheme=scheme)
        page.goto(path.absolute().as_uri())
        page.wait_for_selector("[data-figure]:not(:has(.main-svg))", state="detached")
        return page, troubles

    return open_report


def test_every_figure_is_drawn_without_an_error_or_a_request(opened):
    page, troubles = opened()
    assert page.locator("[data-figure]").count() == 9
    assert unknown_to_plotly(page) == []
    assert troubles == []


def test_hostile_text_is_shown_and_never_runs(opened):
    page, troubles = opened(hostile_text=HOSTILE)
    page.wait_for_timeout(300)
    assert page.title() == "quickstart · KLeash"
    assert troubles == []
    # The content policy would stop a script; an element made of model text would show that only the policy did.
    assert page.locator("main img, main script, main b[onclick]").count() == 0
    first = page.locator("#sample-list .sample").first
    assert first.locator(".prompt").inner_text() == HOSTILE
    assert first.locator(".answer-text").first.inner_text() == HOSTILE


def test_samples_are_filtered_and_sorted(opened):
    page, _ = opened(story="hacked")
    page.select_option("#sample-slice", "topic=sums")
    assert page.inner_text("#sample-count") == "6 of 58 matching samples (500 in all) shown"
    page.click("#sample-more")
    assert page.locator("#sample-list .sample").count() == 26
    page.select_option("#sample-order", "loss")
    gains = page.locator("#sample-list .sample .tags").all_inner_texts()
    values = [float(text.split("gold ")[1].split()[0].replace("−", "-")) for text in gains]
    assert values == sorted(values)
    assert values[0] < -1
    page.fill("#sample-text", "no such words")
    assert page.locator("#sample-list .sample").count() == 0


def test_the_slice_table_sorts_by_any_column_both_ways(opened):
    page, _ = opened()

    def changes():
        return page.eval_on_selector_all(
            "table.slices tbody tr", "rows => rows.map(row => Number(row.cells[2].dataset.key))"
        )

    assert changes() == sorted(changes())
    button = page.locator("table.slices button", has_text="Change")
    button.click()
    button.click()
    assert changes() == sorted(changes(), reverse=True)
    assert page.locator("table.slices th[aria-sort=descending]").count() == 1


def test_a_slices_curve_joins_the_training_figure(opened):
    page, troubles = opened()
    page.select_option("#slice-line", "topic=sums")
    visible = page.evaluate(
        "document.querySelector('[data-figure=training]').data.filter(t => t.meta && t.visible).map(t => t.meta.slice)"
    )
    assert visible == ["topic=sums", "topic=sums"]
    assert troubles == []


def test_figures_take_the_dark_schemes_colours(opened):
    page, troubles = opened(scheme="dark")
    colour = "document.querySelector('[data-figure=training]').data[0].line.color"
    assert page.evaluate(colour) == page.evaluate(
        "getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()"
    )
    dark = page.evaluate(colour)
    page.emulate_media(color_scheme="light")
    # The page's own policy forbids Playwright's waiting by eval: two frames later the change has been drawn.
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate(colour) != dark
    assert troubles == []


def test_nothing_sticks_out_of_a_narrow_page(opened):
    page, _ = opened(width=375)
    assert not is_too_wide(page)
