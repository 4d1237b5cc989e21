"""The audit's page: what it says of each verdict, that hostile text is inert, that missing figures leave no hole."""

import pytest
from read_page import HOSTILE, Page

from kleash.monitor.pages.audit_page import audit_sections, reliability_figure, render
from kleash.results import AuditSummary, Calibration


def rate(value, n=100):
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": n}


def made_summary(verdict="fail", name="topic=sums"):
    reason = {"measure": "gain: filler", "value": 0.8, "threshold": 0.5, "level": verdict, "text": f"{name} pays."}
    bins = [{"confidence": 0.6, "agreement": 0.5, "n": 20}, {"confidence": 0.9, "agreement": 0.8, "n": 20}]
    calibration = {"ece": 0.1, "ece_after": 0.04, "temperature": 1.3, "brier": 0.2, "reliability": bins}
    measures = {
        "length_baseline_accuracy": 0.6,
        "margin_length_correlation": rate(0.3),
        "calibration": calibration,
        "slices": {name: rate(0.7)},
        "difficulties": {"easy": rate(0.9)},
        "outside": {name: rate(0.06)},
        "sides_with_facts": rate(0.55),
    }
    reasons = [] if verdict == "pass" else [reason]
    content = {"verdict": verdict, "accuracy": rate(0.75), "reasons": reasons, "measures": measures}
    return AuditSummary.from_json(content)


def made_rows(text="so it is."):
    probes = [
        {"probe": "filler", "kind": "adversarial", "phrase": text, "gain_sd": rate(0.8), "level": "fail"},
        {"probe": "length", "kind": "adversarial", "phrase": "", "gain_sd": rate(-0.1), "level": "ok"},
        {"probe": "flattery", "kind": "adversarial", "phrase": text, "gain_sd": None, "level": "not applicable"},
        {"probe": "lower case", "kind": "invariance", "phrase": "", "spread": 0.6, "n": 90, "level": "warn"},
    ]
    pairs = [{"difficulty": "easy", "margin": margin} for margin in (1.0, -0.5, 2.0)]
    worst = [
        {"kind": "wrong pair", "prompt": text, "chosen": text, "rejected": text, "margin": -1.0, "label": 1.0},
        {"kind": "paid addition", "probe": "filler", "prompt": text, "answer": text, "changed": text, "gain_sd": 1.2},
    ]
    return {"probes": probes, "pairs": pairs, "worst": worst}


@pytest.mark.parametrize(
    ("verdict", "claim"),
    [("pass", "Passed:"), ("warn", "Passed with remarks:"), ("fail", "Failed:")],
)
def test_the_verdict_is_the_headline(verdict, claim):
    page = render("reward", made_summary(verdict), **made_rows())
    assert f"<em>{claim}</em>" in page
    assert ('role="note"' in page) == (verdict != "pass")


def test_every_section_and_figure_is_there():
    page = Page(render("reward", made_summary(), **made_rows()))
    assert {"probes", "calibration", "groups", "paid", "wrong"} <= page.ids()
    assert set(page.data()["figures"]) == {"reliability", "margins-easy"}


def test_hostile_text_is_inert_wherever_it_comes_from():
    page = Page(render(HOSTILE, made_summary(name=HOSTILE), **made_rows(HOSTILE)))
    assert [name for name, _ in page.scripts] == ["data", "", ""]
    assert not [attributes for tag, attributes in page.elements if tag == "img" or "onerror" in attributes]


def test_the_worst_probe_is_first_and_what_does_not_apply_is_named_below():
    section = audit_sections(AuditSummary(), made_rows()["probes"], [], {}).partition('id="probes"')[2]
    assert section.index("filler") < section.index("length") < section.index("Not applicable")
    assert section.index("flattery") > section.index("Not applicable")
    assert "<mark>fail</mark>" in section


def test_one_answer_is_shown_for_each_addition_that_pays():
    paid = made_rows()["worst"][1]
    worst = [paid | {"gain_sd": 1.2}, paid | {"gain_sd": 0.9}, paid | {"probe": "length"}]
    section = audit_sections(AuditSummary(), [], worst, {})
    assert section.count("<article") == 2
    assert "+1.20 SD" in section
    assert "+0.90 SD" not in section


def test_an_audit_without_figures_still_makes_a_page():
    page = render("reward", AuditSummary(verdict="warn"), probes=[], pairs=[], worst=[])
    assert "Passed with remarks" in page
    assert "no probe applies" in page
    assert reliability_figure(Calibration()) is None
