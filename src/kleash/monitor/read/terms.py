"""The terms of a score that is a sum: what each was at first and came to, over all answers and slice by slice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kleash.monitor.read.reader import Rows
from kleash.records import by_slice

ALL = ""
_NUM_BATCHES = 5


@dataclass(frozen=True)
class Moved:
    """A term's mean and standard deviation over some answers at the first look and at the last, in its own unit."""

    before: float
    after: float
    sd_before: float
    sd_after: float

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class TermFindings:
    """One term. slices: by name, that of all answers is ""."""

    name: str
    weight: float
    slices: Mapping[str, Moved]


def read_terms(scorer: Mapping[str, Any], evaluations: Rows, updates: Rows) -> tuple[TermFindings, ...]:
    """Return the terms of a policy's score: over the prompts it was watched on, else its first and last batches."""
    terms = scorer.get("terms") or ()
    ends = (evaluations[:1], evaluations[-1:]) if evaluations else (updates[:_NUM_BATCHES], updates[-_NUM_BATCHES:])
    return tuple(TermFindings(term["name"], term["weight"], _moves(term["name"], *ends)) for term in terms if ends[0])


def _moves(name: str, first: Rows, last: Rows) -> dict[str, Moved]:
    metric = f"reward/term/{name}"
    figures = [_means(rows, of) for of in (metric, f"{metric}_sd") for rows in (first, last)]
    return {of: Moved(*(figure[of] for figure in figures)) for of in figures[0] if all(of in each for each in figures)}


def _means(rows: Rows, metric: str) -> dict[str, float]:
    """Return a metric's mean over some rows, of all answers and of each slice."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for of, value in {ALL: row.get(metric), **by_slice(row, metric)}.items():
            if value is not None:
                found[of].append(value)
    return {of: fmean(values) for of, values in found.items()}
