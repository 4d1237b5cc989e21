"""A whole tiny round under bfloat16_autocast: one precision in every role, and what it says about itself."""

import json
import re
from pathlib import Path

import pytest
import torch

import kleash.stages
from kleash.algorithms.policy_settings import PolicySettings
from kleash.data.batches import derived_seed
from kleash.data.prompts import drawn
from kleash.formats import read_preferences
from kleash.models.heads import RewardNormaliser
from kleash.models.reward_models import reward_model_from
from kleash.records import Completion, Prompt
from kleash.rollout.local import LocalGenerator
from kleash.scorers.reward_model import load_scorer
from kleash.stages.audit import AuditSettings, audit_reward
from kleash.stages.context import ModelSettings
from kleash.stages.evaluate import EvaluateSettings, evaluate_policy
from kleash.stages.importing import Provenance, ScaleSettings, import_reward
from kleash.stages.policy import build_critic
from kleash.stages.support.scoring import ScorerSettings, build_scorer
from kleash.tracking import JsonlTracker
from stages.tiny_recipe import JUDGE, TinyRound, tiny_context, tiny_recipe

STAGES = ("sft", "candidates", "preferences", "reward", "policy", "evaluation")
LOADERS = ("load_language_model", "load_reward_model", "reward_model_from", "load_members", "load_scorer")


@pytest.fixture(scope="module")
def context():
    return tiny_context(dtype="bfloat16_autocast")


@pytest.fixture(scope="module")
def rounded(context, base, data, tmp_path_factory):
    torch.set_num_threads(1)
    tables = {"policy": {"steps": 3, "watch": {"patience_evaluations": None}}, "evaluation": {"judge": "proxy"}}
    tables["reward"] = {"holdout_share": 0.5}  # enough pairs to audit that are not ties
    recipe = tiny_recipe(base, data, stages=STAGES, **tables)
    return TinyRound(recipe, tmp_path_factory.mktemp("rounded"), context).run()


def scorer_of(context, artifact):
    return build_scorer(context, ScorerSettings(), reward_models=[artifact]).scorer


def test_the_policy_is_trained_and_starts_at_no_distance_from_its_reference(rounded):
    artifact = rounded["policy"]
    assert (artifact.summary["steps"], artifact.summary["outcome"]) == (3, "finished")
    first = JsonlTracker(artifact.path / "evaluations.jsonl").rows()[0]
    assert (first["step"], first["kl_nats_per_sequence"]) == (0, 0.0)
    assert JsonlTracker(artifact.path / "metrics.jsonl").rows()[0]["kl_nats_per_sequence"] == 0.0


def test_evaluation_measures_no_distance_between_equal_weights(context, rounded, data, tmp_path):
    artifact = evaluate_policy(
        context,
        EvaluateSettings(judge=JUDGE, max_new_tokens=24),
        policy=rounded["sft"],
        reference=rounded["sft"],
        prompts=data["evaluation_prompts"],
        output_dir=tmp_path / "evaluation",
    )
    rows = [json.loads(line) for line in (artifact.path / "samples.jsonl").read_text().splitlines()]
    assert [row["after"]["kl_nats"] for row in rows] == [0.0] * 15


def test_what_scores_the_policy_has_the_scale_it_was_given(context, rounded, capsys):
    """The very answers that set the scale, sampled again and scored as the policy stage scores."""
    folder = rounded["reward"].path
    how = {"dtype": "bfloat16_autocast", "device": "cpu", "eos_ids": [2]}
    assert RewardNormaliser.load(folder).measured_with == how
    rows = read_preferences(rounded["preferences"].path / "preferences.jsonl").records
    asked = list({row.prompt.id: row.prompt for row in rows if row.pairs}.values())
    prompts = drawn(asked, 8, seed=derived_seed(0, "scale"))
    rollouts = LocalGenerator(context.load_policy(rounded["sft"]), max_new_tokens=6).generate(
        prompts, samples_per_prompt=1, seed=derived_seed(0, "scale"), policy_version=0
    )
    z = torch.tensor(scorer_of(context, rounded["reward"]).score(rollouts.completions()).total)
    assert (float(z.mean()), float(z.std())) == (pytest.approx(0.0, abs=1e-4), pytest.approx(1.0, abs=1e-4))
    assert capsys.readouterr().err == ""
    other = torch.tensor(load_scorer(folder, device="cpu", dtype="float32").score(rollouts.completions()).total)
    assert not torch.equal(other, z)
    assert "measured in bfloat16_autocast, and it is used in float32" in capsys.readouterr().err


def test_the_audit_reads_what_the_scorer_reads(context, rounded, tmp_path, capsys):
    audit = audit_reward(
        context,
        AuditSettings(max_new_tokens=6),
        reward_model=rounded["reward"],
        preferences=rounded["preferences"],
        output_dir=tmp_path / "audit",
    )
    assert "was measured in" not in capsys.readouterr().err
    pairs = [json.loads(line) for line in (audit.path / "pairs.jsonl").read_text().splitlines()]
    scorer = scorer_of(context, rounded["reward"])
    for pair in pairs:
        answers = [
            Completion(Prompt(pair["prompt"]), pair[side], finish_reason="stop") for side in ("chosen", "rejected")
        ]
        first, second = scorer.score(answers).parts["raw"]
        assert first - second == pytest.approx(pair["margin"], abs=1e-4)


def test_every_role_of_a_model_keeps_every_setting(base, data, rounded, tmp_path):
    context, plain = tiny_context(dtype="bfloat16_autocast", eos_token=50), tiny_context(dtype="bfloat16_autocast")
    theirs = tmp_path / "theirs"
    reward_model_from(base, seed=3, device="cpu").save(theirs)
    imported = import_reward(
        context,
        Provenance(origin="a friend's disk"),
        source=str(theirs),
        output_dir=tmp_path / "imported",
        reference=rounded["sft"],
        prompts=Path(data["prompts"]),
        scale=ScaleSettings(num_samples=4, max_new_tokens=6),
    )
    policy = context.load_policy(rounded["sft"], trainable=True)
    roles = {
        "policy": policy,
        "reference": context.load_policy(rounded["sft"]),
        "reward model to be trained": context.fresh_scalar_model(rounded["sft"], seed=0),
        "reward model of a stranger": context.load_scalar_model(theirs),
        "scorer": scorer_of(context, imported).model,
        "scorer of another run": scorer_of(plain, imported).model,
        "critic": build_critic(context, PolicySettings(), policy, {"reward": imported}),
        "critic without a reward model": build_critic(context, PolicySettings(), policy, {"reference": rounded["sft"]}),
    }
    for role, model in roles.items():
        assert (role, model.precision, model.eos_ids) == (role, "bfloat16_autocast", (50,))
    assert scorer_of(context, rounded["reward"]).model.eos_ids == (2,), "what its own scale was measured with"


def test_settings_reach_the_loaders_by_one_way_alone():
    """Whoever spreads them by hand forgets one: in stages only the context names a loader."""
    for file in Path(kleash.stages.__file__).parent.glob("*.py"):
        if file.name != "context.py":
            assert not [name for name in LOADERS if re.search(rf"\b{name}\b", file.read_text())], file.name
    assert set(ModelSettings().loading) == {name for name in ModelSettings.model_fields if not name.startswith("lora")}
