"""What `kleash evaluate RUN --people` and `--judges` do: checkpoints compared with the run's start, blind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from kleash.cli.options import settings_for_stage
from kleash.cli.screen import remarks, results
from kleash.errors import SettingsError
from kleash.locations import find_policy
from kleash.results import CampaignSummary, CheckpointQuality
from kleash.web.wording import percent, percent_range

if TYPE_CHECKING:
    from kleash.collection.campaign import Campaign
    from kleash.collection.store.campaigns import CampaignProgress

ACTOR = "command line"


def steps_from(text: str | None) -> list[int] | None:
    """Read "0,20,40". Raises SettingsError for anything else."""
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise SettingsError(
            f"--steps is {text!r}. Expected whole numbers with commas between them, such as 0,20,40. Write them so."
        ) from None


def compare_checkpoints(
    run: str,
    *,
    runs_dir: Path,
    steps: str | None,
    num_prompts: int,
    raters: int,
    judges: Path | None,
    store: str | None,
    output_dir: Path | None,
    recipe: str | None,
    overrides: list[str] | None,
) -> None:
    """Open the campaign over a run's checkpoints or add to it, have AI judges judge it, and freeze what was judged.

    judges: a TOML file of AI judges; None = people.
    """
    from kleash.artifacts import read
    from kleash.collection.store.campaigns import progress
    from kleash.collection.store.database import Database
    from kleash.evaluation.first_update import model_marks
    from kleash.raters.configuration import load_judges
    from kleash.stages.people import freeze_checkpoints, open_campaign
    from kleash.stages.support.independence import preferences_behind, say_if_it_trained
    from kleash.stages.support.judging import judge_campaign

    settings = settings_for_stage(recipe, overrides)
    policy = read(find_policy(run, runs_dir))
    panel = None if judges is None else load_judges(judges)
    overlap = raters if panel is None else len(panel.judges)
    index = store or str(policy.path.parent / "labels.sqlite")
    with closing(Database(index)) as database:
        campaign, num_added = open_campaign(
            database,
            policy,
            by="people" if panel is None else "judges",
            settings=settings.preferences.campaign.model_copy(update={"overlap": overlap}),
            rubric=settings.preferences.rubric_text(),
            steps=steps_from(steps),
            num_prompts=num_prompts,
            actor=ACTOR,
        )
        if panel is not None:
            marks = model_marks(one.model for one in panel.judges)
            trained_by = {"policy": policy.settings, **preferences_behind([policy])}
            say_if_it_trained("--judges", str(judges), trained_by, known_by=marks)
            for remark in judge_campaign(database, campaign.name, panel, actor=ACTOR).remarks:
                remarks().print(remark, style="yellow", markup=False, soft_wrap=True)
        made = freeze_checkpoints(database, policy, output_dir or policy.path.parent / "people")
        with database.read() as connection:
            now = progress(connection, campaign)
        shown = index if database.is_sqlite else database.shown_url
    if panel is None:
        _say_where_to_judge(campaign, now, num_added, shown)
    if made is not None:
        results().print(f"{made.kind} {made.id} in {made.path}", style="bold", markup=False, soft_wrap=True)
        results().print(checkpoints_table(CampaignSummary.of(made).checkpoints))


def checkpoints_table(rows: Sequence[CheckpointQuality]) -> Table:
    """Return win rates against step 0, a row per checkpoint and kind of rater."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for heading in ("step", "judged by", "wins against step 0", "95 %", "prompts"):
        table.add_column(heading)
    for row in rows:
        rate = row.win_rate
        who = {"person": "people", "ai": "AI judges"}.get(row.rater_kind, row.rater_kind)
        if rate is not None:
            spread = percent_range(rate.low, rate.high)
            table.add_row(str(row.step), who, percent(rate.value), spread, f"{rate.n or 0:,}")
    return table


def _say_where_to_judge(campaign: Campaign, now: CampaignProgress, num_added: int, store: str) -> None:
    added = f"{num_added:,} comparisons added, " if num_added else ""
    remarks().print(
        f"{campaign.name}: {added}{now.num_full:,} of {now.target:,} judged; {now.num_held:,} need nobody (the same "
        "answer as at step 0, or asked about at another step) or name a model.",
        markup=False,
        soft_wrap=True,
    )
    if not now.is_complete:
        remarks().print(
            f"Show them: kleash collect serve --store {store}\n"
            f"Label at http://127.0.0.1:8321/label/{campaign.id}; then the same command freezes what was judged.",
            markup=False,
            soft_wrap=True,
        )
