"""A tiny round with LoRA in bfloat16 and checkpointed layers: every role an adapter, and what is kept of them."""

import pytest
import torch

from kleash.algorithms.policy_settings import PolicySettings
from kleash.artifacts import read
from kleash.lineage import verify
from kleash.models.causal_lm import load_language_model
from kleash.models.reward_models import load_reward_model
from kleash.stages.exporting import export_policy, export_reward
from kleash.stages.policy import train_policy
from kleash.stages.sft import SftSettings, train_sft
from kleash.stages.support.checkpointing import Checkpointing
from kleash.stages.support.scoring import ScorerSettings, build_scorer
from kleash.tracking import JsonlTracker
from stages.tiny_recipe import TABLES, TinyRound, tiny_context, tiny_recipe

STAGES = ("sft", "candidates", "preferences", "reward", "policy", "evaluation")


@pytest.fixture(scope="module")
def context():
    return tiny_context(lora_rank=2, dtype="bfloat16", gradient_checkpointing=True)


@pytest.fixture(scope="module")
def made(context, base, data, tmp_path_factory):
    torch.set_num_threads(1)
    tables = {"policy": {"steps": 3, "watch": {"patience_evaluations": None}}, "reward": {"members": 2}}
    recipe = tiny_recipe(base, data, stages=STAGES, scorer={"kind": "ensemble"}, **tables)
    return TinyRound(recipe, tmp_path_factory.mktemp("made"), context).run()


def test_every_role_is_kept_as_an_adapter_of_the_base(made, base):
    for stage, at in (
        ("sft", "adapter"),
        ("policy", "adapter"),
        ("reward", "backbone"),
        ("reward", "member-1/backbone"),
    ):
        folder = made[stage].path
        assert (folder / at / "adapter_model.safetensors").is_file()
        assert f"{at}/adapter_config.json" in made[stage].unhashed, "the place of the base is no part of what it is"
        assert verify(folder) == []
    assert load_language_model(made["policy"].path, device="cpu").role.base.folder == base
    assert not (made["reward"].path / "model.safetensors").exists()


def test_training_began_at_ratio_1_and_moved_policy_and_critic(made):
    rows = JsonlTracker(made["policy"].path / "metrics.jsonl").rows()
    assert rows[0]["kl_nats_per_sequence"] == 0.0
    assert rows[-1]["kl_nats_per_sequence"] != 0.0
    assert all(row["critic_gradient_norm"] > 0 for row in rows)


def test_the_merged_folders_gap_is_on_record(made):
    for stage in ("sft", "policy"):
        gap = made[stage].summary["merge_gap_nats"]
        assert gap["mean"] <= gap["max"] < 1e-4 < gap["mean_as_trained"]


def test_a_later_round_goes_on_with_the_adapter_on_the_same_base(context, made, data, tmp_path):
    rewards = [made["reward"]]
    seen = {}

    class Spy(type(context)):
        def load_policy(self, folder, **settings):
            model = super().load_policy(folder, **settings)
            seen[settings.get("role", "policy")] = model
            return model

    spy = Spy(model=context.model)
    source = build_scorer(spy, ScorerSettings(kind="ensemble"), reward_models=rewards, audits=[], z_clip=5.0)
    settings = PolicySettings(**TABLES["policy"] | {"steps": 1})
    again = train_policy(
        spy,
        settings,
        reference=made["sft"],
        start=made["policy"],
        scorer_source=source,
        prompts=data["prompts"],
        output_dir=tmp_path / "policy",
    )
    bases = {id(model.role.base) for model in seen.values()} | {
        id(member.model.role.base) for member in source.scorer.members
    }
    assert len(bases) == 1
    assert set(seen["policy"].role.base._wrapped.peft_config) == {
        "reward",
        "reward_2",
        "policy",
        "reference",
        "critic",
    }
    assert abs(JsonlTracker(again.path / "metrics.jsonl").rows()[0]["kl_nats_per_sequence"]) > 0


def test_a_killed_policy_stage_goes_on_to_the_same_adapter_and_the_same_id(made, data, tmp_path, monkeypatch):
    """In a process of its own, where other roles are on the base than in the one that was killed."""

    def train(folder):
        own = tiny_context(lora_rank=2, dtype="bfloat16", gradient_checkpointing=True)
        source = build_scorer(
            own, ScorerSettings(kind="ensemble"), reward_models=[made["reward"]], audits=[], z_clip=5.0
        )
        settings = PolicySettings(**TABLES["policy"] | {"steps": 4, "watch": {"patience_evaluations": None}})
        given = {"reference": made["sft"], "scorer_source": source, "prompts": data["prompts"]}
        return train_policy(own, settings, **given, output_dir=folder)

    whole, save = train(tmp_path / "whole" / "policy"), Checkpointing.save

    def save_and_die(self, state):
        save(self, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(Checkpointing, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "again" / "policy")
    monkeypatch.setattr(Checkpointing, "save", save)
    again = train(tmp_path / "again" / "policy")
    assert again.id == whole.id
    assert again.files["adapter/adapter_model.safetensors"] == whole.files["adapter/adapter_model.safetensors"]


def test_what_is_handed_on_needs_no_base(made, tmp_path):
    export_policy(made["policy"], output_dir=tmp_path / "policy", card="")
    assert not load_language_model(tmp_path / "policy", device="cpu").has_adapters
    export_reward(made["reward"], output_dir=tmp_path / "reward")
    assert load_reward_model(tmp_path / "reward" / "member-1", device="cpu").role is None


def test_a_run_begun_when_the_policy_alone_had_adapters_stays_so(base, made):
    context = tiny_context(lora_rank=2, lora_roles="policy")
    assert context.fresh_scalar_model(read(made["sft"].path), seed=0).role is None


def test_full_fine_tuning_in_bfloat16_saves_what_it_trained(base, data, tmp_path):
    made = train_sft(
        tiny_context(dtype="bfloat16"),
        SftSettings(**TABLES["sft"]),
        base=base,
        demonstrations=data["demonstrations"],
        output_dir=tmp_path / "sft",
    )
    before, after = (load_language_model(folder, device="cpu").model.state_dict() for folder in (base, made.path))
    assert any(not torch.equal(before[name].bfloat16(), after[name].bfloat16()) for name in before)
