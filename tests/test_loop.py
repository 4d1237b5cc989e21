"""The loop on fakes: what it asks of whom, what it reports, how it ends, and that it goes on exactly."""

import json
import math
from dataclasses import replace

import pytest
import torch

from kleash.algorithms.online import ONLINE_ALGORITHMS
from kleash.algorithms.policy_settings import (
    CreditSettings,
    LeashSettings,
    LossSettings,
    OptimiserSettings,
    PolicySettings,
)
from kleash.data.batches import TokenSequence
from kleash.errors import RunError
from kleash.loop import LoopComponents, LoopState, run_loop
from kleash.maths.kl import AdaptiveLeash, FixedLeash, RateLeash, ScheduledLeash
from kleash.progress import Stopwatch
from kleash.protocols import WatchDecision
from kleash.records import Prompt
from kleash.testing import FakeEngine, FakeGenerator, FakeScorer, ListTracker, ScriptedWatch, TabularPolicy
from timings import without_timings

PROMPTS = [Prompt("sum", {"topic": "sums"}), Prompt("fact", {"topic": "facts", "hard": "yes"})] * 4


def count_of_1(answer):
    return answer.text.split().count("1")


def crew_of(name="reinforce", *, watch=None, scorer=None, max_new_tokens=3, **engine):
    """Fakes around a policy of four tokens, of which 3 ends an answer; the score counts the 1s."""
    policy = TabularPolicy((0.4, 0.3, 0.2, 0.1))
    algorithm = ONLINE_ALGORITHMS[name]
    return LoopComponents(
        FakeGenerator(policy, max_new_tokens=max_new_tokens, eos_ids={3}),
        scorer
        or FakeScorer(lambda answer: answer.text.split().count("1"), length=lambda answer: len(answer.token_ids)),
        FakeEngine(policy, uses_critic=algorithm.uses_critic, **engine),
        watch or ScriptedWatch(),
        ListTracker(),
        algorithm,
    )


def settings_of(**given):
    plain = {
        "algorithm": "reinforce",
        "steps": 3,
        "epochs": 1,
        "credit": CreditSettings(missing_eos_penalty=None),
        "optimiser": OptimiserSettings(learning_rate=0.1),
    }
    return PolicySettings(**plain | given)


def run(components, settings, *, leash=None, state=None, **more):
    return run_loop(
        state or LoopState(0, leash or FixedLeash(0.1)),
        components,
        settings,
        prompts=lambda step: PROMPTS,
        seed=5,
        **more,
    )


@pytest.mark.parametrize("name", ONLINE_ALGORITHMS)
def test_every_algorithm_learns_to_earn_more(name):
    components = crew_of(name)
    samples = 4 if ONLINE_ALGORITHMS[name].min_samples_per_prompt > 1 else 1
    state = run(components, settings_of(steps=40, samples_per_prompt=samples, epochs=2 if name == "ppo" else 1))
    assert state.outcome == "finished"
    assert state.step == 40
    scores = [row["score_mean"] for row in components.tracker.rows]
    assert sum(scores[-5:]) > sum(scores[:5]) + 1


def test_steps_are_logged_with_figures_over_all_answers_and_by_slice():
    components = crew_of("ppo")
    run(components, settings_of(steps=1, algorithm="ppo"))
    [row] = components.tracker.rows
    assert row["step"] == 0
    per_answer = {"score_mean", "kl_nats_per_sequence", "kl_nats_per_token", "response_tokens_mean", "truncation_share"}
    per_answer |= {"reward/length"}
    assert per_answer <= row.keys()
    for prefix in ("slice/topic=sums/", "slice/topic=facts/", "slice/hard=yes/"):
        assert {prefix + name for name in per_answer} <= row.keys()
    learning = {"policy_loss", "value_loss", "approx_kl_nats_per_token", "clip_fraction", "ratio_max"}
    learning |= {"ratio_error_max", "entropy_nats", "gradient_norm", "explained_variance", "score_sd"}
    assert learning | {"beta", "reward_baseline", "step_seconds"} <= row.keys()
    # Four prompts of each topic: the whole is the mean of the two.
    halves = [row[f"slice/topic={topic}/score_mean"] for topic in ("sums", "facts")]
    assert row["score_mean"] == pytest.approx(sum(halves) / 2)
    assert row["slice/hard=yes/score_mean"] == row["slice/topic=facts/score_mean"]


def test_kl_is_zero_while_the_policy_is_its_reference():
    components = crew_of()
    run(components, settings_of(steps=1))
    assert components.tracker.rows[0]["kl_nats_per_sequence"] == pytest.approx(0.0, abs=1e-6)


def test_the_leash_observes_each_steps_kl_and_is_logged_before_it_moves():
    leash = AdaptiveLeash(0.5, target_nats=1.0, gain=0.5)
    components = crew_of()
    final = run(components, settings_of(steps=4), leash=leash)
    for row in components.tracker.rows:
        assert row["beta"] == leash.beta
        leash = leash.observe(row["kl_nats_per_sequence"])
    assert final.leash == leash
    assert leash.beta < 0.5


def test_a_scheduled_leash_walks_its_line():
    components = crew_of()
    run(components, settings_of(steps=4), leash=ScheduledLeash(0.4, 0.0, 4))
    assert [row["beta"] for row in components.tracker.rows] == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_the_leash_is_told_the_kl_of_each_slice():
    leash = AdaptiveLeash(0.5, target_nats=9.0, gain=0.5, slice_limits={"topic=sums": 0.01, "hard=yes": 99.0})
    components = crew_of()
    final = run(components, settings_of(steps=4), leash=leash)
    for row in components.tracker.rows:
        slices = {name: row[f"slice/{name}/kl_nats_per_sequence"] for name in ("topic=sums", "hard=yes")}
        leash = leash.observe(row["kl_nats_per_sequence"], slice_kl_nats=slices)
    assert final.leash == leash
    unlimited = run(crew_of(), settings_of(steps=4), leash=AdaptiveLeash(0.5, target_nats=9.0, gain=0.5)).leash
    assert leash.beta > unlimited.beta


@pytest.mark.parametrize(("heeds_quality", "betas"), [(True, [0.4, 0.3, 0.2, 0.2]), (False, [0.4, 0.3, 0.2, 0.1])])
def test_the_leash_heeds_what_the_watch_knows_of_quality_if_it_is_asked_to(heeds_quality, betas):
    watch = ScriptedWatch({0: WatchDecision(quality=0.5), 2: WatchDecision(quality=0.6)})
    components = crew_of(watch=watch)
    settings = settings_of(steps=4, leash=LeashSettings(heeds_quality=heeds_quality))
    run(components, settings, leash=ScheduledLeash(0.4, 0.0, 4))
    assert [row["beta"] for row in components.tracker.rows] == pytest.approx(betas)


def test_a_leash_on_the_learning_rate_slows_the_optimiser():
    components = crew_of()
    settings = settings_of(steps=4, optimiser=OptimiserSettings(learning_rate=0.1, final_share=1.0))
    run(components, settings, leash=RateLeash(0.1, target_nats=1e-6, gain=1.0))
    # At the first update the KL is still zero: below any target, and the rate is whole.
    assert [row["learning_rate_share"] for row in components.tracker.rows] == components.engine.rate_shares
    assert components.engine.rate_shares == pytest.approx([1.0, 1.0, 0.8, 0.64])


def test_the_watch_may_raise_beta():
    components = crew_of(watch=ScriptedWatch({1: WatchDecision("raise_beta", ("too far",))}))
    run(components, settings_of(steps=3, raise_beta_factor=2.0), leash=FixedLeash(0.1))
    assert [row["beta"] for row in components.tracker.rows] == [0.1, 0.1, 0.2]


@pytest.mark.parametrize("action", ["stop", "roll_back"])
def test_the_watch_may_end_the_run(action):
    components, states = crew_of(watch=ScriptedWatch({1: WatchDecision(action, ("enough",))})), []
    state = run(components, settings_of(steps=5), after_step=states.append)
    assert (state.step, state.outcome) == (2, action)
    assert [row["step"] for row in components.tracker.rows] == components.watch.steps == [0, 1]
    assert [(s.step, s.outcome) for s in states] == [(1, "running"), (2, action)]


class EngineWithoutNumbers(FakeEngine):
    """Its reference has gone wrong: every log-probability is NaN."""

    def annotate(self, rollouts):
        logprob_BT, reference_BT, value_BT = super().annotate(rollouts)
        return logprob_BT, reference_BT * math.nan, value_BT


@pytest.mark.parametrize("leash", [FixedLeash(0.0), AdaptiveLeash(0.1, target_nats=1.0, gain=0.3)])
def test_figures_that_are_not_numbers_are_for_the_watch_to_roll_back(leash):
    def broken(watch):
        components = crew_of(watch=watch)
        return replace(components, engine=EngineWithoutNumbers(components.engine.policy, uses_critic=False))

    state = run(broken(ScriptedWatch({0: WatchDecision("roll_back", ("NaN",))})), settings_of(), leash=leash)
    assert (state.outcome, state.leash) == ("roll_back", leash)
    with pytest.raises(RunError, match="The measured KL is nan"):
        run(broken(ScriptedWatch()), settings_of(), leash=leash)


def test_the_last_step_may_still_be_rolled_back():
    state = run(crew_of(watch=ScriptedWatch({2: WatchDecision("roll_back")})), settings_of(steps=3))
    assert (state.step, state.outcome) == (3, "roll_back")


def test_a_generator_of_its_own_gets_the_weights_after_each_step():
    components = crew_of()
    elsewhere = FakeGenerator(TabularPolicy((0.25,) * 4), max_new_tokens=3, eos_ids={3})
    elsewhere.load_weights(components.engine.named_weights(), version=0)
    components = replace(components, generator=elsewhere)
    run(components, settings_of(steps=3))
    assert elsewhere.version == 3
    torch.testing.assert_close(elsewhere.policy.probabilities, components.engine.policy.probabilities)
    assert all(row["ratio_error_max"] < 1e-6 for row in components.tracker.rows)


def test_wrong_log_probabilities_are_not_learned_from():
    components = crew_of()
    stale = FakeGenerator(TabularPolicy((0.25,) * 4), max_new_tokens=3, eos_ids={3})
    stale.load_weights = lambda named_weights, *, version: None
    components = replace(components, generator=stale)
    with pytest.raises(
        RunError, match=r"(?s)step 0 the first minibatch's probability ratio is off 1 by.*less than 0.0001.*check_ratio"
    ):
        run(components, settings_of())
    assert run(components, settings_of(check_ratio=False)).outcome == "finished"


def test_a_ratio_that_is_not_a_number_is_refused():
    components = crew_of()
    components.engine.annotate = lambda rollouts: (rollouts.logprob_BT * math.nan, rollouts.logprob_BT, None)
    with pytest.raises(RunError, match="ratio is off 1 by nan"):
        run(components, settings_of())


def test_the_baseline_is_the_running_mean_of_the_reward():
    components = crew_of(scorer=FakeScorer(lambda answer: 2.0))
    settings = settings_of(steps=2, credit=CreditSettings(missing_eos_penalty=None, baseline_decay=0.75))
    state = run(components, settings, leash=FixedLeash(0.0))
    assert state.baseline == 2.0
    longer = settings.model_copy(update={"steps": 3})
    state = run(replace(components, scorer=FakeScorer(lambda answer: 6.0)), longer, state=state)
    assert state.baseline == pytest.approx(0.75 * 2 + 0.25 * 6)


def test_an_unfinished_answer_scores_at_most_the_penalty():
    components = crew_of(scorer=FakeScorer(lambda answer: 4.0 if answer.token_ids[-1] == 3 else 2.0))
    run(components, settings_of(steps=1, credit=CreditSettings(missing_eos_penalty=-1.0)))
    row = components.tracker.rows[0]
    unfinished = row["truncation_share"]
    assert 0 < unfinished < 1
    assert row["score_mean"] == pytest.approx(4 * (1 - unfinished) - unfinished)


def test_epochs_end_early_when_the_policy_has_moved_far_enough():
    def num_updates(bound):
        components = crew_of("ppo", learning_rate=5.0)
        run(components, settings_of(algorithm="ppo", steps=1, epochs=6, stop_epochs_at_kl_nats=bound))
        return len(components.engine.rate_shares)

    assert num_updates(None) == num_updates(1000.0) == 6
    # The first epoch starts at the sampling policy, where the KL is zero; the second has moved.
    assert num_updates(1e-9) == 2


def test_a_step_tells_how_long_its_parts_took():
    components, timed = crew_of("ppo"), Stopwatch()

    def after_step(state):
        with timed("evaluating"):
            pass

    run(components, settings_of(steps=2), after_step=after_step, timed=timed)
    parts = {"sampling", "scoring", "annotating", "updating", "loading"}
    first, second = ({name for name in row if name.startswith("seconds/")} for row in components.tracker.rows)
    assert first == {f"seconds/{part}" for part in parts}
    assert second == first | {"seconds/evaluating"}, "what comes after a step is told with the next"
    for row in components.tracker.rows:
        assert sum(row[f"seconds/{part}"] for part in parts) <= row["step_seconds"]


@pytest.mark.parametrize(
    ("optimiser", "shares"),
    [
        ({"final_share": 0.2}, [1.0, 0.8, 0.6, 0.4]),
        ({"warmup_share": 0.5}, [1 / 3, 2 / 3, 1.0, 0.5]),
        ({"schedule": "cosine"}, [(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]),
        ({"schedule": "constant"}, [1.0] * 4),
    ],
)
def test_the_learning_rate_keeps_to_its_schedule(optimiser, shares):
    components = crew_of("ppo")
    settings = settings_of(algorithm="ppo", steps=4, epochs=2, optimiser=OptimiserSettings(**optimiser))
    run(components, settings)
    assert components.engine.rate_shares == pytest.approx([share for share in shares for _ in range(2)])


@pytest.mark.parametrize("minibatches", [2, 3])
def test_each_epoch_shows_every_answer_once(minibatches):
    components, seen = crew_of("ppo"), []
    step = components.engine.step
    components.engine.step = lambda sequences, *rest, **more: (
        seen.append(len(sequences)) or step(sequences, *rest, **more)
    )
    run(components, settings_of(algorithm="ppo", steps=1, epochs=2, minibatches=minibatches))
    assert len(seen) == 2 * minibatches
    assert sum(seen[:minibatches]) == sum(seen[minibatches:]) == len(PROMPTS)
    assert max(seen) - min(seen) <= 1


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_micro_batches_do_not_change_what_is_learned(name):
    def weights(rows_per_micro_batch):
        components = crew_of(name, rows_per_micro_batch=rows_per_micro_batch)
        run(components, settings_of(algorithm=name, steps=3, samples_per_prompt=2, epochs=2, minibatches=2))
        return components.engine.policy.probabilities

    torch.testing.assert_close(weights(1), weights(1000))


def test_critic_warm_up_trains_the_critic_alone():
    components = crew_of("ppo")
    before = components.engine.policy.probabilities
    run(components, settings_of(algorithm="ppo", steps=2, critic_warmup_steps=2))
    torch.testing.assert_close(components.engine.policy.probabilities, before)
    assert components.engine.value.item() != 0
    assert "policy_loss" not in components.tracker.rows[0]


def test_texts_of_the_pretraining_mix_are_learned_beside_the_answers():
    texts = [TokenSequence((0,), (2, 2, 2, 2, 2, 2))]

    def share_of_2(coefficient):
        components = crew_of(scorer=FakeScorer(lambda answer: 0.0))
        run(components, settings_of(steps=5, pretraining_coefficient=coefficient), texts_to_keep=lambda step: texts)
        return float(components.engine.policy.probabilities[2])

    assert share_of_2(1.0) > share_of_2(0.1) > share_of_2(0.0) == pytest.approx(0.2)


def test_the_kl_term_pulls_the_policy_back():
    def distance(beta, name):
        components = crew_of(name)
        run(components, settings_of(algorithm=name, steps=30, samples_per_prompt=4), leash=FixedLeash(beta))
        difference = components.engine.policy.probabilities - components.engine.reference.probabilities
        return float(difference.abs().sum())

    for name in ("rloo", "grpo"):
        assert distance(10.0, name) < 0.5 * distance(0.0, name)


@pytest.mark.parametrize("name", ONLINE_ALGORITHMS)
def test_a_run_resumed_at_any_step_equals_an_uninterrupted_one(name):
    """What is carried over is what a checkpoint holds: the engine's snapshot and the state, through JSON."""
    heeding = LeashSettings(heeds_quality=True)
    settings = settings_of(algorithm=name, steps=5, samples_per_prompt=2, epochs=2, minibatches=2, leash=heeding)
    leash = AdaptiveLeash(0.2, target_nats=0.5, gain=1.0, hold_updates=2, slice_limits={"topic=sums": 0.01})
    verdicts, kept = {0: WatchDecision(quality=0.1), 2: WatchDecision(quality=0.2), 3: WatchDecision(quality=0.1)}, {}
    components = crew_of(name, watch=ScriptedWatch(verdicts))

    def keep(state):
        saved = {"leash": vars(state.leash), "baseline": state.baseline, "step": state.step}
        kept[state.step] = (components.engine.snapshot(), json.dumps(saved))

    final = run(components, settings, leash=leash, after_step=keep)
    for step in range(1, 5):
        snapshot, text = kept[step]
        saved, other = json.loads(text), crew_of(name, watch=ScriptedWatch(verdicts))
        other.engine.restore(*snapshot)
        begun = LoopState(saved["step"], AdaptiveLeash(**saved["leash"]), saved["baseline"])
        assert run(other, settings, state=begun) == final
        assert torch.equal(other.engine.policy.logits_V, components.engine.policy.logits_V)
        assert list(map(without_timings, other.tracker.rows)) == list(
            map(without_timings, components.tracker.rows[step:])
        )


def test_dual_clip_and_estimator_reach_the_loss():
    def weights(**loss):
        components = crew_of("grpo", learning_rate=3.0)
        settings = settings_of(algorithm="grpo", steps=2, epochs=3, samples_per_prompt=4, loss=LossSettings(**loss))
        run(components, settings, leash=FixedLeash(1.0))
        return components.engine.policy.probabilities

    assert not torch.allclose(weights(kl_estimator="k2"), weights(kl_estimator="k3"))
    assert not torch.allclose(weights(clip_range=0.01), weights(clip_range=0.2))
