"""The gate at a round's end."""

from dataclasses import replace

import pytest

from kleash.artifacts import external
from kleash.evaluation.external_signal import ExternalSignal, rate_of
from kleash.maths.intervals import Interval, win_rate
from kleash.records import Prompt
from kleash.stages.gate import GateSettings, decide_gate, reasons_to_hold, slice_rates
from kleash.stages.support.alarming import AlarmSetup
from kleash.testing import FakeComparer
from stages.tiny_recipe import tiny_context
from tiny import tiny_language_model_folder


def test_a_split_vote_goes_to_its_majority_and_silence_does_not_count():
    assert rate_of([1.0, 2 / 3, 0.5, 0.0, None]) == win_rate(2, 1, 1)


def test_slices_need_prompts_and_their_intervals_hold_together():
    prompts = [Prompt(f"q{n}", {"topic": "a" if n < 30 else "b", "one": "x"}) for n in range(40)]
    votes = [1.0] * 40
    found = slice_rates(prompts, votes, min_prompts=20)
    assert list(found) == ["one=x", "topic=a"]
    assert found["topic=a"] == win_rate(30, 0, 0, confidence=0.975)


def test_reasons_by_hand(tmp_path):
    lost, even = Interval(0.3, 0.2, 0.4, 100), Interval(0.48, 0.4, 0.56, 100)
    (tmp_path / "f").write_text("x")
    audit = replace(
        external(tmp_path / "f", "audit"),
        summary={
            "verdict": "fail",
            "reasons": [{"measure": "length", "level": "fail"}, {"measure": "ece", "level": "warn"}],
        },
    )
    assert reasons_to_hold(Interval(0.48, 0.4, 0.56, 100), {"a=b": even}, current="sft", audit=None) == []
    assert reasons_to_hold(None, {}, current="sft", audit=None) == []
    assert reasons_to_hold(Interval(0.3, 0.2, 0.4, 9), {"a=b": lost, "c=d": even}, current="sft", audit=audit) == [
        "its reward model failed the audit (length)",
        "it wins 30% of 9 comparisons with sft",
        "on a=b it wins 30% of 100 comparisons with sft",
    ]


@pytest.fixture
def policies(tmp_path):
    return [external(tiny_language_model_folder(tmp_path / f"m{seed}", seed=seed), "model") for seed in range(3)]


def opened(policies, tmp_path, worth, *, name="gate"):
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "the cat {n}"}}\n' for n in range(12)))
    first, second, latest = policies
    signal = ExternalSignal(FakeComparer(worth), num_comparisons=12) if worth else None
    return decide_gate(
        tiny_context(),
        GateSettings(max_new_tokens=6),
        policy=latest,
        earlier={"sft": first, "round-000": second},
        current="round-000",
        prompts=tmp_path / "prompts.jsonl",
        alarm_setup=AlarmSetup(signal=signal),
        audit=None,
        output_dir=tmp_path / name,
    )


def test_every_accepted_policy_is_compared_on_the_same_prompts(policies, tmp_path):
    made = opened(policies, tmp_path, len)
    assert made.kind == "gate"
    assert {name: rate["n"] for name, rate in made.summary["against"].items()} == {"sft": 12, "round-000": 12}
    assert made.summary["moves"] == (not made.summary["reasons"])
    assert set(made.parents) == {"policy", "sft", "round-000", "prompts"}
    assert opened(policies, tmp_path, len) == made


def test_who_loses_to_the_current_policy_is_held_back_and_the_reverse_taste_lets_it_pass(policies, tmp_path):
    made = [
        opened(policies, tmp_path, worth, name=f"gate-{n}") for n, worth in enumerate((len, lambda text: -len(text)))
    ]
    rates = [one.summary["against"]["round-000"]["value"] for one in made]
    assert rates[0] + rates[1] == pytest.approx(1.0)
    for one in made:
        assert one.summary["moves"] == (one.summary["against"]["round-000"]["high"] >= 0.5)


def test_with_nobody_to_ask_only_the_audit_speaks(policies, tmp_path):
    made = opened(policies, tmp_path, None)
    assert made.summary["against"] == {}
    assert made.summary["moves"]
