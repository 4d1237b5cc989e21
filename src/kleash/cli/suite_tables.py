"""What suites came to, as tables: a row per measure, slices that moved, variants of a question, and what broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from kleash.cli.screen import harmless
from kleash.evaluation.suites.items import UNWANTED
from kleash.web.wording import percent, percent_range

Figures = Mapping[str, Any]

_NUM_NAMED = 10
_LONGEST_PROMPT = 70
_SLICE_HEADINGS = ("slice", "measure", "policy", "difference", "p", "n")


def suite_tables(figures: Figures) -> list[Table]:
    """Return a suites artifact's summary for the screen, the measures first."""
    tables = [_measures(figures)]
    if moved := _moved_slices(figures["slices"]):
        tables.append(
            _titled("Slices whose difference excludes zero, worst first", _SLICE_HEADINGS, moved[:_NUM_NAMED])
        )
    if any(figures["variants"].values()):
        tables.append(_variants(figures["variants"]))
    if figures["unchecked"]:
        rows = [(f"{count:,}", reason) for reason, count in figures["unchecked"].items()]
        tables.append(_titled("Not checked, and counted nowhere", ("items", "why"), rows))
    if "regression" in figures:
        tables.append(_regression(figures["regression"]))
    return tables


def _measures(figures: Figures) -> Table:
    has_reference = any(figures["reference"].values())
    headings = ["bucket", "measure", "policy", *(["reference", "difference", "p"] if has_reference else []), "n"]
    rows = []
    for bucket, measures in figures["buckets"].items():
        for name, interval in measures.items():
            row = [bucket, name, _rate(interval)]
            if has_reference:
                other = figures["reference"].get(bucket, {}).get(name)
                gain = figures["differences"].get(bucket, {}).get(name)
                row += [_rate(other) if other else "-", *(_difference(gain) if gain else ("-", "-"))]
            rows.append((*row, f"{interval['n']:,}"))
    return _titled(f"{figures['items']:,} items (95 % intervals; differences are paired)", headings, rows)


def _moved_slices(slices: Figures) -> list[tuple[str, ...]]:
    """Return the slices whose difference is not within chance: an average may rise over one that falls."""
    moved = [
        (
            _for_the_better(measure, gain["value"]),
            (name, measure, _rate(sides["buckets"][bucket][measure]), *_difference(gain), f"{gain['n']:,}"),
        )
        for name, sides in slices.items()
        for bucket, gains in sides["differences"].items()
        for measure, gain in gains.items()
        if not gain["low"] <= 0 <= gain["high"]
    ]
    return [row for _, row in sorted(moved)]


def _for_the_better(measure: str, difference: float) -> float:
    return -difference if measure.rpartition("/")[2] in UNWANTED else difference


def _variants(variants: Figures) -> Table:
    rows = [
        (bucket, name, *_difference(figure), f"{figure['n']:,}")
        for bucket, measures in variants.items()
        for name, figure in measures.items()
    ]
    return _titled("Variants of a question against the plain one", ("bucket", "measure", "difference", "p", "n"), rows)


def _regression(figures: Figures) -> Table:
    title = (
        f"Since the last time: {figures['newly_broken']:,} newly broken, {figures['newly_fixed']:,} newly fixed, of "
        f"{figures['compared']:,} items"
    )
    rows = [
        (item["suite"], item["id"], _shortened(item["prompt"]), item["detail"])
        for item in figures["broken"][:_NUM_NAMED]
    ]
    if figures["newly_broken"] > len(rows):
        rows.append(("", "", f"and {figures['newly_broken'] - len(rows):,} more, in items.jsonl", ""))
    return _titled(title, ("suite", "newly broken", "prompt", "why") if rows else (), rows)


def _titled(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=None, show_header=bool(headings))
    for heading in headings:
        table.add_column(heading, overflow="fold", justify="right" if heading in ("n", "items", "p") else "left")
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    return table


def _rate(interval: Figures) -> str:
    return f"{percent(interval['value'])} ({percent_range(interval['low'], interval['high'])})"


def _difference(figure: Figures) -> tuple[str, str]:
    points = [round(100 * figure[name]) for name in ("value", "low", "high")]
    return "{:+d} points ({:+d} to {:+d})".format(*points), f"{figure['p_value']:.2g}"


def _shortened(prompt: str) -> str:
    line = " ".join(prompt.split())
    return line if len(line) <= _LONGEST_PROMPT else f"{line[: _LONGEST_PROMPT - 3]}..."
