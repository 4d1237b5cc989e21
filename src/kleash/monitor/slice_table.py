"""Write the table of slices, worst change first, as HTML: a column per measure, each with its bar.

Averages hide local harm, so this table is the heart of the report. It is complete without a script; report.js only
adds sorting by the columns' `data-key`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kleash.monitor.findings import Estimate, SliceFinding
from kleash.monitor.markup import arrow, bounds, box, dumbbell, escape, interval_bar, track
from kleash.monitor.verdict import fell
from kleash.monitor.wording import MISSING, count, number, number_range, percent, percent_range, points

Key = float | str | None


@dataclass(frozen=True)
class Column:
    """One column. key: what it is sorted by, None where it was not measured; cell: its HTML."""

    title: str
    unit: str
    key: Callable[[SliceFinding], Key]
    cell: Callable[[SliceFinding], str]


def slices_section(slices: Sequence[SliceFinding]) -> str:
    """Return the table in the order given, without the columns that nothing was measured for."""
    if not slices:
        return ""
    columns = [column for column in _columns(slices) if any(column.key(found) is not None for found in slices)]
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button" data-column="{place}">{column.title}'
        f"<span>{column.unit}</span></button></th>"
        for place, column in enumerate(columns)
    )
    rows = "".join(f"<tr>{''.join(_cell(column, found) for column in columns)}</tr>" for found in slices)
    return (
        '<section id="slices"><h2>By slice, worst change first</h2><p class="about">An average hides local harm. Grey '
        "is the SFT model, green the policy. An interval is coloured only if it excludes no change; with many slices "
        "one in forty falls out by chance alone on either side.</p>"
        f'<div class="scroll" tabindex="0"><table class="slices"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def _cell(column: Column, found: SliceFinding) -> str:
    key = column.key(found)
    name, scope = ("th", ' scope="row"') if column.title == "Slice" else ("td", "")
    return f'<{name}{scope} data-key="{"" if key is None else escape(key)}">{column.cell(found)}</{name}>'


def _columns(slices: Sequence[SliceFinding]) -> list[Column]:
    return [
        Column("Slice", "", lambda found: found.name, _name_cell),
        Column("n", "prompts", lambda found: found.n, lambda found: count(found.n)),
        Column("Correct", "SFT → policy", lambda found: found.correct_after, _correct_cell),
        Column("Change", "95 % interval", lambda found: _value(found.correct_difference), _change_cells(slices)),
        Column("Win rate", "95 % interval", lambda found: _value(found.win_rate), _win_cell),
        Column("Gold", "mean points", _gold_change, _gold_cells(slices)),
        Column("Length", "mean tokens", lambda found: found.tokens_after, _length_cells(slices)),
        Column("KL", "nats per answer", lambda found: found.kl_nats_per_sequence, _kl_cells(slices)),
    ]


def _name_cell(found: SliceFinding) -> str:
    dimension, equals, value = found.name.partition("=")
    name = f"<small>{escape(dimension)}</small> {escape(value)}" if equals else escape(found.name)
    return name + (" <mark>fell</mark>" if fell(found) else "")


def _correct_cell(found: SliceFinding) -> str:
    before, after = found.correct_before, found.correct_after
    return f"{percent(before)} <i>→</i> {percent(after)}{dumbbell(before, after)}"


def _change_cells(slices: Sequence[SliceFinding]) -> Callable[[SliceFinding], str]:
    changes = [found.correct_difference for found in slices if found.correct_difference]
    reach = max([0.1, *(abs(bound) for change in changes for bound in bounds(change))])

    def cell(found: SliceFinding) -> str:
        change = found.correct_difference
        if change is None:
            return MISSING
        low, high = (None if bound is None else 100 * bound for bound in (change.low, change.high))
        bar = interval_bar(change, even=0.0, start=-reach, end=reach)
        return f"{points(change.value)}{bar}<small>{number_range(low, high, 0)}</small>"

    return cell


def _win_cell(found: SliceFinding) -> str:
    rate = found.win_rate
    if rate is None:
        return MISSING
    return f"{percent(rate.value)}{interval_bar(rate, even=0.5)}<small>{percent_range(rate.low, rate.high)}</small>"


def _gold_cells(slices: Sequence[SliceFinding]) -> Callable[[SliceFinding], str]:
    known = [gold for found in slices for gold in (found.gold_before, found.gold_after) if gold is not None]
    start, end = min([0.0, *known]), max([0.0, *known])

    def cell(found: SliceFinding) -> str:
        before, after = found.gold_before, found.gold_after
        return arrow(before, after, 2) + dumbbell(before, after, start=start, end=end)

    return cell


def _length_cells(slices: Sequence[SliceFinding]) -> Callable[[SliceFinding], str]:
    end = max([1.0, *(length for found in slices for length in (found.tokens_before, found.tokens_after) if length)])

    def cell(found: SliceFinding) -> str:
        before, after = found.tokens_before, found.tokens_after
        return arrow(before, after, 1) + dumbbell(before, after, end=end)

    return cell


def _kl_cells(slices: Sequence[SliceFinding]) -> Callable[[SliceFinding], str]:
    end = max([1e-9, *(found.kl_nats_per_sequence or 0.0 for found in slices)])

    def cell(found: SliceFinding) -> str:
        kl = found.kl_nats_per_sequence
        bar = "" if kl is None else track(box("amount", 0.0, kl, start=0.0, end=end))
        return number(kl) + bar

    return cell


def _gold_change(found: SliceFinding) -> float | None:
    return None if found.gold_before is None or found.gold_after is None else found.gold_after - found.gold_before


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value
