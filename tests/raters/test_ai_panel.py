"""Several judges: each a rater of its own, and a word about kinship."""

import pytest
from replay_server import replaying, shown, verdict

from kleash.errors import SettingsError
from kleash.raters.ai_feedback import AIJudge
from kleash.raters.configuration import JudgeSettings
from kleash.raters.judge_run import JudgeStopped
from kleash.raters.panel import JudgePanel, same_family_warning
from kleash.records import Comparison, Prompt

CASES = [Comparison(Prompt(f"q{n}"), ("long answer", "short")) for n in range(4)]


def by_model(request):
    """Three judges with three tastes, told apart by the model asked for."""
    _, first, second = shown(request)
    return {
        "long": verdict("first" if len(first) > len(second) else "second"),
        "brief": verdict("first" if len(first) < len(second) else "second"),
        "mute": "I cannot say.",
    }[request["model"]]


def panel(replay, *models, **more):
    return JudgePanel([AIJudge(JudgeSettings(base_url=replay.base_url, model=m, **more)) for m in models])


def test_every_member_judges_every_comparison_as_a_rater_of_its_own():
    with replaying(by_model) as replay:
        judges = panel(replay, "long", "brief", "mute")
        found = list(judges.compare(CASES))
    names = [judge.name for judge in judges.judges]
    assert [judgement.rater for judgement in found] == names * 4
    assert [judgement.comparison_id for judgement in found] == [case.id for case in CASES for _ in names]
    assert [judgement.ranks for judgement in found] == [(1, 2), (2, 1), ()] * 4


def test_a_member_at_its_limit_stops_the_panel():
    with replaying(by_model) as replay:
        run = panel(replay, "long", "brief", max_calls=4).compare(CASES)
        found = [next(run) for _ in range(4)]
        with pytest.raises(JudgeStopped, match="max_calls = 4"):
            next(run)
    assert [judgement.comparison_id for judgement in found] == [CASES[0].id] * 2 + [CASES[1].id] * 2


def test_two_members_that_would_be_one_rater_are_refused():
    with replaying(by_model) as replay, pytest.raises(SettingsError, match=r"are both long@\w+\. .*set its revision"):
        panel(replay, "long", "long")


def test_a_judge_of_the_policys_own_family_is_warned_of():
    warning = same_family_warning("qwen", ["models/Qwen2.5-0.5B-Instruct", "file.jsonl"])
    assert warning is not None
    assert "family qwen" in warning
    assert "Qwen2.5-0.5B-Instruct" in warning
    assert "file.jsonl" not in warning
    assert same_family_warning("llama", ["models/Qwen2.5-0.5B-Instruct"]) is None
    assert same_family_warning("", ["anything"]) is None
