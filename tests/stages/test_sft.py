"""SFT: the artifact, the held-out loss, and rows that do not fit."""

import math
from dataclasses import replace

import pytest
import torch
import transformers

import tiny
from kleash import artifacts
from kleash.data.prompts import split_by_prompt
from kleash.errors import ArtifactError, DataError
from kleash.formats import read_demonstrations, write_jsonl
from kleash.models.causal_lm import load_language_model
from kleash.models.rendering import RenderingSettings
from kleash.records import Demonstration, Message, Prompt
from kleash.settings import dump_toml, load_toml
from kleash.stages.context import ModelSettings
from kleash.stages.sft import SftSettings, train_sft
from kleash.tracking import JsonlTracker
from kleash.training.fit import FitSettings
from stages.tiny_recipe import tiny_context


def settings_of(**given):
    return SftSettings(**{"holdout_share": 0.0, "fit": FitSettings(epochs=1, batch_size=4, learning_rate=1e-3)} | given)


def test_the_artifact_is_a_plain_hugging_face_folder(made):
    artifact = made["sft"]
    model = transformers.AutoModelForCausalLM.from_pretrained(artifact.path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact.path)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2
    assert (artifact.kind, set(artifact.parents)) == ("policy", {"base", "demonstrations"})
    assert artifact.text_format["tokenizer"]
    assert artifact.summary["rows_trained"] + artifact.summary["rows_heldout"] == 15


def test_each_answer_of_a_conversation_may_be_learnt(base, tmp_path):
    turns = (Message("user", "hi"), Message("assistant", "hello"), Message("user", "why"))
    file = tmp_path / "talks.jsonl"
    write_jsonl(file, [Demonstration(Prompt(turns), "yes"), Demonstration(Prompt("red"), "blue")])
    rows = {
        which: train_sft(
            tiny_context(),
            settings_of(learn_turns=which),
            base=base,
            demonstrations=file,
            output_dir=tmp_path / which,
        ).summary["rows_trained"]
        for which in ("last", "all")
    }
    assert rows == {"last": 2, "all": 3}


def test_how_prompts_are_read_is_recorded_and_a_parent_read_otherwise_is_refused(data, tmp_path, capsys):
    base = tiny.tiny_language_model_folder(tmp_path / "base", chat_template=tiny.CHAT_TEMPLATE)

    def trained(name, start, **rendering):
        context = replace(tiny_context(), rendering=RenderingSettings(**rendering))
        files = {"base": start, "demonstrations": data["demonstrations"]}
        return train_sft(context, settings_of(), **files, output_dir=tmp_path / name)

    first = trained("first", base)
    assert (first.text_format["turns"], first.text_format["system_prompt"]) == ("chat", None)
    assert trained("text", base, turns="text").text_format["turns"] == "text"
    assert trained("on", tmp_path / "text").text_format["turns"] == "text", "auto goes on as the parent was made"
    with pytest.raises(
        ArtifactError, match=r"made with data\.turns 'chat', and here it is 'text'\. .* Set data\.turns"
    ):
        trained("other", first, turns="text")
    with pytest.raises(ArtifactError, match=r"made with data\.system_prompt None, and here it is 'Be brief\.'"):
        trained("other", first, system_prompt="Be brief.")
    other = first.text_format | {"chat_template": "9bc0"}
    (first.path / "artifact.json").write_text(artifacts._manifest_text(replace(first, text_format=other)))
    with pytest.raises(ArtifactError, match=r"with another chat template than the model's of today \(9bc0, now "):
        trained("other", first.path)
    without = {part: first.text_format[part] for part in ("tokenizer", "chat_template")}
    (first.path / "artifact.json").write_text(artifacts._manifest_text(replace(first, text_format=without)))
    capsys.readouterr()
    assert trained("old", first.path).text_format["turns"] == "text"
    assert "was made before KLeash recorded how prompts are read: plain ones outside" in capsys.readouterr().err


def test_training_lowers_the_loss_of_what_was_shown(base, data, tmp_path):
    many = settings_of(fit=FitSettings(epochs=20, batch_size=5, learning_rate=5e-3))
    artifact = train_sft(
        tiny_context(), many, base=base, demonstrations=data["demonstrations"], output_dir=tmp_path / "sft"
    )
    losses = [row["loss_nats_per_token"] for row in JsonlTracker(artifact.path / "metrics.jsonl").rows()]
    assert losses[-1] < 0.6 * losses[0]


def test_the_held_out_loss_is_plain_transformers_cross_entropy(made, data):
    """Completion tokens and the EOS alone, summed over rows and divided by their number."""
    model = transformers.AutoModelForCausalLM.from_pretrained(made["sft"].path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(made["sft"].path)
    rows = {row.prompt.text: row for row in read_demonstrations(data["demonstrations"]).records}
    total = count = 0.0
    for row in held_out(rows.values()):
        prompt = tokenizer(row.prompt.text, add_special_tokens=False)["input_ids"]
        answer = [*tokenizer(row.completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            logprob = torch.log_softmax(model(ids).logits, dim=-1)[0]
        for index, token in enumerate(answer, start=len(prompt)):
            total -= float(logprob[index - 1, token])
            count += 1
    assert made["sft"].summary["heldout_loss_nats_per_token"] == pytest.approx(total / count, rel=1e-4)


def held_out(rows):
    return split_by_prompt(list(rows), holdout_share=0.2, seed=0)[1]


def test_long_rows_are_left_out_and_counted(base, tmp_path):
    file = tmp_path / "rows.jsonl"
    write_jsonl(file, [Demonstration(Prompt("is it big?"), "yes"), Demonstration(Prompt("why?"), "very " * 40)])
    artifact = train_sft(
        tiny_context(), settings_of(max_tokens=20), base=base, demonstrations=file, output_dir=tmp_path / "sft"
    )
    assert (artifact.summary["rows_trained"], artifact.summary["rows_too_long"]) == (1, 1)


@pytest.mark.parametrize("holdout_share", [0.0, 0.3])
def test_rows_that_never_fit_are_refused_before_training(base, data, tmp_path, holdout_share):
    short = settings_of(max_tokens=2, holdout_share=holdout_share)
    with pytest.raises(DataError, match=r"None of the \d+ rows fits into 2 tokens.*at least one.*Raise max_tokens"):
        train_sft(tiny_context(), short, base=base, demonstrations=data["demonstrations"], output_dir=tmp_path / "sft")
    assert list(tmp_path.iterdir()) == []


def test_held_out_rows_that_do_not_fit_are_not_measured_on(base, tmp_path, capsys):
    demonstrations = [Demonstration(Prompt(f"is it {letter}?"), "yes") for letter in "abcdefgh"]
    apart = held_out(demonstrations)
    assert 0 < len(apart) < len(demonstrations)
    long = [replace(row, completion="yes " * 60) if row in apart else row for row in demonstrations]
    write_jsonl(tmp_path / "rows.jsonl", long)
    short = settings_of(max_tokens=30, holdout_share=0.2)
    made = train_sft(
        tiny_context(), short, base=base, demonstrations=tmp_path / "rows.jsonl", output_dir=tmp_path / "sft"
    )
    assert made.summary["rows_too_long"] == len(apart)
    assert "heldout_loss_nats_per_token" not in made.summary
    assert f"{len(apart)} of {len(apart)} rows are longer than 30 tokens, and left out." in capsys.readouterr().err


def test_lora_leaves_a_merged_folder_and_trains_only_adapters(base, data, tmp_path):
    context = tiny_context(lora_rank=2)
    artifact = train_sft(
        context, settings_of(), base=base, demonstrations=data["demonstrations"], output_dir=tmp_path / "sft"
    )
    assert not (artifact.path / "adapter_config.json").exists()
    before = load_language_model(base, device="cpu").model.state_dict()
    after = load_language_model(artifact.path, device="cpu", whole=True).model.state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj" in name for name in changed)  # adapters sit on the linear layers, never on embedding or norms


def test_a_constant_model_would_pay_the_logarithm_of_its_vocabulary(made):
    """The scale of the figures: nats, not bits or per-row sums."""
    first = JsonlTracker(made["sft"].path / "metrics.jsonl").rows()[0]
    vocabulary = transformers.AutoConfig.from_pretrained(made["sft"].path).vocab_size
    assert 0.5 * math.log(vocabulary) < first["loss_nats_per_token"] < 3 * math.log(vocabulary)


def test_the_held_out_loss_may_end_training_and_the_best_weights_are_saved(base, data, tmp_path):
    fit = FitSettings(epochs=40, batch_size=5, learning_rate=3e-2, evaluate_every=2, patience=2)
    artifact = train_sft(
        tiny_context(),
        settings_of(fit=fit, holdout_share=0.2),
        base=base,
        demonstrations=data["demonstrations"],
        output_dir=tmp_path / "sft",
    )
    rows, summary = JsonlTracker(artifact.path / "metrics.jsonl").rows(), artifact.summary
    losses = {row["step"] + 1: row[HELD_OUT] for row in rows if HELD_OUT in row}
    assert summary["steps"] == len(rows) == summary["best_step"] + 4
    assert losses[summary["best_step"]] == min(losses.values())
    assert summary["heldout_loss_nats_per_token"] == pytest.approx(min(losses.values()), rel=1e-5)
    artifacts.read(artifact.path)


HELD_OUT = "heldout/loss_nats_per_token"


def test_lora_dropout_is_drawn_anew_each_step_and_the_same_on_resume(base, data, tmp_path):
    def trained(name, seed=0, **model):
        context = replace(tiny_context(lora_rank=2, **model), seed=seed)
        fit = FitSettings(epochs=3, batch_size=4, learning_rate=1e-2, checkpoint_every=1)
        torch.manual_seed(len(name))  # whatever was drawn before
        artifact = train_sft(
            context, settings_of(fit=fit), base=base, demonstrations=data["demonstrations"], output_dir=tmp_path / name
        )
        return [row["loss_nats_per_token"] for row in JsonlTracker(artifact.path / "metrics.jsonl").rows()]

    assert trained("one", lora_dropout=0.5) == trained("another", lora_dropout=0.5) != trained("without")


def test_several_lora_targets_are_read_from_toml(tmp_path):
    (tmp_path / "r.toml").write_text('lora_rank = 4\nlora_targets = ["q_proj", "v_proj"]\n')
    settings = load_toml(tmp_path / "r.toml", ModelSettings)
    assert settings.lora.target_modules == ["q_proj", "v_proj"]
    (tmp_path / "again.toml").write_text(dump_toml(settings))
    assert load_toml(tmp_path / "again.toml", ModelSettings) == settings
