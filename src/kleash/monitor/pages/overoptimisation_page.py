"""The page of an over-optimisation experiment: what was to be shown, whether it was, and the curves it is read from.

It reads `curves.json` alone; who makes that file is in `experiments/`. Which figures there are, and of what, is in
overoptimisation.toml.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from kleash.monitor.pages.rendering import FOLDER, fragment
from kleash.monitor.pages.single_page import ExperimentPage
from kleash.web import plots
from kleash.web.plots import Part
from kleash.web.wording import MISSING, number, number_range

FIGURES: Mapping[str, Any] = tomllib.loads((FOLDER / "overoptimisation.toml").read_text(encoding="utf-8"))
UNITS = {"_kl_nats": " nats", "_nats": " nats", "_sd": " SD"}
"""How a figure's name ends, and the unit that it then has."""
VERDICTS: Mapping[bool | None, str] = {True: "holds", False: "does not hold", None: "not measured"}


def parts_of(content: Mapping[str, Any]) -> tuple[str, dict[str, Part]]:
    """Return the page's sections, and by name the figures that have an arm that was run."""
    drawn = {name: part for name, figure in FIGURES.items() if (part := figure_of(figure, content["arms"]))}
    sections = fragment(
        "parts/overoptimisation.html",
        arms=content["arms"],
        criteria=content["criteria"],
        verdicts=VERDICTS,
        seeds_that_hold=seeds_that_hold,
        figures_in_words=figures_in_words,
        figures={name: FIGURES[name] for name in drawn},
    )
    return sections, drawn


PAGE = ExperimentPage(
    title="Over-optimisation: reward up is not quality up",
    kind="experiment",
    source="curves.json",
    command="kleash experiment overoptimisation",
    file="overoptimisation.html",
    parts_of=parts_of,
)


def figures_in_words(figures: Mapping[str, float | None]) -> str:
    """Return figures as a person reads them: {"fall_sd": 0.4} is "fall 0.40 SD"."""
    words = []
    for name, value in figures.items():
        ending = next((ending for ending in UNITS if name.endswith(ending)), "")
        words.append(f"{name.removesuffix(ending).replace('_', ' ')} {number(value)}{UNITS.get(ending, '')}")
    return ", ".join(words) or MISSING


def seeds_that_hold(row: Mapping[str, Any]) -> str:
    """Return of how many seeds a criterion holds."""
    seeds = row["seeds"]
    return f"{sum(seed['passed'] for seed in seeds.values())} of {len(seeds)}" if seeds else MISSING


def figure_of(figure: Mapping[str, Any], arms: Sequence[Mapping[str, Any]]) -> Part | None:
    """Draw a figure's arms over sqrt(KL), a line per seed; None if none of them was run."""
    traces: list[Part] = []
    for drawn in figure["arms"]:
        for arm in arms:
            if arm["name"] == drawn["name"]:
                traces += _traces(arm, drawn["color"], drawn["label"], has_proxy=figure["has_proxy"])
    if not traces:
        return None
    x = plots.axis(title="sqrt(KL to the SFT policy), sqrt(nats)", has_grid=False) | {"rangemode": "tozero"}
    y = plots.axis(title="gain, SD of SFT answers")
    return plots.chart(traces, x=x, y=y, height=300, hovermode="closest", shapes=[plots.level(0)])


# ----------------------------------------------------------------------------------------------------------- inside
def _traces(arm: Mapping[str, Any], color: str, label: str, *, has_proxy: bool) -> list[Part]:
    """Return an arm's gold with its peak, and where it is wanted its proxy and the law fitted to gold."""
    points = arm["points"]
    x = [math.sqrt(max(point["kl_nats"], 0.0)) for point in points]
    gold = [point["gold"] for point in points]
    texts = [_hover(label, arm["seed"], point) for point in points]
    if arm["kind"] == "direct":  # one policy: the first point is the SFT policy's
        return [_line(x[1:], gold[1:], texts[1:], color, width=1.6, mode="markers", size=9)]
    peak = max(range(len(gold)), key=gold.__getitem__)
    ring = plots.dots([x[peak]], [gold[peak]], [f"gold's peak<br>{texts[peak]}"], color=color)
    ring["marker"] = {"symbol": "circle-open", "size": 13, "color": color, "line": {"width": 1.6}}
    traces = [_line(x, gold, texts, color, width=1.6, mode="lines+markers", size=4), ring]
    if has_proxy:
        proxy = [point["proxy"] for point in points]
        traces.append(_line(x, proxy, [f"proxy<br>{text}" for text in texts], color, width=1.2, dash="dot"))
        traces += _law(arm, color, max(x))
    return traces


def _law(arm: Mapping[str, Any], color: str, reach: float) -> list[Part]:
    fitted = arm.get("fit")
    if not fitted:
        return []
    is_best_of_n = fitted["form"] == "best_of_n"
    start = 0.02 if is_best_of_n else 1.0
    x = [start + (reach - start) * index / 60 for index in range(61)]
    y = [d * (fitted["a"] - fitted["b"] * (d if is_best_of_n else math.log(d))) for d in x]
    law = "d (a − b d)" if is_best_of_n else "d (a − b log d)"
    text = f"law {law}, seed {arm['seed']}: a = {number(fitted['a'])}, b = {number(fitted['b'])}"
    return [_line(x, y, [text] * len(x), color, width=1, dash="dash") | {"opacity": 0.55}]


def _line(
    x: Sequence[float],
    y: Sequence[float],
    texts: Sequence[str],
    color: str,
    *,
    width: float,
    mode: str = "lines",
    dash: str = "solid",
    size: int = 7,
) -> Part:
    trace = plots.dots(x, y, texts, color=color) | {
        "mode": mode,
        "line": {"color": color, "width": width, "dash": dash},
    }
    return trace | {"marker": {"color": color, "size": size}}


def _hover(label: str, seed: int, point: Mapping[str, Any]) -> str:
    at = f"n = {point['n']}" if "n" in point else f"update {point['step']}"
    span = f" ({number_range(point['gold_low'], point['gold_high'])})" if "gold_low" in point else ""
    figures = f"KL {number(point['kl_nats'])} nats, gold {number(point['gold'])}{span}, proxy {number(point['proxy'])}"
    return f"{label}, seed {seed}, {at}<br>{figures}"
