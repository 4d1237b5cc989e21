"""`kleash compare-methods`: which method to use on these preferences, with the evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kleash.cli.experiment import seeds_from
from kleash.cli.options import RUNS, Overrides, RunsFolder, Strict, examples
from kleash.cli.screen import remarks, results
from kleash.locations import find_recipe

app = typer.Typer()

ALL = "ppo,rloo,grpo,dpo,ipo,kto,sft_on_chosen,best_of_n"


@app.command(
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
    from kleash.experiments.jobs import Progress
    from kleash.monitor.pages.methods_page import methods_table, write_page
    from kleash.recipe import load_recipe
    from kleash.runs import context_from

    settings = load_recipe(find_recipe(recipe), overrides or []).settings
    folder = output_dir or runs_dir / f"{settings.name}-methods"
    screen = remarks()

    def announce(done: Progress) -> None:
        left = f"about {done.seconds_left / 60:.0f} min left" if done.num_done < done.num_jobs else "all done"
        screen.print(f"✓ {done.num_done} of {done.num_jobs}  {done.name} ({done.seconds:.0f} s), {left}", markup=False)

    content = run(
        folder,
        settings,
        context_from(settings, strict=strict),
        methods=[name.strip() for name in methods.split(",") if name.strip()],
        seeds=seeds_from(seeds),
        num_workers=workers,
        announce=announce,
    )
    results().print(methods_table(content))
    for sentence in content["advice"]:
        results().print(f"• {sentence}", markup=False, soft_wrap=True)
    results().print(f"Page: {write_page(folder)}", soft_wrap=True)
