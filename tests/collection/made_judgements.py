"""Items and judgements made in one line each, and PandaLM's 999 items as such."""

import csv
from datetime import UTC, datetime
from pathlib import Path

from kleash.collection.recorded import Item, RecordedJudgement
from kleash.records import Comparison, Judgement, Prompt

PANDALM = Path(__file__).parents[1] / "fixtures" / "pandalm" / "verdicts.csv"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
RANKS_OF_ANNOTATION = {"1": (1, 2), "2": (2, 1), "0": (1, 1)}


def item(item_id, *, completions=("yes", "no, never"), sources=("a", "b"), gold_ranks=(), slices=None, hold=""):
    prompt = Prompt(f"Prompt of {item_id}", slices or {})
    return Item(item_id, Comparison(prompt, tuple(completions), tuple(sources)), gold_ranks, hold=hold)


def items_of(*made):
    return {one.id: one for one in made}


def entry(
    item_id,
    rater,
    ranks=(),
    *,
    outcome="ranked",
    permutation=None,
    strength=None,
    aspects=None,
    seconds=None,
    flags=(),
    kind="person",
    given_at=NOON,
    num_completions=2,
    **circumstances,
):
    judgement = Judgement(
        comparison_id=item_id,
        rater=rater,
        rater_kind=kind,
        permutation=tuple(permutation or range(len(ranks) or num_completions)),
        outcome=outcome,
        ranks=tuple(ranks),
        strength=strength,
        aspects=aspects or {},
        seconds=seconds,
        flags=tuple(flags),
    )
    number = sum(circumstances.get(name, False) for name in ("is_repeat", "is_adjudication"))
    return RecordedJudgement(f"{item_id}/{rater}/{number}", item_id, judgement, given_at, **circumstances)


def pandalm():
    """Return (items, judgements) of PandaLM's test set; answers are x's of the right length."""
    items, recorded = {}, []
    with PANDALM.open(newline="") as file:
        for row in csv.DictReader(file):
            lengths = int(row["length1_characters"]), int(row["length2_characters"])
            answers = tuple("x" * length for length in lengths)
            items[row["idx"]] = item(row["idx"], completions=answers, sources=(row["model1"], row["model2"]))
            recorded += [
                entry(row["idx"], rater, RANKS_OF_ANNOTATION[row[rater]])
                for rater in ("annotator1", "annotator2", "annotator3")
            ]
    return items, recorded
