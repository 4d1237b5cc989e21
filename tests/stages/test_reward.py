"""Reward models: the loss by hand, portable scores, the frozen scale, held-out accuracy, readable refusals."""

import math
from types import SimpleNamespace

import pytest
import torch
import transformers

from kleash.data.batches import TokenSequence, derived_seed
from kleash.data.preferences import usable_preferences
from kleash.data.prompts import drawn, split_by_prompt
from kleash.errors import DataError, RunError
from kleash.formats import read_preferences, write_jsonl
from kleash.maths.tally import Tally
from kleash.models.folders import weights_digest
from kleash.models.reward_models import member_folders
from kleash.records import Completion, Pair, Preference, Prompt
from kleash.rollout.local import LocalGenerator
from kleash.scorers.reward_model import load_members, load_scorer
from kleash.stages.preferences import import_preferences
from kleash.stages.reward import BradleyTerryLoss, RewardSettings, measure_scale, say_if_chance, train_reward
from kleash.stages.support.comparing import PreferencesSettings
from kleash.stages.support.encoding import Encoded
from kleash.tracking import JsonlTracker
from kleash.training.fit import FitSettings
from stages.tiny_recipe import tiny_context

SMALL = {"normaliser_samples": 4, "normaliser_max_new_tokens": 2, "holdout_share": 0.3}
SMALL["fit"] = FitSettings(batch_size=4, learning_rate=1e-3)


class ScoresByFirstToken:
    """Stands in for a reward model: the score of a sequence is its first response token."""

    device, pad_id = torch.device("cpu"), 0

    def score(self, batch):
        first = batch.ids_BS[torch.arange(len(batch.ids_BS)), batch.prompt_length_B]
        return first.float().requires_grad_()


def rows_of(*preferences):
    """Each: (scores of its completions, pairs)."""
    records = [
        Preference(Prompt(str(i)), tuple(map(str, scores)), pairs) for i, (scores, pairs) in enumerate(preferences)
    ]
    sequences = [[TokenSequence((1,), (score, *[9] * index)) for index, score in enumerate(s)] for s, _ in preferences]
    return Encoded(records, sequences, 0)


def loss_of(rows, **settings):
    objective = BradleyTerryLoss(ScoresByFirstToken(), rows, RewardSettings(centring=0.0, **settings))
    tally, numbers = Tally(), list(range(len(rows)))
    loss = objective.loss(numbers, objective.begin_batch(numbers), tally)
    return float(loss.detach()), tally.means()


def ls(x):
    return math.log(1 / (1 + math.exp(-x)))


def test_a_pair_costs_the_bradley_terry_loss_of_its_label():
    loss, figures = loss_of(rows_of(((3, 1), (Pair(0, 1, 1.0),)), ((1, 2), (Pair(0, 1, 0.25),))))
    expected = (-ls(2) - (0.25 * ls(-1) + 0.75 * ls(1))) / 2
    assert loss == pytest.approx(expected)
    assert (figures["loss_nats"], figures["accuracy"]) == (pytest.approx(expected), 1.0)
    assert figures["margin"] == pytest.approx(1.5)


def test_a_ranking_counts_as_one_row_however_many_pairs_it_has():
    ranking = ((4, 2, 1), (Pair(0, 1, 1.0), Pair(0, 2, 1.0), Pair(1, 2, 1.0)))
    loss, _ = loss_of(rows_of(ranking, ((3, 1), (Pair(0, 1, 1.0),))))
    assert loss == pytest.approx((-(ls(2) + ls(3) + ls(1)) / 3 - ls(2)) / 2)


def test_ties_teach_equality_and_say_nothing_of_accuracy():
    loss, figures = loss_of(rows_of(((3, 1), (Pair(0, 1, 0.5),))))
    assert loss == pytest.approx(-(ls(2) + ls(-2)) / 2)
    assert "accuracy" not in figures


def test_stated_strength_becomes_a_margin_only_when_asked_for():
    much, against = Pair(0, 1, 1.0, "much"), Pair(0, 1, 0.0, "slightly")
    assert loss_of(rows_of(((3, 1), (much,))))[0] == pytest.approx(-ls(2))
    assert loss_of(rows_of(((3, 1), (much,))), margin_from_strength=True)[0] == pytest.approx(-ls(2 - 1))
    # The second answer won slightly: its lead of -2 should have been 1/3.
    assert loss_of(rows_of(((3, 1), (against,))), margin_from_strength=True)[0] == pytest.approx(-ls(-2 - 1 / 3))


def test_plain_transformers_scores_identically(made):
    """The portable form: a sequence-classification folder with one label, last real token, no bias."""
    artifact = made["reward"]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(artifact.path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(artifact.path)
    assert model.config.num_labels == 1
    prompt, texts = Prompt("is it big?"), ["yes the cat is", "no"]
    raw = load_scorer(artifact.path, device="cpu").score([Completion(prompt, text) for text in texts]).parts["raw"]
    for text, expected in zip(texts, raw, strict=True):
        ids = tokenizer(prompt.text + text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        with torch.no_grad():
            assert float(model(torch.tensor([ids])).logits) == pytest.approx(expected, abs=1e-5)


def test_scores_of_the_references_answers_have_mean_0_and_sd_1(made):
    """The very answers that set the scale, sampled again."""
    reference = tiny_context().load_policy(made["sft"])
    rows = read_preferences(made["preferences"].path / "preferences.jsonl").records
    prompts = list({row.prompt.id: row.prompt for row in rows if row.pairs}.values())
    prompts = drawn(prompts, 8, seed=derived_seed(0, "scale"))
    rollouts = LocalGenerator(reference, max_new_tokens=6).generate(
        prompts, samples_per_prompt=1, seed=derived_seed(0, "scale"), policy_version=0
    )
    z = torch.tensor(load_scorer(made["reward"].path, device="cpu").score(rollouts.completions()).total)
    assert float(z.mean()) == pytest.approx(0.0, abs=1e-4)
    assert float(z.std()) == pytest.approx(1.0, abs=1e-4)


def preferences_in(folder, rows):
    write_jsonl(folder / "rows.jsonl", rows)
    return import_preferences(
        tiny_context(), PreferencesSettings(), file=folder / "rows.jsonl", output_dir=folder / "preferences"
    )


def test_too_few_comparisons_are_refused(base, tmp_path):
    preferences = preferences_in(tmp_path, [Preference(Prompt("why?"), ("a", "b"), (Pair(0, 1, 1.0),))])
    with pytest.raises(DataError, match=r"1 usable comparisons split into 1 for training and 0 held out.*Collect more"):
        train_reward(
            tiny_context(), RewardSettings(**SMALL), base=base, preferences=preferences, output_dir=tmp_path / "reward"
        )
    assert not (tmp_path / "reward.partial").exists()


def test_a_reward_model_like_a_coin_is_said_at_once(base, tmp_path, capsys):
    """Seven pairs held out cannot tell it from a coin, whatever it makes of them."""
    rows = [Preference(Prompt(f"why {n}?"), ("a b", "b a"), (Pair(0, 1, float(n % 2)),)) for n in range(24)]
    artifact = train_reward(
        tiny_context(),
        RewardSettings(**SMALL),
        base=base,
        preferences=preferences_in(tmp_path, rows),
        output_dir=tmp_path / "reward",
    )
    accuracy = artifact.summary["heldout_accuracy"]
    assert accuracy["low"] <= 0.5
    assert f"of {accuracy['n']} held-out pairs rightly" in (said := capsys.readouterr().err)
    assert "not told from a coin toss" in said
    say_if_chance({"value": 0.7, "low": 0.66, "high": 0.74, "n": 500})
    say_if_chance({"value": math.nan, "low": 0.0, "high": 1.0, "n": 0})
    assert capsys.readouterr().err == ""


class ScoresNothing:
    device, pad_id = torch.device("cpu"), 0

    def score(self, batch):
        return torch.full((len(batch.ids_BS),), 0.25)


def test_a_reward_that_never_varies_is_refused(made):
    context = tiny_context()
    rows = read_preferences(made["preferences"].path / "preferences.jsonl").records
    reference = context.load_policy(made["sft"])
    with pytest.raises(RunError, match=r"(?s)gives all 4 answers of the reference policy the same score 0.25"):
        measure_scale(context, RewardSettings(**SMALL), ScoresNothing(), reference, rows)


class ScoresByPrompt:
    """Stands in for a reward model that finds one topic good and the other bad: the length of the prompt decides."""

    device, pad_id, precision, eos_ids = torch.device("cpu"), 0, "float32", ()
    rendering = SimpleNamespace(ends_as_served=False)

    def score(self, batch):
        return batch.prompt_length_B.float()


def test_the_scale_is_measured_on_a_random_sample_of_the_prompts_whatever_their_order(made, capsys):
    """The first prompts of a file sorted by topic are all of one topic."""
    context = tiny_context()
    reference = context.load_policy(made["sft"])
    prompts = [Prompt(f"is it big {n}?") for n in range(20)] + [Prompt(f"how big is the house {n}?") for n in range(20)]
    rows = [Preference(prompt, ("yes", "no"), (Pair(0, 1, 1.0),)) for prompt in prompts]
    settings = RewardSettings(**SMALL | {"normaliser_samples": 16})
    scale = measure_scale(context, settings, ScoresByPrompt(), reference, rows)
    assert scale.sd > 0
    assert measure_scale(context, settings, ScoresByPrompt(), reference, rows[::-1]) == scale
    assert "measured on 16 of 40 prompts, drawn at random (by the run's seed)" in capsys.readouterr().err
    lengths = torch.tensor([len(reference.rendering.encode_prompt(prompt)) for prompt in prompts]).double()
    every = measure_scale(
        context, RewardSettings(**SMALL | {"normaliser_samples": 40}), ScoresByPrompt(), reference, rows
    )
    assert (every.mean, every.sd) == pytest.approx((lengths.mean().item(), lengths.std().item()))
    assert "measured" not in capsys.readouterr().err


def test_head_warm_up_leaves_the_backbone_where_it_was(base, made, tmp_path):
    decaying = SMALL["fit"].model_copy(update={"weight_decay": 0.5})
    settings = RewardSettings(**SMALL | {"head_warmup_steps": 100, "fit": decaying})
    artifact = train_reward(
        tiny_context(), settings, base=base, preferences=made["preferences"], output_dir=tmp_path / "reward"
    )
    before = transformers.AutoModel.from_pretrained(base).state_dict()
    after = transformers.AutoModel.from_pretrained(artifact.path).state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def of_aspects(folder):
    """Comparisons whose raters liked one answer's style and the other's facts."""
    rows = [
        Preference(
            Prompt(f"is {n} big?"),
            ("yes", "no"),
            (Pair(0, 1, 1.0),),
            aspects={"style": (Pair(0, 1, 1.0),), **({"factuality": (Pair(0, 1, 0.0),)} if n % 2 else {})},
        )
        for n in range(12)
    ]
    return preferences_in(folder, rows)


def test_a_reward_model_of_one_aspect_learns_what_raters_said_of_it_alone(base, tmp_path):
    preferences = of_aspects(tmp_path)
    fit = FitSettings(batch_size=4, learning_rate=1e-2, epochs=8.0)
    margins = {}
    for aspect in (None, "style", "factuality"):
        settings = RewardSettings(**SMALL | {"aspect": aspect, "fit": fit})
        made = train_reward(
            tiny_context(), settings, base=base, preferences=preferences, output_dir=tmp_path / str(aspect)
        )
        answers = [Completion(Prompt("is 1 big?"), text) for text in ("yes", "no")]
        liked, other = load_scorer(made.path, device="cpu").score(answers).parts["raw"]
        margins[aspect] = liked - other
        rows = made.summary["rows_trained"] + made.summary["heldout_accuracy"]["n"]
        assert rows == (6 if aspect == "factuality" else 12), "only what raters judged in that aspect"
    assert margins[None] == margins["style"] > 0 > margins["factuality"]
    with pytest.raises(DataError, match=r"reward.aspect is 'tone', and no rater .* aspects there: factuality, style"):
        train_reward(
            tiny_context(),
            RewardSettings(**SMALL | {"aspect": "tone"}),
            base=base,
            preferences=preferences,
            output_dir=tmp_path / "tone",
        )


def test_mean_pooling_has_a_head_file_of_its_own(base, made, tmp_path):
    artifact = train_reward(
        tiny_context(),
        RewardSettings(pooling="mean", **SMALL),
        base=base,
        preferences=made["preferences"],
        output_dir=tmp_path / "reward",
    )
    assert (artifact.path / "head.safetensors").exists()
    answers = [Completion(Prompt("is it big?"), text) for text in ("yes", "no the cat")]
    scores = load_scorer(artifact.path, device="cpu").score(answers).parts["raw"]
    assert scores[0] != scores[1]


def test_a_later_round_goes_on_from_the_earlier_reward_model(base, made, tmp_path):
    still = FitSettings(batch_size=4, learning_rate=1e-12)
    settings = RewardSettings(**SMALL | {"fit": still})
    again = train_reward(
        tiny_context(),
        settings,
        base=base,
        preferences=made["preferences"],
        continues=made["reward"],
        output_dir=tmp_path / "reward",
    )
    assert again.parents["continues"] == made["reward"].id
    answers = [Completion(Prompt("the cat"), text, finish_reason="stop") for text in (" sat", " on the mat", " is red")]
    before, after = (load_scorer(one.path, device="cpu").score(answers).parts["raw"] for one in (made["reward"], again))
    assert after == pytest.approx(before, abs=1e-5)


@pytest.fixture(scope="module")
def ensemble(base, made, tmp_path_factory):
    settings = RewardSettings(**SMALL | {"members": 3, "fit": FitSettings(batch_size=4, learning_rate=3e-2)})
    output_dir = tmp_path_factory.mktemp("ensemble") / "reward"
    return train_reward(tiny_context(), settings, base=base, preferences=made["preferences"], output_dir=output_dir)


def test_an_ensembles_members_each_have_a_head_an_order_and_a_scale_of_their_own(base, made, ensemble, tmp_path):
    others = [ensemble.path / name for name in ("member-1", "member-2")]
    assert member_folders(ensemble.path) == [ensemble.path, *others]
    members = load_members(ensemble.path, device="cpu")
    heads = {one.model.head.weight.detach().sum().item() for one in members}
    assert len(heads) == len({one.normaliser.mean for one in members}) == 3
    orders = [JsonlTracker(one / "metrics.jsonl").rows() for one in member_folders(ensemble.path)]
    assert len({rows[0]["loss_nats"] for rows in orders}) == 3
    # The first is the model that there would be alone, and the portable form of all.
    alone = train_reward(
        tiny_context(),
        RewardSettings(**SMALL | {"fit": FitSettings(batch_size=4, learning_rate=3e-2)}),
        base=base,
        preferences=made["preferences"],
        output_dir=tmp_path / "alone",
    )
    assert weights_digest(alone.path) == weights_digest(ensemble.path)
    assert transformers.AutoModelForSequenceClassification.from_pretrained(ensemble.path).config.num_labels == 1


def test_an_ensembles_accuracy_is_that_of_its_mean_score(made, ensemble):
    rows = usable_preferences(read_preferences(made["preferences"].path / "preferences.jsonl").records)
    _, apart = split_by_prompt(rows, holdout_share=0.3, seed=0)
    answers = [Completion(row.prompt, text, finish_reason="stop") for row in apart for text in row.completions]
    raw = [load_scorer(one, device="cpu").score(answers).parts["raw"] for one in member_folders(ensemble.path)]
    mean = iter([sum(of_answer) / 3 for of_answer in zip(*raw, strict=True)])
    score_of = [[next(mean) for _ in row.completions] for row in apart]
    right = [
        (scores[pair.first] > scores[pair.second]) == (pair.label > 0.5)
        for row, scores in zip(apart, score_of, strict=True)
        for pair in row.pairs
        if pair.label != 0.5
    ]
    assert ensemble.summary["heldout_accuracy"]["value"] == pytest.approx(sum(right) / len(right))


def test_a_refreshed_ensemble_goes_on_member_by_member(base, made, ensemble, tmp_path):
    still = FitSettings(batch_size=4, learning_rate=1e-12)
    again = train_reward(
        tiny_context(),
        RewardSettings(**SMALL | {"members": 3, "fit": still}),
        base=base,
        preferences=made["preferences"],
        continues=ensemble,
        output_dir=tmp_path / "reward",
    )
    answers = [Completion(Prompt("the cat"), text, finish_reason="stop") for text in (" sat", " on the mat", " is red")]
    before, after = (
        [load_scorer(one, device="cpu").score(answers).parts["raw"] for one in member_folders(artifact.path)]
        for artifact in (ensemble, again)
    )
    for old, new in zip(before, after, strict=True):
        assert new == pytest.approx(old, abs=1e-5)


def test_the_held_out_loss_may_end_the_training_of_each_member(base, made, tmp_path):
    fit = FitSettings(epochs=12, batch_size=4, learning_rate=3e-2, evaluate_every=1, patience=2)
    settings = RewardSettings(**SMALL | {"members": 2, "fit": fit})
    artifact = train_reward(
        tiny_context(), settings, base=base, preferences=made["preferences"], output_dir=tmp_path / "reward"
    )
    for best, folder in zip(artifact.summary["best_steps"], member_folders(artifact.path), strict=True):
        rows = JsonlTracker(folder / "metrics.jsonl").rows()
        losses = [row["heldout/loss_nats"] for row in rows]
        assert best == losses.index(min(losses)) + 1
        assert {"heldout/accuracy", "heldout/margin"} <= rows[0].keys()
