"""`kleash experiment`: sandbox runs whose outcome is known beforehand; `kleash compare-methods`: what to train by."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import HEAVY_HEAD
from rich.table import Table
from rich.text import Text

from kleash.cli.options import RUNS, Overrides, RunsFolder, Strict, examples, settings_from
from kleash.cli.tables import rows_table
from kleash.errors import SettingsError
from kleash.locations import find_recipe
from kleash.screen import remarks, results

if TYPE_CHECKING:
    from kleash.experiments.jobs import Progress

app = typer.Typer(
    help="Experiments on the sandbox that check KLeash against what is known of RLHF.",
    epilog=examples("kleash experiment overoptimisation"),
)
comparing = typer.Typer()

ALL = "ppo,rloo,grpo,dpo,ipo,kto,sft_on_chosen,best_of_n"


@app.command(
    epilog=examples(
        "kleash experiment overoptimisation",
        "kleash experiment overoptimisation --all --seeds 0,1,2",
        "kleash experiment overoptimisation --set policy.steps=100 --into runs/longer",
    )
)
def overoptimisation(
    everything: Annotated[bool, typer.Option("--all", help="Criteria C1 to C9 instead of C1 to C4.")] = False,
    seeds: Annotated[str, typer.Option("--seeds", metavar="N,N...", help="One whole experiment for each.")] = "0",
    output_dir: Annotated[Path, typer.Option("--into", help="Folder; given again, it goes on there.")] = RUNS
    / "overoptimisation",
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes at work at once; as many as there are cores if not given."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Draw proxy and gold reward against KL, for PPO, best-of-n and direct methods, and check nine known facts."""
    from kleash.experiments.arms import ARMS
    from kleash.experiments.overoptimisation import default_arms, run_experiment
    from kleash.experiments.scale import Scale
    from kleash.monitor.pages.overoptimisation_page import PAGE

    run_experiment(
        output_dir,
        seeds=seeds_from(seeds),
        arms=list(ARMS) if everything else default_arms(),
        scale=settings_from(Scale, overrides),
        num_workers=workers or max(1, os.cpu_count() or 1),
        announce=_announce,
    )
    results().print(criteria_table(PAGE.read(output_dir)))
    results().print(f"Page: {PAGE.write(output_dir)}", soft_wrap=True)


@comparing.command(
    "compare-methods",
    epilog=examples(
        "kleash compare-methods quickstart --seeds 0,1,2",
        "kleash compare-methods mine.toml --methods ppo,dpo --set evaluation.judge=my_judge:score",
    ),
)
def compare_methods(
    recipe: Annotated[str, typer.Argument(help="Recipe with preferences, a reward model and an independent judge.")],
    overrides: Overrides = None,
    methods: Annotated[str, typer.Option("--methods", metavar="NAME,NAME...", help="What to compare.")] = ALL,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="N,N...", help="Each method is trained once for each.")
    ] = "0",
    output_dir: Annotated[
        Path | None, typer.Option("--into", help="Folder; given again, it goes on there. Default: RUNS/NAME-methods.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Methods in training at once.")] = 1,
    runs_dir: RunsFolder = RUNS,
    strict: Strict = False,
) -> None:
    """Train PPO, RLOO, GRPO, DPO, IPO, KTO and more on the same preferences and budget, and say which to use."""
    from kleash.experiments.comparison import compare_methods as run
    from kleash.monitor.pages.methods_page import PAGE
    from kleash.recipe import load_recipe
    from kleash.runs import context_from

    settings = load_recipe(find_recipe(recipe), overrides or [])
    folder = output_dir or runs_dir / f"{settings.name}-methods"
    content = run(
        folder,
        settings,
        context_from(settings, strict=strict),
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        seeds=seeds_from(seeds),
        num_workers=workers,
        announce=_announce,
    )
    results().print(methods_table(content))
    for sentence in content["advice"]:
        results().print(f"• {sentence}", soft_wrap=True)
    results().print(f"Page: {PAGE.write(folder)}", soft_wrap=True)


def seeds_from(text: str) -> list[int]:
    """Read "0,1,2". Raises SettingsError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts) or len(set(parts)) < len(parts):
        raise SettingsError(
            f"--seeds is {text!r}. Expected different whole numbers with commas between, such as 0,1,2."
        )
    return [int(part) for part in parts]


def criteria_table(content: Mapping[str, Any]) -> Table:
    """Return the verdicts of an over-optimisation experiment."""
    from kleash.monitor.pages.overoptimisation_page import VERDICTS, figures_in_words, seeds_that_hold

    styles = {True: "green", False: "red", None: "dim"}
    rows = [
        (
            row["name"],
            row["text"],
            Text(VERDICTS[row["passed"]], style=styles[row["passed"]]),
            seeds_that_hold(row),
            figures_in_words(row["figures"]),
        )
        for row in content["criteria"]
    ]
    headings = ("", "criterion", "verdict", "seeds", "figures (median over seeds)")
    return rows_table(headings, rows, title="Over-optimisation: what must be seen", box=HEAVY_HEAD, show_lines=True)


def methods_table(content: Mapping[str, Any]) -> Table:
    """Return how methods stand, the best first."""
    from kleash.monitor.pages.methods_page import HEADINGS, table_rows

    title = "Methods on the same preferences, best win rate first"
    return rows_table(HEADINGS, table_rows(content["standings"]), right=HEADINGS[1:], title=title, box=HEAVY_HEAD)


def _announce(done: Progress) -> None:
    left = f"about {done.seconds_left / 60:.0f} min left" if done.num_done < done.num_jobs else "all done"
    remarks().print(f"✓ {done.num_done} of {done.num_jobs}  {done.name} ({done.seconds:.0f} s), {left}")
