"""Whatever takes long in a stage says how far it is, answer by answer: nothing is silent for minutes."""

from contextlib import contextmanager

import pytest

from kleash.stages import audit, candidates, evaluate, reward
from kleash.stages.audit import AuditSettings, audit_reward
from kleash.stages.candidates import CandidatesSettings, sample_candidates
from kleash.stages.evaluate import EvaluateSettings, evaluate_policy
from kleash.stages.reward import RewardSettings, train_reward
from stages.tiny_recipe import tiny_context

JUDGE = "stages.judge:likes_short_words"


@pytest.fixture
def told(monkeypatch):
    """What each progress bar was told: by its label, the total and the steps as they came."""
    bars = {}

    @contextmanager
    def progress(total, description, **more):
        done = bars.setdefault(description, (total, []))[1]
        yield lambda num_done=1, /, **figures: done.append(num_done)

    for stage in (audit, candidates, evaluate, reward):
        monkeypatch.setattr(stage, "progress", progress)
    return bars


def is_whole(bar):
    total, done = bar
    return sum(done) == total and len(done) > 1


def test_the_reward_models_scale_and_held_out_scores(made, base, tmp_path, told):
    settings = RewardSettings(normaliser_samples=8, normaliser_max_new_tokens=3, holdout_share=0.3)
    train_reward(tiny_context(), settings, base=base, preferences=made["preferences"], output_dir=tmp_path / "r")
    assert is_whole(told["Reward scale, answers sampled and scored"])
    total, done = told["Held-out answers scored"]
    assert sum(done) == total > 0


def test_the_audit(made, tmp_path, told):
    inputs = {"preferences": made["preferences"], "reference": made["sft"]}
    audit_reward(tiny_context(), AuditSettings(), reward_model=made["reward"], **inputs, output_dir=tmp_path / "a")
    audit_reward(tiny_context(), AuditSettings(), reward_model=JUDGE, **inputs, output_dir=tmp_path / "b")
    total, done = told["Audit, answers read"]
    assert total is None
    assert sum(done) > 20
    assert len(done) > 10


def test_candidates_and_evaluation(made, data, tmp_path, told):
    mixed = CandidatesSettings(samples_per_prompt=3, max_new_tokens=3)
    sample_candidates(tiny_context(), mixed, policies=[made["sft"]], prompts=data["prompts"], output_dir=tmp_path / "c")
    assert is_whole(told["Candidates, answers"])
    evaluate_policy(
        tiny_context(),
        EvaluateSettings(judge=JUDGE, max_new_tokens=3),
        policy=made["policy"],
        reference=made["sft"],
        prompts=data["evaluation_prompts"],
        output_dir=tmp_path / "e",
    )
    assert is_whole(told["Evaluation, answers"])
