"""Summaries as records: today's JSON, what earlier versions wrote, and what a damaged file holds."""

import ast
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from kleash.artifacts import read
from kleash.estimates import Difference, HeldoutRate, Rate
from kleash.results import (
    AuditSummary,
    CandidatesSummary,
    EvaluationSummary,
    PolicySummary,
    PreferencesSummary,
    RewardSummary,
)
from kleash.run_summary import RunSummary

FINISHED = Path(__file__).parent / "fixtures" / "release-0.1.0" / "runs" / "finished"
KINDS = {
    "sft": PolicySummary,
    "candidates": CandidatesSummary,
    "preferences": PreferencesSummary,
    "reward": RewardSummary,
    "audit": AuditSummary,
    "policy": PolicySummary,
    "evaluation": EvaluationSummary,
}


@pytest.mark.parametrize("stage", KINDS)
def test_a_summary_of_an_earlier_version_is_read_whole_and_written_the_same(stage):
    artifact = read(FINISHED / "round-000" / stage)
    summary = KINDS[stage].of(artifact)
    assert summary.seconds == artifact.summary["seconds"]
    assert without_nothing(summary.to_json()) == without_nothing(artifact.summary)


def test_a_run_of_an_earlier_version_is_read_by_attribute():
    content = json.loads((FINISHED / "summary.json").read_text())
    summary = RunSummary.from_json(content)
    assert (summary.name, summary.seed, summary.outcome) == ("finished", 0, "finished")
    assert summary.win_rate == Rate(**content["win_rate"])
    assert summary.kl_nats_per_sequence == pytest.approx(1.683, abs=0.001)
    assert summary.slices["thing=cat"].win_rate == content["slices"]["thing=cat"]["win_rate"]
    assert summary.slices["thing=cat"].before == content["slices"]["thing=cat"]["judge_sft"]
    assert summary.reward_model.accuracy.n == 1
    assert summary.preferences.pairs == 15
    assert summary.rounds == []
    assert summary.to_json() == content


def test_what_later_versions_add_is_kept_and_what_earlier_ones_lack_is_missing():
    summary = PolicySummary.from_json({"stage": "policy", "figure_of_tomorrow": 3})
    assert summary.steps is None
    assert summary.to_json() == {"stage": "policy", "figure_of_tomorrow": 3}


@pytest.mark.parametrize(
    "damage", [3, None, [], "x", {"value": "x"}, {"value": float("nan"), "low": 0, "high": 1, "n": 0}]
)
def test_what_cannot_be_read_is_missing(damage):
    content = {"judge": "gold", "win_rate": damage, "slices": {"a=b": {"n": 2, "win_rate": damage}}}
    summary = EvaluationSummary.from_json(content)
    assert (summary.judge, summary.win_rate) == ("gold", None)
    assert (summary.slices["a=b"].n, summary.slices["a=b"].win_rate) == (2, None)


@pytest.mark.parametrize("content", [None, 3, [], "x"])
def test_a_summary_that_is_no_object_is_empty(content):
    assert RunSummary.from_json(content) == RunSummary()


def test_a_stage_may_not_write_what_is_no_figure():
    with pytest.raises(ValidationError, match="heldout_accuracy"):
        RewardSummary(heldout_accuracy="high")


def test_slices_keep_what_length_alone_reaches_and_differences_their_p_value():
    part = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4, "longer_wins": 0.75}
    assert RewardSummary.from_json({"slices": {"a=b": part}}).slices["a=b"] == HeldoutRate(0.5, 0.1, 0.9, 4, 0.75)
    assert Difference(0.1, 0.0, 0.2, 9, 0.03).p_value == 0.03


SOURCE = Path(__file__).parents[1] / "src" / "kleash"


def test_every_stage_writes_its_summary_through_a_record():
    written = [
        (path.name, node)
        for path in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign | ast.AugAssign) and "draft.summary" in ast.unparse(node).partition("=")[0]
    ]
    assert len(written) > 15
    # How long it took is known only at the end, and is the same for all.
    loose = [(name, ast.unparse(node)) for name, node in written if not ast.unparse(node.value).endswith(".to_json()")]
    assert [name for name, _ in loose] == ["context.py"], loose


def without_nothing(content):
    """Leave out what is null: which of a figure's parts are unknown may be said or not."""
    if isinstance(content, dict):
        return {name: without_nothing(value) for name, value in content.items() if value is not None}
    return [without_nothing(item) for item in content] if isinstance(content, list) else content
