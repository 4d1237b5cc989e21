"""Online training as a stage: what it refuses before it computes, what it leaves behind, which weights it ends with."""

import json

import pytest
import torch
from pydantic import ValidationError

from kleash.algorithms.policy_settings import LeashSettings, PolicySettings
from kleash.artifacts import read
from kleash.errors import DataError, SettingsError
from kleash.evaluation.watch import BoundsWatch
from kleash.formats import read_completions
from kleash.maths.kl import AdaptiveLeash, FixedLeash, RateLeash, ScheduledLeash
from kleash.models.causal_lm import load_language_model
from kleash.models.heads import ValueHead
from kleash.models.reward_models import load_reward_model
from kleash.protocols import WatchDecision
from kleash.scorers.ensemble import EnsembleScorer
from kleash.stages.policy import algorithm_named, build_critic, check_batch, leash_from, train_policy
from kleash.stages.support.alarming import AlarmSettings, build_alarms
from kleash.stages.support.scoring import ScorerSettings, ScorerSource, build_scorer
from kleash.testing import FakeScorer
from kleash.tracking import JsonlTracker
from kleash.training.checkpoints import latest
from stages.tiny_recipe import JUDGE, TABLES, scripted_alarms, tiny_context

# Below the penalty of -1 for an answer that does not end, which few do here: the scores stay apart.
VARIED = FakeScorer(lambda answer: -2.0 - sum(answer.token_ids) % 7)


def settings_of(**given):
    return PolicySettings(**TABLES["policy"] | {"steps": 2} | given)


def train(base, data, output_dir, settings, *, scorer_source=None, **more):
    scorer_source = scorer_source or ScorerSource(VARIED, {})
    context = more.pop("context", tiny_context())
    return train_policy(
        context,
        settings,
        reference=base,
        scorer_source=scorer_source,
        prompts=data["prompts"],
        output_dir=output_dir,
        **more,
    )


def same_weights(folder, other):
    first, second = (load_language_model(path, device="cpu", whole=True).model.state_dict() for path in (folder, other))
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"algorithm": "pqo"},
            r"Unknown algorithm 'pqo'. Did you mean ppo\? Known: grpo, ppo, reinforce, rloo.*module:attribute",
        ),
        ({"algorithm": "grpo"}, r"policy.samples_per_prompt is 1. grpo compares.*at least 2. Raise it"),
        ({"minibatches": 5}, r"policy.minibatches is 5, and a step has 4 answers.*at least one answer.*Lower it"),
        (
            {"critic": "shared", "critic_warmup_steps": 1},
            r"policy.critic_warmup_steps is 1 and policy.critic is shared.*cannot be trained alone.*separate",
        ),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_loaded(data, tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        train(tmp_path / ".." / tmp_path.name, data, tmp_path / "policy", settings_of(**settings))
    assert not (tmp_path / "policy.partial").exists()


def test_prompts_must_divide_among_the_ranks():
    check_batch(settings_of(prompts_per_step=4), num_ranks=2)
    with pytest.raises(SettingsError, match=r"policy.prompts_per_step is 4 and there are 3 ranks. Expected a multiple"):
        check_batch(settings_of(prompts_per_step=4), num_ranks=3)


def test_somebody_must_score(base, data, tmp_path):
    with pytest.raises(SettingsError, match=r"There is no scorer and no reward model. Run the `reward` stage"):
        train(base, data, tmp_path / "policy", settings_of(), scorer_source=ScorerSource(None, {}))


def test_prompts_leave_room_for_an_answer(base, data, tmp_path):
    with pytest.raises(DataError, match=r"None of the 15 prompts fits into 2 tokens.*max_prompt_tokens"):
        train(base, data, tmp_path / "policy", settings_of(max_prompt_tokens=2))


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_training_may_start_away_from_the_reference_and_is_held_to_the_reference(base, data, tmp_path, lora_rank):
    rate = {"optimiser": {"learning_rate": 0.05}}
    first = train(base, data, tmp_path / "first", settings_of(**rate))
    context = tiny_context(lora_rank=lora_rank)
    again = train(base, data, tmp_path / "second", settings_of(**rate), start=first, context=context)
    steps = [json.loads(line) for line in (again.path / "metrics.jsonl").read_text().splitlines()]
    assert abs(steps[0]["kl_nats_per_sequence"]) > 0.01, "the start is already away from the reference"
    assert again.parents["start"] == first.id
    assert again.parents["reference"] == first.parents["reference"]


def test_leashes_are_those_of_the_settings():
    assert leash_from(LeashSettings(kind="fixed", beta=0.3), num_updates=5) == FixedLeash(0.3)
    line = leash_from(LeashSettings(kind="scheduled", beta=0.3, final_beta=0.1), num_updates=5)
    assert line == ScheduledLeash(0.3, 0.1, 5)
    law = LeashSettings(beta=0.3, target_nats=4, gain=0.5, floor=0.01, hold_updates=7)
    assert leash_from(law, num_updates=5) == AdaptiveLeash(0.3, 4, 0.5, floor=0.01, hold_updates=7)
    brake = law.model_copy(update={"acts_on": "learning_rate"})
    assert leash_from(brake, num_updates=5) == RateLeash(0.3, 4, 0.5, floor=0.01)


@pytest.mark.parametrize("settings", [{}, {"acts_on": "learning_rate"}, {"kind": "scheduled"}])
def test_a_leash_knows_the_limits_of_slices(settings):
    limits = {"topic=sums": 2.0, "*": 4.0}
    assert leash_from(LeashSettings(**settings, slice_limits=limits), num_updates=5).slice_limits == limits


def test_the_limit_of_a_slice_is_above_0():
    with pytest.raises(ValidationError, match="greater than 0"):
        LeashSettings(slice_limits={"*": 0.0})


def test_known_algorithms_are_found():
    assert algorithm_named(settings_of(algorithm="rloo", samples_per_prompt=2)).name == "rloo"


@pytest.mark.parametrize("algorithm", ["ppo", "rloo", "grpo", "reinforce"])
@pytest.mark.parametrize("model", [{}, {"lora_rank": 2}], ids=["full", "lora"])
def test_every_algorithm_moves_the_policy_and_leaves_a_plain_folder(base, data, tmp_path, algorithm, model):
    settings = settings_of(algorithm=algorithm, samples_per_prompt=2, critic="shared")
    artifact = train(base, data, tmp_path / "policy", settings, context=tiny_context(**model))
    rows = JsonlTracker(artifact.path / "metrics.jsonl").rows()
    assert [row["step"] for row in rows] == [0, 1]
    assert abs(rows[0]["kl_nats_per_sequence"]) < 1e-4
    assert abs(rows[1]["kl_nats_per_sequence"]) > 1e-4
    assert {"slice/thing=cat/score_mean", "slice/thing=cat/kl_nats_per_token"} <= rows[0].keys() | rows[1].keys()
    assert not same_weights(base, artifact.path)
    assert (artifact.summary["algorithm"], artifact.summary["outcome"]) == (algorithm, "finished")
    assert not (artifact.path / "work").exists()


@pytest.mark.parametrize(
    ("score", "settings", "said"),
    [
        (
            lambda answer: 7.0,
            {"credit": {"missing_eos_penalty": None}},
            "All 4 answers of the first update score the same, 7",
        ),
        (lambda answer: len(answer.text), {"max_new_tokens": 1}, "All 4 answers of the first update were cut off"),
    ],
)
def test_what_is_wrong_with_the_first_update_is_said_at_once(base, data, tmp_path, capsys, score, settings, said):
    train(
        base,
        data,
        tmp_path / "policy",
        settings_of(steps=1, **settings),
        scorer_source=ScorerSource(FakeScorer(score), {}),
    )
    assert said in capsys.readouterr().err
    [row] = [json.loads(line) for line in (tmp_path / "policy" / "metrics.jsonl").read_text().splitlines()]
    assert row["answers"] == 4


def test_a_reward_models_scores_away_from_their_scale_are_said(base, data, tmp_path, capsys):
    """As if the scale had been measured in another precision: the reference scores -3 on its own answers."""
    source = ScorerSource(FakeScorer(lambda answer: -4.0), {}, ScorerSettings(kind="reward_model"))
    train(base, data, tmp_path / "policy", settings_of(steps=1), scorer_source=source)
    assert (
        "score -4.00 SD on average, and by the reward model's own scale the reference's score 0"
        in capsys.readouterr().err
    )


def test_an_external_signal_that_trains_the_policy_is_said(base, data, tmp_path, capsys):
    scorer = ScorerSettings(kind="function", function=JUDGE)
    train(
        base,
        data,
        tmp_path / "policy",
        settings_of(steps=1),
        scorer_source=build_scorer(tiny_context(), scorer),
        alarm_setup=build_alarms(AlarmSettings(comparer=JUDGE), seed=0),
    )
    assert f"alarms.comparer is {JUDGE!r}, which scores its answers while it trains" in capsys.readouterr().err


def test_small_batches_run(base, data, tmp_path):
    """Two answers an update and a policy that moves: the mean of their k1 is at times far below zero."""
    more = {"max_new_tokens": 12, "algorithm": "reinforce", "optimiser": {"learning_rate": 5e-4}, "watch": {}}
    artifact = train(base, data, tmp_path / "policy", settings_of(steps=16, prompts_per_step=2, **more))
    rows = [json.loads(line) for line in (artifact.path / "metrics.jsonl").read_text().splitlines()]
    assert artifact.summary["outcome"] == "finished"
    assert min(row["kl_nats_per_sequence"] for row in rows) < -0.5


def test_texts_to_keep_are_part_of_the_training_and_of_the_lineage(base, data, tmp_path):
    settings = settings_of(pretraining_coefficient=1.0, pretraining_rows_per_step=3, max_new_tokens=2)
    artifact = train(base, data, tmp_path / "mix", settings, texts_to_keep=data["demonstrations"])
    assert "texts_to_keep" in artifact.parents
    plain = train(base, data, tmp_path / "plain", settings)
    assert not same_weights(artifact.path, plain.path)


def test_a_pretraining_mix_without_a_coefficient_changes_nothing(base, data, tmp_path):
    mixed = train(base, data, tmp_path / "mix", settings_of(), texts_to_keep=data["demonstrations"])
    plain = train(base, data, tmp_path / "plain", settings_of())
    assert same_weights(mixed.path, plain.path)


def test_a_roll_back_leaves_the_weights_that_the_external_signal_liked_best(base, data, tmp_path):
    """Training on to step 5 and going back to step 2 leaves what training to step 2 would have left."""
    constant = {"optimiser": {"learning_rate": 1e-2, "final_share": 1.0}, "evaluate_every": 2}
    watched = {"evaluation_prompts": data["evaluation_prompts"]}
    patient = settings_of(steps=8, watch={"patience_evaluations": 1}, **constant)
    alarms = scripted_alarms(tmp_path / "best", 1.0, 0.8)
    best = train(base, data, tmp_path / "best", patient, alarm_setup=alarms, **watched)
    short = train(base, data, tmp_path / "short", settings_of(steps=2, **constant), **watched)
    last = train(base, data, tmp_path / "last", settings_of(steps=5, **constant), **watched)
    assert (best.summary["outcome"], best.summary["steps"]) == ("roll_back", 5)
    assert best.summary["ended_because"] == ["no better external score in 1 evaluations; the best was at step 2"]
    assert (best.summary["best_step"], last.summary["best_step"]) == (2, None)
    evaluated = [row["step"] for row in JsonlTracker(best.path / "evaluations.jsonl").rows()]
    assert evaluated == [0, 2, 4], "weights that are given up are not evaluated"
    assert same_weights(best.path, short.path)
    assert not same_weights(best.path, last.path)


def test_a_policy_that_only_gets_worse_goes_back_to_where_it_started(base, data, tmp_path):
    artifact = train(
        base,
        data,
        tmp_path / "policy",
        settings_of(steps=8, evaluate_every=2, watch={"patience_evaluations": 2}),
        evaluation_prompts=data["evaluation_prompts"],
        alarm_setup=scripted_alarms(tmp_path / "policy", 0.4, 0.3),
    )
    assert (artifact.summary["outcome"], artifact.summary["steps"]) == ("roll_back", 5)
    assert same_weights(base, artifact.path)


def test_a_finished_run_keeps_its_last_weights_though_others_were_better(base, data, tmp_path):
    watched = {"evaluation_prompts": data["evaluation_prompts"]}
    alarms = scripted_alarms(tmp_path / "watched", 1.0, action="none")
    settings = settings_of(evaluate_every=1, steps=1)
    artifact = train(base, data, tmp_path / "watched", settings, alarm_setup=alarms, **watched)
    plain = train(base, data, tmp_path / "plain", settings, **watched)
    assert artifact.summary["outcome"] == "finished"
    assert same_weights(artifact.path, plain.path)


def hacked(base, data, output_dir, action, *win_rates, **settings):
    """Train on a score that rises by itself, beside an external signal that says what it is told to say."""
    return train(
        base,
        data,
        output_dir,
        settings_of(evaluate_every=2, watch={}, leash={"kind": "fixed", "beta": 0.1}, **settings),
        scorer_source=ScorerSource(FakeScorer(lambda answer: float(answer.policy_version)), {}),
        evaluation_prompts=data["evaluation_prompts"],
        alarm_setup=scripted_alarms(output_dir, *win_rates, action=action),
    )


def test_an_alarm_holds_a_run_where_it_is_and_says_why(base, data, tmp_path):
    artifact = hacked(base, data, tmp_path / "policy", "hold", 0.0, 0.0, steps=8)
    assert (artifact.summary["outcome"], artifact.summary["steps"]) == ("stop", 3)
    reason = artifact.summary["ended_because"][0]
    assert reason.startswith("update 2: STOP divergence: The proxy rose and the external signal fell on 100% more of")
    events = JsonlTracker(artifact.path / "alarms.jsonl").rows()
    assert {(row["step"], row["state"], row["action"]) for row in events if row["symptom"] == "divergence"} >= {
        (2, "stop", "hold"),
        (3, "stop", "hold"),
    }
    assert all(len(row["worst"]) == 5 for row in events if row["slice"] == "")


def test_an_alarm_raises_beta_after_the_next_update(base, data, tmp_path):
    artifact = hacked(base, data, tmp_path / "policy", "raise_beta", 0.0, 0.0, steps=4)
    rows = JsonlTracker(artifact.path / "metrics.jsonl").rows()
    assert [row["beta"] for row in rows] == pytest.approx([0.1, 0.1, 0.1, 0.15])
    assert (artifact.summary["outcome"], artifact.summary["ended_because"]) == ("finished", [])


def test_a_policy_that_slips_the_leash_is_stopped(base, data, tmp_path):
    settings = settings_of(
        steps=20, optimiser={"learning_rate": 0.3}, leash={"target_nats": 0.01, "beta": 1e-3}, watch={"max_kl_ratio": 2}
    )
    artifact = train(base, data, tmp_path / "policy", settings)
    assert artifact.summary["outcome"] == "stop"
    assert artifact.summary["steps"] < 20


def test_answers_to_the_watched_prompts_are_kept_with_their_version(made):
    folder = made["policy"].path / "answers"
    assert sorted(file.name for file in folder.iterdir()) == [f"step-{step:08d}.jsonl" for step in range(4)]
    for step in range(4):
        answers = read_completions(folder / f"step-{step:08d}.jsonl").records
        assert len(answers) == 15
        assert {(answer.policy_version, answer.policy_id) for answer in answers} == {(step, "policy")}
    rows = JsonlTracker(made["policy"].path / "evaluations.jsonl").rows()
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert rows[0]["score_mean"] == pytest.approx(0.0, abs=1.5)  # z-scored: the reference's answers are the unit


def test_each_kept_answer_brings_the_score_and_the_vote_it_got(made):
    for row in JsonlTracker(made["policy"].path / "evaluations.jsonl").rows():
        kept = JsonlTracker(made["policy"].path / "answers" / f"step-{row['step']:08d}.jsonl").rows()
        assert row["score_mean"] == pytest.approx(sum(one["proxy"] for one in kept) / len(kept))
        votes = [one["external"] for one in kept]
        assert all(vote in (0.0, 0.5, 1.0) for vote in votes)
        assert row["external/win_rate"] == pytest.approx(sum(votes) / len(votes))


def test_a_separate_critic_starts_as_the_reward_model_in_z_scores(made):
    artifact, policy = made["reward"], load_language_model(made["sft"].path, device="cpu")
    critic = build_critic(tiny_context(), settings_of(), policy, {"reward": artifact})
    scored = load_reward_model(artifact.path, device="cpu")
    sd, mean = artifact.summary["sd"], artifact.summary["mean"]
    torch.testing.assert_close(critic.head.weight, scored.head.weight / sd)
    assert critic.head.bias.item() == pytest.approx(-mean / sd)
    zero = build_critic(tiny_context(), settings_of(critic_head="zero"), policy, {"reward": artifact})
    assert not zero.head.weight.any()


def test_without_a_reward_model_the_critic_is_the_reference_with_a_head_of_zeros(base, made):
    critic = build_critic(tiny_context(), settings_of(), None, {"reference": made["sft"]})
    assert not critic.head.weight.any()
    shared = build_critic(tiny_context(), settings_of(critic="shared"), load_language_model(base, device="cpu"), {})
    assert isinstance(shared, ValueHead)


def test_an_ensemble_of_reward_models_trains_a_policy(base, data, made, tmp_path):
    settings = ScorerSettings(kind="ensemble", combine="worst_case")
    scorer_source = build_scorer(tiny_context(), settings, reward_models=[made["reward"], made["reward"]])
    assert isinstance(scorer_source.scorer, EnsembleScorer)
    artifact = train(made["sft"], data, tmp_path / "policy", settings_of(), scorer_source=scorer_source)
    assert {"reward", "reward_1"} <= set(artifact.parents)
    row = JsonlTracker(artifact.path / "metrics.jsonl").rows()[0]
    assert row["reward/disagreement"] == 0.0
    assert row["reward/member_0"] == pytest.approx(row["reward/member_1"])


def test_an_ensemble_of_one_and_several_models_that_nobody_combines_are_refused(made):
    with pytest.raises(SettingsError, match=r"'ensemble' and the number of reward models is 1. Expected several"):
        build_scorer(tiny_context(), ScorerSettings(kind="ensemble"), reward_models=[made["reward"]])
    with pytest.raises(
        SettingsError, match=r"'reward_model' and the number of reward models is 2. Expected one. Set scorer"
    ):
        build_scorer(tiny_context(), ScorerSettings(), reward_models=[made["reward"], made["reward"]])


def test_scorers_say_what_they_lack():
    with pytest.raises(SettingsError, match=r"scorer.kind is 'ensemble' and there is no reward model. Run"):
        build_scorer(tiny_context(), ScorerSettings(kind="ensemble")).require()
    with pytest.raises(SettingsError, match=r"scorer.kind is \"function\" and scorer.function is not set.*module:attr"):
        build_scorer(tiny_context(), ScorerSettings(kind="function"))
    scorer_source = build_scorer(tiny_context(), ScorerSettings(kind="function", function=JUDGE))
    assert scorer_source.parents == {}


def test_an_existing_run_is_found_and_a_changed_setting_is_refused_by_name(base, data, made, tmp_path):
    first = train(base, data, tmp_path / "policy", settings_of())
    assert train(base, data, tmp_path / "policy", settings_of()).id == first.id
    with pytest.raises(SettingsError, match=r"was begun with other settings: .*leash.beta.*0\.2.*Set them back"):
        train(base, data, tmp_path / "policy", settings_of(leash={"hold_updates": 1, "beta": 0.2}))
    with pytest.raises(SettingsError, match=r"parents.*reference"):
        train(made["sft"], data, tmp_path / "policy", settings_of())
    assert read(tmp_path / "policy").id == first.id


def test_a_changed_setting_is_refused_for_a_run_that_was_only_begun(base, data, tmp_path):
    class Dies(Exception):
        pass

    def dies(answer):
        raise Dies

    with pytest.raises(Dies):
        train(base, data, tmp_path / "policy", settings_of(), scorer_source=ScorerSource(FakeScorer(dies), {}))
    assert (tmp_path / "policy.partial").exists()
    with pytest.raises(SettingsError, match=r"was begun with other settings: settings.steps: 2 -> 3"):
        train(base, data, tmp_path / "policy", settings_of(steps=3))
    assert train(base, data, tmp_path / "policy", settings_of()).summary["outcome"] == "finished"


class Mortal:
    """A scorer that dies as it is asked for the fifth and the seventh time."""

    num_asked = 0

    def score(self, answers):
        self.num_asked += 1
        if self.num_asked in (5, 7):
            raise KeyboardInterrupt
        return VARIED.score(answers)


def test_a_leash_remembers_what_it_heard_of_quality_and_is_told_what_it_had_not_heard(base, data, tmp_path):
    """Beta is lowered by 4 % an update, but not in the third and fourth: quality rises from 0.5 to 0.8, then falls.

    Killed after two updates, with the 0.8 measured and not heard of, and after three, with the rise still holding beta.
    """
    leash = {"target_nats": 1000.0, "heeds_quality": True}
    settings = settings_of(steps=6, evaluate_every=2, checkpoint_every=1, leash=leash, watch={"min_kl_nats": -1000.0})
    output_dir, scorer = tmp_path / "policy", Mortal()

    def go_on():
        return train(
            base,
            data,
            output_dir,
            settings,
            scorer_source=ScorerSource(scorer, {}),
            evaluation_prompts=data["evaluation_prompts"],
            alarm_setup=scripted_alarms(output_dir, 0.8, 0.6, 0.4, action="none"),
        )

    for num_done in (2, 3):
        with pytest.raises(KeyboardInterrupt):
            go_on()
        assert latest(output_dir.with_name("policy.partial") / "work" / "checkpoints").name == f"step-{num_done:08d}"
    betas = [row["beta"] for row in JsonlTracker(go_on().path / "metrics.jsonl").rows()]
    assert betas == pytest.approx([0.1, 0.096, 0.09216, 0.09216, 0.09216, 0.0884736])


def test_a_watchs_memory_survives_a_resume():
    watch, again = BoundsWatch(patience=3), BoundsWatch(patience=3)
    for step, value in enumerate((1.0, 3.0, 2.0)):
        watch.note_evaluation(step, WatchDecision(quality=value))
    again.load_state(json.loads(json.dumps(watch.state())))
    assert vars(again) == vars(watch)
