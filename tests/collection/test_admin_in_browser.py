"""The admin pages in a real Chromium: charts are drawn, nothing comes from elsewhere, axe finds nothing."""

import os
import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn

from collection.demo_campaign import make_demo_campaign
from collection.made_campaigns import NOON
from kleash.collection.app import create_app
from kleash.collection.store.accounts import create_account
from kleash.collection.store.database import Database

pytestmark = pytest.mark.slow

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
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
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(database), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()
    database.close()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM}; set CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def signed_in_state(browser, address):
    """Return what a browser remembers after signing in, so that each test need not."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{address}/login")
    page.fill("#name", NAME)
    page.fill("#password", PASSWORD)
    page.click("button.primary")
    page.wait_for_url("**/admin")
    yield context.storage_state()
    context.close()


@pytest.fixture
def opened(browser, address, signed_in_state):
    """Open a browser page; returns it with a list of what goes wrong on it from now on."""
    contexts = []

    def open_page(*, width=1280, scheme="light"):
        viewport = {"width": width, "height": 900}
        contexts.append(
            browser.new_context(viewport=viewport, color_scheme=scheme, storage_state=signed_in_state, base_url=address)
        )
        page, troubles = contexts[-1].new_page(), []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text))
        page.on("request", lambda sent: sent.url.startswith((address, "data:")) or troubles.append(sent.url))
        return page, troubles

    yield open_page
    for context in contexts:
        context.close()


def visit(page, path):
    page.goto(path)
    page.wait_for_selector("[data-figure]:not(:has(.main-svg))", state="detached")


def test_every_chart_is_drawn_without_an_error_or_a_request_elsewhere(opened):
    page, troubles = opened()
    drawn = {}
    for path in PAGES:
        visit(page, path)
        drawn[path] = page.locator("[data-figure] .main-svg").count()
    assert troubles == []
    assert page.evaluate("window.hacked") is None
    assert drawn["/admin/campaigns/1"] >= 10
    assert drawn["/admin/campaigns/1/judges"] >= 4
    assert drawn["/admin/campaigns/1/raters/Eve%20Strand"] >= 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page, _ = opened(scheme=scheme)
    found = {}
    for path in PAGES:
        visit(page, path)
        results = axe.run(page).response["violations"]
        if results:
            found[path] = [(rule["id"], [node["html"][:160] for node in rule["nodes"][:3]]) for rule in results]
    assert found == {}


def test_nothing_is_wider_than_a_phone(opened):
    page, _ = opened(width=375)
    too_wide = []
    for path in PAGES:
        visit(page, path)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
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
