"""`kleash experiment`: families of sandbox runs whose outcome is known beforehand, judged against what is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from kleash.cli.options import RUNS, Overrides, examples
from kleash.cli.screen import remarks, results
from kleash.errors import SettingsError

app = typer.Typer(
    help="Experiments on the sandbox that check KLeash against what is known of RLHF.",
    epilog=examples("kleash experiment overoptimisation"),
)


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
    from kleash.cli.options import settings_from
    from kleash.experiments.arms import ARMS
    from kleash.experiments.jobs import Progress
    from kleash.experiments.overoptimisation import default_arms, run_experiment
    from kleash.experiments.scale import Scale
    from kleash.monitor.pages.overoptimisation_page import criteria_table, write_page

    screen = remarks()

    def announce(done: Progress) -> None:
        left = f"about {done.seconds_left / 60:.0f} min left" if done.num_done < done.num_jobs else "all done"
        screen.print(f"✓ {done.num_done} of {done.num_jobs}  {done.name} ({done.seconds:.0f} s), {left}", markup=False)

    run_experiment(
        output_dir,
        seeds=seeds_from(seeds),
        arms=list(ARMS) if everything else default_arms(),
        scale=settings_from(Scale, overrides),
        num_workers=workers or max(1, os.cpu_count() or 1),
        announce=announce,
    )
    results().print(criteria_table(output_dir))
    results().print(f"Page: {write_page(output_dir)}", soft_wrap=True)


def seeds_from(text: str) -> list[int]:
    """Read "0,1,2". Raises SettingsError for anything else."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts) or len(set(parts)) < len(parts):
        raise SettingsError(
            f"--seeds is {text!r}. Expected different whole numbers with commas between, such as 0,1,2."
        )
    return [int(part) for part in parts]
