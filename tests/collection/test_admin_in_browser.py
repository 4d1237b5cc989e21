"""The admin pages in a real Chromium: charts are drawn, nothing comes from elsewhere, axe finds nothing."""

from functools import partial

import pytest

from browsing import Service, axe_violations, is_too_wide, unknown_to_plotly
from collection.demo_campaign import make_demo_campaign
from collection.made_campaigns import NOON
from kleash.collection.app import create_app
from kleash.collection.store.accounts import create_account
from kleash.collection.store.database import Database

pytestmark = pytest.mark.slow

NAME, PASSWORD = "Eve Admin", "correct horse battery"
PAGES = [
    "/admin",
    "/admin/people",
    "/admin/review",
    "/admin/campaigns/1",
    "/admin/campaigns/1/review",
    "/admin/campaigns/1/review/1",
    "/admin/campaigns/1/review/1?reveal=1",
    "/admin/campaigns/1/items",
    "/admin/campaigns/1/items/1",
    "/admin/campaigns/1/judgements/1",
    "/admin/campaigns/1/held",
    "/admin/campaigns/1/rubric",
    "/admin/campaigns/1/raters/Eve%20Strand",
    "/admin/campaigns/1/judges",
    "/admin/campaigns/1/export",
    "/admin/campaigns/1/audit",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve a demo campaign with AI judges in it and hostile texts; give the service's address."""
    database = Database(tmp_path_factory.mktemp("served") / "labels.db")
    make_demo_campaign(database, num_items=60, judges=True, hostile=True, now=NOON)
    with database.write() as connection:
        create_account(connection, NAME, PASSWORD, "admin", actor="test")
    service = Service(create_app(database))
    yield service.url
    service.stop()
    database.close()


@pytest.fixture(scope="module")
def signed_in_state(browser, address):
    """Return what a browser remembers after signing in, so that each test need not."""
    page = browser.new_page(base_url=address)
    page.goto("/login")
    page.fill("#name", NAME)
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/admin")
    state = page.context.storage_state()
    page.close()
    return state


@pytest.fixture
def opened(new_page, address, signed_in_state):
    return partial(new_page, address, storage_state=signed_in_state)


def visit(page, path):
    page.goto(path)
    page.wait_for_selector("[data-figure]:not(:has(.main-svg))", state="detached")


def test_every_chart_is_drawn_without_an_error_or_a_request_elsewhere(opened):
    page, troubles = opened()
    drawn = {}
    for path in PAGES:
        visit(page, path)
        drawn[path] = page.locator("[data-figure] .main-svg").count()
        assert unknown_to_plotly(page) == [], path
    assert troubles == []
    assert page.evaluate("window.hacked") is None
    assert drawn["/admin/campaigns/1"] >= 10
    assert drawn["/admin/campaigns/1/judges"] >= 4
    assert drawn["/admin/campaigns/1/raters/Eve%20Strand"] >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(opened, scheme):
    page, _ = opened(scheme=scheme)
    found = {}
    for path in PAGES:
        visit(page, path)
        if violations := axe_violations(page):
            found[path] = violations
    assert found == {}


def test_nothing_is_wider_than_a_phone(opened):
    page, _ = opened(width=375)
    too_wide = []
    for path in PAGES:
        visit(page, path)
        if is_too_wide(page):
            too_wide.append(path)
    assert too_wide == []


def test_charts_follow_the_colour_scheme(opened):
    page, _ = opened()
    visit(page, "/admin/campaigns/1")
    colour = "document.querySelector('[data-figure=daily]').data[0].marker.color"
    accent = "getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()"
    light = page.evaluate(colour)
    assert light == page.evaluate(accent)
    page.emulate_media(color_scheme="dark")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.evaluate(colour) == page.evaluate(accent) != light


def test_the_rater_table_sorts_by_any_column_both_ways(opened):
    page, _ = opened()
    visit(page, "/admin/campaigns/1")

    def items():
        cells = "rows => rows.map(row => Number(row.cells[1].dataset.key))"
        return page.eval_on_selector_all("table.sortable tbody tr", cells)

    button = page.locator("table.sortable thead button", has_text="Items")
    button.click()
    assert items() == sorted(items())
    button.click()
    assert items() == sorted(items(), reverse=True)
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_an_item_is_ruled_on_by_keyboard_and_the_votes_appear(opened):
    page, troubles = opened()
    visit(page, "/admin/campaigns/1/review")
    page.click("a.button.primary")
    assert page.locator(".votes").count() == 0
    page.focus("input[name=choice][value=a_much]")
    page.keyboard.press("ArrowDown")
    page.focus("#rationale")
    page.keyboard.type("B states a wrong cause.")
    page.focus(".ruling button.primary")
    page.keyboard.press("Enter")
    page.wait_for_selector(".votes li")
    assert page.is_checked("input[value=a_better]")
    assert page.input_value("#rationale") == "B states a wrong cause."
    assert troubles == []
