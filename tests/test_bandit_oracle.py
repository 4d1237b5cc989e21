"""The strongest oracle: every algorithm reaches the known optimum of a KL-leashed bandit, through the real loop."""

import itertools

import pytest
import torch

from bandit import (
    OPTIMUM_KL_NATS,
    REFERENCE,
    REWARD,
    BanditGenerator,
    BanditScorer,
    ListTracker,
    NoWatch,
    TabularPolicy,
    kl_nats,
    prompts,
    total_variation,
    value_head,
)
from kleash.algorithms.direct import DIRECT_ALGORITHMS, DirectLossSettings
from kleash.algorithms.online import ONLINE_ALGORITHMS
from kleash.algorithms.policy_settings import CreditSettings, OptimiserSettings, PolicySettings
from kleash.data.batches import TokenSequence
from kleash.loop import Crew, LoopState, run_loop
from kleash.maths.kl import FixedLeash
from kleash.stages.direct import DecidedPair, DirectSettings, PairObjective, PolicyAndReference
from kleash.tracking import JsonlTracker
from kleash.training.fit import FitSettings, fit, fit_optimiser
from kleash.training.local import LocalEngine
from kleash.training.optimiser import Optimiser
from kleash.training.ranks import Ranks


@pytest.mark.parametrize(("name", "samples_per_prompt"), [("ppo", 1), ("rloo", 4), ("reinforce", 1)])
def test_online_algorithms_reach_the_optimum(name, samples_per_prompt):
    policy, critic = TabularPolicy(), value_head() if name == "ppo" else None
    optimisers = {"policy": Optimiser(policy.trainable_parameters(), learning_rate=0.02)}
    if critic is not None:
        optimisers["critic"] = Optimiser(critic.named_parameters(), learning_rate=0.05)
    engine = LocalEngine(
        policy, TabularPolicy(), critic, optimisers=optimisers, temperature=1.0, max_batch_tokens=100_000
    )
    settings = PolicySettings(
        algorithm=name,
        steps=300,
        samples_per_prompt=samples_per_prompt,
        epochs=2 if name == "ppo" else 1,
        credit=CreditSettings(whiten_advantages=False, missing_eos_penalty=None),
        optimiser=OptimiserSettings(learning_rate=0.02),
    )
    tracker = ListTracker()
    crew = Crew(BanditGenerator(policy), BanditScorer(), engine, NoWatch(), tracker, ONLINE_ALGORITHMS[name])
    state = run_loop(
        LoopState(0, FixedLeash(1.0)),
        crew,
        settings,
        prompts=lambda step: prompts(step, count=1024 // samples_per_prompt),
        seed=0,
    )
    assert state.outcome == "finished"
    assert total_variation(policy.probabilities) < 0.02
    assert kl_nats(policy.probabilities) == pytest.approx(OPTIMUM_KL_NATS, abs=0.03)
    assert tracker.rows[-1]["kl_nats_per_sequence"] == pytest.approx(OPTIMUM_KL_NATS, abs=0.08)


def test_dpo_on_the_population_reaches_the_optimum(tmp_path):
    """Every pair in proportion to reference sampling, both orders by their Bradley-Terry probabilities."""
    rewards, reference = torch.tensor(REWARD), torch.tensor(REFERENCE)
    share = {}
    for first, second in itertools.permutations(range(4), 2):
        win = torch.sigmoid(rewards[first] - rewards[second])
        share[first, second] = float(reference[first] * reference[second] * win)
    total = sum(share.values())
    actions = [TokenSequence((0,), (action,)) for action in range(4)]
    pairs = [
        DecidedPair(actions[first], actions[second], 1.0)
        for (first, second), part in share.items()
        for _ in range(round(2000 * part / total))
    ]
    policy = TabularPolicy()
    settings = DirectSettings(
        algorithm="dpo",
        loss=DirectLossSettings(beta=1.0),
        fit=FitSettings(epochs=300, batch_size=len(pairs), max_batch_tokens=10**6, learning_rate=0.05),
    )
    objective = PairObjective(PolicyAndReference(policy, TabularPolicy()), pairs, settings, algorithm="dpo")
    fit(
        objective,
        len(pairs),
        {"policy": fit_optimiser(policy.trainable_parameters(), settings.fit, Ranks())},
        settings.fit,
        work=tmp_path,
        tracker=JsonlTracker(tmp_path / "metrics.jsonl"),
        seed=0,
        description="DPO",
        shown={},
    )
    assert DIRECT_ALGORITHMS["dpo"].pair_loss is not None
    assert total_variation(policy.probabilities) < 0.02
