"""The labellers of a run as parts of a page: how far they agree, and a row of habits for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kleash.collection.quality import RaterRow
from kleash.maths.intervals import Interval
from kleash.monitor.labellers import Labels, frozen_preferences
from kleash.monitor.markup import bounds, box, escape, mark, rate_note, track
from kleash.monitor.measures import Estimate, estimate, finite
from kleash.monitor.reader import Run
from kleash.web.wording import MISSING, count, duration, number, percent

HABITS: Mapping[str, tuple[str, str]] = {
    "with_others": ("Agrees with the others", "same verdict on the same pair"),
    "easy_gold_accuracy": ("Right, easy", "on easy calibration items"),
    "gold_accuracy": ("Right, all", "on all calibration items"),
    "self_consistency": ("Consistent", "same verdict when asked again"),
    "first_position": ("First place", "prefers what is shown first"),
    "longer": ("Longer", "prefers the longer answer"),
    "too_fast": ("Too fast", "to have read both answers"),
}
"""{rate of a rater: (title, unit)}; a column that nobody has is left out."""


def labels_summary(run: Run) -> str:
    """Return what each round's preferences say of their own labels, the newest first: at once, from the manifests."""
    sections = [
        _section(number, stage.summary, '<p class="about">Counting the judgements …</p>')
        for number, stage in frozen_preferences(run)
    ]
    return _ABOUT + ("".join(sections) or '<p class="about">No preferences were frozen in this run yet.</p>')


def labels_page(labels: Sequence[Labels]) -> str:
    """Return the same with a table of raters in each round."""
    if not labels:
        return _ABOUT + '<p class="about">No preferences were frozen in this run yet.</p>'
    return _ABOUT + "".join(_section(found.round_number, found.summary, _raters(found)) for found in labels)


_ABOUT = (
    '<p class="about">The labels that training saw, as they were frozen. Raters are invited, watched and left out in '
    "the labelling service, <code>kleash collect serve</code>.</p>"
)


def _section(round_number: int, summary: Mapping[str, Any], raters: str) -> str:
    return f"<section><h2>Round {round_number}</h2>{_tiles(summary)}{_gates(summary)}<h3>Raters</h3>{raters}</section>"


# ----------------------------------------------------------------------------------------------------------- summary
def _tiles(summary: Mapping[str, Any]) -> str:
    agreement = estimate(summary.get("agreement_interval") or summary.get("agreement"))
    left_out = summary.get("left_out")
    num_left_out = sum(left_out.values()) if isinstance(left_out, Mapping) else None
    tiles = [
        ("Judgements", count(finite(summary.get("judgements"))), f"by {_counted(summary, 'raters')} raters"),
        ("Comparisons", count(finite(summary.get("comparisons"))), f"of {_counted(summary, 'prompts')} prompts"),
        ("Pairs to train on", count(finite(summary.get("pairs"))), f"{_counted(summary, 'ties')} of them tied"),
    ]
    if num_left_out:
        tiles.append(("Left out", count(num_left_out), ", ".join(map(str, left_out or ()))))
    if agreement is not None:
        tiles.insert(0, ("Agreement", percent(agreement.value), f"ties out, {rate_note(agreement)}"))
    boxes = "".join(
        f'<div class="tile"><h3>{title}</h3><p class="figure">{figure}</p><p class="note">{escape(note)}</p></div>'
        for title, figure, note in tiles
    )
    return f'<div class="tiles">{boxes}</div>'


def _counted(summary: Mapping[str, Any], name: str) -> str:
    return count(finite(summary.get(name)))


def _gates(summary: Mapping[str, Any]) -> str:
    gates = summary.get("gates")
    if not isinstance(gates, Mapping) or not gates:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(str(name).replace("_", " "))}</th><td>{_state(found.get("state"))}</td>'
        f"<td>{escape(found.get('reason', ''))}</td></tr>"
        for name, found in gates.items()
        if isinstance(found, Mapping)
    )
    head = '<tr><th scope="col">Gate</th><th scope="col">State</th><th scope="col">Why</th></tr>'
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Gates"><table>'
        f"<thead>{head}</thead><tbody>{rows}</tbody></table></div>"
    )


def _state(state: object) -> str:
    if state == "fail":
        return "<mark>fails</mark>"
    return {"pass": "passes", "unknown": "not known"}.get(str(state), escape(state))


# ------------------------------------------------------------------------------------------------------------ raters
def _raters(labels: Labels) -> str:
    if labels.problem:
        return f'<p class="about">The raters cannot be told: {escape(labels.problem)}</p>'
    if labels.raters is None:
        return '<p class="about">Only the preferences were given, not who judged what.</p>'
    shown = [name for name in HABITS if any(_rate(getattr(row, name)) for row in labels.raters)]
    skills = labels.summary.get("skills")
    skills = skills if isinstance(skills, Mapping) else {}
    titles = [("Rater", "and what it is"), ("Items", "judged")]
    titles += [HABITS[name] for name in shown]
    titles += [("Skill", "estimated from all votes")] if skills else []
    titles += [("Time", "median per verdict"), ("Other", "")]
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{title}<span>{unit}</span></button></th>'
        for title, unit in titles
    )
    rows = "".join(_rater_row(row, shown, skills) for row in labels.raters)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Raters"><table class="raters">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _rater_row(row: RaterRow, shown: Sequence[str], skills: Mapping[str, Any]) -> str:
    kind = "" if row.kind == "person" else f" <small>{escape(row.kind)}</small>"
    cells = [f'<th scope="row" data-key="{escape(row.rater)}">{escape(row.rater)}{kind}</th>']
    cells.append(f'<td data-key="{row.num_items}">{count(row.num_items)}</td>')
    cells += [_rate_cell(_rate(getattr(row, name))) for name in shown]
    if skills:
        skill = finite(skills.get(row.rater))
        cells.append(f'<td data-key="{"" if skill is None else skill}">{number(skill)}</td>')
    seconds = _rate(row.median_seconds)
    cells.append(
        f'<td data-key="{seconds.value if seconds else ""}">{duration(seconds.value if seconds else None)}</td>'
    )
    other = [f"{count(row.num_skipped)} skipped"] if row.num_skipped else []
    other += [f"{count(times)} flagged {name.replace('_', ' ')}" for name, times in row.flags.items()]
    cells.append(f"<td>{escape(', '.join(other)) or MISSING}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _rate_cell(rate: Estimate | None) -> str:
    """Return a rate with its bar. No colour: to prefer the shorter answer, say, is neither good nor bad."""
    if rate is None:
        return f'<td data-key="">{MISSING}</td>'
    low, high = bounds(rate)
    span = {"start": 0.0, "end": 1.0}
    bar = track(mark("rule", 0.5, **span), box("range", low, high, **span), mark("tick", rate.value, **span))
    return f'<td data-key="{rate.value}">{percent(rate.value)}{bar}<small>{rate_note(rate)}</small></td>'


def _rate(found: Interval) -> Estimate | None:
    return estimate(vars(found))
