"""What suites came to, as tables: a row per measure, slices that moved, variants of a question, and what broke."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from kleash.cli.tables import rows_table
from kleash.estimates import Difference
from kleash.evaluation.suites.items import UNWANTED
from kleash.results import Regression, SuiteSides, SuitesSummary

_NUM_NAMED = 10
_LONGEST_PROMPT = 70
_SLICE_HEADINGS = ("slice", "measure", "policy", "difference", "p", "n")


def suite_tables(suites: SuitesSummary) -> list[Table]:
    """Return a suites artifact's summary for the screen, the measures first."""
    tables = [_measures(suites)]
    if moved := _moved_slices(suites.slices):
        tables.append(
            _titled("Slices whose difference excludes zero, worst first", _SLICE_HEADINGS, moved[:_NUM_NAMED])
        )
    if any(suites.variants.values()):
        tables.append(_variants(suites.variants))
    if suites.unchecked:
        rows = [(f"{count:,}", reason) for reason, count in suites.unchecked.items()]
        tables.append(_titled("Not checked, and counted nowhere", ("items", "why"), rows))
    if suites.regression:
        tables.append(_regression(suites.regression))
    return tables


def _measures(suites: SuitesSummary) -> Table:
    has_reference = any(suites.reference.values())
    headings = ["bucket", "measure", "policy", *(["reference", "difference", "p"] if has_reference else []), "n"]
    rows = []
    for bucket, measures in suites.buckets.items():
        for name, rate in measures.items():
            row = [bucket, name, str(rate)]
            if has_reference:
                other = suites.reference.get(bucket, {}).get(name)
                gain = suites.differences.get(bucket, {}).get(name)
                row += [str(other or "-"), *(_difference(gain) if gain else ("-", "-"))]
            rows.append((*row, f"{rate.n or 0:,}"))
    return _titled(f"{suites.items or 0:,} items (95 % intervals; differences are paired)", headings, rows)


def _moved_slices(slices: Mapping[str, SuiteSides]) -> list[tuple[str, ...]]:
    """Return the slices whose difference is not within chance: an average may rise over one that falls."""
    moved = [
        (
            _for_the_better(measure, gain.value),
            (name, measure, str(sides.buckets[bucket][measure]), *_difference(gain), f"{gain.n or 0:,}"),
        )
        for name, sides in slices.items()
        for bucket, gains in sides.differences.items()
        for measure, gain in gains.items()
        if gain.low is not None and gain.high is not None and not gain.low <= 0 <= gain.high
    ]
    return [row for _, row in sorted(moved)]


def _for_the_better(measure: str, difference: float) -> float:
    return -difference if measure.rpartition("/")[2] in UNWANTED else difference


def _variants(variants: Mapping[str, Mapping[str, Difference]]) -> Table:
    rows = [
        (bucket, name, *_difference(figure), f"{figure.n or 0:,}")
        for bucket, measures in variants.items()
        for name, figure in measures.items()
    ]
    return _titled("Variants of a question against the plain one", ("bucket", "measure", "difference", "p", "n"), rows)


def _regression(changed: Regression) -> Table:
    num_broken = changed.newly_broken or 0
    title = (
        f"Since the last time: {num_broken:,} newly broken, {changed.newly_fixed or 0:,} newly fixed, of "
        f"{changed.compared or 0:,} items"
    )
    rows = [(item.suite, item.id, _shortened(item.prompt), item.detail) for item in changed.broken[:_NUM_NAMED]]
    if num_broken > len(rows):
        rows.append(("", "", f"and {num_broken - len(rows):,} more, in items.jsonl", ""))
    return _titled(title, ("suite", "newly broken", "prompt", "why") if rows else (), rows)


def _titled(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    return rows_table(headings, rows, right=("n", "items", "p"), title=title, show_header=bool(headings))


def _difference(figure: Difference) -> tuple[str, str]:
    points = [round(100 * (bound or 0.0)) for bound in (figure.value, figure.low, figure.high)]
    return "{:+d} points ({:+d} to {:+d})".format(*points), "-" if figure.p_value is None else f"{figure.p_value:.2g}"


def _shortened(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= _LONGEST_PROMPT else f"{line[: _LONGEST_PROMPT - 3]}..."
