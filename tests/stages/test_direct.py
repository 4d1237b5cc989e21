"""Offline training: the objectives by hand and by split, and DPO, IPO and KTO from preferences to a policy."""

import math

import pytest
import torch

from kleash.algorithms.direct import DPO, KTO, DirectLossSettings
from kleash.data.batches import TokenSequence
from kleash.errors import DataError, SettingsError
from kleash.formats import write_jsonl
from kleash.maths.tally import Tally
from kleash.models.causal_lm import load_language_model
from kleash.records import Pair, Preference, Prompt
from kleash.stages.direct import (
    DecidedPair,
    DirectSettings,
    LabelledObjective,
    PairObjective,
    PolicyAndReference,
    train_direct,
)
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


def test_kto_measures_its_baseline_on_mismatched_answers_before_the_first_micro_batch():
    """Each prompt with the next row's answer; rows of one prompt are no mismatch."""
    rows = [of(3, prompt=(0,)), of(3, prompt=(1,)), of(2, prompt=(1,))]
    objective = LabelledObjective(MODELS, rows, [True, False, True], DirectLossSettings(), algorithm=KTO)
    sums = objective.begin_batch([0, 1, 2])
    # Prompt 0 with answer 1, prompt 1 with answer 0 (of the last row); rows 1 and 2 share their prompt.
    assert sums == {"rows": 3.0, "mismatched_nats": pytest.approx(2 * RATIO[3]), "mismatched": 2.0}
    baseline = max(0.0, RATIO[3])

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


def test_kto_without_mismatched_rows_has_no_baseline():
    objective = LabelledObjective(MODELS, [of(3)], [True], DirectLossSettings(), algorithm=KTO)
    assert objective.begin_batch([0]) == {"rows": 1.0, "mismatched_nats": 0.0, "mismatched": 0.0}


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
    trained, before = (load_language_model(path, device="cpu") for path in (artifact.path, base))
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
    with pytest.raises(DataError, match=r"None of the 0 rows fits"):
        train_direct(
            tiny_context(),
            DirectSettings(algorithm="kto"),
            reference=base,
            preferences=preferences,
            output_dir=tmp_path / "direct",
        )
