"""A reward model made elsewhere, with a tokenizer of its own, named in a recipe: what it reads, critic, audit."""

import json
from dataclasses import replace

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import tiny
from kleash.artifacts import external
from kleash.data.batches import TokenSequence
from kleash.durable import read_rows
from kleash.errors import ArtifactError, SettingsError
from kleash.evaluation.audit_scoring import ModelReader
from kleash.idle_settings import refuse_idle_settings
from kleash.models.chat import tokenizer_digest
from kleash.models.forward import sequence_scores
from kleash.models.heads import RewardNormaliser
from kleash.models.reward_models import reward_model_from
from kleash.preflight import look_ahead
from kleash.recipe import check_order
from kleash.records import Completion, Message, Prompt
from kleash.results import PolicySummary
from kleash.scorers.reward_model import load_scorer
from kleash.stages.importing import Provenance, import_reward
from kleash.stages.reward import RewardSettings, train_reward
from kleash.stages.round import Round
from kleash.stages.summary import summarise
from kleash.stages.support.scoring import ScorerSettings, as_reward_model, build_scorer
from kleash.stages.wiring import make
from stages.tiny_recipe import FIT, tiny_context, tiny_recipe

CHATML = (
    "{% for message in messages %}{{ '<s>' + message.role + '\n' + message.content + '</s>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\n' }}{% endif %}"
)
NUM_ROWS = 300  # fewer than the policy's 376: its later ids have no row here


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A one-label folder whose 300 tokens are in another order than the policy's, and other words besides."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), reverse=True)
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_ROWS, special_tokens=["<e>", "<p>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over a lazy dog"] * 9, trainer)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<p>", eos_token="<e>")
    config = tiny.tiny_config(vocabulary_size=NUM_ROWS)
    config.num_labels, config.pad_token_id, config.eos_token_id = 1, 1, 0
    folder = tmp_path_factory.mktemp("theirs") / "reward"
    return tiny.save_tiny(folder, transformers.LlamaForSequenceClassification(config), theirs, seed=5)


@pytest.fixture(scope="module")
def audited(base, data, foreign, tmp_path_factory):
    """A round that trains a policy on it after its audit; what the screen said is in "screen"."""
    folder = tmp_path_factory.mktemp("round")
    rows = [
        {"prompt": f"is {number} big?", "chosen": f"yes {number}", "rejected": f"no {number}"} for number in range(12)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tiny_recipe(
        base,
        {**data, "preferences": str(folder / "pairs.jsonl")},
        stages=("preferences", "audit", "policy"),
        scorer={"reward_models": [str(foreign)], "accept_failed_audit": "it is random"},
        policy={"steps": 1},
    )
    return Round(recipe, folder, tiny_context()).run()


def unaudited(base, data, foreign, folder, **scorer):
    recipe = tiny_recipe(
        base, data, stages=("policy",), scorer={"reward_models": [str(foreign)], **scorer}, policy={"steps": 1}
    )
    return recipe, Round(recipe, folder, tiny_context())


def test_it_reads_the_policys_answers_as_text_and_not_as_foreign_ids(base, data, foreign, tmp_path, capfd):
    recipe, round_ = unaudited(base, data, foreign, tmp_path)
    alarms_of = round_.inputs

    def inputs(stage):
        return alarms_of(stage) | {"evaluation_prompts": round_.evaluation_prompts}

    round_.inputs = inputs
    policy = round_.run()["policy"]
    kept = read_rows(policy.path / "answers" / "step-00000000.jsonl")
    assert max(max(row["token_ids"]) for row in kept) >= NUM_ROWS
    texts = [Completion(Prompt(row["prompt"]), row["completion"], finish_reason=row["finish_reason"]) for row in kept]
    expected = load_scorer(foreign, device="cpu").score(texts).total
    assert [row["proxy"] for row in kept] == pytest.approx(expected, abs=1e-5)
    said = " ".join(capfd.readouterr().err.split())
    assert "has another tokenizer than the policy, and a critic reads the policy's token ids: it starts from" in said
    assert "not audited. A policy learns to exploit what is wrong with one" in said
    assert PolicySummary.of(policy).audit == "not audited"
    assert summarise({"policy": policy}, recipe).audit == "not audited"
    assert policy.parents["reward"] == external(foreign, "reward model").id


def test_its_audit_counts_as_one_of_ours_does(audited, foreign):
    assert audited["audit"].parents["reward"] == external(foreign, "reward model").id
    assert PolicySummary.of(audited["policy"]).audit in ("pass", "warn", "fail, accepted: it is random")
    assert audited["policy"].parents["audit"] == audited["audit"].id


def test_it_takes_part_in_an_ensemble_with_one_of_ours(made, foreign):
    settings = ScorerSettings(kind="ensemble", reward_models=(str(foreign),))
    source = build_scorer(tiny_context(), settings, reward_models=[made["reward"]])
    assert [source.parents[role].kind for role in ("reward", "reward_1")] == ["reward", "reward model"]
    assert source.audit == "not audited; not audited"


def test_a_command_takes_its_folder_as_it_takes_an_artifact(base, data, foreign, made, tmp_path):
    recipe = tiny_recipe(base, data, policy={"steps": 1})
    inputs = {"reference": made["sft"], "rewards": [foreign], "prompts": data["prompts"]}
    policy = make("policy", recipe, tiny_context(), inputs, tmp_path / "policy")
    assert policy.parents["reward"] == external(foreign, "reward model").id
    settings = RewardSettings(pooling="mean", holdout_share=0.3, normaliser_max_new_tokens=2, fit=FIT)
    ours = train_reward(
        tiny_context(), settings, base=base, preferences=made["preferences"], output_dir=tmp_path / "ours"
    )
    assert as_reward_model(str(ours.path)) == as_reward_model(ours) == ours  # of a form that is nobody else's
    with pytest.raises(ArtifactError, match=r"policy is of kind policy, but reward or reward model is needed"):
        as_reward_model(policy.path)


def test_a_name_that_nothing_would_ask_or_that_leads_nowhere_is_refused(base, data, foreign, tmp_path):
    recipe, _ = unaudited(base, data, foreign, tmp_path, kind="rules", rules=[{"rule": "ends"}])
    with pytest.raises(SettingsError, match=r"scorer.reward_models is .*reward'.* and scorer.kind is 'rules', with wh"):
        refuse_idle_settings(recipe)
    recipe, _ = unaudited(base, data, tmp_path / "nowhere", tmp_path)
    with pytest.raises(SettingsError, match=r"scorer.kind: There is no model folder .*nowhere"):
        look_ahead(recipe, strict=False, source="recipe.toml")
    recipe = tiny_recipe(base, data, stages=("policy",), scorer={"reward_models": [str(foreign)] * 2})
    with pytest.raises(SettingsError, match=r"the number of reward models is 2. Expected one. Set scorer.kind to"):
        check_order(recipe)


# ------------------------------------------------------------------------------------- where its template ends a turn
@pytest.fixture(scope="module")
def chatml(tmp_path_factory):
    """Somebody's reward model whose template writes a line break after the token that ends a turn."""
    tokenizer = tiny.tiny_tokenizer(chat_template=CHATML)
    config = tiny.tiny_config(vocabulary_size=len(tokenizer))
    config.num_labels = 1
    folder = tmp_path_factory.mktemp("chatml") / "reward"
    return tiny.save_tiny(folder, transformers.LlamaForSequenceClassification(config), tokenizer, seed=6)


@pytest.fixture(scope="module")
def answers():
    """Whole answers to a plain prompt and to a conversation; the ids are those of the template's own tokenizer."""
    conversation = Prompt((Message("user", "hello"), Message("assistant", "yes"), Message("user", "what is red?")))
    texts = ("the cat sat", "no", "a big house is it", "")
    tokenizer = tiny.tiny_tokenizer()
    return [
        Completion(
            prompt,
            text,
            token_ids=(*tokenizer.encode(text), tokenizer.eos_token_id),
            finish_reason="stop",
            tokenizer=tokenizer_digest(tokenizer),
        )
        for prompt in (Prompt("is it big?"), conversation)
        for text in texts
    ]


def by_transformers(folder, completions):
    """What plain transformers makes of each conversation as its template writes it."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(str(folder))
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    scores = []
    for one in completions:
        content = one.prompt.content
        messages = (Message("user", content),) if isinstance(content, str) else content
        turns = [{"role": turn.role, "content": turn.content} for turn in (*messages, Message("assistant", one.text))]
        ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            scores.append(float(model(**ids).logits))
    return scores


def test_a_strangers_model_reads_a_whole_answer_to_where_its_template_ends(chatml, answers, tmp_path):
    expected = pytest.approx(by_transformers(chatml, answers), abs=1e-5)
    assert len({round(score, 3) for score in by_transformers(chatml, answers)}) == len(answers)
    assert load_scorer(chatml, device="cpu").score(answers).parts["raw"] == expected
    made = import_reward(tiny_context(), Provenance(origin="a friend"), source=str(chatml), output_dir=tmp_path / "r")
    scorer = load_scorer(made.path, device="cpu")
    assert scorer.score(answers).parts["raw"] == expected
    assert ModelReader(scorer.model).score([(one.prompt, one.text) for one in answers]) == expected


def test_a_cut_off_answer_gets_no_end_from_the_template(chatml, answers):
    scorer = load_scorer(chatml, device="cpu")
    cut = [replace(one, token_ids=one.token_ids[:-1], finish_reason="length") for one in answers if one.text]
    as_text = [replace(one, token_ids=(), tokenizer="") for one in cut]
    sequences = [TokenSequence(scorer.model.rendering.encode_prompt(one.prompt), one.token_ids) for one in cut]
    expected = pytest.approx(sequence_scores(scorer.model, sequences).tolist(), abs=1e-5)
    assert scorer.score(cut).parts["raw"] == expected
    assert scorer.score(as_text).parts["raw"] == expected


def test_a_model_trained_here_is_read_where_it_was_trained(chatml, answers, tmp_path):
    reward_model_from(tiny.tiny_language_model_folder(tmp_path / "base", chat_template=CHATML), seed=1).save(
        tmp_path / "ours"
    )
    RewardNormaliser().save(tmp_path / "ours")
    scorer = load_scorer(tmp_path / "ours", device="cpu")
    sequences = [TokenSequence(scorer.model.rendering.encode_prompt(one.prompt), one.token_ids) for one in answers]
    assert scorer.score(answers).parts["raw"] == pytest.approx(
        sequence_scores(scorer.model, sequences).tolist(), abs=1e-5
    )
