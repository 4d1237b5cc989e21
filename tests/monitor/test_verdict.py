"""The sentences at the top of the page: claim, cost, and how it is known."""

from dataclasses import replace

import pytest
from fake_run import make_fake_run

from kleash.estimates import Estimate, Rate
from kleash.monitor.figures.training_chart import training_figure
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.pages.verdict import verdict_of
from kleash.monitor.read.findings import Contrast, findings_of
from kleash.monitor.read.reader import read_run
from kleash.monitor.read.verdict import gate_in_words, mood_of
from kleash.results import GateSummary


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    return findings_of(read_run(make_fake_run(tmp_path_factory.mktemp("runs"))))


def test_a_clear_win_is_called_better_with_its_cost(healthy):
    verdict = verdict_of(healthy)
    assert verdict.mood == "better"
    assert verdict.headline == (
        "Better: the policy wins 71\u202f% of 500 comparisons against its SFT model, "
        "at a cost of 1.50 nats of KL per answer."
    )
    assert verdict.evidence[0].startswith("The 95 % interval is 67 to 75\u202f% and excludes an even 50 %.")
    assert "which training never read; its mean rose from 0.31 to 0.76 points" in verdict.evidence[1]
    assert "always preferring the shorter answer would give 61" in verdict.evidence[2]


@pytest.mark.parametrize(
    ("rate", "mood"),
    [
        (Estimate(0.6, 0.51, 0.69), "better"),
        (Estimate(0.6, 0.50, 0.70), "unclear"),
        (Estimate(0.4, 0.31, 0.49), "worse"),
        (Estimate(0.9), "unclear"),
    ],
)
def test_only_an_interval_away_from_an_even_half_decides(rate, mood):
    assert mood_of(rate) == mood


@pytest.mark.parametrize(("story", "claim"), [("hacked", "Worse: the policy"), ("real", "Not told apart: the policy")])
def test_losses_and_draws_are_called_so(tmp_path, story, claim):
    verdict = verdict_of(findings_of(read_run(make_fake_run(tmp_path, story=story))))
    assert verdict.headline.startswith(claim)


def test_a_win_by_the_verdict_of_the_reward_model_itself_is_no_win(tmp_path):
    verdict = verdict_of(findings_of(read_run(make_fake_run(tmp_path, story="proxy"))))
    assert verdict.mood == "unclear"
    assert verdict.headline.startswith("Unproven: by the verdict of its own reward model the policy wins 90")
    assert "how well it was obeyed, not that the answers are better" in verdict.evidence[1]


def test_a_win_by_a_judge_that_trained_the_policy_is_no_win(healthy):
    verdict = verdict_of(replace(healthy, judge="rw.py:happy", judge_trained="scores its answers while it trains"))
    assert verdict.mood == "unclear"
    assert verdict.headline.startswith("Unproven: by a judge that scores its answers while it trains, the policy wins")
    assert "rw.py:happy, which scores its answers while it trains, so this says how well" in verdict.evidence[1]


def test_a_mean_that_does_not_move_neither_rose_nor_fell(healthy):
    still = {"judge_before": Rate(0.001), "judge_after": Rate(-0.002)}
    overall = healthy.overall.model_copy(update=still)
    assert "its mean stayed at 0.00 points" in verdict_of(replace(healthy, overall=overall)).evidence[1]


@pytest.mark.parametrize(("kl", "cost"), [(0.4, "at a cost of 0.40 nats of KL"), (-0.03, "at no KL to speak of.")])
def test_a_kl_below_zero_is_no_negative_cost(healthy, kl, cost):
    overall = healthy.overall.model_copy(update={"kl_nats_per_sequence": Rate(kl)})
    assert cost in verdict_of(replace(healthy, overall=overall)).headline


def test_a_run_without_sft_or_reward_model_is_told_in_its_own_words(healthy):
    plain = replace(healthy, judge="proxy", scorer_kind="function", has_sft=False)
    verdict = verdict_of(plain)
    assert verdict.headline.startswith("Unproven: by the verdict of its own reward function the policy wins")
    assert "against its starting model" in verdict.headline
    assert "The judge is the reward function that trained it" in verdict.evidence[1]
    figures = training_figure(plain)["layout"]["annotations"]
    titles = " ".join(str(one.get("text")) for one in figures)
    assert "KL to the starting model" in titles
    assert "in its own unit" in titles
    shown = {
        "findings": plain,
        "drawn": {"training": training_figure(plain)},
        "recorded_slices": (),
        "is_live": False,
        "small": (),
    }
    page = "".join(fragment(f"parts/{name}.html", **shown) for name in ("tiles", "training"))
    for word in ("SFT", "reward model's score"):
        assert word not in page


def test_a_win_rate_without_an_interval_proves_nothing(healthy):
    overall = healthy.overall.model_copy(update={"win_rate": Rate(0.8)})
    verdict = verdict_of(replace(healthy, overall=overall))
    assert verdict.mood == "unclear"
    assert "chance is not ruled out" in verdict.evidence[0]


def test_an_unfinished_run_says_how_far_it_is(tmp_path, healthy):
    training = replace(healthy, overall=Contrast(), judge="")
    assert verdict_of(training).headline == (
        "Not evaluated yet: 60 updates of training are recorded so far; at update 60 the policy won 70\u202f% "
        "(64 to 75\u202f%) against its SFT model (alarms' panel)."
    )
    alone = replace(training, win_rates=())
    assert verdict_of(alone).headline == "Not evaluated yet: 60 updates of training are recorded so far."
    reward = findings_of(read_run(make_fake_run(tmp_path, stages=("reward",))))
    assert verdict_of(reward).headline.startswith("No policy yet: the reward model orders 7")
    nothing = findings_of(read_run(make_fake_run(tmp_path, name="young", stages=())))
    assert verdict_of(nothing).headline.startswith("Nothing is measured yet")


def test_a_gate_says_whether_it_saw_anything():
    assert gate_in_words(GateSummary()) == ""
    seen = {"moves": True, "reasons": [], "against": {"sft": {"value": 0.7}}}
    assert gate_in_words(GateSummary.from_json(seen)) == "moves"
    blind = gate_in_words(GateSummary.from_json({"moves": True, "reasons": [], "against": {}}))
    assert blind == "moves, unseen: alarms.comparer names nobody to compare answers"
    held = {"moves": False, "reasons": ["it lost", "its audit failed"], "against": {}}
    assert gate_in_words(GateSummary.from_json(held)) == "held back: it lost; its audit failed"
    assert gate_in_words(GateSummary.from_json({"moves": False, "reasons": 3})) == "held back: "


def test_what_the_watch_saw_is_part_of_the_verdict(tmp_path):
    hacked = findings_of(read_run(make_fake_run(tmp_path, story="hacked")))
    assert "The watch calls for a stop: proxy external divergence." in verdict_of(hacked).evidence
    warned = replace(hacked, alarms=hacked.alarms[:1], overall=Contrast(), judge="")
    assert verdict_of(warned).evidence[0] == "The watch warns of length."
