"""A step's figures: right by hand, by slice, and the same however the answers are split over ranks."""

import threading
from dataclasses import replace

import pytest
import torch

from algorithms.made import experience_of
from kleash.algorithms.online import Credit
from kleash.algorithms.rollout_metrics import measure_rollouts
from kleash.maths.tally import merge_figures
from kleash.records import Prompt

RETURNS = torch.arange(4.0)[:, None]


def rollouts_of(returns_BT, values_BT, scores):
    experience = experience_of([1] * len(scores), scores=scores, value_BT=values_BT)
    return experience, Credit(torch.zeros_like(returns_BT), returns_BT)


def measure_on_ranks(parts):
    """Run one thread per rank, each with its own rows; figures are merged when all have given theirs."""
    barrier, given, results = threading.Barrier(len(parts)), [{}] * len(parts), [{}] * len(parts)

    def run(rank):
        def sum_across_ranks(figures):
            given[rank] = dict(figures)
            barrier.wait()
            merged = {}
            for part in given:
                merged = merge_figures(merged, part)
            barrier.wait()
            return merged

        results[rank] = measure_rollouts(*parts[rank], sum_across_ranks)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_a_critic_that_is_off_by_a_constant_explains_all_of_the_returns_variance():
    metrics = measure_rollouts(*rollouts_of(RETURNS, RETURNS + 1, [0.0] * 4), dict)
    assert metrics["explained_variance"] == 1.0


def test_a_critic_that_says_the_mean_explains_nothing_and_returns_that_do_not_vary_leave_nothing_to_explain():
    constant = torch.full((4, 1), 2.0)
    assert measure_rollouts(*rollouts_of(RETURNS, constant, [0.0] * 4), dict)["explained_variance"] == 0.0
    assert "explained_variance" not in measure_rollouts(*rollouts_of(constant, RETURNS, [0.0] * 4), dict)


def test_the_spread_of_scores_is_their_standard_deviation():
    metrics = measure_rollouts(*rollouts_of(RETURNS, RETURNS, [-1.0, 5.0, -1.0, 5.0]), dict)
    assert (metrics["score_mean"], metrics["score_sd"]) == (2.0, 3.0)


def test_ranks_of_unequal_size_agree_on_what_one_would_have_measured():
    values = torch.tensor([[0.5], [0.0], [3.0], [2.0]])
    scores = [1.0, 2.0, 4.0, 8.0]
    whole = measure_rollouts(*rollouts_of(RETURNS, values, scores), dict)
    parts = [rollouts_of(RETURNS[rows], values[rows], scores[rows]) for rows in (slice(0, 3), slice(3, 4))]
    for metrics in measure_on_ranks(parts):
        assert metrics == pytest.approx(whole)


def test_each_part_of_the_score_has_its_mean_and_spread_in_every_slice():
    experience, credit = rollouts_of(RETURNS, RETURNS, [0.0] * 4)
    prompts = tuple(Prompt(str(row), {"side": "left" if row < 2 else "right"}) for row in range(4))
    experience = replace(experience, rollouts=replace(experience.rollouts, prompts=prompts))
    experience = replace(experience, parts={"term/a": torch.tensor([1.0, 3.0, 5.0, 5.0])})
    metrics = measure_rollouts(experience, credit, dict)
    assert (metrics["reward/term/a"], metrics["reward/term/a_sd"]) == (3.5, pytest.approx(2.75**0.5))
    assert metrics["slice/side=left/reward/term/a_sd"] == 1.0
    assert metrics["slice/side=right/reward/term/a_sd"] == 0.0
    assert not [name for name in metrics if name.endswith("_square")]
