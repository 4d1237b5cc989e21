"""One run's own over-optimisation picture, for its page and its report: proxy and quality over d = sqrt(KL).

The curves and the sentence on where the run stands are made in `comparing.py`, the chart in
`overoptimisation_chart.py`.
"""

from __future__ import annotations

from dataclasses import replace

from kleash.monitor.comparing import MEASURES, RunCurves, gains, standing
from kleash.monitor.markup import escape
from kleash.monitor.measures import Estimate
from kleash.monitor.overoptimisation_chart import DrawnCurve, distance_figure
from kleash.monitor.sections import chart_place
from kleash.monitor.verdict import judge_label
from kleash.web.plots import ACCENT, INK, Part

PLACE = "distance"
# With fewer there is no curve to see.
FEWEST_CHECKPOINTS = 3


def distance_part(curves: RunCurves) -> tuple[str, Part | None]:
    """Return the section and its figure; ("", None) where too few checkpoints were measured by anything external."""
    found = standing(curves)
    if not found.measure or len(gains(curves, found.measure)[0]) < FEWEST_CHECKPOINTS:
        return "", None
    judge = judge_label(curves.judge) if found.measure == "score" else MEASURES[found.measure].title.lower()
    figure = distance_figure([_proxy(curves), replace(_quality(curves, found.measure), fit=found.fit)])
    mood = "past-peak" if found.is_past_peak else ""
    return (
        f'<section id="{PLACE}"><h2>How far it went</h2><p class="about">Gain over the start against the distance '
        f"d = √KL, each in its own unit: dashed the reward (the proxy), solid the quality ({escape(judge)}). A hollow "
        "point is the newest checkpoint. Dotted, where it bends: d (a − b log d), the law of over-optimisation (Gao et "
        f'al. 2022), fitted to the solid points.</p><p class="standing {mood}">{escape(found.text)}</p>'
        f"{chart_place(PLACE, 'Reward and quality over the distance from the start')}</section>"
    ), figure


def _proxy(curves: RunCurves) -> DrawnCurve:
    known = [(found.distance, found.proxy) for found in curves.checkpoints if found.proxy is not None]
    start = known[0][1] if known else 0.0
    points = [(distance, Estimate(value - start)) for distance, value in known]
    return DrawnCurve("reward", ACCENT, "circle", points, is_dashed=True)


def _quality(curves: RunCurves, measure: str) -> DrawnCurve:
    known = [found for found in curves.checkpoints if measure in found.quality]
    start = MEASURES[measure].at_start
    start = known[0].quality[measure].value if start is None else start
    points = [(found.distance, _less(found.quality[measure], start)) for found in known]
    return DrawnCurve("quality", INK, "square", points)


def _less(found: Estimate, start: float) -> Estimate:
    low, high = (None if bound is None else bound - start for bound in (found.low, found.high))
    return replace(found, value=found.value - start, low=low, high=high)
