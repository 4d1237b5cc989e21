"""The strongest oracle: every algorithm reaches the known optimum of a KL-leashed bandit, through the real loop."""

import itertools
import math

import pytest

from bandit import (
    OPTIMUM_KL_NATS,
    REFERENCE,
    REWARD,
    bandit_generator,
    bandit_policy,
    bandit_scorer,
    kl_nats,
    total_variation,
)
from kleash.algorithms.direct import DPO, DirectLossSettings
from kleash.algorithms.online import ONLINE_ALGORITHMS
from kleash.algorithms.policy_settings import CreditSettings, OptimiserSettings, PolicySettings
from kleash.data.batches import TokenSequence
from kleash.loop import LoopComponents, LoopState, run_loop
from kleash.maths.kl import FixedLeash
from kleash.models.heads import ValueHead
from kleash.records import Prompt
from kleash.stages.direct import DecidedPair, DirectSettings, PairObjective, PolicyAndReference
from kleash.testing import ListTracker, ScriptedWatch
from kleash.tracking import JsonlTracker
from kleash.training.fit import FitSettings, build_trainer, fit
from kleash.training.local import LocalEngine
from kleash.training.optimiser import Optimiser
from kleash.training.ranks import Ranks


@pytest.mark.parametrize(("name", "samples_per_prompt"), [("ppo", 1), ("rloo", 4), ("reinforce", 1)])
def test_online_algorithms_reach_the_optimum(name, samples_per_prompt):
    policy, critic = bandit_policy(), ValueHead(1) if name == "ppo" else None
    optimisers = {"policy": Optimiser(policy.trainable_parameters(), learning_rate=0.04)}
    if critic is not None:
        optimisers["critic"] = Optimiser(critic.named_parameters(), learning_rate=0.05)
    engine = LocalEngine(
        policy, bandit_policy(), critic, optimisers=optimisers, temperature=1.0, max_batch_tokens=100_000
    )
    settings = PolicySettings(
        algorithm=name,
        steps=120,
        samples_per_prompt=samples_per_prompt,
        epochs=2 if name == "ppo" else 1,
        credit=CreditSettings(whiten_advantages=False, missing_eos_penalty=None),
        optimiser=OptimiserSettings(learning_rate=0.04),
    )
    tracker = ListTracker()
    components = LoopComponents(
        bandit_generator(policy), bandit_scorer(), engine, ScriptedWatch(), tracker, ONLINE_ALGORITHMS[name]
    )
    state = run_loop(
        LoopState(0, FixedLeash(1.0)),
        components,
        settings,
        prompts=lambda step: [Prompt("pull")] * (128 // samples_per_prompt),
        seed=0,
    )
    assert state.outcome == "finished"
    assert total_variation(policy.probabilities) < 0.02
    assert kl_nats(policy.probabilities) == pytest.approx(OPTIMUM_KL_NATS, abs=0.03)
    measured = [row["kl_nats_per_sequence"] for row in tracker.rows[-40:]]  # 128 samples each: sd .01 of the mean
    assert sum(measured) / len(measured) == pytest.approx(OPTIMUM_KL_NATS, abs=0.04)


def test_dpo_on_the_population_reaches_the_optimum(tmp_path):
    """Every pair as often as the reference samples it, labelled with its Bradley-Terry probability."""
    actions = [TokenSequence((0,), (action,)) for action in range(4)]
    pairs = []
    for first, second in itertools.combinations(range(4), 2):
        better, worse = sorted((first, second), key=lambda action: REWARD[action], reverse=True)
        win = 1 / (1 + math.exp(REWARD[worse] - REWARD[better]))
        times = round(100 * REFERENCE[first] * REFERENCE[second])
        pairs += [DecidedPair(actions[better], actions[worse], win)] * times
    assert len(pairs) == 35
    policy = bandit_policy()
    settings = DirectSettings(
        algorithm="dpo",
        loss=DirectLossSettings(beta=1.0),
        fit=FitSettings(epochs=300, batch_size=len(pairs), max_batch_tokens=10**6, learning_rate=0.05),
    )
    objective = PairObjective(PolicyAndReference(policy, bandit_policy()), pairs, settings.loss, algorithm=DPO)
    fit(
        objective,
        len(pairs),
        build_trainer({"policy": policy.trainable_parameters()}, settings.fit, Ranks()),
        settings.fit,
        work=tmp_path,
        tracker=JsonlTracker(tmp_path / "metrics.jsonl"),
        seed=0,
        description="DPO",
        shown={},
    )
    assert total_variation(policy.probabilities) < 0.02
