"""Comparison, lineage and the other further pages in a real Chromium: drawn, usable by keyboard, without harm."""

import json
from functools import partial

import pytest
from fake_run import make_fake_run
from test_audit_of_run import FAILED
from test_experiments_shown import CONTENT

from browsing import Service, axe_violations, is_too_wide, unknown_to_plotly
from kleash.artifacts import read, writing
from kleash.monitor.app import create_app

pytestmark = pytest.mark.slow

HOSTILE = '"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
COMPARISON = "/compare?run=hacked&run=healthy"
PAGES = [
    COMPARISON,
    "/compare",
    "/experiments",
    *(f"/{first}/hacked" for first in ("lineage", "labellers", "audit", "aims")),
]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def add_audit(run):
    with writing(
        run / "round-000" / "audit", kind="audit", parents={"reward": read(run / "round-000" / "reward")}, settings={}
    ) as draft:
        draft.summary |= FAILED
        gain = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 40}
        probe = {"probe": "filler", "kind": "adversarial", "phrase": HOSTILE, "gain_sd": gain, "level": "fail"}
        write_rows(draft.path / "probes.jsonl", [probe])


def add_aims(run):
    path = run / "round-000" / "evaluation" / "checkpoints.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        value = {"value": row["step"] / 60, "low": row["step"] / 60 - 0.1, "high": row["step"] / 60 + 0.1, "n": 50}
        row["slices"] = {f"aim={aim}": {"judge_mean": value} for aim in ("helpful", "honest", "harmless")}
    write_rows(path, rows)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Serve two runs, one of them full of hostile text, with an audit, judged aims and an experiment beside them."""
    runs = tmp_path_factory.mktemp("runs")
    make_fake_run(runs, name="healthy")
    hacked = make_fake_run(runs, name="hacked", story="hacked", hostile_text=HOSTILE)
    add_audit(hacked)
    add_aims(hacked)
    (runs / "overoptimisation").mkdir()
    (runs / "overoptimisation" / "curves.json").write_text(json.dumps(CONTENT))
    service = Service(create_app(runs))
    yield service.url
    service.stop()


@pytest.fixture
def opened(new_page, address):
    return partial(new_page, address)


def visit(page, path):
    """Open a page and wait until its data came and every chart that has any is drawn."""
    page.goto(path)
    page.wait_for_selector("body[data-updates]", state="attached")
    page.wait_for_selector("[data-figure]:not([hidden]):not(:has(.main-svg))", state="detached")


def test_every_page_is_drawn_without_an_error_or_a_request_elsewhere(opened):
    page, troubles = opened()
    drawn = {}
    for path in PAGES:
        visit(page, path)
        drawn[path] = page.locator("[data-figure] .main-svg:first-child").count()
        assert page.evaluate("window.hacked") is None
        assert unknown_to_plotly(page) == [], path
    assert troubles == []
    # Reward, KL, the panel's win rate, the proxy, judged quality and the panel over sqrt(KL); nobody asked people.
    assert drawn[COMPARISON] == 6
    assert drawn["/aims/hacked"] == 1
    assert drawn["/experiments"] == 3


@pytest.mark.parametrize(("scheme", "paths"), [("light", PAGES), ("dark", PAGES[:1] + PAGES[3:4])])
def test_axe_finds_no_violation(opened, scheme, paths):
    page, _ = opened(scheme=scheme)
    found = {}
    for path in paths:
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


def test_runs_are_chosen_and_their_slices_compared(opened):
    page, troubles = opened()
    visit(page, "/compare")
    page.check("input[value=hacked]")
    page.check("input[value=healthy]")
    page.click("main button[type=submit]")
    page.wait_for_selector("#compared tbody tr:nth-child(2)")
    assert page.locator(".past-peak").count() == 1
    page.wait_for_selector("[data-figure=reward] .main-svg >> nth=0")
    ends = "document.querySelector('[data-figure=reward]').data.map(trace => trace.y.at(-1))"
    before = page.evaluate(ends)
    updates = page.get_attribute("body", "data-updates")
    page.select_option("select[data-parameter=slice]", "topic=sums")
    page.wait_for_selector(f"body[data-updates]:not([data-updates='{updates}'])", state="attached")
    assert page.evaluate(ends) != before
    assert troubles == []


def test_an_artifact_is_chosen_by_keyboard(opened):
    page, troubles = opened()
    visit(page, "/lineage/hacked")
    assert page.inner_text("#details h2") == "audit"
    page.locator("svg.lineage a", has_text="sft").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**artifact=*")
    assert page.inner_text("#details h2") == "sft"
    assert page.locator("svg.lineage a[aria-current]").count() == 1
    assert troubles == []
