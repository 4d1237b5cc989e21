"""The page of a comparison of methods: which one to use on these preferences, and the figures that say so.

It reads `methods.json` alone; who makes that file is in `experiments/`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kleash.monitor.figures import marks
from kleash.monitor.pages.rendering import fragment
from kleash.monitor.pages.single_page import ExperimentPage
from kleash.web import plots
from kleash.web.plots import ACCENT, MUTED, Part
from kleash.web.wording import number, percent, percent_range

HEADINGS = (
    "method", "seeds", "win rate", "over seeds", "gain", "KL, nats", "length", "budget", "per answer", "time", "memory"
)  # fmt: skip
CHARTS = (
    ("frontier", "In KL", "One dot per seed. Further right is further from the SFT policy."),
    ("cost", "In time", "Training alone, means over seeds; what all methods share is not counted."),
)
"""(place, title, caption) of the page's charts."""


def parts_of(content: Mapping[str, Any]) -> tuple[str, dict[str, Part]]:
    """Return the page's sections (what to use, the figures of every method, the charts), and the charts by name."""
    sections = fragment(
        "parts/methods.html",
        advice=content["advice"],
        recipe=content["recipe"],
        judge=content["judge"],
        headings=HEADINGS,
        rows=table_rows(content["standings"]),
        charts=CHARTS,
    )
    return sections, {"frontier": frontier(content["results"]), "cost": cost(content["standings"])}


PAGE = ExperimentPage(
    title="Which method for these preferences?",
    kind="comparison",
    source="methods.json",
    command="kleash compare-methods",
    file="methods.html",
    parts_of=parts_of,
)


def table_rows(standings: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return each method's cells in the order of HEADINGS; the budget is the share of the costliest method's passes."""
    largest = max((one["passes"] for one in standings), default=0.0) or 1.0
    return [
        [
            one["method"].replace("_", " "),
            str(one["num_seeds"]),
            f"{percent(one['win_rate'])} ({percent_range(one['win_rate_low'], one['win_rate_high'])})",
            f"± {number(100 * one['seed_sd'], 1)} points" if one["num_seeds"] > 1 else "–",
            number(one["gain"], signed=True),
            number(one["kl_nats"]),
            f"× {number(one['length_ratio'])}",
            f"{percent(one['passes'] / largest)}, {one['note']}" if one["passes"] else one["note"],
            f"× {number(one['passes_per_answer'], 0)}",
            f"{number(one['seconds'], 0)} s",
            f"{number(one['peak_rss_mb'], 0)} MiB",
        ]
        for one in standings
    ]


def frontier(results: Sequence[Mapping[str, Any]]) -> Part:
    """Draw each method's gain against its KL, a dot per seed, and its name at the last one."""
    traces: list[Part] = []
    for method in dict.fromkeys(result["method"] for result in results):
        own = [result for result in results if result["method"] == method]
        x = [_kl(result) ** 0.5 for result in own]
        y = [result["figures"]["judge_difference"]["value"] for result in own]
        texts = [f"{method}, seed {result['seed']}: KL {number(_kl(result))} nats, {_rate(result)}" for result in own]
        traces += [
            plots.dots(x, y, texts, color=MUTED if method == "best_of_n" else ACCENT),
            marks.words(x[-1:], y[-1:], [method.replace("_", " ")]),
        ]
    return _chart(traces, x="sqrt(KL to the SFT policy), sqrt(nats)", y="judge's mean gain over SFT", level=0)


def cost(standings: Sequence[Mapping[str, Any]]) -> Part:
    """Draw each trained method's win rate against its training time."""
    trained = [one for one in standings if one["seconds"] > 0]
    x, y = [one["seconds"] for one in trained], [one["win_rate"] for one in trained]
    texts = [f"{one['method']}: {number(one['seconds'], 0)} s, {percent(one['win_rate'])}" for one in trained]
    names = [one["method"].replace("_", " ") for one in trained]
    traces = [plots.dots(x, y, texts, color=ACCENT), marks.words(x, y, names)]
    return _chart(traces, x="seconds of training", y="win rate against SFT", level=0.5)


# ----------------------------------------------------------------------------------------------------------- inside
def _chart(traces: Sequence[Part], *, x: str, y: str, level: float) -> Part:
    across = plots.axis(title=x, has_grid=False) | {"rangemode": "tozero"}
    shapes, upwards = [plots.level(level)], plots.axis(title=y)
    return plots.chart(traces, x=across, y=upwards, height=360, left=50, hovermode="closest", shapes=shapes)


def _kl(result: Mapping[str, Any]) -> float:
    return max(float(result["figures"]["kl_nats_per_sequence"]["value"]), 0.0)


def _rate(result: Mapping[str, Any]) -> str:
    rate = result["figures"]["win_rate"]
    return f"win rate {percent(rate['value'])} ({percent_range(rate['low'], rate['high'])})"
