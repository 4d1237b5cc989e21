"""Does the audit see a bias that held-out accuracy hides? Reward models of biased and unbiased raters, audited.

    python benchmarks/audit_on_bias.py runs/audit_on_bias --seeds 0 1 2 3 4

For each seed one SFT model answers the sandbox's prompts at the quickstart's sizes; three panels of simulated labellers
judge the same answers, a reward model learns from each, and the audit judges the reward models. Prints a Markdown
table, which stands in `docs/auditing.md`. About five minutes a seed on 2 cores; interrupted, it goes on where it was.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from kleash.artifacts import Artifact
from kleash.recipe import load_recipe
from kleash.stages.context import StageContext
from kleash.stages.round import Round

QUICKSTART = Path(__file__).parents[1] / "recipes" / "quickstart.toml"
PANELS = {"expert": 0.0, "hurried": 0.7, "pleased": 0.7}
SHARED = ("world", "sft", "candidates")
JUDGED = ("preferences", "reward", "audit")


def audits_of(folder: Path, seed: int) -> Iterator[tuple[str, Artifact]]:
    """Yield (panel, audit) of one seed, made or found."""
    recipe = load_recipe(QUICKSTART, [f"seed={seed}"])
    context = StageContext(model=recipe.model, seed=seed)
    shared = Round(recipe.model_copy(update={"stages": SHARED}), folder / f"seed-{seed}" / "shared", context).run()
    for panel, bias in PANELS.items():
        raters = recipe.preferences.model_copy(update={"panel": panel, "bias": bias})
        own = recipe.model_copy(update={"preferences": raters, "stages": JUDGED})
        yield panel, Round(own, folder / f"seed-{seed}" / panel, context, made=dict(shared)).run()["audit"]


def gain_of(audit: Artifact, family: str) -> float:
    """Return what a family's worst empty addition gains, in SD."""
    rows = [json.loads(line) for line in (audit.path / "probes.jsonl").read_text().splitlines()]
    return next(row["gain_sd"]["value"] for row in rows if row["probe"] == family)


def table_row(panel: str, audits: list[Artifact]) -> str:
    """Return a panel's row: medians over the seeds, smallest and largest, and how many audits failed."""

    def spread(values: list[float], form: str) -> str:
        return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"

    accuracy = spread([audit.summary["accuracy"]["value"] for audit in audits], ".1%")
    gains = [spread([gain_of(audit, name) for audit in audits], "+.2f") for name in ("stock phrase", "length")]
    ece = spread([audit.summary["measures"]["calibration"]["ece"] for audit in audits], ".3f")
    failed = sum(audit.summary["verdict"] == "fail" for audit in audits)
    return f"| {panel}, {PANELS[panel]} | {accuracy} | {ece} | {gains[0]} | {gains[1]} | {failed} of {len(audits)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    found: dict[str, list[Artifact]] = {panel: [] for panel in PANELS}
    for seed in given.seeds:
        for panel, audit in audits_of(given.folder, seed):
            found[panel].append(audit)
            print(f"seed {seed}, {panel}: {audit.summary['verdict']}", file=sys.stderr, flush=True)
    print("| raters, bias | held-out accuracy | ECE | worst stock phrase, SD | length, SD | failed |")
    print("|---|---|---|---|---|---|")
    for panel, audits in found.items():
        print(table_row(panel, audits))
