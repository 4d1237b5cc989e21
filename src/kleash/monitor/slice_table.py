"""Write the table of slices, worst change first, as HTML: a column per measure, each with its bar.

Averages hide local harm, so this table is the heart of the report. It is complete without a script; figures.js only
adds sorting by the columns' `data-key`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kleash.monitor.checks import fell
from kleash.monitor.findings import Contrast
from kleash.monitor.markup import arrow, bounds, box, dumbbell, escape, interval_bar, track
from kleash.monitor.measures import Estimate
from kleash.records import split_slice
from kleash.web.wording import MISSING, count, number, number_range, percent, percent_range, points

Key = float | str | None


@dataclass(frozen=True)
class Column:
    """One column. key: what it is sorted by, None where it was not measured; cell: its HTML."""

    title: str
    unit: str
    key: Callable[[Contrast], Key]
    cell: Callable[[Contrast], str]


def slices_section(slices: Sequence[Contrast], judge: str) -> str:
    """Return the table in the order given, without the columns that nothing was measured for."""
    if not slices:
        return ""
    columns = [column for column in _columns(slices, judge) if any(column.key(found) is not None for found in slices)]
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{column.title}<span>{column.unit}</span></button></th>'
        for column in columns
    )
    rows = "".join(f"<tr>{''.join(_cell(column, found) for column in columns)}</tr>" for found in slices)
    return (
        '<section id="slices"><h2>By slice, worst change first</h2><p class="about">An average hides local harm. Grey '
        "is the SFT model, green the policy. An interval is coloured only if it excludes no change; with many slices "
        "one in forty falls out by chance alone on either side.</p>"
        f'<div class="scroll" tabindex="0"><table class="slices"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></section>"
    )


def slice_heading(name: str) -> str:
    """Return a slice's name as HTML, its dimension small before its value."""
    dimension, value = split_slice(name)
    return f"<small>{escape(dimension)}</small> {escape(value.replace('_', ' '))}" if dimension else escape(name)


def _cell(column: Column, found: Contrast) -> str:
    key = column.key(found)
    name, scope = ("th", ' scope="row"') if column.title == "Slice" else ("td", "")
    return f'<{name}{scope} data-key="{"" if key is None else escape(key)}">{column.cell(found)}</{name}>'


def _columns(slices: Sequence[Contrast], judge: str) -> list[Column]:
    title = {"gold": "Gold", "proxy": "Reward"}.get(judge, "Judge")
    return [
        Column("Slice", "prompts", lambda found: found.name, _name_cell),
        Column("Correct", "SFT → policy", lambda found: found.correct_after, _correct_cell),
        Column("Change", "95 % interval", lambda found: _value(found.change), _change_cells(slices)),
        Column("Win rate", "95 % interval", lambda found: _value(found.win_rate), _win_cell),
        Column(title, "mean, SFT → policy", lambda found: _value(found.judge_difference), _judge_cells(slices)),
        Column("Refused", "SFT → policy", lambda found: found.refusal_after, _refusal_cell),
        Column("Length", "mean tokens", lambda found: found.length_after, _length_cells(slices)),
        Column("KL", "nats per answer", lambda found: _value(found.kl_nats), _kl_cells(slices)),
    ]


def _name_cell(found: Contrast) -> str:
    size = "" if found.n is None else f"<small class='size'>n\u00a0=\u00a0{count(found.n)}</small>"
    return f"{slice_heading(found.name)}{' <mark>fell</mark>' if fell(found) else ''}{size}"


def _correct_cell(found: Contrast) -> str:
    return _shares_cell(found.correct_before, found.correct_after)


def _refusal_cell(found: Contrast) -> str:
    return _shares_cell(found.refusal_before, found.refusal_after)


def _shares_cell(before: float | None, after: float | None) -> str:
    return f"{percent(before)} <i>→</i> {percent(after)}{dumbbell(before, after)}"


def _change_cells(slices: Sequence[Contrast]) -> Callable[[Contrast], str]:
    changes = [found.change for found in slices if found.change]
    reach = max([0.1, *(abs(bound) for change in changes for bound in bounds(change))])

    def cell(found: Contrast) -> str:
        change = found.change
        if change is None:
            return MISSING
        bar = interval_bar(change, even=0.0, start=-reach, end=reach)
        if found.correct_difference is None:
            return f"{number(change.value, signed=True)}{bar}<small>{number_range(change.low, change.high)}</small>"
        low, high = (None if bound is None else 100 * bound for bound in (change.low, change.high))
        return f"{points(change.value)}{bar}<small>{number_range(low, high, 0)}</small>"

    return cell


def _win_cell(found: Contrast) -> str:
    rate = found.win_rate
    if rate is None:
        return MISSING
    return f"{percent(rate.value)}{interval_bar(rate, even=0.5)}<small>{percent_range(rate.low, rate.high)}</small>"


def _judge_cells(slices: Sequence[Contrast]) -> Callable[[Contrast], str]:
    known = [score.value for found in slices for score in (found.judge_before, found.judge_after) if score]
    start, end = min([0.0, *known]), max([0.0, *known])

    def cell(found: Contrast) -> str:
        before, after = _value(found.judge_before), _value(found.judge_after)
        return arrow(before, after, 2) + dumbbell(before, after, start=start, end=end)

    return cell


def _length_cells(slices: Sequence[Contrast]) -> Callable[[Contrast], str]:
    end = max([1.0, *(length for found in slices for length in (found.length_before, found.length_after) if length)])

    def cell(found: Contrast) -> str:
        before, after = found.length_before, found.length_after
        return arrow(before, after, 1) + dumbbell(before, after, end=end)

    return cell


def _kl_cells(slices: Sequence[Contrast]) -> Callable[[Contrast], str]:
    end = max([1e-9, *(found.kl_nats.value for found in slices if found.kl_nats)])

    def cell(found: Contrast) -> str:
        kl = _value(found.kl_nats)
        bar = "" if kl is None else track(box("amount", 0.0, kl, start=0.0, end=end))
        return number(kl) + bar

    return cell


def _value(found: Estimate | None) -> float | None:
    return None if found is None else found.value
