"""How well scores order pairs that nothing was trained on: accuracy and its interval, beside what length alone reaches.

Shared by the stages that learn from preferences: a reward model scores with its head, a policy trained by DPO with its
log-ratio to the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kleash.artifacts import Draft
from kleash.durable import write_rows
from kleash.maths.intervals import wilson_interval
from kleash.records import Preference, group_by_slice
from kleash.stages.support.encoding import Encoded


def measure_heldout(rows: Encoded[Preference], scores: Sequence[float], draft: Draft) -> dict[str, Any]:
    """Write one verdict per held-out pair to heldout.jsonl; return the figures, over all pairs and per slice.

    scores: one per completion, in the order of the rows' sequences, in any unit.
    """
    score_of, verdicts = iter(scores), list[dict[str, Any]]()
    for record, of_row in zip(rows.records, rows.sequences, strict=True):
        row_scores = [next(score_of) for _ in of_row]
        lengths = [len(sequence.response_ids) for sequence in of_row]
        for pair in record.pairs:
            margin = row_scores[pair.first] - row_scores[pair.second]
            if pair.label < 0.5:
                margin = -margin
            longer = (lengths[pair.first] > lengths[pair.second]) - (lengths[pair.first] < lengths[pair.second])
            verdicts.append(
                {
                    "margin": margin,
                    "label": pair.label,
                    "correct": margin > 0,
                    "longer_wins": 0.5 if longer == 0 else float((longer > 0) == (pair.label > 0.5)),
                    "slices": dict(record.prompt.dimensions),
                }
            )
    write_rows(draft.path / "heldout.jsonl", verdicts)
    decided = [verdict for verdict in verdicts if verdict["label"] != 0.5]
    rows_of = group_by_slice(verdict["slices"] for verdict in decided)
    groups = {name: [decided[row] for row in rows] for name, rows in rows_of.items()}
    return {
        "heldout_accuracy": _accuracy(decided),
        "heldout_ties": len(verdicts) - len(decided),
        "slices": {name: _accuracy(part) | {"longer_wins": _longer_wins(part)} for name, part in groups.items()},
        "longer_wins": _longer_wins(decided),
    }


def _accuracy(verdicts: Sequence[dict[str, Any]]) -> dict[str, float]:
    return vars(wilson_interval(sum(verdict["correct"] for verdict in verdicts), len(verdicts)))


def _longer_wins(verdicts: Sequence[dict[str, Any]]) -> float:
    """Return how often the longer answer is the preferred one: the accuracy of length alone, or 1 - that."""
    return sum(verdict["longer_wins"] for verdict in verdicts) / max(1, len(verdicts))
