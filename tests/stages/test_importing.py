"""Import and export: what comes in says where it is from, goes on the same, and leaves as others can load it."""

import json

import peft
import pytest
import torch
import transformers
from pydantic import ValidationError

import tiny
from kleash.artifacts import parent_path, read
from kleash.errors import ArtifactError, ModelError, SettingsError
from kleash.formats import read_preferences
from kleash.lineage import lineage_of, verify
from kleash.models.causal_lm import load_language_model
from kleash.models.heads import RewardNormaliser
from kleash.models.lora import LoraSettings
from kleash.models.reward_models import reward_model_from
from kleash.monitor.cards import model_card
from kleash.records import Completion, Prompt
from kleash.scorers.reward_model import load_members, load_scorer
from kleash.stages.exporting import export_policy, export_preferences
from kleash.stages.importing import Provenance, ScaleSettings, import_policy, import_preferences, import_reward
from kleash.stages.reward import RewardSettings, train_reward
from stages.tiny_recipe import FIT, tiny_context

THEIRS = Provenance(origin="a friend's disk", licence="mit")
IDS = torch.arange(5, 25).reshape(2, 10)
ROWS = [
    {"prompt": f"is {i} big?", "chosen": f"yes {i}", "rejected": f"no {i}", "slices": {"n": "1"}} for i in range(12)
]


def logits_of(folder):
    """What plain transformers makes of a folder."""
    model = transformers.AutoModelForCausalLM.from_pretrained(str(folder))
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path / "pairs.jsonl"


@pytest.fixture(scope="module")
def their_reward(base, tmp_path_factory):
    """A reward model folder without a scale of its own, beside which lies what does not belong to it."""
    folder = tmp_path_factory.mktemp("theirs")
    model = reward_model_from(base, seed=3)
    model.save(folder, load_language_model(base).tokenizer)
    (folder / "optimizer.pt").write_bytes(b"pickle")
    (folder / "trainer_state.json").write_text("{}")
    (folder / "LICENSE").write_text("do as you like")
    return folder


# ------------------------------------------------------------------------------------------------------------ policies
def test_an_imported_policy_is_the_same_and_says_where_it_is_from(base, tmp_path):
    made = import_policy(tiny_context(), THEIRS, source=str(base), output_dir=tmp_path / "policy")
    assert (made.kind, made.settings["origin"], made.settings["licence"]) == ("policy", "a friend's disk", "mit")
    assert parent_path(made, "source") == base
    assert made.text_format is not None
    assert torch.equal(logits_of(made.path), logits_of(base))
    assert verify(made.path) == []
    assert import_policy(tiny_context(), THEIRS, source=str(base), output_dir=tmp_path / "policy") == made
    with pytest.raises(SettingsError, match=r'was begun with other settings: settings.licence: "mit" -> ""'):
        import_policy(
            tiny_context(), Provenance(origin="a friend's disk"), source=str(base), output_dir=tmp_path / "policy"
        )


def test_an_imported_adapter_is_merged(base, tmp_path):
    model = load_language_model(base, lora=LoraSettings(rank=2))
    with torch.no_grad():
        for _, weight in model.trainable_parameters():
            weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(0))
    model.role.save(tmp_path / "adapter")
    expected = model.model(input_ids=IDS, use_cache=False).logits.detach()
    made = import_policy(tiny_context(), THEIRS, source=str(tmp_path / "adapter"), output_dir=tmp_path / "policy")
    torch.testing.assert_close(logits_of(made.path), expected)
    assert not torch.allclose(logits_of(base), expected)


def test_what_is_no_such_model_is_refused_before_anything_is_left_behind(base, tmp_path_factory, tmp_path):
    with pytest.raises(ModelError, match=r"There is no model folder nowhere"):
        import_policy(tiny_context(), THEIRS, source="nowhere", output_dir=tmp_path / "policy")
    encoder = tiny.tiny_language_model_folder(tmp_path_factory.mktemp("encoder"), "bert")
    with pytest.raises(ModelError, match=r"the tokens that follow change the logits before them\. Expected a causal"):
        import_policy(tiny_context(), THEIRS, source=str(encoder), output_dir=tmp_path / "policy")
    with pytest.raises(ModelError, match=r"Expected .*"):
        import_reward(tiny_context(), THEIRS, source=str(base), output_dir=tmp_path / "reward")
    assert list(tmp_path.iterdir()) == []


def test_where_it_is_from_must_be_said():
    with pytest.raises(ValidationError, match="at least 1 character"):
        Provenance(origin="")


def test_an_exported_policy_is_loaded_by_transformers_with_the_same_logits_and_comes_back_the_same(base, tmp_path):
    made = import_policy(tiny_context(), THEIRS, source=str(base), output_dir=tmp_path / "one" / "policy")
    card = model_card(lineage_of(made.path), made.id, name="mine", licence="apache-2.0")
    export_policy(made, output_dir=tmp_path / "out", card=card)
    assert torch.equal(logits_of(tmp_path / "out"), logits_of(base))
    assert transformers.AutoTokenizer.from_pretrained(str(tmp_path / "out"))("a cat").input_ids
    assert (tmp_path / "out" / "README.md").read_text() == card
    assert not (tmp_path / "out" / "artifact.json").exists()
    again = import_policy(tiny_context(), THEIRS, source=str(tmp_path / "out"), output_dir=tmp_path / "two" / "policy")
    assert again.files["model.safetensors"] == made.files["model.safetensors"]
    with pytest.raises(ArtifactError, match=r"out exists already\. Expected a folder to be made.*Choose another name"):
        export_policy(made, output_dir=tmp_path / "out", card=card)


# ------------------------------------------------------------------------------------------------------- reward models
def test_an_imported_reward_model_scores_as_it_did(their_reward, tmp_path):
    made = import_reward(tiny_context(), THEIRS, source=str(their_reward), output_dir=tmp_path / "reward")
    assert (made.kind, made.summary["mean"], made.summary["sd"]) == ("reward", 0.0, 1.0)
    assert {"model.safetensors", "LICENSE", "kleash_reward.json"} <= set(made.files)
    assert not {"optimizer.pt", "trainer_state.json"} & set(made.files)
    answers = [Completion(Prompt("is it big?"), text) for text in ("yes", "no the cat")]
    theirs, ours = (load_scorer(folder).score(answers).total for folder in (their_reward, made.path))
    assert ours == theirs


@pytest.mark.filterwarnings("ignore")  # peft's, of names that transformers is about to drop
def test_an_imported_reward_adapter_is_merged_into_its_base(their_reward, tmp_path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(their_reward), num_labels=1)
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="SEQ_CLS", init_lora_weights=False)
    adapted = peft.get_peft_model(model, settings).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    made = import_reward(tiny_context(), THEIRS, source=str(tmp_path / "adapter"), output_dir=tmp_path / "reward")
    again = transformers.AutoModelForSequenceClassification.from_pretrained(str(made.path))
    with torch.no_grad():
        torch.testing.assert_close(again(IDS[:1]).logits, adapted(IDS[:1]).logits)
        with adapted.disable_adapter():
            assert not torch.allclose(again(IDS[:1]).logits, adapted(IDS[:1]).logits)


def test_an_imported_ensemble_keeps_all_its_members(base, pairs, tmp_path):
    preferences = import_preferences(tiny_context(), THEIRS, source=str(pairs), output_dir=tmp_path / "pairs")
    settings = RewardSettings(members=2, holdout_share=0.3, normaliser_max_new_tokens=2, fit=FIT)
    ours = train_reward(tiny_context(), settings, base=base, preferences=preferences, output_dir=tmp_path / "ours")
    found = import_reward(tiny_context(), THEIRS, source=str(ours.path), output_dir=tmp_path / "imported")
    answers = [Completion(Prompt("the cat"), text, finish_reason="stop") for text in (" sat", " on the mat")]
    before, after = (
        [member.score(answers).total for member in load_members(one.path, device="cpu")] for one in (ours, found)
    )
    assert after == before
    assert len(after) == 2


def test_the_scale_of_an_imported_reward_model_is_measured_on_the_reference(base, data, their_reward, tmp_path):
    scale = ScaleSettings(num_samples=20, max_new_tokens=4)
    made = import_reward(
        tiny_context(),
        THEIRS,
        source=str(their_reward),
        output_dir=tmp_path / "reward",
        reference=base,
        prompts=data["prompts"],
        scale=scale,
    )
    how = {"dtype": "float32", "device": "cpu", "eos_ids": [2]}
    assert RewardNormaliser.load(made.path) == RewardNormaliser(made.summary["mean"], made.summary["sd"], how)
    assert made.summary["sd"] not in (0.0, 1.0)
    assert set(made.parents) == {"source", "reference", "prompts"}
    with pytest.raises(SettingsError, match=r"only one of --reference and --prompts is given\. Expected both or"):
        import_reward(tiny_context(), THEIRS, source=str(their_reward), output_dir=tmp_path / "other", reference=base)


# --------------------------------------------------------------------------------------------------------- preferences
def test_imported_preferences_train_a_reward_model_and_their_origin_stays_in_the_lineage(base, pairs, tmp_path):
    made = import_preferences(tiny_context(), THEIRS, source=str(pairs), output_dir=tmp_path / "run" / "preferences")
    assert (made.kind, made.summary["pairs"], made.summary["format"]) == ("preferences", 12, "trl-preference")
    settings = RewardSettings(normaliser_samples=4, normaliser_max_new_tokens=2, holdout_share=0.3, fit=FIT)
    trained = train_reward(
        tiny_context(), settings, base=base, preferences=made, output_dir=tmp_path / "run" / "reward"
    )
    origins = [one.settings.get("origin") for one in lineage_of(trained.path).ancestors_of(trained.id)]
    assert "a friend's disk" in origins


@pytest.mark.parametrize("format", ["jsonl", "parquet", "trl"])
def test_exported_preferences_come_back_the_same(pairs, tmp_path, format):
    rows = read_preferences(pairs).records
    out = export_preferences(rows, output_dir=tmp_path / "out", format=format, card="# pairs\n")
    assert (out.num_rows, dict(out.num_left_out)) == (12, {})
    made = import_preferences(tiny_context(), THEIRS, source=str(out.path), output_dir=tmp_path / "preferences")
    assert read_preferences(made.path).records == rows
    assert (tmp_path / "out" / "README.md").read_text() == "# pairs\n"


def test_an_export_format_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"no export format 'csv'\. Expected one of jsonl, parquet, trl"):
        export_preferences([], output_dir=tmp_path / "out", format="csv", card="")
    assert not (tmp_path / "out").exists()


def test_columns_to_slice_by_and_a_named_format_are_recorded(tmp_path):
    (tmp_path / "rows.csv").write_text("prompt,chosen,rejected,topic\nwhy,a,b,sums\n")
    made = import_preferences(
        tiny_context(),
        THEIRS,
        source=str(tmp_path / "rows.csv"),
        output_dir=tmp_path / "preferences",
        format="trl-preference",
        slice_columns=["topic"],
    )
    assert read_preferences(made.path).records[0].prompt.slices == {"topic": "sums"}
    assert read(made.path).settings["slice_columns"] == ["topic"]
