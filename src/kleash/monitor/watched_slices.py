"""Write the table of slices while a policy trains: what the reward says of each, what the panel says, and alarms.

The finished run's table, with what was measured on fresh prompts, is in `slice_table.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kleash.monitor.alarms import State, standing
from kleash.monitor.external_quality import PANEL
from kleash.monitor.findings import KL_METRIC, Findings, slice_names
from kleash.monitor.markup import arrow, dumbbell, escape, interval_bar
from kleash.monitor.measures import Estimate, column, last
from kleash.monitor.slice_table import slice_heading
from kleash.records import slice_metric
from kleash.web.wording import MISSING, number, percent, percent_range

FIRST_UPDATES = 5
STATE_WORDS = {"warn": "warning", "stop": "stop"}


@dataclass(frozen=True)
class WatchedSlice:
    """One slice while training, before and now. state: the worst alarm that stands in it; win_rate: the panel's."""

    name: str
    state: State
    win_rate: Estimate | None
    reward_before: float | None
    reward_now: float | None
    kl_nats: float | None
    tokens_before: float | None
    tokens_now: float | None


def watched_slices(findings: Findings) -> tuple[WatchedSlice, ...]:
    """Return the slices of a training run: those with alarms first, then the lowest win rate first."""
    states: dict[str, State] = {}
    for alarm in standing(findings.alarms):
        states.setdefault(alarm.slice, alarm.state)
    panel = next((curve for curve in findings.win_rates if curve.name == PANEL), None)
    rates = {} if panel is None else {name: points[-1][1] for name, points in panel.slices.items()}
    names = sorted({*slice_names(findings.updates), *rates, *(name for name in states if name)})
    found = [_watched(findings, name, states.get(name, "ok"), rates.get(name)) for name in names]
    return tuple(sorted(found, key=_urgency))


def watched_section(findings: Findings) -> str:
    """Return the table; "" if no slice was recorded."""
    slices = watched_slices(findings)
    if not slices:
        return ""
    heads = (
        ("Slice", ""),
        ("Win rate", "by the alarms' panel, 95 % interval"),
        ("Reward", "SD, at first → now"),
        ("KL", "nats per answer"),
        ("Length", "tokens, at first → now"),
    )
    head = "".join(
        f'<th scope="col"><button type="button">{title}<span>{unit}</span></button></th>' for title, unit in heads
    )
    rows = "".join(_row(found) for found in slices)
    return (
        '<section id="watched"><h2>By slice while training, worst first</h2><p class="about">An average hides local '
        "harm: a slice whose reward rises while the panel prefers the SFT model's answers is being gamed. Reward, KL "
        f"and length are means over a slice's share of {FIRST_UPDATES} updates' batches.</p>"
        f'<div class="scroll" tabindex="0" role="group" aria-label="Slices while training"><table class="slices">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


# ----------------------------------------------------------------------------------------------------------- inside
def _watched(findings: Findings, name: str, state: State, win_rate: Estimate | None) -> WatchedSlice:
    def before_and_now(metric: str) -> tuple[float | None, float | None]:
        _, values = column(findings.updates, slice_metric(name, metric))
        first = values[:FIRST_UPDATES]
        return (sum(first) / len(first) if first else None), last(findings.updates, slice_metric(name, metric))

    reward, tokens = before_and_now("score_mean"), before_and_now("response_tokens_mean")
    kl_nats = last(findings.updates, slice_metric(name, KL_METRIC))
    return WatchedSlice(name, state, win_rate, *reward, kl_nats, *tokens)


def _urgency(found: WatchedSlice) -> tuple[int, float, str]:
    severity = {"stop": 0, "warn": 1}.get(found.state, 2)
    return severity, found.win_rate.value if found.win_rate else 1.0, found.name


def _row(found: WatchedSlice) -> str:
    alarm = f' <span class="state {found.state}">{STATE_WORDS[found.state]}</span>' if found.state != "ok" else ""
    rate = found.win_rate
    win = MISSING
    if rate is not None:
        size = "" if rate.n is None else f", n\u00a0=\u00a0{rate.n}"
        span = f"{percent_range(rate.low, rate.high) or 'no interval'}{size}"
        win = f"{percent(rate.value)}{interval_bar(rate, even=0.5)}<small>{span}</small>"
    cells: Sequence[tuple[object, str]] = (
        (None if rate is None else rate.value, win),
        (found.reward_now, arrow(found.reward_before, found.reward_now, 2)),
        (found.kl_nats, number(found.kl_nats)),
        (found.tokens_now, arrow(found.tokens_before, found.tokens_now, 1) + _length_bar(found)),
    )
    told = "".join(f'<td data-key="{"" if key is None else escape(key)}">{cell}</td>' for key, cell in cells)
    return f'<tr><th scope="row" data-key="{escape(found.name)}">{slice_heading(found.name)}{alarm}</th>{told}</tr>'


def _length_bar(found: WatchedSlice) -> str:
    end = max(found.tokens_before or 0.0, found.tokens_now or 0.0, 1.0)
    return dumbbell(found.tokens_before, found.tokens_now, end=end)
