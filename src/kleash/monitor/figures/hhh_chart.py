"""Draw helpful, honest and harmless against each other over a run's checkpoints.

One figure alone flatters: a policy that refuses everything is perfectly harmless. Helpful stands across, harmless
upwards, honest is the colour; the corner of a policy that refuses everything is marked. The figures are those of the
slices of `aim` in checkpoints.jsonl, judged or voted; in them refusals of what wants help count as bad answers.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from kleash.estimates import Estimate
from kleash.monitor.figures import marks
from kleash.monitor.figures.marks import rate_text, value_text
from kleash.monitor.read.reader import RoundFolder
from kleash.results import CheckpointFigures, CheckpointQuality
from kleash.web import plots
from kleash.web.plots import ACCENT, BAD, INK, Part
from kleash.web.visible import visible_text
from kleash.web.wording import MISSING

AIMS = ("helpful", "honest", "harmless")
_REFUSING = "refuses everything"


@dataclass(frozen=True)
class Balance:
    """How one checkpoint stands. refused: share of the prompts that want help which it refused."""

    step: int
    helpful: Estimate
    harmless: Estimate
    honest: Estimate | None = None
    refused: Estimate | None = None


@dataclass(frozen=True)
class AimsPath:
    """The checkpoints in order. unit: of all three figures; is_rate: they are win rates against step 0.

    refusing: (helpful, harmless) of a policy that refuses everything.
    """

    balances: tuple[Balance, ...]
    unit: str
    is_rate: bool
    refusing: tuple[float, float] | None = None


def read_aims(round_folder: RoundFolder, judge: str) -> AimsPath | None:
    """Return a round's path by its judge, else by people's (or AI judges') votes; None without slices of `aim`."""
    unit = "gold reward" if judge == "gold" else "reward, SD (the proxy)" if judge == "proxy" else f"judge {judge}"
    judged = _path(round_folder.checkpoints("evaluation"), "judge_mean", unit)
    return judged or _path(round_folder.checkpoints("people"), "win_rate", "win rate against step 0")


def hhh_figure(path: AimsPath) -> Part:
    """Draw the path from the first checkpoint to the last, helpful across, harmless upwards."""
    scale = 100.0 if path.is_rate else 1.0
    x = [scale * balance.helpful.value for balance in path.balances]
    y = [scale * balance.harmless.value for balance in path.balances]
    points = plots.dots(x, y, [_hover(balance, path) for balance in path.balances], color=INK)
    points["marker"] = {"size": 11, "line": {"color": INK, "width": 1}} | _colours(path)
    points |= {
        "error_x": marks.intervals([balance.helpful for balance in path.balances], scale=scale),
        "error_y": marks.intervals([balance.harmless for balance in path.balances], scale=scale),
    }
    # Only the ends are named, away from their intervals; those between are told by hovering.
    ends = {0: "bottom right", len(x) - 1: "top left"}
    names = [f"update {path.balances[index].step}" for index in ends]
    ends_x, ends_y = [x[index] for index in ends], [y[index] for index in ends]
    named = marks.words(ends_x, ends_y, names) | {"textposition": list(ends.values()), "cliponaxis": False}
    traces = [plots.look("route", x=x, y=y), points, named]
    if path.refusing is not None:
        corner = ([scale * path.refusing[0]], [scale * path.refusing[1]])
        about = f"A policy that {_REFUSING}: harmless, and no help to anyone."
        traces.append(plots.dots(*corner, [about], color=BAD, symbol="x"))
        traces.append(marks.words(*corner, [_REFUSING]) | {"textfont": {"size": 11, "color": BAD}})
    across = plots.axis(title=f"helpful, {html.escape(visible_text(path.unit))}", is_percent=path.is_rate)
    upwards = plots.axis(title="harmless", is_percent=path.is_rate)
    return plots.chart(traces, x=across, y=upwards, height=380, left=52, bottom=48, top=14, right=20)


# ----------------------------------------------------------------------------------------------------------- inside
def _path(checkpoints: Sequence[CheckpointQuality], name: str, unit: str) -> AimsPath | None:
    balances = [balance for one in checkpoints if (balance := _balance(one, name)) is not None]
    if not balances:
        return None
    is_rate = name == "win_rate"
    corners = [one.refuses_everything for one in checkpoints if {"helpful", "harmless"} <= set(one.refuses_everything)]
    # Of win rates: who loses every comparison on the one and wins every one on the other.
    refusing = (0.0, 1.0) if is_rate else (corners[0]["helpful"], corners[0]["harmless"]) if corners else None
    return AimsPath(tuple(sorted(balances, key=lambda balance: balance.step)), unit, is_rate, refusing)


def _balance(checkpoint: CheckpointQuality, name: str) -> Balance | None:
    by_aim = {aim: checkpoint.slices.get(f"aim={aim}", CheckpointFigures()) for aim in AIMS}
    helpful, honest, harmless = (getattr(by_aim[aim], name) for aim in AIMS)
    if checkpoint.step is None or helpful is None or harmless is None:
        return None
    return Balance(checkpoint.step, helpful, harmless, honest, by_aim["helpful"].refused)


def _colours(path: AimsPath) -> Part:
    """Return the colour of each point by honesty; where it was not measured, one colour for all."""
    honest = [balance.honest.value for balance in path.balances if balance.honest is not None]
    if len(honest) < len(path.balances):
        return {"color": ACCENT}
    scale = 100.0 if path.is_rate else 1.0
    return {
        "color": [scale * value for value in honest],
        "colorscale": [[0, "#e8a13a"], [0.5, "#8fb3a0"], [1, "#2f7fd0"]],
        "colorbar": plots.look("colour_bar", ticksuffix="%" if path.is_rate else ""),
    }


def _hover(balance: Balance, path: AimsPath) -> str:
    text = rate_text if path.is_rate else value_text
    lines = [f"<b>update {balance.step}</b>"]
    for aim in AIMS:
        figure = getattr(balance, aim)
        lines.append(f"{aim}: {MISSING if figure is None else text(figure)}")
    if balance.refused is not None:
        lines.append(f"help refused: {rate_text(balance.refused)}")
    return "<br>".join(lines)
