"""Write what became of suites as HTML: each measure beside the reference's, slices that got worse, what newly broke.

The figures are those of a suites artifact's summary (`evaluation/suites/figures.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kleash.monitor.markup import dumbbell, escape, interval_bar, num_cases
from kleash.monitor.measures import Estimate, estimate, whole
from kleash.web.wording import MISSING, count, number_range, percent, percent_range, points

Figures = Mapping[str, Any]

_NUM_SLICES, _LONGEST_PROMPT = 10, 200


@dataclass(frozen=True)
class Measure:
    """One measure of one bucket. before: the reference's rate; gain: policy less reference, paired by item."""

    bucket: str
    name: str
    rate: Estimate
    before: Estimate | None
    gain: Estimate | None
    less_is_better: bool

    @property
    def title(self) -> str:
        return escape(self.name.replace("_", " "))

    @property
    def is_surely_worse(self) -> bool:
        if self.gain is None or self.gain.low is None or self.gain.high is None:
            return False
        return self.gain.low > 0 if self.less_is_better else self.gain.high < 0


def suites_section(summary: Figures) -> str:
    """Return the section for a suites artifact's summary; "" where no suite was asked."""
    unwanted = summary.get("unwanted")
    unwanted = unwanted if isinstance(unwanted, list) else []
    measures = list(_measures(summary, unwanted))
    unchecked = _unchecked(_part(summary, "unchecked"))
    if not measures and not unchecked:
        return ""
    has_reference = any(measure.before for measure in measures)
    extra_settings = (
        " Grey is the reference, green the policy; differences are paired by item." if has_reference else ""
    )
    heads = ("Suite", "Passed", "Difference") if has_reference else ("Suite", "Passed")
    head = "".join(f'<th scope="col">{title}</th>' for title in heads)
    rows = "".join(_row(measure, has_reference=has_reference) for measure in measures)
    body = f'<table class="slices"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    table = f'<div class="scroll" tabindex="0">{body}</div>' if measures else ""
    about = f"{count(whole(summary.get('items')))} items whose answers rules can check; 95 % intervals.{extra_settings}"
    return (
        f'<section id="suites"><h2>Suites</h2><p class="about">{about}</p>{table}'
        f"{_worse_slices(summary, unwanted)}{_broken(_part(summary, 'regression'))}{unchecked}</section>"
    )


# ----------------------------------------------------------------------------------------------------------- inside
def _measures(sides: Figures, unwanted: list[Any]) -> Iterator[Measure]:
    for bucket, figures in _part(sides, "buckets").items():
        for name, figure in _part(figures).items():
            if rate := estimate(figure):
                before = estimate(_part(sides, "reference", bucket).get(name))
                gain = estimate(_part(sides, "differences", bucket).get(name))
                yield Measure(bucket, name, rate, before, gain, name.rpartition("/")[2] in unwanted)


def _row(measure: Measure, *, has_reference: bool) -> str:
    rate, before = measure.rate, measure.before
    size = "" if rate.n is None else f"<small class='size'>n\u00a0=\u00a0{count(rate.n)}</small>"
    name = f'<th scope="row"><small>{escape(measure.bucket)}</small> {measure.title}{size}</th>'
    bar = interval_bar(rate, even=0.0) if before is None else dumbbell(before.value, rate.value)
    change = percent(rate.value) if before is None else f"{percent(before.value)} <i>→</i> {percent(rate.value)}"
    passed = f"<td>{change}{bar}<small>{percent_range(rate.low, rate.high)}</small></td>"
    return f"<tr>{name}{passed}{f'<td>{_gain_cell(measure)}</td>' if has_reference else ''}</tr>"


def _gain_cell(measure: Measure) -> str:
    if measure.gain is None:
        return MISSING
    bar = interval_bar(measure.gain, even=0.0, start=-1.0, end=1.0, less_is_better=measure.less_is_better)
    note = "; less is better" if measure.less_is_better else ""
    return f"{points(measure.gain.value)}{bar}<small>{_span(measure.gain)}{note}</small>"


def _worse_slices(summary: Figures, unwanted: list[Any]) -> str:
    """Return the slices that surely got worse, the worst first: an average may rise over one that falls."""
    found = [
        (abs(measure.gain.value), slice_name, measure.title, measure.gain)
        for slice_name, sides in _part(summary, "slices").items()
        for measure in _measures(_part(sides), unwanted)
        if measure.is_surely_worse and measure.gain
    ]
    found.sort(key=lambda row: row[:3], reverse=True)
    rows = "".join(
        f"<li><b>{escape(slice_name)}</b> {title}: {points(gain.value)} ({_span(gain)}){num_cases(gain)}</li>"
        for _, slice_name, title, gain in found[:_NUM_SLICES]
    )
    return f'<p class="about">Slices that got worse, with their whole interval:</p><ul>{rows}</ul>' if rows else ""


def _broken(regression: Figures) -> str:
    """Return the items that were passed the last time and are not now."""
    broken, fixed, compared = (whole(regression.get(name)) for name in ("newly_broken", "newly_fixed", "compared"))
    if broken is None:
        return ""
    items = regression.get("broken")
    rows = "".join(
        f"<li><b>{escape(item.get('suite'))} {escape(item.get('id'))}</b> "
        f"{escape(str(item.get('prompt'))[:_LONGEST_PROMPT])} <small>{escape(item.get('detail'))}</small></li>"
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, Mapping)
    )
    told = f"{count(broken)} newly broken, {count(fixed)} newly fixed, of {count(compared)} items"
    return f'<p class="about">Since the last time: {told}.</p>' + (f"<ul>{rows}</ul>" if rows else "")


def _unchecked(reasons: Figures) -> str:
    """Return how many items count nowhere, and why."""
    rows = "".join(f"<li>{count(whole(num_items))}: {escape(reason)}</li>" for reason, num_items in reasons.items())
    return f'<p class="about">Items that could not be checked and count nowhere:</p><ul>{rows}</ul>' if rows else ""


def _span(gain: Estimate) -> str:
    return "no interval" if gain.low is None or gain.high is None else number_range(100 * gain.low, 100 * gain.high, 0)


def _part(figures: Any, *names: str) -> Figures:
    """Return what lies below these names, or nothing where a damaged file holds something else."""
    for name in names:
        figures = figures.get(name) if isinstance(figures, Mapping) else None
    return figures if isinstance(figures, Mapping) else {}
