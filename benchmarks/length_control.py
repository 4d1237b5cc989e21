"""How near the length-controlled win rate comes to a published leaderboard's; prints a Markdown table.

    python benchmarks/length_control.py ALPACA_EVAL_FOLDER

The folder is a copy of github.com/tatsu-lab/alpaca_eval, of which are read the leaderboard of AlpacaEval 2 and each
`results/MODEL/weighted_alpaca_eval_gpt4_turbo/annotations.json` that is there. The prompts' difficulty, which is
published elsewhere, is fitted here over one half of the models, and the other half is measured with it, so that no
model helps to set the difficulty it is controlled by.
"""

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from kleash.evaluation.length_controlled import length_controlled_win_rate
from kleash.maths.intervals import wilson_interval

ANNOTATIONS = "weighted_alpaca_eval_gpt4_turbo/annotations.json"
LEADERBOARD = "src/alpaca_eval/leaderboards/data_AlpacaEval_2/weighted_alpaca_eval_gpt4_turbo_leaderboard.csv"
BASELINE = "gpt4_1106_preview"
RIDGE = 0.1

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """One model against the baseline. prompt_N: which prompt; published: its length-controlled win rate."""

    name: str
    prompt_N: NDArray[np.int64]
    win_N: Table
    longer_N: Table
    published: float

    @property
    def covariate_N(self) -> Table:
        return np.tanh(self.longer_N / self.longer_N.std(ddof=1))


def read_models(folder: Path) -> list[Judged]:
    with (folder / LEADERBOARD).open(newline="", encoding="utf-8") as lines:
        published = {row[""]: row["length_controlled_winrate"] for row in csv.DictReader(lines)}
    number: dict[str, int] = {}
    models = []
    for file in sorted((folder / "results").glob(f"*/{ANNOTATIONS}")):
        name = file.parent.parent.name
        if name == BASELINE or not published.get(name):
            continue
        rows = [row for row in json.loads(file.read_text(encoding="utf-8")) if row["preference"] is not None]
        prompts = [number.setdefault(row["instruction"], len(number)) for row in rows]
        # 1 to 2 as published, where 0 is a tie.
        wins = [(float(row["preference"]) or 1.5) - 1 for row in rows]
        longer = [float(len(row["output_2"]) - len(row["output_1"])) for row in rows]
        models.append(Judged(name, np.array(prompts), np.array(wins), np.array(longer), float(published[name]) / 100))
    return models


def difficulties(models: list[Judged], num_prompts: int) -> Table:
    """Fit one figure per prompt beside each model's own strength and liking for length."""
    model_M = np.concatenate([np.full(len(model.win_N), number) for number, model in enumerate(models)])
    prompt_M = np.concatenate([model.prompt_N for model in models])
    win_M = np.concatenate([model.win_N for model in models])
    covariate_M = np.concatenate([model.covariate_N for model in models])
    num = len(models)
    ridge = np.concatenate([np.full(2 * num, 0.02), np.full(num_prompts, RIDGE)])

    def loss(theta: Table) -> tuple[float, Table]:
        strength, liking, hardness = theta[:num], theta[num : 2 * num], theta[2 * num :]
        logit_M = strength[model_M] + liking[model_M] * covariate_M + hardness[prompt_M]
        slope_M = 1 / (1 + np.exp(-logit_M)) - win_M
        slopes = [
            np.bincount(model_M, slope_M, num),
            np.bincount(model_M, slope_M * covariate_M, num),
            np.bincount(prompt_M, slope_M, num_prompts),
        ]
        value = (np.logaddexp(0, logit_M) - win_M * logit_M).sum() + (ridge * theta**2).sum() / 2
        return value, np.concatenate(slopes) + ridge * theta

    return minimize(loss, np.zeros(len(ridge)), jac=True, method="L-BFGS-B").x[2 * num :]


def report(name: str, found: list[tuple[float, bool, float]], published: list[float]) -> None:
    """Print a row: (figure, whether the published one is inside the interval, width) of each model."""
    figures = np.array([figure for figure, _, _ in found])
    errors = 100 * np.abs(figures - published)
    inside = wilson_interval(sum(is_inside for _, is_inside, _ in found), len(found))
    width = 100 * np.median([width for _, _, width in found])
    covered = f"{inside.value:.0%} ({inside.low:.0%} to {inside.high:.0%}) | {width:.1f}" if width else "- | -"
    correlation = np.corrcoef(figures, published)[0, 1]
    print(f"| {name} | {errors.mean():.2f} | {errors.max():.1f} | {correlation:.3f} | {covered} | {len(found)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    models = read_models(parser.parse_args().folder)
    num_prompts = 1 + max(int(model.prompt_N.max()) for model in models)
    halves = models[::2], models[1::2]
    hardness = {model.name: difficulties(halves[1 - side], num_prompts) for side in (0, 1) for model in halves[side]}
    published = [model.published for model in models]
    print(
        "| win rate | mean error, points | largest | Pearson | published inside the interval | median width, points "
        "| models |\n|---|---|---|---|---|---|---|"
    )
    report("raw", [(float(model.win_N.mean()), False, 0.0) for model in models], published)
    for name in ("length-controlled, no difficulty", "length-controlled, difficulty from other models"):
        rows = []
        for model in models:
            difficulty = hardness[model.name][model.prompt_N] if "other" in name else None
            rate = length_controlled_win_rate(model.win_N, model.longer_N, difficulty=difficulty)
            rows.append((rate.value, rate.low <= model.published <= rate.high, rate.high - rate.low))
        report(name, rows, published)


if __name__ == "__main__":
    main()
