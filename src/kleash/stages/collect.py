"""Collect preferences: put candidates before raters, or import a file of preferences; freeze either into an artifact.

The artifact holds every judgement as it was given and one training row per comparison, with the vote share as label.
Nothing is thrown away: rows that are not to be trained on say why.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from kleash.artifacts import Artifact, read, require
from kleash.errors import DataError
from kleash.formats import read_completions, read_preferences, write_jsonl
from kleash.maths.agreement import vote_share
from kleash.protocols import Comparer
from kleash.records import Comparison, Completion, Judgement, Pair, Preference
from kleash.settings import Settings
from kleash.stages.comparing import CollectSettings
from kleash.stages.encoding import dropped_figures
from kleash.stages.workplace import Workplace, given


def collect(
    place: Workplace, settings: CollectSettings, *, candidates: Artifact, comparer: Comparer, into: Path
) -> Artifact:
    """Have a comparer judge the candidates and freeze the outcome."""
    parents = {"candidates": require(candidates, "candidates")}
    if done := place.finished(into, kind="preferences", parents=parents, settings=settings):
        return done
    answers = read_completions(candidates.path / "candidates.jsonl").records
    comparisons = comparisons_of(answers, num_completions=settings.completions_per_comparison)
    with place.making(into, kind="preferences", parents=parents, settings=settings) as draft:
        judgements = list(comparer.compare(comparisons))
        rows = aggregate(comparisons, judgements)
        write_jsonl(draft.path / "judgements.jsonl", judgements)
        write_jsonl(draft.path / "preferences.jsonl", rows)
        draft.summary |= {
            **_summary(rows),
            "comparisons": len(comparisons),
            "judgements": len(judgements),
            "raters": len({judgement.rater for judgement in judgements}),
            "agreement": agreement_without_ties(judgements),
        }
    return read(into)


def import_preferences(place: Workplace, settings: Settings, *, file: Path, into: Path) -> Artifact:
    """Freeze a file of preferences, in any format `kleash data check` understands."""
    parents = {"file": given(file, "preferences file")}
    if done := place.finished(into, kind="preferences", parents=parents, settings=settings):
        return done
    loaded = read_preferences(file, strict=place.is_strict)
    with place.making(into, kind="preferences", parents=parents, settings=settings) as draft:
        write_jsonl(draft.path / "preferences.jsonl", loaded.records)
        draft.summary |= {**_summary(loaded.records), "dropped": dropped_figures(loaded), "agreement": None}
    return read(into)


def comparisons_of(answers: Sequence[Completion], *, num_completions: int) -> list[Comparison]:
    """Group each prompt's different answers into comparisons of `num_completions`; a lone answer is left over.

    Raises DataError when no prompt has two different answers.
    """
    per_prompt: dict[str, list[Completion]] = defaultdict(list)
    for answer in answers:
        if all(answer.text != other.text for other in per_prompt[answer.prompt.id]):
            per_prompt[answer.prompt.id].append(answer)
    comparisons = [
        Comparison(group[0].prompt, tuple(a.text for a in group), tuple(a.policy_id for a in group))
        for different in per_prompt.values()
        for group in _groups(different, num_completions)
        if len(group) >= 2
    ]
    if not comparisons:
        raise DataError(
            f"None of the {len(per_prompt)} prompts has two different answers among its candidates. Expected at least "
            "one pair to compare. Raise candidates.samples_per_prompt or the temperature."
        )
    return comparisons


def aggregate(comparisons: Sequence[Comparison], judgements: Sequence[Judgement]) -> list[Preference]:
    """Make one training row per comparison: the share of votes for the first of each pair, ties counting half."""
    by_comparison: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in judgements:
        by_comparison[judgement.comparison_id].append(judgement)
    rows = []
    for comparison in comparisons:
        given_here = by_comparison[comparison.id]
        ranked = [judgement for judgement in given_here if judgement.outcome == "ranked"]
        pairs = tuple(
            Pair(first, second, vote_share([(j.ranks[first], j.ranks[second]) for j in ranked]))
            for first, second in itertools.combinations(range(len(comparison.completions)), 2)
            if ranked
        )
        outcomes = sorted({judgement.outcome for judgement in given_here})
        left_out = "" if ranked else " and ".join(outcomes) or "not judged"
        rows.append(
            Preference(
                prompt=comparison.prompt,
                completions=comparison.completions,
                pairs=pairs,
                num_judgements=len(given_here),
                left_out=left_out,
                sources=comparison.sources,
            )
        )
    return rows


def agreement_without_ties(judgements: Sequence[Judgement]) -> float | None:
    """Return the share of rater pairs that prefer the same answer of a pair, ties left out; None without overlap."""
    verdicts: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for judgement in judgements:
        for first, second in itertools.combinations(range(len(judgement.ranks)), 2):
            if judgement.ranks[first] != judgement.ranks[second]:
                winner = "first" if judgement.ranks[first] < judgement.ranks[second] else "second"
                verdicts[judgement.comparison_id, first, second].append(winner)
    agreeing = sum(votes.count(v) * (votes.count(v) - 1) for votes in verdicts.values() for v in set(votes))
    pairs = sum(len(votes) * (len(votes) - 1) for votes in verdicts.values())
    return agreeing / pairs if pairs else None


def _summary(rows: Sequence[Preference]) -> dict[str, object]:
    left_out: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.left_out:
            left_out[row.left_out] += 1
    return {
        "rows": len(rows),
        "prompts": len({row.prompt.id for row in rows}),
        "pairs": sum(len(row.pairs) for row in rows if not row.left_out),
        "ties": sum(pair.label == 0.5 for row in rows for pair in row.pairs),
        "left_out": dict(left_out),
    }


def _groups(answers: Sequence[Completion], size: int) -> list[Sequence[Completion]]:
    return [answers[start : start + size] for start in range(0, len(answers), size)]
