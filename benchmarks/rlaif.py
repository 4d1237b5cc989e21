"""Rounds labelled by a judge that goes bad half-way, with demotion and without: what of its labels counts, and gold.

    python benchmarks/rlaif.py --seed 0 --into runs/rlaif-benchmark

Both arms are the shipped recipe `sandbox_rlaif` with one seed; the second takes over world, SFT model and first
candidates from the first, so that they differ in what becomes of the judge alone. Run again, it goes on.
"""

import argparse
import shutil
from pathlib import Path

from kleash.artifacts import find
from kleash.locations import find_recipe
from kleash.recipe import load_recipe
from kleash.runs import context_from
from kleash.stages.round import run_rounds

ARMS = {"demoted": "true", "left alone": "false"}
SHARED = ("world", "sft", "candidates")


def run_arm(output_dir, name, *, seed, overrides):
    """Run one arm's rounds; return each round's artifacts by stage."""
    demotes = f"preferences.drift.demotes={ARMS[name]}"
    recipe = load_recipe(find_recipe("sandbox_rlaif"), [f"seed={seed}", demotes, *overrides])
    folder, first = output_dir / name.replace(" ", "-"), output_dir / "demoted"
    for stage in SHARED if name != "demoted" else ():
        if find(folder / "round-000" / stage) is None:
            shutil.copytree(first / "round-000" / stage, folder / "round-000" / stage, dirs_exist_ok=True)
    context = context_from(recipe, strict=False)
    rounds = run_rounds(recipe, folder, context, lambda one, stage, made: print(one.folder, stage, flush=True))
    return [one.made for one in rounds]


def interval(figure):
    return f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f}; n = {figure['n']:,})"


def table(arms):
    """Return a row per arm and round."""
    lines = [
        "| arm | round | judge's verdicts | dropped | agreement before | since | found after | labelled pairs | gold | "
        "win rate over SFT |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in arms.items():
        for number, made in enumerate(rounds):
            [judge] = made["preferences"].summary["judges"]
            shown = [interval(judge[key]) if judge.get(key) else "–" for key in ("agreement_before", "agreement_since")]
            evaluated = made["evaluation"].summary
            cells = [
                name,
                number,
                f"{judge['verdicts']:,}",
                f"{judge['dropped']:,}",
                *shown,
                judge.get("found_after", "–"),
                f"{made['preferences'].summary['pairs']:,}",
                interval(evaluated["judge_after"]),
                interval(evaluated["win_rate"]),
            ]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=Path, default=Path("runs/rlaif-benchmark"))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="TABLE.SETTING=VALUE")
    arguments = parser.parse_args()
    arms = {
        name: run_arm(arguments.output_dir, name, seed=arguments.seed, overrides=arguments.overrides) for name in ARMS
    }
    print(table(arms))
