"""`kleash evaluate`: a policy against its reference on fresh prompts, and on suites of tasks, safety and honesty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kleash.artifacts import Artifact, read
from kleash.cli.options import (
    RUNS,
    Overrides,
    RecipeFile,
    RunsFolder,
    Strict,
    examples,
    settings_for_stage,
    unfolded,
)
from kleash.cli.people import BlindComparison
from kleash.cli.stages import PANEL, make_and_show, run_stage
from kleash.errors import SettingsError
from kleash.locations import find_policy
from kleash.stages.table import STAGES

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.context import StageContext

app = typer.Typer()


@app.command(
    rich_help_panel=PANEL,
    epilog=examples(
        "kleash evaluate policy --reference sft --prompts evaluation.jsonl --into evaluation"
        " --set evaluation.judge=my_judge:score",
        "kleash evaluate policy --reference sft --suite gsm8k.jsonl --suite ifeval.jsonl --into suites",
        "kleash evaluate policy --suite gsm8k.jsonl --previous round-000/suites --into round-001/suites",
        "kleash evaluate quickstart --people --steps 20,40,60",
        "kleash evaluate --answers answers.jsonl --suite suite.jsonl --into scored",
    ),
)
@unfolded
def evaluate(
    policy: Annotated[
        str | None, typer.Argument(help="Policy to measure; a run stands for its last one. None with --answers.")
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option("--into", help="Folder of the artifact to make; with --people, the round's people/.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Policy to measure it against; usually SFT's.")
    ] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help="File of fresh prompts, to be judged on.")] = None,
    suite: Annotated[
        list[str] | None, typer.Option("--suite", help="Suite file, or a built-in one's name; may be given often.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="Answers made elsewhere, to be scored on --suite: no model is run.")
    ] = None,
    lm_eval: Annotated[
        str | None, typer.Option("--lm-eval", help="Tasks of lm-evaluation-harness, with commas between them.")
    ] = None,
    lm_eval_tasks: Annotated[
        Path | None, typer.Option("--lm-eval-tasks", help="Folder of YAML tasks of your own for --lm-eval.")
    ] = None,
    previous: Annotated[
        list[Path] | None, typer.Option("--previous", help="Earlier suites artifact, to see what broke; oldest first.")
    ] = None,
    reward: Annotated[list[Path] | None, typer.Option("--reward", help=STAGES["policy"].input("rewards").help)] = None,
    recipe: RecipeFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    runs_dir: RunsFolder = RUNS,
    *,
    blind: BlindComparison,
) -> None:
    """Measure a policy against its reference: by a judge, by rules on suites, or by people over its checkpoints.

    With --prompts: win rate, gains and KL, slice by slice. With --suite or --lm-eval: the share of items passed, by
    bucket. With both, the artifacts are named evaluation and suites, in the folder of --into. With --people or
    --judges: the answers that the run kept while it trained, each against step 0's; the same command again freezes
    what was judged. With --answers: rows of "completion" and an item's "id" or "prompt", without a policy.
    """
    if answers is not None:
        others: dict[str, Any] = {
            "POLICY": policy,
            "--reference": reference,
            "--prompts": prompts,
            "--lm-eval": lm_eval,
        }
        others |= {"--people": blind.people, "--judges": blind.judges, "--previous": previous}
        if strange := [name for name, value in others.items() if value]:
            raise SettingsError(
                f"--answers does not go with {', '.join(strange)}: its answers are there already. Expected --suite and "
                "--into beside it. Leave out the one or the other."
            )
        if not suite:
            raise SettingsError("There is nothing to score --answers by. Expected --suite FILE. Name one.")
    elif policy is None:
        raise SettingsError("No policy is named. Expected one, or --answers FILE with --suite. Name either.")
    if policy is not None and (blind.people or blind.judges is not None):
        blind.run(policy, runs_dir, output_dir, settings=settings_for_stage(recipe, overrides).preferences)
        return
    tasks = tuple(filter(None, (lm_eval or "").split(",")))
    is_tested = bool(suite or tasks)
    if prompts is None and not is_tested and answers is None:
        raise SettingsError(
            "Nothing to measure by. Expected --prompts, --suite, --lm-eval, --people or --judges. Name one."
        )
    if output_dir is None:
        raise SettingsError("There is nowhere to write. Expected --into FOLDER. Name the artifact's folder.")
    if prompts is not None and reference is None:
        raise SettingsError("--prompts needs a policy to compare with. Expected --reference POLICY. Name SFT's, say.")
    if policy is None:
        _score_answers(answers or Path(), suite or [], output_dir, recipe, overrides, strict=strict)
        return
    is_both = prompts is not None and is_tested
    options: dict[str, Any] = {"recipe": recipe, "strict": strict}
    models = {"policy": find_policy(policy, runs_dir)}
    if reference is not None:
        models["reference"] = find_policy(reference, runs_dir)
    if prompts is not None:
        rewards = [read(folder) for folder in reward or []]
        inputs = {**models, "prompts": prompts, "rewards": rewards}
        judged_dir = output_dir / "evaluation" if is_both else output_dir
        make_and_show("evaluation", inputs, judged_dir, overrides=overrides, **options)
    if is_tested:
        changes = [*(overrides or []), f"suites.files={json.dumps(suite or [])}"]
        changes.append(f"suites.harness.tasks={json.dumps(list(tasks))}")
        changes.append(f"suites.harness.folder={json.dumps(str(lm_eval_tasks or 'none'))}")
        tested_dir = output_dir / "suites" if is_both else output_dir
        make_and_show("suites", {**models, "previous": previous}, tested_dir, overrides=changes, **options)


def _score_answers(
    answers: Path, suites: list[str], output_dir: Path, recipe: str | None, overrides: list[str] | None, *, strict: bool
) -> None:
    def make(settings: Recipe, context: StageContext) -> Artifact:
        from kleash.stages.suites import score_answers

        return score_answers(context, settings.suites, answers=answers, output_dir=output_dir)

    changes = [*(overrides or []), f"suites.files={json.dumps(suites)}"]
    run_stage(make, output_dir, recipe, changes, strict=strict)
