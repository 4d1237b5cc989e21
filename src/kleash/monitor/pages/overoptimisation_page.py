"""The page of an over-optimisation experiment: what was to be shown, whether it was, and the curves it is read from.

One self-contained file like a run's report; the monitor shows its sections too. It reads `curves.json` alone; who makes
that file is in `experiments/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.monitor.pages import single_page
from kleash.monitor.pages.rendering import fragment
from kleash.web import plots
from kleash.web.plots import ACCENT, BAD, INK, MUTED, Part
from kleash.web.wording import MISSING, listing, number, number_range

if TYPE_CHECKING:
    from rich.table import Table

CURVES_FILE = "curves.json"
PAGE_FILE = "overoptimisation.html"
TITLE = "Over-optimisation: reward up is not quality up"
UNITS = {"_kl_nats": " nats", "_nats": " nats", "_sd": " SD"}
"""How a figure's name ends, and the unit that it then has."""
MARKS: Mapping[bool | None, str] = {True: "holds", False: "does not hold", None: "not measured"}


@dataclass(frozen=True)
class Drawn:
    """One arm in a figure: its colour, what is drawn of it, and its name in the key."""

    arm: str
    color: str
    label: str
    has_proxy: bool = False


FIGURES: Mapping[str, tuple[Drawn, ...]] = {
    "biased": (Drawn("ppo-biased", BAD, "PPO", has_proxy=True),),
    "unbiased": (Drawn("ppo-unbiased", ACCENT, "PPO", has_proxy=True),),
    "leash": (Drawn("ppo-biased", BAD, "beta 0"), Drawn("ppo-leashed", INK, "adaptive leash")),
    "best-of-n": (
        Drawn("best-of-n-biased", BAD, "biased", has_proxy=True),
        Drawn("best-of-n-unbiased", ACCENT, "unbiased", has_proxy=True),
    ),
    "pairs": (
        Drawn("ppo-unbiased", ACCENT, "4,000"),
        Drawn("ppo-unbiased-1000", INK, "1,000"),
        Drawn("ppo-unbiased-250", BAD, "250"),
    ),
    "ensembles": (
        Drawn("ppo-noisy", BAD, "one"),
        Drawn("ppo-noisy-worst", ACCENT, "worst of four"),
        Drawn("ppo-noisy-uncertainty", INK, "mean less variance"),
    ),
    "shared": (Drawn("ppo-biased", BAD, "one"), Drawn("ppo-biased-worst", ACCENT, "worst of four")),
    "refresh": (Drawn("ppo-unbiased-1000", BAD, "before"), Drawn("ppo-refreshed", ACCENT, "after")),
    "direct": (
        Drawn("ppo-unbiased", MUTED, "PPO"),
        Drawn("dpo", ACCENT, "DPO"),
        Drawn("ipo", INK, "IPO"),
        Drawn("kto", BAD, "KTO"),
    ),
}
"""{figure of the page: its arms}; what it says in words, and the criteria it bears on, stand in its template."""


def write_page(folder: Path) -> Path:
    """Write the experiment's page into its folder and return its path."""
    return single_page.write_page("page", folder / PAGE_FILE, render(read_content(folder)))


def read_content(folder: Path) -> dict[str, Any]:
    """Return what curves.json holds. Raises RunError where there is none that can be read."""
    return single_page.read_figures(folder / CURVES_FILE, command="kleash experiment overoptimisation")


def render(content: Mapping[str, Any]) -> str:
    """Return the page as text."""
    sections, figures = parts_of(content)
    return single_page.single_page(TITLE, [sections], kind="experiment", figures=figures)


def parts_of(content: Mapping[str, Any]) -> tuple[str, dict[str, Part]]:
    """Return the page's sections, and by name the figures that have an arm that was run."""
    drawn = {name: part for name, arms in FIGURES.items() if (part := figure_of(arms, content["arms"]))}
    sections = fragment(
        "parts/overoptimisation.html",
        headline=headline(content["criteria"]),
        about=about(content["arms"]),
        criteria=content["criteria"],
        verdicts=MARKS,
        seeds_that_hold=_seeds_that_hold,
        figures_in_words=figures_in_words,
        figures={name: arms for name, arms in FIGURES.items() if name in drawn},
    )
    return sections, drawn


def headline(criteria: Sequence[Mapping[str, Any]]) -> str:
    """Say in a sentence how many criteria hold, and name those that do not."""
    judged = [row for row in criteria if row["passed"] is not None]
    failed = [row["name"] for row in judged if not row["passed"]]
    if not judged:
        return "No criterion could be judged."
    if not failed:
        return f"All {len(judged)} criteria that were measured hold."
    verb = "does" if len(failed) == 1 else "do"
    return f"{len(judged) - len(failed)} of {len(judged)} criteria hold; {listing(failed)} {verb} not."


def about(arms: Sequence[Mapping[str, Any]]) -> str:
    seeds = sorted({arm["seed"] for arm in arms})
    names = {arm["name"] for arm in arms}
    return f"{len(names)} arms, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def criteria_table(folder: Path) -> Table:
    """Return the verdicts as a table for the screen."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Over-optimisation: what must be seen", title_justify="left", show_lines=True)
    for heading in ("", "criterion", "verdict", "seeds", "figures (median over seeds)"):
        table.add_column(heading)
    styles = {True: "green", False: "red", None: "dim"}
    for row in read_content(folder)["criteria"]:
        verdict = Text(MARKS[row["passed"]], style=styles[row["passed"]])
        table.add_row(row["name"], row["text"], verdict, _seeds_that_hold(row), figures_in_words(row["figures"]))
    return table


def figures_in_words(figures: Mapping[str, float | None]) -> str:
    """Return figures as a person reads them: {"fall_sd": 0.4} is "fall 0.40 SD"."""
    return ", ".join(_in_words(name, value) for name, value in figures.items()) or MISSING


def figure_of(wanted: Sequence[Drawn], arms: Sequence[Mapping[str, Any]]) -> Part | None:
    """Draw the arms over sqrt(KL), a line per seed; None if no arm of the figure was run."""
    traces: list[Part] = []
    for drawn in wanted:
        for arm in arms:
            if arm["name"] == drawn.arm:
                traces += _traces(arm, drawn)
    if not traces:
        return None
    layout = plots.layout(height=300, left=44, bottom=44, top=10) | {"hovermode": "closest"}
    layout["xaxis"] = plots.axis(title="sqrt(KL to the SFT policy), sqrt(nats)", has_grid=False) | {
        "rangemode": "tozero"
    }
    layout["yaxis"] = plots.axis(title="gain, SD of SFT answers")
    layout["shapes"] = [plots.level(0)]
    return plots.figure(traces, layout)


# ----------------------------------------------------------------------------------------------------------- inside
def _traces(arm: Mapping[str, Any], drawn: Drawn) -> list[Part]:
    """Return an arm's gold with its peak and its fitted law, and its proxy where it is wanted."""
    points = arm["points"]
    x = [_distance(point) for point in points]
    gold = [point["gold"] for point in points]
    texts = [_hover(drawn.label, arm["seed"], point) for point in points]
    is_single = arm["kind"] == "direct"
    shown = slice(1, None) if is_single else slice(None)
    trace = plots.dots(x[shown], gold[shown], texts[shown], color=drawn.color)
    trace |= {"mode": "markers" if is_single else "lines+markers", "line": {"color": drawn.color, "width": 1.6}}
    trace["marker"] = {"color": drawn.color, "size": 9 if is_single else 4}
    traces = [trace]
    if not is_single:
        peak = max(range(len(gold)), key=gold.__getitem__)
        ring = plots.dots([x[peak]], [gold[peak]], [f"gold's peak<br>{texts[peak]}"], color=drawn.color)
        ring["marker"] = {"symbol": "circle-open", "size": 13, "color": drawn.color, "line": {"width": 1.6}}
        traces.append(ring)
    if drawn.has_proxy:
        proxy = [point["proxy"] for point in points]
        dotted = {"color": drawn.color, "width": 1.2, "dash": "dot"}
        traces.append(plots.dots(x, proxy, [f"proxy<br>{text}" for text in texts], color=drawn.color))
        traces[-1] |= {"mode": "lines", "line": dotted}
        traces += _law(arm, drawn, max(x))
    return traces


def _law(arm: Mapping[str, Any], drawn: Drawn, reach: float) -> list[Part]:
    fitted = arm.get("fit")
    if not fitted:
        return []
    start = 0.02 if fitted["form"] == "best_of_n" else 1.0
    x = [start + (reach - start) * index / 60 for index in range(61)]
    bends = [d if fitted["form"] == "best_of_n" else math.log(d) for d in x]
    y = [d * (fitted["a"] - fitted["b"] * bend) for d, bend in zip(x, bends, strict=True)]
    law = "d (a − b d)" if fitted["form"] == "best_of_n" else "d (a − b log d)"
    text = f"law {law}, seed {arm['seed']}: a = {number(fitted['a'])}, b = {number(fitted['b'])}"
    line = plots.dots(x, y, [text] * len(x), color=drawn.color)
    return [line | {"mode": "lines", "opacity": 0.55, "line": {"color": drawn.color, "width": 1, "dash": "dash"}}]


def _distance(point: Mapping[str, Any]) -> float:
    return math.sqrt(max(point["kl_nats"], 0.0))


def _hover(label: str, seed: int, point: Mapping[str, Any]) -> str:
    at = f"n = {point['n']}" if "n" in point else f"update {point['step']}"
    span = f" ({number_range(point['gold_low'], point['gold_high'])})" if "gold_low" in point else ""
    figures = f"KL {number(point['kl_nats'])} nats, gold {number(point['gold'])}{span}, proxy {number(point['proxy'])}"
    return f"{label}, seed {seed}, {at}<br>{figures}"


def _in_words(name: str, value: float | None) -> str:
    for ending, unit in UNITS.items():
        if name.endswith(ending):
            return f"{name.removesuffix(ending).replace('_', ' ')} {number(value)}{unit}"
    return f"{name.replace('_', ' ')} {number(value)}"


def _seeds_that_hold(row: Mapping[str, Any]) -> str:
    seeds = row["seeds"]
    return f"{sum(seed['passed'] for seed in seeds.values())} of {len(seeds)}" if seeds else MISSING
