"""What became of suites, as a page shows it: rates beside the reference's, what got worse, what newly broke."""

import pytest
from fake_run import make_fake_run
from read_page import HOSTILE

from kleash.artifacts import writing
from kleash.evaluation.suites.figures import summarise_rows
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.pages.report import write_report
from kleash.monitor.pages.run_page import live_run
from kleash.monitor.read.live import Shelf
from kleash.results import SuitesSummary


def rows(*, passed, reference_passed, measure="correct", bucket="tasks", name="sums", n=40, topic="sums"):
    return [
        {
            "suite": name,
            "bucket": bucket,
            "slices": {"topic": topic},
            "passed": index < passed,
            "detail": "",
            "tallies": {measure: [int(index < passed), 1]},
            "reference_tallies": {measure: [int(index < reference_passed), 1]},
        }
        for index in range(n)
    ]


def section_of(summary):
    return fragment("parts/suites.html", suites=SuitesSummary.from_json(summary))


def test_a_rate_stands_beside_the_references_with_a_paired_difference():
    html = section_of(summarise_rows(rows(passed=36, reference_passed=20)))
    assert "40 items whose answers rules can check" in html
    assert "50\u202f% <i>→</i> 90\u202f%" in html
    assert "+40\u202fpoints" in html
    assert 'class="range good"' in html
    assert "got worse" not in html


def test_a_slice_that_surely_got_worse_is_named_though_the_average_rose():
    better = rows(passed=200, reference_passed=100, n=200, topic="sums")
    worse = rows(passed=2, reference_passed=30, topic="facts")
    html = section_of(summarise_rows(better + worse))
    assert "<b>topic=facts</b> sums/correct: −70\u202fpoints" in html
    assert "<b>topic=sums</b>" not in html


def test_of_what_is_unwanted_less_is_better():
    made = {"measure": "unsafe_complied", "bucket": "safety"}
    html = section_of(summarise_rows(rows(passed=30, reference_passed=2, **made)))
    assert 'class="range bad"' in html
    assert "<b>topic=sums</b> sums/unsafe complied: +70\u202fpoints" in html
    assert 'class="range good"' in section_of(summarise_rows(rows(passed=2, reference_passed=30, **made)))


def test_a_policy_alone_has_its_rate_and_no_difference():
    alone = [{**row, "reference_tallies": {}} for row in rows(passed=30, reference_passed=0)]
    html = section_of(summarise_rows(alone))
    assert "75\u202f%" in html
    assert "Difference" not in html


def test_what_was_not_checked_says_why():
    row = {"suite": "s", "bucket": "tasks", "slices": {}, "passed": None, "detail": "no check for it", "tallies": {}}
    html = section_of(summarise_rows([row, row]))
    assert "<li>2: no check for it</li>" in html
    assert "<table" not in html


def test_newly_broken_items_are_named():
    broken = [{"suite": "sums", "id": "7", "prompt": HOSTILE, "detail": "4 is not 5"}]
    history = {"newly_broken": 1, "newly_fixed": 2, "compared": 40, "broken": broken}
    html = section_of(summarise_rows(rows(passed=36, reference_passed=20)) | {"regression": history})
    assert "1 newly broken, 2 newly fixed, of 40 items" in html
    assert "<b>sums 7</b>" in html
    assert "<script" not in html
    assert "<img" not in html


@pytest.mark.parametrize("damage", [3, None, [], {"tasks": 3}, {"tasks": {"sums/correct": "x"}}])
@pytest.mark.parametrize(
    "part", ["buckets", "reference", "differences", "slices", "unwanted", "regression", "unchecked"]
)
def test_a_damaged_file_leaves_a_gap_and_no_error(part, damage):
    section_of(summarise_rows(rows(passed=36, reference_passed=20)) | {part: damage})


def test_report_and_run_page_show_a_rounds_suites(tmp_path):
    run = make_fake_run(tmp_path)
    assert 'id="suites"' not in write_report(run).read_text(encoding="utf-8")
    with writing(run / "round-000" / "suites", kind="suites", parents={}, settings={}) as draft:
        draft.summary |= summarise_rows(rows(passed=36, reference_passed=20, name=HOSTILE))
    report = write_report(run).read_text(encoding="utf-8")
    assert 'id="suites"' in report
    assert HOSTILE not in report
    assert "+40\u202fpoints" in live_run(Shelf(), run).html["suites-part"]
