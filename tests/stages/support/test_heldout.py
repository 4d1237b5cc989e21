"""Held-out accuracy and its length baseline, on pairs small enough to count by hand."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from kleash.data.batches import TokenSequence
from kleash.formats import write_jsonl
from kleash.records import Pair, Preference, Prompt
from kleash.stages.context import ModelSettings, StageContext
from kleash.stages.direct import DirectSettings, train_direct
from kleash.stages.preferences import import_preferences
from kleash.stages.support.comparing import PreferencesSettings
from kleash.stages.support.encoding import Encoded
from kleash.stages.support.heldout import measure_heldout
from kleash.training.fit import FitSettings
from tiny import tiny_language_model_folder


@dataclass
class Folder:
    path: Path


def encoded(*rows):
    """rows: (slice, lengths of the completions, label of the first against the second)."""
    records = [
        Preference(Prompt(f"p{i}", {"set": name}), tuple("x" * n for n in lengths), (Pair(0, 1, label),))
        for i, (name, lengths, label) in enumerate(rows)
    ]
    sequences = [[TokenSequence((1,), tuple(range(n))) for n in lengths] for _, lengths, _ in rows]
    return Encoded(records, sequences, 0)


ROWS = encoded(
    ("a", (5, 3), 1.0),  # longer wins
    ("a", (3, 5), 1.0),  # shorter wins
    ("b", (4, 4), 0.2),  # as long; the second wins
    ("b", (2, 9), 0.0),  # longer wins
    ("b", (2, 9), 0.5),  # a tie decides nothing
)


def test_accuracy_and_the_length_baseline_over_all_and_per_slice(tmp_path):
    scores = [2.0, 1.0, 0.0, 1.0, -1.0, 1.0, 0.5, 3.0, 9.0, 1.0]  # right, wrong, right, right; the tie is not counted
    figures = measure_heldout(ROWS, scores, Folder(tmp_path))
    assert figures["heldout_accuracy"]["value"] == 0.75
    assert figures["heldout_accuracy"]["n"] == 4
    assert figures["heldout_accuracy"]["low"] < 0.75 < figures["heldout_accuracy"]["high"]
    assert figures["heldout_ties"] == 1
    assert figures["longer_wins"] == (1 + 0 + 0.5 + 1) / 4
    assert {name: (part["value"], part["n"], part["longer_wins"]) for name, part in
            figures["slices"].items()} == {"set=a": (0.5, 2, 0.5), "set=b": (1.0, 2, 0.75)}  # fmt: skip
    margins = [json.loads(line)["margin"] for line in (tmp_path / "heldout.jsonl").read_text().splitlines()]
    assert margins == pytest.approx([1.0, -1.0, 2.0, 2.5, 8.0])


def test_a_model_that_sees_no_difference_is_never_right(tmp_path):
    assert measure_heldout(ROWS, [0.0] * 10, Folder(tmp_path))["heldout_accuracy"]["value"] == 0.0


def test_dpo_is_measured_on_prompts_it_was_not_trained_on(tmp_path):
    base = tiny_language_model_folder(tmp_path / "base")
    file = tmp_path / "pairs.jsonl"
    write_jsonl(
        file, [Preference(Prompt(f"cat {i} is"), (" good", " very bad"), (Pair(0, 1, 1.0),)) for i in range(30)]
    )
    context = StageContext(model=ModelSettings(device="cpu"))
    pairs = import_preferences(context, PreferencesSettings(), file=file, output_dir=tmp_path / "preferences")
    fit = FitSettings(epochs=4.0, batch_size=8, learning_rate=1e-2)
    settings = DirectSettings(holdout_share=0.3, fit=fit)
    figures = train_direct(context, settings, reference=base, preferences=pairs, output_dir=tmp_path / "dpo").summary
    verdicts = [json.loads(line) for line in (tmp_path / "dpo" / "heldout.jsonl").read_text().splitlines()]
    assert len(verdicts) == figures["heldout_accuracy"]["n"] == 30 - figures["rows_trained"]
    assert 3 <= len(verdicts) <= 15
    assert figures["heldout_accuracy"]["value"] == 1.0  # one word decides, and it was learned
    assert figures["longer_wins"] == 0.0
