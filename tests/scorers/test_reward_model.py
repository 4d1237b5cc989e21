"""A reward model as a scorer: what it reads of an answer, normalisation, and indifference to batches."""

import math
from dataclasses import replace

import pytest
import torch

import tiny
from kleash.data.batches import TokenSequence, token_batch
from kleash.errors import DataError, SettingsError
from kleash.models.chat import encode_prompt, tokenizer_digest
from kleash.models.heads import RewardNormaliser
from kleash.models.reward_models import reward_model_from
from kleash.records import Completion, Prompt
from kleash.scorers.reward_model import RewardModelScorer, load_scorer

NORMALISER = RewardNormaliser(mean=0.3, sd=0.5)
PROMPTS = [Prompt("the cat"), Prompt("what is the big red house"), Prompt("a")]
EOS = 2


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return reward_model_from(tiny.tiny_language_model_folder(tmp_path_factory.mktemp("policy")), seed=3, device="cpu")


@pytest.fixture
def scorer(model):
    return RewardModelScorer(model, NORMALISER, z_clip=100.0)


def raw_score(model, prompt, response_ids):
    """One sequence on its own, straight through the model."""
    sequence = TokenSequence(encode_prompt(model.tokenizer, prompt), tuple(response_ids))
    with torch.no_grad():
        return float(model.score(token_batch([sequence], pad_id=model.pad_id)))


def sampled(prompt, *token_ids):
    tokenizer = tokenizer_digest(tiny.tiny_tokenizer())
    return Completion(prompt, "not what the ids say", token_ids=token_ids, tokenizer=tokenizer)


def test_total_is_the_z_score_and_the_raw_score_is_kept(model, scorer):
    scores = scorer.score([sampled(PROMPTS[0], 50, 60, EOS)])
    raw = raw_score(model, PROMPTS[0], [50, 60, EOS])
    assert scores.parts["raw"] == [pytest.approx(raw, rel=1e-5)]
    assert scores.total == [pytest.approx((raw - 0.3) / 0.5, rel=1e-5)]
    assert scores.parts["clipped_share"] == [0.0]


def test_z_scores_are_clipped_and_counted(model):
    answers = [sampled(prompt, 50 + row, 60, EOS) for row, prompt in enumerate(PROMPTS)]
    free = RewardModelScorer(model, NORMALISER, z_clip=100.0).score(answers).total
    limit = sorted(map(abs, free))[1]
    clipped = RewardModelScorer(model, NORMALISER, z_clip=limit).score(answers)
    assert clipped.total == [pytest.approx(math.copysign(min(abs(z), limit), z)) for z in free]
    assert sum(clipped.parts["clipped_share"]) == 1.0


def test_sampled_ids_are_read_up_to_their_first_eos_and_never_tokenized_again(model, scorer):
    [score] = scorer.score([sampled(PROMPTS[1], 50, 60, EOS, 70, 80)]).parts["raw"]
    assert score == pytest.approx(raw_score(model, PROMPTS[1], [50, 60, EOS]), rel=1e-5)


def test_an_unfinished_answer_has_no_eos_added(model, scorer):
    text_ids = model.tokenizer.encode(" sat on mat")
    answers = [
        replace(sampled(PROMPTS[0], 50, 60), finish_reason="length"),
        Completion(PROMPTS[0], " sat on mat", finish_reason="length"),
        Completion(PROMPTS[0], " sat on mat", finish_reason="stop"),
        Completion(PROMPTS[0], " sat on mat"),
    ]
    expected = [[50, 60], text_ids, [*text_ids, EOS], [*text_ids, EOS]]
    raw = [raw_score(model, PROMPTS[0], ids) for ids in expected]
    assert scorer.score(answers).parts["raw"] == pytest.approx(raw, rel=1e-5)


def test_an_empty_answer_is_read_as_its_eos_alone(model, scorer):
    answers = [Completion(PROMPTS[0], "", finish_reason=reason) for reason in ("stop", "length")]
    raw = raw_score(model, PROMPTS[0], [EOS])
    assert scorer.score(answers).parts["raw"] == pytest.approx([raw, raw], rel=1e-5)


def test_ids_of_another_tokenizer_or_of_nobody_knows_which_are_not_read(model, scorer):
    other = tiny.tiny_tokenizer()
    other.add_tokens(["<tool>"])
    own = Completion(
        PROMPTS[0],
        " sat on mat",
        token_ids=(50, 60, EOS),
        finish_reason="stop",
        tokenizer=tokenizer_digest(model.tokenizer),
    )
    foreign, unknown = replace(own, tokenizer=tokenizer_digest(other)), replace(own, tokenizer="")
    text_ids = model.tokenizer.encode(" sat on mat")
    as_sampled, as_text = (raw_score(model, PROMPTS[0], ids) for ids in ([50, 60, EOS], [*text_ids, EOS]))
    expected = [as_sampled, as_text, as_text]
    assert scorer.score([own, foreign, unknown]).parts["raw"] == pytest.approx(expected, rel=1e-5)


def test_scores_depend_neither_on_batch_nor_on_order(model):
    answers = [sampled(PROMPTS[row % 3], *range(20, 22 + row), EOS) for row in range(9)]
    whole = RewardModelScorer(model, NORMALISER).score(answers).total
    one_by_one = RewardModelScorer(model, NORMALISER, max_batch_tokens=1).score(answers).total
    backwards = RewardModelScorer(model, NORMALISER, max_batch_tokens=40).score(answers[::-1]).total
    assert one_by_one == pytest.approx(whole, rel=1e-5, abs=1e-5)
    assert backwards[::-1] == pytest.approx(whole, rel=1e-5, abs=1e-5)
    assert len(set(whole)) == len(whole)


def test_no_answers_no_scores(scorer):
    scores = scorer.score([])
    assert scores.total == []
    assert scores.parts == {"raw": [], "clipped_share": []}


def test_a_saved_reward_model_scores_as_before_with_its_own_constants(model, tmp_path):
    model.save(tmp_path)
    NORMALISER.save(tmp_path)
    answers = [sampled(prompt, 50, 60, EOS) for prompt in PROMPTS]
    loaded = load_scorer(tmp_path, device="cpu", z_clip=100.0)
    expected = RewardModelScorer(model, NORMALISER, z_clip=100.0).score(answers)
    assert loaded.score(answers).total == pytest.approx(expected.total, rel=1e-5)


def test_a_scale_of_another_precision_is_said_on_the_screen(model, tmp_path, capsys):
    model.save(tmp_path)
    RewardNormaliser(0.3, 0.5, {"dtype": "bfloat16_autocast"}).save(tmp_path)
    assert load_scorer(tmp_path, device="cpu").model.precision == "bfloat16_autocast", (
        "by default as the scale was measured"
    )
    assert capsys.readouterr().err == ""
    assert load_scorer(tmp_path, device="cpu", dtype="float32").model.precision == "float32"
    said = " ".join(capsys.readouterr().err.split())
    assert "was measured in bfloat16_autocast, and it is used in float32" in said
    assert 'Set model.dtype to "bfloat16_autocast"' in said


def test_a_score_that_is_no_number_is_refused_by_name(model):
    broken = RewardModelScorer(model, NORMALISER)
    weight = model.head.weight.detach().clone()
    try:
        model.head.weight.data[0, 0] = torch.nan
        with pytest.raises(DataError, match=r"'not what the ids say' to 'a' nan\. Expected a finite number\. Check"):
            broken.score([sampled(PROMPTS[2], 50, EOS)])
    finally:
        model.head.weight.data.copy_(weight)


@pytest.mark.parametrize(
    ("mean", "sd", "clip"), [(0.0, 0.0, 5.0), (math.nan, 1.0, 5.0), (0.0, math.inf, 5.0), (0, 1, 0)]
)
def test_constants_that_cannot_normalise_are_refused(model, mean, sd, clip):
    with pytest.raises(SettingsError, match=r"cannot be normalised with mean .* Expected finite numbers.* Measure"):
        RewardModelScorer(model, RewardNormaliser(mean=mean, sd=sd), z_clip=clip)
