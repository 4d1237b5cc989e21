"""Have people, or AI judges, compare a run's checkpoints with its start: a campaign over the answers it kept.

Each comparison is a checkpoint's answer against step 0's, blind. Two equal answers are a tie that nobody needs to be
asked about, and an answer that two checkpoints share is asked about once; such items are in the campaign and held back.
What was judged is frozen into the artifact `people/`: `checkpoints.jsonl`, rows as in `evaluation/checkpoints.py`, and
each campaign's export. It is a snapshot: frozen again after more verdicts, it takes the old one's place.
"""

from __future__ import annotations

import random
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from kleash.artifacts import Artifact, find, read, writing
from kleash.collection.aggregation import AggregationSettings
from kleash.collection.campaign import DEFAULT_RUBRIC, Campaign, CampaignSettings
from kleash.collection.exporting import write_export
from kleash.collection.identity import identity_holds
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.collection.store import campaigns as stored
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from kleash.durable import partial_path, write_rows
from kleash.errors import ArtifactError, DataError, SettingsError
from kleash.evaluation.checkpoints import kept_answers, outcome_rate
from kleash.functions import FUNCTIONS
from kleash.raters.panel import panel_record
from kleash.records import Comparison, Completion, Judgement, group_by_slice
from kleash.results import CampaignSummary, CheckpointFigures, CheckpointQuality, FrozenCampaign

By = Literal["people", "judges"]

_EVERYTHING: tuple[By, ...] = ("people", "judges")
_NUM_STEPS = 4
_SAME_ANSWER = "the same answer as at step 0"
_ASKED_ALREADY = "asked about at another step"


def campaign_name(policy: Artifact, by: By) -> str:
    """Return the name of a policy's campaign; it says whose checkpoints, and that people or AI judges compare them."""
    return f"{' '.join(policy.path.absolute().parts[-3:-1])} checkpoints {policy.id[:8]} by {by}"


def open_campaign(
    database: Database,
    policy: Artifact,
    *,
    by: By,
    settings: CampaignSettings,
    rubric: str = DEFAULT_RUBRIC,
    steps: Sequence[int] | None = None,
    num_prompts: int = 60,
    actor: str,
) -> tuple[Campaign, int]:
    """Make the campaign over a policy's checkpoints, or add what is new to it; return it and how many items were added.

    steps: which checkpoints; None = up to four, evenly spread, the last among them, and for a campaign that is there
    already nothing new.  num_prompts: drawn at random, the same ones every time.
    Raises DataError if the run kept no answers, SettingsError for a step it did not keep.
    """
    kept = kept_answers(policy)
    if len(kept) < 2:
        raise DataError(
            f"{policy.path} kept the answers of {len(kept)} checkpoints. Expected step 0 and at least one later. Train "
            "with policy.evaluate_every set and prompts to be watched."
        )
    name = campaign_name(policy, by)
    with database.write() as connection:
        known = {campaign.name: campaign for campaign in stored.campaigns(connection)}
        if name in known and steps is None:
            return known[name], 0
        campaign = known.get(name) or stored.create_campaign(
            connection, name, settings, rubric=rubric, seed=f"{policy.id} {by}", actor=actor
        )
        comparisons = checkpoint_comparisons(kept, _chosen_steps(kept, steps), num_prompts=num_prompts, seed=policy.id)
        there = [item.comparison for item in stored.items(connection, campaign).values()]
        holds = identity_holds(comparisons) | _needless(comparisons, there)
        return campaign, stored.add_items(connection, campaign, comparisons, holds=holds, actor=actor).num_added


def freeze_checkpoints(database: Database, policy: Artifact, output_dir: Path) -> Artifact | None:
    """Freeze what has been judged of a policy's checkpoints so far; None while nothing has been.

    A snapshot that holds the very same verdicts is left as it is.
    Raises ArtifactError if the folder holds anything but a snapshot of this policy's checkpoints.
    """
    campaigns = _campaigns_of(database, policy)
    num_judgements = {by: len(recorded) for by, (_, _, _, recorded) in campaigns.items() if recorded}
    if not num_judgements:
        return None
    if (before := find(output_dir)) is not None:
        if (before.kind, before.parents.get("policy")) != ("campaign", policy.id):
            raise ArtifactError(
                f"{output_dir} holds a {before.kind} artifact that is no snapshot of {policy.path}'s checkpoints. "
                "Expected one, or an empty place. Name another folder by --into."
            )
        if before.settings["judgements"] == num_judgements:
            return before
        shutil.rmtree(output_dir)
    # What a killed freeze left behind may hold other verdicts; a snapshot is made in no time.
    shutil.rmtree(partial_path(output_dir), ignore_errors=True)
    settings: dict[str, Any] = {
        "judgements": num_judgements,
        "campaigns": {by: campaigns[by][0].settings.model_dump(mode="json") for by in num_judgements},
    }
    if "judges" in num_judgements:
        names = {one.judgement.rater for one in campaigns["judges"][3] if one.judgement.rater_kind == "ai"}
        settings[FUNCTIONS] = {"judges": panel_record(sorted(names))}
    rows: list[CheckpointQuality] = []
    frozen: dict[str, FrozenCampaign] = {}
    with writing(output_dir, kind="campaign", parents={"policy": policy}, settings=settings) as draft:
        for by in num_judgements:
            campaign, rubrics, items, recorded = campaigns[by]
            (draft.path / by).mkdir(exist_ok=True)
            export = write_export(draft.path / by, campaign, rubrics, items, recorded, settings=AggregationSettings())
            frozen[by] = FrozenCampaign(name=campaign.name, **export.to_json())
            rows += checkpoint_rows(items, recorded)
        write_rows(draft.path / "checkpoints.jsonl", [row.to_json() for row in rows])
        draft.summary |= CampaignSummary(checkpoints=rows, **frozen).to_json()
    return read(output_dir)


def checkpoint_comparisons(
    kept: Mapping[int, Sequence[Completion]], steps: Sequence[int], *, num_prompts: int, seed: str
) -> list[Comparison]:
    """Return each chosen checkpoint's answers against step 0's, on prompts drawn at random."""
    first = min(kept)
    num_answers = len(kept[first])
    drawn = sorted(random.Random(seed).sample(range(num_answers), k=num_answers)[:num_prompts])
    return [
        Comparison(now.prompt, (now.text, before.text), (_source(step), _source(first)))
        for step in steps
        for row in drawn
        for now, before in [(kept[step][row], kept[first][row])]
    ]


def checkpoint_rows(items: Mapping[str, Item], recorded: Sequence[RecordedJudgement]) -> list[CheckpointQuality]:
    """Return a row per checkpoint and kind of rater: the win rate against step 0, over all prompts and by slice.

    An item is won, tied or lost by the mean of its votes, "both bad" being a tie. n counts prompts, not votes.
    """
    votes: dict[str, dict[tuple[str, ...], list[float]]] = defaultdict(lambda: defaultdict(list))
    for entry in recorded:
        if entry.is_vote:
            votes[entry.judgement.rater_kind][_content_key(items[entry.item_id].comparison)].append(
                _score(entry.judgement)
            )
    by_step: dict[int, list[Comparison]] = defaultdict(list)
    for item in items.values():
        by_step[int(item.comparison.sources[0].removeprefix("step-"))].append(item.comparison)
    return [
        _votes(step, kind, _decided(comparisons, scores))
        for kind, scores in sorted(votes.items())
        for step, comparisons in sorted(by_step.items())
    ]


# ----------------------------------------------------------------------------------------------------------- inside
def _campaigns_of(
    database: Database, policy: Artifact
) -> dict[By, tuple[Campaign, list[tuple[str, str]], dict[str, Item], list[RecordedJudgement]]]:
    with database.read() as connection:
        known = {campaign.name: campaign for campaign in stored.campaigns(connection)}
        return {
            by: (
                campaign,
                stored.rubrics(connection, campaign.id),
                stored.items(connection, campaign),
                judgements_in_force(connection, campaign),
            )
            for by in _EVERYTHING
            if (campaign := known.get(campaign_name(policy, by))) is not None
        }


def _chosen_steps(kept: Mapping[int, Sequence[Completion]], steps: Sequence[int] | None) -> list[int]:
    later = sorted(kept)[1:]
    if steps is None:
        count = min(_NUM_STEPS, len(later))
        return [later[(index + 1) * len(later) // count - 1] for index in range(count)]
    unknown = [step for step in steps if step not in kept]
    if unknown or not set(steps) & set(later):
        raise SettingsError(
            f"Steps {', '.join(map(str, steps))} {'are not all kept' if unknown else 'hold nothing to compare'}. "
            f"Expected some of {', '.join(map(str, later))}; step {min(kept)} is what they are compared with. Name "
            "those."
        )
    return [step for step in later if step in steps]


def _needless(comparisons: Sequence[Comparison], there: Sequence[Comparison]) -> dict[str, str]:
    """Return why comparisons need not be asked about, by id."""
    known = {comparison.id for comparison in there}
    shown = {_content_key(comparison) for comparison in there}
    holds = {}
    for comparison in comparisons:
        if _is_tie(comparison):
            holds[comparison.id] = _SAME_ANSWER
        elif _content_key(comparison) in shown and comparison.id not in known:
            holds[comparison.id] = _ASKED_ALREADY
        shown.add(_content_key(comparison))
    return holds


def _content_key(comparison: Comparison) -> tuple[str, ...]:
    return (comparison.prompt.id, *comparison.completions)


def _score(judgement: Judgement) -> float:
    if judgement.outcome != "ranked" or judgement.ranks[0] == judgement.ranks[1]:
        return 0.5
    return float(judgement.ranks[0] < judgement.ranks[1])


def _decided(
    comparisons: Sequence[Comparison], scores: Mapping[tuple[str, ...], Sequence[float]]
) -> list[tuple[Comparison, str]]:
    """Return the comparisons whose outcome is known, with it."""
    same = [comparison for comparison in comparisons if _is_tie(comparison)]
    open_ones = [comparison for comparison in comparisons if not _is_tie(comparison)]
    voted = [(c, sum(votes) / len(votes)) for c in open_ones if (votes := scores.get(_content_key(c)))]
    # While some are still to be judged, ties that nobody is asked about must not outweigh those that are.
    num_same = round(len(same) * len(voted) / len(open_ones)) if open_ones else len(same)
    ties = [(comparison, 0.5) for comparison in same[:num_same]]
    return [(c, "tie" if mean == 0.5 else "win" if mean > 0.5 else "loss") for c, mean in voted + ties]


def _is_tie(comparison: Comparison) -> bool:
    return comparison.completions[0] == comparison.completions[1]


def _votes(step: int, rater_kind: str, decided: Sequence[tuple[Comparison, str]]) -> CheckpointQuality:
    outcomes = [outcome for _, outcome in decided]
    groups = group_by_slice(comparison.prompt.dimensions for comparison, _ in decided)
    slices = {
        name: CheckpointFigures(win_rate=outcome_rate([outcomes[row] for row in rows])) for name, rows in groups.items()
    }
    return CheckpointQuality(step=step, rater_kind=rater_kind, win_rate=outcome_rate(outcomes), slices=slices)


def _source(step: int) -> str:
    return f"step-{step}"
