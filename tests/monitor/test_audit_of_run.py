"""The audit of a run in the monitor: which round's, and what is said where there is none."""

from kleash.artifacts import Artifact
from kleash.monitor.pages.audit_page import audit_of
from kleash.monitor.read.reader import RoundFolder, RunFolder, StageFolder

HOSTILE = "<script>alert(1)</script>"
FAILED = {
    "verdict": "fail",
    "accuracy": {"value": 0.76, "low": 0.74, "high": 0.78, "n": 800},
    "reasons": [
        {"measure": "filler", "value": 0.9, "threshold": 0.5, "level": "fail", "text": f"Filler pays {HOSTILE}"}
    ],
    "measures": {},
}
PASSED = FAILED | {"verdict": "pass", "reasons": []}


def stage(tmp_path, name, summary, settings=None, rows=None):
    artifact = Artifact(kind=name, id=name, files={}, path=tmp_path / name, summary=summary, settings=settings or {})
    return StageFolder(name, tmp_path / name, artifact, rows or {})


def run_of(tmp_path, *rounds):
    return RunFolder(
        "r", tmp_path, "", {}, {}, tuple(RoundFolder(number, stages) for number, stages in enumerate(rounds))
    )


def audited(tmp_path, summary, *, reason=None, **rows):
    scorer = {"scorer": {"kind": "reward_model", "accept_failed_audit": reason}}
    return {"audit": stage(tmp_path, "audit", summary, rows=rows), "policy": stage(tmp_path, "policy", {}, scorer)}


def test_the_newest_audit_is_shown_and_the_others_are_linked(tmp_path):
    run = run_of(tmp_path, audited(tmp_path, FAILED), audited(tmp_path, PASSED), {})
    newest, first = audit_of(run, "a b/r").html["audit"], audit_of(run, "a b/r", round_number=0).html["audit"]
    assert "nothing was found that a policy could exploit" in newest
    assert '<a href="/audit/a%20b/r?round=0">round 0</a>, <b>round 1</b>' in newest
    assert "a policy would learn to exploit" in first
    assert '<b>round 0</b>, <a href="/audit/a%20b/r?round=1">round 1</a>' in first


def test_a_failure_that_was_accepted_is_shown_with_its_reason(tmp_path):
    shown = audit_of(run_of(tmp_path, audited(tmp_path, FAILED, reason=f"a study {HOSTILE}")), "r").html["audit"]
    assert "Used all the same" in shown
    assert "a study &lt;script&gt;" in shown
    assert HOSTILE not in shown
    # The reason stays in the recipe when the next model passes: it is not shown then.
    assert (
        "Used all the same"
        not in audit_of(run_of(tmp_path, audited(tmp_path, PASSED, reason="a study")), "r").html["audit"]
    )


def test_probes_and_worst_examples_are_those_of_the_artifact(tmp_path):
    probe = {
        "probe": "filler",
        "kind": "adversarial",
        "phrase": HOSTILE,
        "gain_sd": {"value": 0.9, "n": 40},
        "level": "fail",
    }
    worst = {"kind": "wrong pair", "prompt": "two plus two ?", "chosen": "four", "rejected": HOSTILE, "margin": -2.0}
    shown = audit_of(run_of(tmp_path, audited(tmp_path, FAILED, probes=(probe,), worst=(worst,))), "r").html["audit"]
    assert "+0.90" in shown
    assert "two plus two ?" in shown
    assert HOSTILE not in shown


def test_a_run_without_an_audit_says_how_to_get_one(tmp_path):
    assert "was not audited" in audit_of(run_of(tmp_path, {}), "r").html["audit"]
    unfinished = {"audit": StageFolder("audit", tmp_path, None)}
    assert "is being audited" in audit_of(run_of(tmp_path, unfinished), "r").html["audit"]
