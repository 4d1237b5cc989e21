"""The pages beside the report that are one file, in a real Chromium, from a file: drawn, and nothing is asked for."""

import pytest
from test_audit_page import made_rows, made_summary
from test_overoptimisation_page import content_of

from browsing import unknown_to_plotly
from experiments.made_curves import good_curves
from kleash.monitor.pages import audit_page, overoptimisation_page

pytestmark = pytest.mark.slow

PAGES = {
    "audit": lambda: audit_page.render("reward", made_summary(), **made_rows()),
    "overoptimisation": lambda: overoptimisation_page.PAGE.render(content_of(good_curves())),
}


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_drawn_without_an_error_or_a_request(new_page, tmp_path, name):
    path = tmp_path / "page.html"
    path.write_text(PAGES[name](), encoding="utf-8")
    page, troubles = new_page("file:")
    page.goto(path.as_uri())
    page.wait_for_selector("[data-figure]:not(:has(.main-svg))", state="detached")
    assert page.locator("[data-figure]").count() >= 2
    assert unknown_to_plotly(page) == []
    assert troubles == []
