"""Offline training: the objectives by hand and by split, and DPO, IPO and KTO from preferences to a policy."""

import math
from dataclasses import replace

import pyarrow
import pyarrow.parquet
import pytest
import torch

from kleash.algorithms.direct import DPO, KTO, DirectLossSettings
from kleash.data.batches import TokenSequence
from kleash.data.prompts import split_by_prompt
from kleash.errors import DataError, SettingsError
from kleash.formats import write_jsonl
from kleash.lineage import lineage_of
from kleash.maths.tally import Tally
from kleash.models.causal_lm import load_language_model
from kleash.monitor.cards import model_card
from kleash.recipe import Recipe
from kleash.records import Pair, Preference, Prompt
from kleash.stages import wiring
from kleash.stages.direct import (
    DecidedPair,
    DirectSettings,
    LabelledObjective,
    PairObjective,
    PolicyAndReference,
    mismatched_rows,
    train_direct,
)
from kleash.stages.importing import Provenance
from kleash.stages.importing import import_preferences as import_from_elsewhere
from kleash.stages.preferences import import_preferences
from kleash.stages.support.comparing import PreferencesSettings
from kleash.testing import TabularPolicy
from kleash.tracking import JsonlTracker
from kleash.training.fit import FitSettings
from stages.tiny_recipe import tiny_context

POLICY, REFERENCE = (0.1, 0.2, 0.3, 0.4), (0.4, 0.3, 0.2, 0.1)
MODELS = PolicyAndReference(TabularPolicy(POLICY), TabularPolicy(REFERENCE))
RATIO = [math.log(p / q) for p, q in zip(POLICY, REFERENCE, strict=True)]


def of(*tokens, prompt=(0,)):
    return TokenSequence(prompt, tokens)


def cost(objective, micro_batches):
    rows = [row for micro in micro_batches for row in micro]
    sums, tally = objective.begin_batch(rows), Tally()
    total = sum(float(objective.loss(micro, sums, tally).detach()) for micro in micro_batches)
    return total, tally.means()


def test_log_ratios_are_sums_over_the_response():
    found = MODELS.log_ratio([of(3, 3, 1), of(0), of(2, 1)])
    torch.testing.assert_close(found, torch.tensor([2 * RATIO[3] + RATIO[1], RATIO[0], RATIO[2] + RATIO[1]]))


def test_dpo_costs_the_mean_over_pairs_whatever_the_split():
    pairs = [DecidedPair(of(3), of(0), 1.0), DecidedPair(of(1, 1), of(2), 0.75), DecidedPair(of(0), of(3, 3), 1.0)]
    objective = PairObjective(MODELS, pairs, DirectLossSettings(beta=0.5), algorithm=DPO)
    margins = [RATIO[3] - RATIO[0], 2 * RATIO[1] - RATIO[2], RATIO[0] - 2 * RATIO[3]]

    def nll(margin):
        return math.log(1 + math.exp(-0.5 * margin))

    expected = (nll(margins[0]) + 0.75 * nll(margins[1]) + 0.25 * nll(-margins[1]) + nll(margins[2])) / 3
    for split in ([[0, 1, 2]], [[2], [0, 1]], [[1], [2], [0]]):
        total, figures = cost(objective, split)
        assert total == pytest.approx(expected)
        assert figures["loss"] == pytest.approx(expected)
        assert figures["accuracy"] == pytest.approx(sum(margin > 0 for margin in margins) / 3)
        assert figures["logratio_chosen_nats"] == pytest.approx((RATIO[3] + 2 * RATIO[1] + RATIO[0]) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_every_row_has_a_partner_of_another_prompt_whatever_the_order_of_the_rows(seed):
    prompts = ["a", "a", "b", "c", "a", "c", "c"]
    partners = mismatched_rows(prompts, seed=seed)
    assert all(prompts[partner] != prompt for prompt, partner in zip(prompts, partners, strict=True))
    assert mismatched_rows(["a"] * 4, seed=seed) == [None] * 4
    assert mismatched_rows(range(6), seed=seed) != mismatched_rows(range(6), seed=seed + 1)
    assert sorted(mismatched_rows(range(6), seed=seed)) == list(range(6))


def test_kto_measures_its_baseline_on_mismatched_answers_before_the_first_micro_batch():
    """Each prompt with the answer of a row that has another; a batch of one row has a baseline as well."""
    rows = [of(3, prompt=(0,)), of(3, prompt=(1,)), of(2, prompt=(1,))]
    objective = LabelledObjective(MODELS, rows, [True, False, True], DirectLossSettings(), algorithm=KTO)
    assert objective.partner_of[0] in (1, 2)
    assert objective.partner_of[1:] == [0, 0]
    ratios = [RATIO[rows[objective.partner_of[0]].response_ids[0]], RATIO[3], RATIO[3]]
    sums = objective.begin_batch([0, 1, 2])
    assert sums == {"rows": 3.0, "mismatched_nats": pytest.approx(sum(ratios)), "mismatched": 3.0}
    for row, ratio in enumerate(ratios):
        assert objective.begin_batch([row]) == {"rows": 1.0, "mismatched_nats": pytest.approx(ratio), "mismatched": 1.0}
    baseline = sum(ratios) / 3

    def sigmoid(x):
        return 1 / (1 + math.exp(-x))

    values = [sigmoid(0.1 * (RATIO[3] - baseline)), sigmoid(0.1 * (baseline - RATIO[3]))]
    values.append(sigmoid(0.1 * (RATIO[2] - baseline)))
    for split in ([[0, 1, 2]], [[1], [2, 0]]):
        total, figures = cost_with(objective, split, sums)
        assert total == pytest.approx(sum(1 - value for value in values) / 3)
        assert figures["baseline_nats"] == pytest.approx(baseline)
        assert figures["logratio_undesirable_nats"] == pytest.approx(RATIO[3])
        assert figures["logratio_desirable_nats"] == pytest.approx((RATIO[3] + RATIO[2]) / 2)


def cost_with(objective, micro_batches, sums):
    tally = Tally()
    total = sum(float(objective.loss(micro, sums, tally).detach()) for micro in micro_batches)
    return total, tally.means()


def test_kto_says_that_answers_to_one_prompt_have_no_baseline(capsys):
    objective = LabelledObjective(MODELS, [of(3), of(1)], [True, False], DirectLossSettings(), algorithm=KTO)
    assert objective.begin_batch([0, 1]) == {"rows": 2.0, "mismatched_nats": 0.0, "mismatched": 0.0}
    assert "All 2 answers are to one prompt, so KTO's reference point is 0." in capsys.readouterr().err


def test_a_mismatched_answer_is_cut_where_the_longest_row_ends():
    """Else a long prompt with another's long answer passes the positions that the model knows."""
    rows = [of(3, prompt=(0, 0, 0)), of(3, 3, 3, prompt=(1,))]
    sums = LabelledObjective(MODELS, rows, [True, False], DirectLossSettings(), algorithm=KTO).begin_batch([0, 1])
    assert sums["mismatched_nats"] == pytest.approx(RATIO[3] + RATIO[3])


def liked_and_disliked(folder):
    rows = [
        Preference(Prompt(f"is {number} {thing} big?"), ("yes the cat", "no"), (Pair(0, 1, 1.0),))
        for number in ("one", "two", "six")
        for thing in ("cat", "dog", "tree", "house")
    ]
    write_jsonl(folder / "rows.jsonl", rows)
    return import_preferences(
        tiny_context(), PreferencesSettings(), file=folder / "rows.jsonl", output_dir=folder / "preferences"
    )


@pytest.mark.parametrize("model", [{}, {"lora_rank": 2}], ids=["full", "lora"])
@pytest.mark.parametrize(
    ("algorithm", "at_start", "chosen", "rejected"),
    [
        ("dpo", math.log(2), "logratio_chosen_nats", "logratio_rejected_nats"),
        ("ipo", 1 / (4 * 0.1**2), "logratio_chosen_nats", "logratio_rejected_nats"),
        ("kto", 0.5, "logratio_desirable_nats", "logratio_undesirable_nats"),
    ],
)
def test_the_chosen_answer_becomes_likelier_than_the_rejected(
    base, tmp_path, algorithm, at_start, chosen, rejected, model
):
    """The first loss is the known one of a policy that is its reference."""
    fit = FitSettings(epochs=6, batch_size=24, learning_rate=1e-2, schedule="constant")
    settings = DirectSettings(algorithm=algorithm, fit=fit)
    preferences = liked_and_disliked(tmp_path)
    artifact = train_direct(
        tiny_context(**model), settings, reference=base, preferences=preferences, output_dir=tmp_path / "direct"
    )
    rows = JsonlTracker(artifact.path / "metrics.jsonl").rows()
    assert rows[0]["loss"] == pytest.approx(at_start, rel=1e-4)
    assert rows[0][chosen] == pytest.approx(0.0, abs=1e-4)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1][chosen] > rows[-1][rejected] + 0.5
    assert artifact.summary["rows_trained"] == (24 if algorithm == "kto" else 12)
    trained, before = (load_language_model(path, device="cpu", whole=True) for path in (artifact.path, base))
    assert trained.model.state_dict().keys() == before.model.state_dict().keys()


def test_an_online_algorithm_is_sent_elsewhere(base, made, tmp_path):
    with pytest.raises(SettingsError, match=r"is 'ppo', which samples.*Expected one of dpo, ipo, kto.*`policy` stage"):
        train_direct(
            tiny_context(),
            DirectSettings(algorithm="ppo"),
            reference=base,
            preferences=made["preferences"],
            output_dir=tmp_path / "direct",
        )


def test_ties_alone_teach_nothing(base, tmp_path):
    write_jsonl(tmp_path / "rows.jsonl", [Preference(Prompt("why?"), ("a", "b"), (Pair(0, 1, 0.5),))])
    preferences = import_preferences(
        tiny_context(), PreferencesSettings(), file=tmp_path / "rows.jsonl", output_dir=tmp_path / "preferences"
    )
    with pytest.raises(DataError, match=r"All pairs of the 1 comparisons are ties, and dpo learns from decided ones"):
        train_direct(
            tiny_context(), DirectSettings(), reference=base, preferences=preferences, output_dir=tmp_path / "direct"
        )
    assert not (tmp_path / "direct.partial").exists()
    with pytest.raises(DataError, match=r"All pairs of the 1 comparisons are ties, and kto learns from decided ones"):
        train_direct(
            tiny_context(),
            DirectSettings(algorithm="kto"),
            reference=base,
            preferences=preferences,
            output_dir=tmp_path / "direct",
        )


# ------------------------------------------------------------------------------------------- single answers with thumbs
def thumbs(folder, *, num_up=12, num_down=4, up="yes the cat"):
    """A file of TRL's unpaired format, imported."""
    rows = [("is it big?", f"{up} {number}", True) for number in range(num_up)]
    rows += [("is it big?", f"no {number}", False) for number in range(num_down)]
    columns = [dict(zip(("prompt", "completion", "label"), row, strict=True)) for row in rows]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(columns), folder / "kto.parquet")
    return import_from_elsewhere(
        tiny_context(),
        Provenance(origin="us"),
        source=str(folder / "kto.parquet"),
        output_dir=folder / "thumbs",
    )


def kto_on(artifact, base, folder, **settings):
    fit = FitSettings(epochs=6, batch_size=16, learning_rate=1e-2, schedule="constant")
    settings = DirectSettings(**{"algorithm": "kto", "fit": fit} | settings)
    return train_direct(tiny_context(), settings, reference=base, preferences=artifact, output_dir=folder / "direct")


def test_kto_learns_from_single_answers_and_says_how_many_of_each(base, tmp_path, capsys):
    labels = thumbs(tmp_path)
    assert labels.kind == "labelled"
    assert (labels.summary["thumbs_up"], labels.summary["thumbs_down"]) == (12, 4)
    made = kto_on(labels, base, tmp_path)
    rows = JsonlTracker(made.path / "metrics.jsonl").rows()
    assert rows[-1]["logratio_desirable_nats"] > rows[-1]["logratio_undesirable_nats"] + 0.5
    assert made.summary["rows_trained"] == 16
    said = capsys.readouterr().err
    assert "KTO learns from 12 answers with a thumb up and 4 with a thumb down." in said
    card = model_card(lineage_of(tmp_path), made.id, name="x")
    assert "- single answers: 12 thumbs up, 4 thumbs down, from us" in card
    assert "count 3 times as much; direct.loss.weight_undesirable=3 balances them." in said


@pytest.mark.parametrize(
    ("weights", "suggested"), [({"weight_undesirable": 3.0}, False), ({"weight_desirable": 0.1}, True)]
)
def test_weights_are_suggested_where_the_thumbs_are_out_of_balance(base, tmp_path, capsys, weights, suggested):
    kto_on(thumbs(tmp_path), base, tmp_path, loss=DirectLossSettings(**weights))
    assert ("direct.loss.weight_desirable=0.333 balances" in capsys.readouterr().err) == suggested


def test_a_recipe_takes_single_answers_too(base, tmp_path):
    thumbs(tmp_path)
    frozen = import_preferences(
        tiny_context(), PreferencesSettings(), file=tmp_path / "kto.parquet", output_dir=tmp_path / "preferences"
    )
    assert (frozen.kind, frozen.summary["rows"]) == ("labelled", 16)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "dpo"}, r"algorithm is 'dpo', which asks for pairs, and .* Set direct.algorithm='kto'"),
        ({"holdout_share": 0.5}, r"holdout_share is 0.5, which asks for pairs, .* Set direct.holdout_share=0"),
    ],
)
def test_single_answers_are_no_pairs(base, tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        kto_on(thumbs(tmp_path), base, tmp_path, **settings)


@pytest.mark.parametrize("name", ["kto.parquet", "*.parquet"])
def test_a_data_file_given_as_an_artifact_is_sent_to_be_imported(base, tmp_path, name):
    thumbs(tmp_path)
    inputs = {"reference": base, "preferences": tmp_path / name}
    with pytest.raises(SettingsError, match=r"--preferences is .*parquet, data as it came. .*kleash import pref"):
        wiring.make("direct", Recipe(), tiny_context(), inputs, tmp_path / "direct")


def test_thumbs_of_one_kind_alone_are_refused(base, tmp_path):
    labels = thumbs(tmp_path, up="yes the cat " * 30)
    with pytest.raises(DataError, match=r"fits into 40 tokens is 0 answers with a thumb up and 4 with a thumb down"):
        kto_on(labels, base, tmp_path, max_tokens=40)


def test_kto_drops_both_answers_of_a_pair_where_one_is_too_long(base, tmp_path, capsys):
    rows = [
        Preference(Prompt(f"is {n} big?"), ("yes " * (60 if n < 3 else 1), "no"), (Pair(0, 1, 1.0),)) for n in range(8)
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    preferences = import_preferences(
        tiny_context(), PreferencesSettings(), file=tmp_path / "rows.jsonl", output_dir=tmp_path / "preferences"
    )
    made = kto_on(preferences, base, tmp_path, max_tokens=40)
    assert (made.summary["rows_trained"], made.summary["rows_too_long"]) == (10, 3)
    said = capsys.readouterr().err
    assert "3 of 8 rows are longer than 40 tokens, and left out." in said
    assert "5 answers with a thumb up and 5 with a thumb down." in said


def test_held_out_pairs_that_do_not_fit_are_not_measured_on(base, tmp_path):
    rows = [Preference(Prompt(f"is {n} big?"), ("yes", "no"), (Pair(0, 1, 1.0),)) for n in range(10)]
    apart = split_by_prompt(rows, holdout_share=0.2, seed=0)[1]
    rows = [replace(row, completions=("yes " * 60, "no")) if row in apart else row for row in rows]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    preferences = import_preferences(
        tiny_context(), PreferencesSettings(), file=tmp_path / "rows.jsonl", output_dir=tmp_path / "preferences"
    )
    made = kto_on(preferences, base, tmp_path, algorithm="dpo", max_tokens=40, holdout_share=0.2)
    assert (made.summary["rows_trained"], made.summary["rows_too_long"]) == (10 - len(apart), len(apart))
    assert "heldout_accuracy" not in made.summary


@pytest.mark.parametrize("algorithm", ["dpo", "kto"])
def test_the_loss_of_held_out_pairs_is_looked_at_while_training(base, tmp_path, algorithm, capsys):
    preferences = liked_and_disliked(tmp_path)
    fit = FitSettings(epochs=6, batch_size=24, learning_rate=1e-2, schedule="constant", evaluate_every=1, patience=3)
    made = kto_on(preferences, base, tmp_path, algorithm=algorithm, holdout_share=0.3, fit=fit)
    rows = JsonlTracker(made.path / "metrics.jsonl").rows()
    assert len(rows) > 1
    assert all({"heldout/loss", "loss", "seconds/evaluating"} <= row.keys() for row in rows)
    assert ("heldout/accuracy" in rows[0]) == (algorithm == "dpo")
    losses = [row["heldout/loss"] for row in rows]
    assert made.summary["best_step"] == losses.index(min(losses)) + 1
    assert capsys.readouterr().err.count("KTO learns from") == (algorithm == "kto"), "of what is trained on alone"
