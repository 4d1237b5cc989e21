"""Put files into a campaign: comparisons to be judged, judgements somebody has made, or a whole export.

Every bad row of a file is named with its line, reason and fix; the rest is kept, unless `strict` refuses the file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from kleash.artifacts import read, require
from kleash.collection.campaign import Campaign, CampaignSettings
from kleash.collection.exporting import CAMPAIGN, ITEMS, JUDGEMENTS, PREFERENCES
from kleash.collection.identity import identity_holds
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.collection.store import campaigns as stored
from kleash.collection.store.events import now
from kleash.collection.store.recording import record, restore
from kleash.durable import read_object
from kleash.errors import DataError
from kleash.formats import read_comparisons, read_completions, read_judgements, read_preferences
from kleash.formats.rows import RowProblem, rows_of
from kleash.records import Comparison, Judgement, comparisons_of
from kleash.settings import check_settings
from kleash.versions import as_now, check_format


@dataclass(frozen=True)
class Imported:
    """What became of a file. problems: its bad rows, each as file:line, reason and fix."""

    items: stored.Added
    num_judgements: int
    problems: tuple[str, ...] = ()


def import_comparisons(connection: Connection, campaign: Campaign, file: Path, *, strict: bool, actor: str) -> Imported:
    """Put a file's comparisons into a campaign, with the judgements of its raters where it names any.

    Takes our own files, TRL's, HH's, PandaLM's and whatever else `kleash data check` reads as comparisons. A file that
    only says which answer won is nobody's word in particular: its verdicts are not imported.
    """
    loaded = read_comparisons(file, strict=strict)
    added = stored.add_items(connection, campaign, loaded.records, holds=identity_holds(loaded.records), actor=actor)
    try:
        judgements = read_judgements(file, strict=strict).records
    except DataError:  # of this kind of file, nobody in particular has judged a row
        judgements = []
    known = {comparison.id for comparison in loaded.records}
    num = record(connection, campaign, [judgement for judgement in judgements if judgement.comparison_id in known])
    return Imported(added, num, tuple(map(str, loaded.bad_rows)))


def import_candidates(connection: Connection, campaign: Campaign, folder: Path, *, actor: str) -> Imported:
    """Put the answers of a candidates artifact into a campaign, as pairs of different answers to one prompt."""
    artifact = require(read(folder), "candidates")
    answers = read_completions(artifact.path / "candidates.jsonl").records
    comparisons = comparisons_of(answers, num_completions=2)
    added = stored.add_items(connection, campaign, comparisons, holds=identity_holds(comparisons), actor=actor)
    stored.record_origin(connection, campaign, str(artifact.path.absolute()), actor=actor)
    return Imported(added, 0)


def read_priorities(
    file: Path, items: Mapping[str, Item], entropies: Mapping[tuple[str, str], float]
) -> dict[str, float]:
    """Read what makes items worth a rater's time, one JSON object per line.

    {"comparison_id": ..., "first_better": p}: a reward model's preference; the priority is its uncertainty times how
    far raters disagree in the item's slices (entropies, in [0, 1]; 1 where nothing is known).
    {"comparison_id": ..., "suspicion": s}: s >= 0 as it stands, such as proxy rank minus external rank.
    Raises DataError naming the line.
    """
    by_comparison = {item.comparison.id: item for item in items.values()}
    priorities: dict[str, float] = {}
    for line, row in _rows(file):
        name, limit = ("first_better", 1.0) if "first_better" in row else ("suspicion", math.inf)
        value = row.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= limit:
            raise DataError(
                f"{file}:{line} has {name} {value!r}. Expected first_better between 0 and 1, or a suspicion of 0 or "
                "more. Correct the line."
            )
        item = by_comparison.get(str(row.get("comparison_id")))
        if item is not None and name == "first_better":
            known = [entropies[slice_] for slice_ in item.dimensions.items() if slice_ in entropies]
            disagreement = sum(known) / len(known) if known else 1.0
            uncertainty = 4 * value * (1 - value)  # 1 where the reward model cannot tell the answers apart
            priorities[item.comparison.id] = uncertainty * disagreement
        elif item is not None:
            priorities[item.comparison.id] = float(value)
    return priorities


def import_gold(connection: Connection, campaign: Campaign, file: Path, *, strict: bool, actor: str) -> Imported:
    """Put calibration items into a campaign: preferences whose first choice is known to be right."""
    loaded = read_preferences(file, strict=strict)
    gold = {}
    for row in loaded.records:
        comparison = Comparison(row.prompt, row.completions, row.sources)
        if row.pairs and not row.left_out:
            gold[comparison] = _ranks(row.pairs, len(row.completions))
    ranks = {comparison.id: ranks for comparison, ranks in gold.items()}
    added = stored.add_items(connection, campaign, list(gold), gold=ranks, actor=actor)
    return Imported(added, 0, tuple(map(str, loaded.bad_rows)))


def import_export(connection: Connection, folder: Path, name: str, *, actor: str) -> tuple[Campaign, Imported]:
    """Make a campaign from an exported folder. Raises DataError when a file is missing or does not fit the others."""
    about = read_object(folder / CAMPAIGN, remedy="Give a folder that `kleash collect export` wrote.", error=DataError)
    check_format(about, folder / CAMPAIGN, DataError)
    extras = [row for _, row in _rows(folder / ITEMS)]
    rows = read_preferences(folder / PREFERENCES, strict=True).records
    if len(rows) != len(extras):
        raise DataError(
            f"{folder} has {len(rows)} rows of preferences and {len(extras)} items, expected as many of each. "
            "Export the campaign again."
        )
    settings = check_settings(
        as_now(about["settings"], CampaignSettings), CampaignSettings, source=str(folder / CAMPAIGN)
    )
    first, *later = about["rubrics"]
    campaign = stored.create_campaign(connection, name, settings, rubric=first, actor=actor)
    for text in later:
        stored.write_rubric(connection, campaign.id, text, actor=actor)
    comparisons = [Comparison(row.prompt, row.completions, row.sources) for row in rows]
    by_id = {comparison.id: extra for comparison, extra in zip(comparisons, extras, strict=True)}
    added = stored.add_items(
        connection,
        campaign,
        comparisons,
        gold={key: tuple(extra["gold_ranks"]) for key, extra in by_id.items() if "gold_ranks" in extra},
        holds={key: extra["hold"] for key, extra in by_id.items() if "hold" in extra},
        actor=actor,
    )
    stored.restore_sampling(connection, campaign, by_id)
    judgements = read_judgements(folder / JUDGEMENTS, strict=True).records if extras else []
    marks = [row for _, row in _rows(folder / JUDGEMENTS)]
    recorded = [_recorded(*pair) for pair in zip(judgements, marks, strict=True)]
    num = restore(connection, campaign, recorded, actor=actor)
    return stored.campaign_named(connection, name), Imported(added, num)


def _recorded(judgement: Judgement, marks: Mapping[str, Any]) -> RecordedJudgement:
    return RecordedJudgement(
        id="",
        item_id="",
        judgement=judgement,
        given_at=datetime.fromisoformat(marks["given_at"]) if "given_at" in marks else now(),
        is_repeat=bool(marks.get("is_repeat")),
        is_surplus=bool(marks.get("is_surplus")),
        is_adjudication=bool(marks.get("is_adjudication")),
        skip_reason=str(marks.get("skip_reason", "")),
    )


def _ranks(pairs: Any, num_completions: int) -> tuple[int, ...]:
    """Turn a known preference's pairs into ranks: 1 + the number of answers that beat this one."""
    beaten_by = [0] * num_completions
    for pair in pairs:
        if pair.label > 0.5:
            beaten_by[pair.second] += 1
        elif pair.label < 0.5:
            beaten_by[pair.first] += 1
    return tuple(1 + count for count in beaten_by)


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the rows of a file of JSON lines, each with its line; a campaign without any has an empty file."""
    for row in rows_of(path, own_files=()) if not path.is_file() or path.stat().st_size else ():
        if isinstance(row.content, RowProblem):
            fix = row.content.fix[:1].upper() + row.content.fix[1:]
            raise DataError(f"{path}:{row.line} {row.content.reason}. Expected a JSON object in each line. {fix}.")
        yield row.line, row.content
