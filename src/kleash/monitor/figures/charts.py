"""Draw the figures beside the training curves: the optimiser's health, and the reward model on unseen pairs.

The main figure is in `training_chart.py`; what they are made of in `marks.py`.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from kleash.beside import table_beside
from kleash.monitor.figures import marks
from kleash.monitor.figures.marks import rate_text, shortened
from kleash.monitor.read.findings import Findings, RewardModelFindings
from kleash.monitor.read.measures import column, metric_names
from kleash.web import plots
from kleash.web.plots import ACCENT, BAD, INK, Part
from kleash.web.wording import number

HELD_OUT = "heldout/"
MARGIN_BINS = 36
OF_THE_OPTIMISER = ("_seconds", "_gradient_norm", "_learning_rate")

SMALL_METRICS: Mapping[str, Sequence[Any]] = table_beside(__file__)
"""The smaller figures of an online run: {metric: (title, unit, is it a share of 1, shown in per cent?)}."""


def small_figures(findings: Findings) -> list[tuple[str, str, Part]]:
    """Return (title, unit, figure) of each further metric; of a direct method, of the first few that it recorded."""
    wanted = dict(SMALL_METRICS)
    if findings.method == "direct":
        names = metric_names(findings.updates)
        plain = sorted(name for name in names - {"step"} if not name.endswith(OF_THE_OPTIMISER) and "/" not in name)
        wanted = {name: (name.replace("_", " "), "", False) for name in plain[:5]}
    figures = _losses(findings)
    for name, (title, unit, is_share) in wanted.items():
        steps, values = column(findings.updates, name)
        is_idle = name == "learning_rate_share" and min(values, default=1.0) == 1.0  # a leash that acts on beta alone
        if values and not is_idle:
            shown = [100 * value for value in values] if is_share else values
            figures.append((title, unit, _small([marks.line(steps, shown, html.escape(title))], is_share=is_share)))
    return figures


def _losses(findings: Findings) -> list[tuple[str, str, Part]]:
    """Draw the loss of what was fitted to rows and looked at on rows held out, with that of the latter."""
    figures = []
    for stage, rows in findings.training.items():
        for name in ("loss_nats_per_token", "loss_nats", "loss"):
            steps, values = column(rows, name)
            looks, losses = column(rows, HELD_OUT + name)
            if losses:
                apart = plots.dots(looks, losses, [f"held out: {number(loss, 4)}" for loss in losses], color=INK)
                unit = "nats per token" if name.endswith("token") else "nats" if name.endswith("nats") else ""
                title, unit = f"Loss of {stage}", ", ".join(filter(None, [unit, "● on rows held out"]))
                figures.append((title, unit, _small([marks.line(steps, values, "loss"), apart])))
    return figures


def _small(traces: list[Part], *, is_share: bool = False) -> Part:
    x, y = plots.axis(has_grid=False, ticks=4), plots.axis(ticks=4, is_percent=is_share)
    return plots.chart(traces, x=x, y=y, height=140, bottom=26, top=8, hovermode="x")


def margin_figure(margins: Sequence[float], *, height: int) -> Part | None:
    """Draw how far apart the reward model puts the two answers of pairs; left of zero it is wrong."""
    if not margins:
        return None
    edges, wrong, right = margin_bins(margins)
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    texts = [f"{number(low)} to {number(high)}" for low, high in pairwise(edges)]
    width = 0.94 * (edges[1] - edges[0])
    traces = [
        marks.bars(middles, wrong, width, texts, "wrong order", BAD),
        marks.bars(middles, right, width, texts, "right order", ACCENT),
    ]
    x, y = plots.axis(title="margin, raw reward units", has_grid=False), plots.axis(title="pairs")
    return plots.chart(traces, x=x, y=y, height=height, barmode="stack", shapes=[plots.upright(0)])


def slice_accuracy_figure(model: RewardModelFindings) -> Part | None:
    """Draw the reward model's accuracy on unseen pairs by slice with its interval, worst at the top."""
    if not model.slices:
        return None
    order = sorted(model.slices.items(), key=lambda item: item[1].value, reverse=True)
    values = [accuracy for _, accuracy in order]
    # Positions, not names, on the axis: two slices cut to the same label must stay two rows.
    places = list(range(len(order)))
    names = [html.escape(shortened(name)) for name, _ in order]
    y = plots.axis(has_grid=False) | {"tickvals": places, "ticktext": names, "automargin": True}
    texts = [rate_text(accuracy) for accuracy in values]
    points = plots.dots([100 * accuracy.value for accuracy in values], places, texts, color=ACCENT)
    points["error_x"] = marks.intervals(values, scale=100)
    x, height = plots.axis(is_percent=True), pair_height(model)
    return plots.chart([points], x=x, y=y, height=height, left=10, shapes=[plots.upright(50)])


def margin_bins(margins: Sequence[float]) -> tuple[list[float], list[int], list[int]]:
    """Count margins in equal bins with an edge at zero: (edges, counts at or below zero, counts above zero).

    Of a bin's two edges the upper one belongs to it, so that a margin of zero, a tie, is not counted as right.
    """
    low, high = min([*margins, 0.0]), max([*margins, 0.0])
    width = (high - low) / MARGIN_BINS or 1.0
    num_below = int(-low / width) + 1
    edges = [width * index for index in range(-num_below, int(high / width) + 2)]
    wrong, right = [0] * (len(edges) - 1), [0] * (len(edges) - 1)
    for margin in margins:
        index = next(index for index, edge in enumerate(edges[1:]) if margin <= edge)
        (right if margin > 0 else wrong)[index] += 1
    return edges, wrong, right


def pair_height(model: RewardModelFindings) -> int:
    """Return the height, in pixels, of the two figures of a reward model that stand side by side."""
    return max(260, 60 + 24 * len(model.slices))
