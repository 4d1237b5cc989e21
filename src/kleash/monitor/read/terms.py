"""The terms of a score that is a sum: what each was at first and came to, over all answers and slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kleash.monitor.read.reader import Rows
from kleash.records import by_slice

_NUM_BATCHES = 5


@dataclass(frozen=True)
class TermFindings:
    """One term. slices: {slice, "" for all answers: mean before and after, standard deviation before and after}."""

    name: str
    weight: float
    slices: Mapping[str, tuple[float, ...]]


def read_terms(scorer: Mapping[str, Any], evaluations: Rows, updates: Rows) -> tuple[TermFindings, ...]:
    """Return the terms of a policy's score: over the prompts it was watched on, else its first and last batches."""
    ends = (evaluations[:1], evaluations[-1:]) if evaluations else (updates[:_NUM_BATCHES], updates[-_NUM_BATCHES:])
    terms = []
    for term in scorer.get("terms") or ():
        metric = f"reward/term/{term['name']}"
        figures = [_means(rows, of) for of in (metric, f"{metric}_sd") for rows in ends]
        names = [name for name in figures[0] if all(name in figure for figure in figures)]
        slices = {name: tuple(figure[name] for figure in figures) for name in names}
        terms.append(TermFindings(term["name"], term["weight"], slices))
    return tuple(terms) if ends[0] else ()


def _means(rows: Rows, metric: str) -> dict[str, float]:
    """Return a metric's mean over some rows, of all answers and of each slice."""
    found = [{"": row[metric], **by_slice(row, metric)} for row in rows if metric in row]
    return {
        name: fmean(row[name] for row in found if name in row) for name in dict.fromkeys(k for r in found for k in r)
    }
