"""Freeze a campaign into files that training reads and that another campaign can be made from again.

    preferences.jsonl   one training row per item, in order; rows that are not to be trained on say why
    judgements.jsonl    every judgement in force as it was given, repeats and surplus ones marked
    items.jsonl         per row of preferences.jsonl what the campaign knows besides: gold, overlap, propensity
    campaign.json       settings and rubric versions

Exported, imported and exported again, the files are the same to the byte.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from kleash.artifacts import Artifact, read, writing
from kleash.collection.aggregation import AggregationSettings, aggregate
from kleash.collection.campaign import Campaign
from kleash.collection.gates import campaign_gates
from kleash.collection.judge_quality import beside_people, unanswered
from kleash.collection.quality import agreement
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.collection.store import campaigns as stored
from kleash.collection.store.calls import judge_calls
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force, record_export
from kleash.collection.store.raters import raters
from kleash.durable import write_rows, write_text
from kleash.errors import DataError
from kleash.estimates import Rate
from kleash.formats import to_json, write_jsonl
from kleash.records import JudgeCall, Preference
from kleash.results import PreferencesSummary
from kleash.versions import format_mark

PREFERENCES, JUDGEMENTS, ITEMS, CAMPAIGN = "preferences.jsonl", "judgements.jsonl", "items.jsonl", "campaign.json"
# Enough for the two digits that are shown.
_NUM_RESAMPLES = 200
NOTHING_MISSING: Mapping[str, int] = {}


def write_export(
    folder: Path,
    campaign: Campaign,
    rubrics: Sequence[tuple[str, str]],
    items: Mapping[str, Item],
    recorded: Sequence[RecordedJudgement],
    *,
    settings: AggregationSettings,
    calls: Sequence[tuple[JudgeCall, datetime]] = (),
) -> PreferencesSummary:
    """Write the four files into a folder and return the figures worth showing. calls: of AI judges, where kept."""
    place_of = {item_id: index for index, item_id in enumerate(items)}
    recorded = sorted(recorded, key=lambda entry: (place_of[entry.item_id], entry.judgement.rater, int(entry.id)))
    result = aggregate(items, recorded, settings=settings)
    write_jsonl(folder / PREFERENCES, result.rows)
    write_rows(folder / JUDGEMENTS, map(_judgement_row, recorded))
    write_rows(folder / ITEMS, map(_item_row, items.values()))
    about = {
        **format_mark(),
        "settings": campaign.settings.model_dump(mode="json"),
        "rubrics": [text for _, text in rubrics],
    }
    write_text(folder / CAMPAIGN, json.dumps(about, indent=2, sort_keys=True) + "\n")
    measured = agreement(items, recorded, num_resamples=_NUM_RESAMPLES)
    percent = measured.percent_without_ties
    return PreferencesSummary(
        **rows_summary(result.rows),
        comparisons=len(items),
        judgements=len(recorded),
        raters=len({entry.judgement.rater for entry in recorded}),
        agreement=percent.value if percent.n else None,
        agreement_interval=Rate(**vars(percent)) if percent.n else None,
        gates={
            gate.name: {"state": gate.state, "reason": gate.reason}
            for gate in campaign_gates(measured, items, recorded)
        },
        judgements_left_out=dict(result.judgements_left_out),
        skills=dict(result.skills),
        **({"beside_people": beside} if (beside := beside_people(items, recorded, calls)) else {}),
    )


def freeze(database: Database, name: str, output_dir: Path, *, settings: AggregationSettings, actor: str) -> Artifact:
    """Freeze a campaign as it stands into the preferences artifact `into`, and remember what went into it.

    Its parents are the candidates artifacts that the campaign's items came from, where they still lie.
    """
    with database.read() as connection:
        campaign = stored.campaign_named(connection, name)
        items, recorded = stored.items(connection, campaign), judgements_in_force(connection, campaign)
        rubrics = stored.rubrics(connection, campaign.id)
        origins = stored.origins(connection, campaign)
        judges = {entry.judgement.rater for entry in recorded if entry.judgement.rater_kind == "ai"}
        absent = missing_verdicts(connection, campaign, judges, settings=settings)
        calls = judge_calls(connection, [item.comparison.id for item in items.values()])
    settings = settings.model_copy(update={"accept_missing": None})
    parents = {f"candidates_{i}" if i else "candidates": read(Path(path)) for i, path in enumerate(origins)}
    in_full = {"campaign": campaign.settings.model_dump(mode="json"), "labels": settings.model_dump(mode="json")}
    with writing(output_dir, kind="preferences", parents=parents, settings=in_full) as draft:
        made = write_export(draft.path, campaign, rubrics, items, recorded, settings=settings, calls=calls)
        draft.summary |= made.to_json() | absent.to_json()
    artifact = read(output_dir)
    with database.write() as connection:
        ids, place = [entry.id for entry in recorded], str(output_dir.absolute())
        record_export(connection, campaign, artifact_id=artifact.id, path=place, judgement_ids=ids, actor=actor)
    return artifact


def missing_verdicts(
    connection: Connection,
    campaign: Campaign,
    judges: Collection[str],
    *,
    settings: AggregationSettings,
    missing: Mapping[str, int] = NOTHING_MISSING,
) -> PreferencesSummary:
    """Return on how many comparisons each of these judges gave no answer, and why that will do.

    missing: the same of comparers that keep no calls.
    Raises DataError where such answers are missing, or there is nothing to train on, and nobody has said why that will
    do.
    """
    items, recorded = stored.items(connection, campaign), judgements_in_force(connection, campaign)
    gone = {rater.name: rater.demotion for rater in raters(connection, campaign.id) if rater.demotion}
    calls = judge_calls(connection, [item.comparison.id for item in items.values()])
    missing = {**missing, **unanswered(recorded, calls, set(judges) - gone.keys())}
    faults = [f"{judge} was given no answer on {count} comparisons" for judge, count in sorted(missing.items())]
    if items and not any(entry.is_vote or entry.is_adjudication for entry in recorded):
        faults.append("there is no verdict that counts" + "".join(f" ({name}: {why})" for name, why in gone.items()))
    elif items and not (counts := rows_summary(aggregate(items, recorded, settings=settings).rows))["pairs"]:
        left_out = ", ".join(f"{count} {reason}" for reason, count in counts["left_out"].items())
        faults.append(f"0 pairs are left to train on ({left_out})")
    if faults and not settings.accept_missing:
        raise DataError(
            f"Not frozen: {'; '.join(faults)}. Expected a verdict wherever one was asked for. Start the judges again, "
            'which asks for what is missing alone, or say why this will do: labels.accept_missing = "why", on the '
            "command line of `kleash collect export` --set accept_missing=..., which is recorded."
        )
    accepted = {"accepted_missing": settings.accept_missing} if faults else {}
    return PreferencesSummary(**({"unanswered": missing} if missing else {}), **accepted)


def rows_summary(rows: Sequence[Preference]) -> dict[str, Any]:
    """Count what there is to train on, and what is left out for which reason."""
    return {
        "rows": len(rows),
        "prompts": len({row.prompt.id for row in rows}),
        "pairs": sum(len(row.pairs) for row in rows if not row.left_out),
        "ties": sum(pair.label == 0.5 for row in rows for pair in row.pairs),
        "left_out": dict(Counter(row.left_out for row in rows if row.left_out)),
    }


# ---------------------------------------------------------------------------------------------------------------- rows
def _judgement_row(entry: RecordedJudgement) -> dict[str, Any]:
    marks = {
        "is_repeat": entry.is_repeat,
        "is_surplus": entry.is_surplus,
        "is_adjudication": entry.is_adjudication,
        "skip_reason": entry.skip_reason,
        # A program's clock says nothing of it, and would make the same run's file another one each time.
        "given_at": entry.given_at.isoformat() if entry.judgement.rater_kind == "person" else "",
    }
    said = to_json(entry.judgement)
    if entry.judgement.rater_kind != "person":
        said.pop("seconds", None)  # for the reason above
    return {**said, **{name: value for name, value in marks.items() if value}}


def _item_row(item: Item) -> dict[str, Any]:
    row = {
        "gold_ranks": list(item.gold_ranks),
        "overlap": item.overlap,
        "arm": item.arm,
        "propensity": item.propensity,
        "hold": item.hold,
    }
    return {name: value for name, value in row.items() if value not in (None, [], "")}
