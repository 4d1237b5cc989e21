"""Which method to recommend, from hand-made figures."""

from kleash.experiments.advice import advice, standings
from kleash.experiments.methods import MethodResult


def result(method, rate, *, seed=0, half=0.02, kl=2.0, seconds=60.0, passes=100.0, per_answer=1.0, gain=0.5):
    figures = {
        "win_rate": {"value": rate, "low": rate - half, "high": rate + half, "n": 1000},
        "judge_difference": {"value": gain, "low": gain, "high": gain, "n": 1000},
        "kl_nats_per_sequence": {"value": kl, "low": kl, "high": kl, "n": 1000},
        "length_before": 10.0,
        "length_after": 12.0,
    }
    return MethodResult(
        method=method, seed=seed, judge="judge", figures=figures, passes=passes, passes_per_answer=per_answer,
        seconds=seconds, peak_rss_mb=500.0, note="note",
    )  # fmt: skip


def said(*results):
    return advice(standings(results))


def test_means_and_the_spread_over_seeds_by_hand():
    [one] = standings([result("ppo", 0.6, half=0.0), result("ppo", 0.8, seed=1, half=0.0)])
    assert (one.num_seeds, one.win_rate) == (2, 0.7)
    assert abs(one.seed_sd - 0.1414) < 1e-4
    assert abs(one.win_rate_high - one.win_rate - 1.96 * one.seed_sd / 2**0.5) < 1e-12
    assert one.length_ratio == 1.2


def test_the_clear_winner_is_recommended_and_the_others_are_said_to_be_behind():
    first, *others = said(result("ppo", 0.8), result("dpo", 0.6))
    assert first.startswith(
        "Use PPO (reward model, critic, KL leash): it wins 80 % (78 to 82 %) against the SFT policy at"
    )
    assert "no method does better" in first
    assert others == ["Clearly behind: DPO (60 % (58 to 62 %))."]


def test_of_equals_the_one_that_is_no_slower_and_closer_to_the_start_is_recommended():
    first, second = said(result("ppo", 0.71, seconds=100, kl=3.0), result("dpo", 0.70, seconds=30, kl=1.0))
    assert first.startswith("Use DPO")
    assert "PPO has a higher figure (71 % (69 to 73 %)) that is not told apart from it, for 100 s and 3.0 nats" in first
    assert second.startswith("Not told apart from it by win rate: PPO")


def test_when_nothing_helps_the_labels_are_to_be_looked_at():
    [only] = said(result("ppo", 0.51), result("dpo", 0.49))
    assert only.startswith("None of the methods is told apart from the SFT policy: the best, PPO, wins 51 %")


def test_what_harms_and_what_is_unsteady_is_named():
    sentences = said(result("ppo", 0.8), result("kto", 0.3), result("rloo", 0.7, seed=0), result("rloo", 0.85, seed=1))
    assert any(sentence.startswith("Do not use KTO here: it loses") for sentence in sentences)
    assert any(sentence.startswith("Varies over seeds: RLOO (10.6 points)") for sentence in sentences)


def test_best_of_n_is_weighed_by_what_each_answer_costs():
    free = {"passes": 0.0, "per_answer": 32.0, "seconds": 0.0}
    assert said(result("ppo", 0.7), result("best_of_n", 0.9, **free))[-1].startswith(
        "Best-of-n without any training wins more, 90 % (88 to 92 %), but each answer costs 32 passes"
    )
    assert "not told apart from the best method" in said(result("ppo", 0.7), result("best_of_n", 0.7, **free))[-1]
    assert said(result("ppo", 0.7), result("best_of_n", 0.55, **free))[-1].endswith("training pays.")
    assert said(result("best_of_n", 0.9, **free)) == ["No method was trained: there is nothing to recommend."]


def test_a_method_that_hardly_moved_is_not_judged_yet():
    sentences = said(result("ppo", 0.8), result("dpo", 0.55, kl=0.05), result("kto", 0.6, kl=0.3))
    [hint] = [sentence for sentence in sentences if sentence.startswith("Hardly left the SFT policy")]
    assert hint.startswith("Hardly left the SFT policy: DPO (0.05 nats), where PPO went 2.0; raise the learning rate")
    # One that ran wild is no measure of how far to go.
    sentences = said(result("ppo", 0.8), result("dpo", 0.6, kl=1.0), result("sft_on_chosen", 0.55, kl=27.0))
    assert not any("Hardly" in sentence for sentence in sentences)
    # What is no worse for it has nothing to be excused.
    assert not any("Hardly" in sentence for sentence in said(result("ppo", 0.8), result("dpo", 0.79, kl=0.05)))
