"""What `kleash evaluate RUN --people` and `--judges` do: checkpoints compared with the run's start, blind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from kleash.cli.tables import rows_table
from kleash.errors import SettingsError
from kleash.locations import find_policy
from kleash.results import CampaignSummary, CheckpointQuality
from kleash.screen import remarks, results
from kleash.web.wording import percent, percent_range

if TYPE_CHECKING:
    from kleash.collection.campaign import Campaign
    from kleash.collection.store.campaigns import CampaignProgress
    from kleash.stages.support.comparing import PreferencesSettings

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


@dataclass(frozen=True)
class BlindComparison:
    """The options of a comparison of a run's checkpoints with its start. judges: None = people compare them."""

    people: Annotated[
        bool, typer.Option("--people", help="Have people compare the run's checkpoints with its start, blind.")
    ] = False
    judges: Annotated[
        Path | None, typer.Option("--judges", help="TOML file of AI judges that compare the checkpoints, at once.")
    ] = None
    steps: Annotated[
        str | None, typer.Option("--steps", help="Which checkpoints, such as 20,40; without it, four.")
    ] = None
    num_prompts: Annotated[int, typer.Option("--num-prompts", min=1, help="Prompts per checkpoint to compare.")] = 60
    raters: Annotated[int, typer.Option("--raters", min=1, help="People per comparison.")] = 1
    store: Annotated[
        str | None, typer.Option("--store", help="Label database; without it, the round's labels.sqlite.")
    ] = None

    def run(self, run: str, runs_dir: Path, output_dir: Path | None, *, settings: PreferencesSettings) -> None:
        """Open the campaign over a run's checkpoints or add to it, have AI judges judge it, and freeze what was judged.

        output_dir: None is the round's people/.  settings: of the campaign.
        """
        from kleash.artifacts import read
        from kleash.collection.store.campaigns import progress
        from kleash.collection.store.database import Database
        from kleash.evaluation.first_update import model_marks
        from kleash.raters.configuration import load_judges
        from kleash.stages.people import freeze_checkpoints, open_campaign
        from kleash.stages.support.independence import preferences_behind, say_if_it_trained
        from kleash.stages.support.judging import judge_campaign

        policy = read(find_policy(run, runs_dir))
        panel = None if self.judges is None else load_judges(self.judges)
        overlap = self.raters if panel is None else len(panel.judges)
        index = self.store or str(policy.path.parent / "labels.sqlite")
        with closing(Database(index)) as database:
            campaign, num_added = open_campaign(
                database,
                policy,
                by="people" if panel is None else "judges",
                settings=settings.campaign.model_copy(update={"overlap": overlap}),
                rubric=settings.rubric_text(),
                steps=steps_from(self.steps),
                num_prompts=self.num_prompts,
                actor=ACTOR,
            )
            if panel is not None:
                marks = model_marks(one.model for one in panel.judges)
                trained_by = {"policy": policy.settings, **preferences_behind([policy])}
                say_if_it_trained("--judges", str(self.judges), trained_by, known_by=marks)
                for remark in judge_campaign(database, campaign.name, panel, actor=ACTOR).remarks:
                    remarks().print(remark, style="yellow", soft_wrap=True)
            made = freeze_checkpoints(database, policy, output_dir or policy.path.parent / "people")
            with database.read() as connection:
                now = progress(connection, campaign)
            shown = index if database.is_sqlite else database.shown_url
        if panel is None:
            _say_where_to_judge(campaign, now, num_added, shown)
        if made is not None:
            results().print(f"{made.kind} {made.id} in {made.path}", style="bold", soft_wrap=True)
            results().print(checkpoints_table(CampaignSummary.of(made).checkpoints))


def checkpoints_table(rows: Sequence[CheckpointQuality]) -> Table:
    """Return win rates against step 0, a row per checkpoint and kind of rater."""
    from kleash.monitor.read.external_quality import RATERS

    cells = [
        (
            str(row.step),
            RATERS.get(row.rater_kind, row.rater_kind),
            percent(rate.value),
            percent_range(rate.low, rate.high),
            f"{rate.n or 0:,}",
        )
        for row in rows
        if (rate := row.win_rate) is not None
    ]
    return rows_table(
        ("step", "judged by", "wins against step 0", "95 %", "prompts"), cells, header_style="dim", pad_edge=False
    )


def _say_where_to_judge(campaign: Campaign, now: CampaignProgress, num_added: int, store: str) -> None:
    added = f"{num_added:,} comparisons added, " if num_added else ""
    remarks().print(
        f"{campaign.name}: {added}{now.num_full:,} of {now.target:,} judged; {now.num_held:,} need nobody (the same "
        "answer as at step 0, or asked about at another step) or name a model.",
        soft_wrap=True,
    )
    if not now.is_complete:
        remarks().print(
            f"Show them: kleash collect serve --store {store}\n"
            f"Label at http://127.0.0.1:8321/label/{campaign.id}; then the same command freezes what was judged.",
            soft_wrap=True,
        )
