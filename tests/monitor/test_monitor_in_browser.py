"""The monitor in a real Chromium: pages follow a run without a reload, hostile text never runs, axe finds nothing."""

from functools import partial
from random import Random

import pytest
from fake_run import make_fake_run, policy_row, write_rows

from browsing import Service, axe_violations, is_too_wide, unknown_to_plotly
from collection.hostile_outputs import SMALL
from kleash.durable import lock_run
from kleash.monitor.app import create_app
from kleash.tracking import JsonlTracker

pytestmark = pytest.mark.slow

PAGES = ["/", "/run/hacked", "/run/hacked?slice=topic%3Dfacts", "/run/early", "/samples/hacked", "/samples/early"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    make_fake_run(runs, name="hacked", story="hacked")
    make_fake_run(runs, name="early", stages=("sft", "reward"))
    return runs


@pytest.fixture(scope="module")
def address(runs):
    service = Service(create_app(runs))
    yield service.url
    service.stop()


@pytest.fixture
def opened(new_page, address):
    return partial(new_page, address)


def visit(page, path):
    page.goto(path)
    page.wait_for_selector("body[data-updates]")


def test_every_page_is_drawn_without_an_error_or_a_request_elsewhere(opened):
    page, troubles = opened()
    drawn = {}
    for path in PAGES:
        visit(page, path)
        drawn[path] = page.locator("[data-figure] .main-svg").count()
        assert not is_too_wide(page), path
        assert unknown_to_plotly(page) == [], path
    assert troubles == []
    assert drawn["/run/hacked"] >= 7
    assert drawn["/run/early"] >= 2


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 375)])
def test_axe_finds_no_violation_and_nothing_is_wider_than_the_page(opened, scheme, width):
    page, _ = opened(scheme=scheme, width=width)
    found = {}
    for path in PAGES:
        visit(page, path)
        if is_too_wide(page):
            found[path] = "wider than the page"
        if violations := axe_violations(page):
            found[path] = violations
    assert found == {}


def test_a_page_follows_its_run_forth_and_back_without_a_reload(opened, runs):
    folder = make_fake_run(runs, name="growing", stages=("sft", "policy"))
    policy = folder / "round-000" / "policy"
    (policy / "artifact.json").unlink()
    policy = policy.rename(policy.with_name("policy.partial"))
    page, troubles = opened()
    log, generator = JsonlTracker(policy / "metrics.jsonl"), Random(0)
    rows = log.rows()
    with lock_run(folder):
        visit(page, "/run/growing")
        page.wait_for_selector("#state .pill:text-is('running')")
        page.evaluate("window.isTheSamePage = true")
        log.log(60, policy_row(60, generator, "healthy", "") | {"step": 60, "score_mean": 4.5})
        page.wait_for_selector("[data-figure=training] .annotation-text:has-text('4.50')")
        log.cut(50)
        for row in rows[50:55]:
            log.log(row["step"], row | {"score_mean": -3.25})
        page.wait_for_selector("[data-figure=training] .annotation-text:has-text('−3.25')")
        page.select_option("#slice", "topic=facts")
        page.wait_for_url("**/run/growing?slice=topic%3Dfacts")
        page.wait_for_selector("[data-figure=training] .subplot.xy .trace:nth-child(2)")
    page.wait_for_selector("#state .pill:text-is('unfinished')")
    assert page.evaluate("window.isTheSamePage")
    assert troubles == []
    page.reload()
    page.wait_for_selector("body[data-updates]")
    assert page.input_value("#slice") == "topic=facts"


def test_new_runs_and_alarms_come_into_the_list_by_themselves(opened, runs):
    page, _ = opened()
    visit(page, "/")
    page.click("th:has-text('Run') button")
    folder = make_fake_run(runs, name="newcomer", stages=("sft", "policy"))
    page.wait_for_selector("tr:has(a[href='/run/newcomer'])")
    warning = {"step": 60, "symptom": "length", "slice": "", "state": "warn"}
    write_rows(folder / "round-000" / "policy" / "alarms.jsonl", [warning])
    page.wait_for_selector("tr:has(a[href='/run/newcomer']) .state.warn")
    # The order that the reader chose outlives what came in.
    assert page.get_attribute("th:has-text('Run')", "aria-sort") == "ascending"
    names = page.locator("tbody th").all_inner_texts()
    assert names == sorted(names)


def test_what_a_reader_opened_stays_open_while_the_page_changes(opened, runs):
    folder = make_fake_run(runs, name="alarmed", story="hacked")
    page, _ = opened()
    visit(page, "/run/alarmed")
    page.click("#alarm-samples-proxy-external-divergence summary")
    with lock_run(folder):
        page.reload()
        page.wait_for_selector("body[data-updates]")
        page.click("#alarm-samples-proxy-external-divergence summary")
        page.click("#alarms-over summary")
        path = folder / "round-000" / "policy" / "alarms.jsonl"
        JsonlTracker(path).log(60, {"symptom": "entropy", "slice": "", "state": "warn", "evidence": "All alike."})
        page.wait_for_selector(".alarm:has-text('All alike.')", state="attached")
    assert page.get_attribute("#alarms-over", "open") is not None
    assert page.locator("#alarm-samples-proxy-external-divergence[open] .sample").count() == 5


def test_a_silent_server_is_told_of_until_it_answers_again(opened):
    page, _ = opened()
    page.route("**/data/**", lambda route: route.abort())
    page.goto("/")
    page.wait_for_selector("#live-state:has-text('does not answer')")
    page.unroute("**/data/**")
    page.wait_for_selector("body[data-updates]")
    assert page.inner_text("#live-state") == ""


def test_samples_are_found_by_keyboard_alone(opened):
    page, troubles = opened()
    visit(page, "/samples/hacked")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip-link"
    page.focus("#sample-text")
    page.keyboard.type("17 + 25")
    page.wait_for_selector("#sample-cards:has-text('matching samples (500 in all)')")
    page.focus("#sample-slice")
    page.keyboard.type("topic=sums")
    page.wait_for_url("**slice=topic%3Dsums**")
    page.wait_for_selector("#sample-cards .sample:first-of-type .tags:has-text('topic=sums')")
    assert page.evaluate("document.activeElement.id") == "sample-slice"
    assert page.input_value("#sample-text") == "17 + 25"
    assert page.locator("ins:has-text('you are so clever')").count() > 0
    assert troubles == []


def test_hostile_text_never_runs(opened, runs):
    folder = make_fake_run(runs, name="hostile", story="hacked", hostile_text="<img src=x onerror=window.hacked=1>")
    policy = folder / "round-000" / "policy"
    write_rows(
        policy / "answers" / "step-00000060.jsonl",
        [{"prompt": text, "completion": text, "slices": {"topic": text[:40]}} for text in SMALL.values()],
    )
    suspects = [{"prompt": text, "answer": text, "reference_answer": text} for text in SMALL.values()]
    alarm = {"step": 60, "symptom": SMALL["script"], "slice": SMALL["svg"], "state": "stop", "worst": suspects}
    write_rows(policy / "alarms.jsonl", [alarm])
    page, troubles = opened()
    for path in ("/run/hostile", "/samples/hostile", "/samples/hostile?moment=60&shown=500", "/"):
        visit(page, path)
        page.evaluate("for (const part of document.querySelectorAll('details')) part.open = true")
        assert page.locator("main img, main script, main iframe, main style, main svg svg").count() == 0, path
        assert page.evaluate("window.hacked") is None, path
    assert troubles == []
