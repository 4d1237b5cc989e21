"""Put comparisons before a comparer and its verdicts into the label database; hold AI judges to their band."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kleash.collection.campaign import Campaign
from kleash.collection.judge_quality import beside_people, measure_judges, unanswered
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.collection.store import campaigns as stored
from kleash.collection.store.calls import StoredCalls, judge_calls
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import demote, raters
from kleash.collection.store.recording import record
from kleash.progress import progress
from kleash.protocols import Comparer
from kleash.raters.ai_feedback import AIJudge
from kleash.raters.configuration import JudgesSettings
from kleash.raters.judge_run import Purse, Spending
from kleash.raters.monitoring import BandSettings, JudgeFigures, anchor_changes, demotion
from kleash.raters.panel import JudgePanel, same_family_warning
from kleash.records import Comparison, Judgement
from kleash.results import JudgeBesidePeople

# Comparisons per transaction. What is yielded before a stop is recorded all the same, so this only paces the writes.
_FAST_BATCH, _SLOW_BATCH = 4096, 16
NOBODY = "the comparer"


@dataclass(frozen=True)
class JudgingResult:
    """What became of a judging run; figures are per judge over all time, remarks what a person should know.

    num_added: verdicts.  num_unreadable: replies in which there was none.  missing: by judge, comparisons on which its
    endpoint gave no answer.  spent: per judge what the run has cost.
    """

    num_added: int
    num_unreadable: int
    missing: Mapping[str, int]
    spent: Mapping[str, Spending]
    figures: list[JudgeFigures]
    beside_people: list[JudgeBesidePeople]
    remarks: list[str]


def judge_campaign(
    database: Database, name: str, settings: JudgesSettings, *, actor: str, only: int | None = None
) -> JudgingResult:
    """Have AI judges judge what they have not judged yet in a campaign, calibration items too.

    A judge without a rubric of its own goes by the campaign's. A judge that leaves its band is demoted at once.
    Calibration items come first: they are the anchors on which a judge's versions are compared (remarks).
    Raises JudgeStopped when a budget is used up, after recording all that was judged.
    """
    with database.read() as connection:
        campaign = stored.campaign_named(connection, name)
        items = stored.items(connection, campaign)
        recorded = judgements_in_force(connection, campaign, includes_demoted=True)
    shared = Purse(settings.budget)
    members = [
        AIJudge(
            one.going_by(campaign.rubric),
            log=StoredCalls(database),
            rubric_version=campaign.rubric_version,
            shared=shared,
        )
        for one in settings.judges
    ]
    waiting = _not_judged_by_all({member.name for member in members}, items, recorded)[:only]
    sources = {source for item in items.values() for source in item.comparison.sources}
    warnings = [same_family_warning(one.family_name, sources) for one in settings.judges]
    have_compared(database, campaign, waiting, JudgePanel(members), is_slow=True)
    figures, demoted = hold_to_band(database, campaign, settings.band, actor=actor)
    earlier, spent = {entry.id for entry in recorded}, {member.name: member.spending for member in members}
    with database.read() as connection:
        recorded = judgements_in_force(connection, campaign, includes_demoted=True)
        calls = judge_calls(connection, [item.comparison.id for item in items.values()])
    missing = unanswered(recorded, calls, spent.keys())
    added = [entry.judgement for entry in recorded if entry.id not in earlier and entry.judgement.rater in spent]
    num_unreadable = sum(judgement.outcome == "skipped" for judgement in added)
    remarks = [warning for warning in warnings if warning] + _changes_on_anchors(members, items, recorded) + demoted
    remarks += [
        f"{judge} was given no answer on {count} comparisons: start it again." for judge, count in missing.items()
    ]
    beside = beside_people(items, recorded, calls)
    return JudgingResult(len(added) - num_unreadable, num_unreadable, missing, spent, figures, beside, remarks)


def have_compared(
    database: Database,
    campaign: Campaign,
    comparisons: Sequence[Comparison],
    comparer: Comparer,
    *,
    is_slow: bool = False,
    already_done: int = 0,
) -> Counter[str]:
    """Have comparisons judged and record every verdict; return by rater on how many there is no answer.

    A stop in the middle, of whatever kind, loses no verdict that was there.
    """
    size = _SLOW_BATCH if is_slow else _FAST_BATCH
    missing: Counter[str] = Counter()
    with progress(already_done + len(comparisons), "Comparing", already_done=already_done) as advance:
        for start in range(0, len(comparisons), size):
            batch = comparisons[start : start + size]
            missing += have_batch_compared(database, campaign, batch, comparer)
            advance(len(batch))
    return missing


def have_batch_compared(
    database: Database, campaign: Campaign, batch: Sequence[Comparison], comparer: Comparer
) -> Counter[str]:
    """Have comparisons judged and record what was said, however it ends; return by rater what is not answered.

    What failed is asked once more, and an outage is recorded by no means: a later run asks again. A comparison about
    which a comparer says nothing at all counts under `NOBODY`.
    """
    missing: set[tuple[str, str]] = set()
    for _ in range(2):
        judgements: list[Judgement] = []
        try:
            # Outside of any transaction: a judge may take minutes, and keeps its calls in the same database.
            for judgement in comparer.compare(batch):
                judgements.append(judgement)
        finally:
            with database.write() as connection:
                record(connection, campaign, judgements)
        said = {(one.rater, one.comparison_id): one.is_unanswered for one in judgements}
        asked = {comparison.id for comparison in batch}
        silent = asked - {comparison_id for _, comparison_id in said}
        missing = {key for key in missing if key[1] not in asked} | {(NOBODY, one) for one in silent}
        missing |= {key for key, is_out in said.items() if is_out}
        failed = {one.comparison_id for one in judgements if one.is_unanswered and "failed" in one.flags}
        batch = [comparison for comparison in batch if comparison.id in failed]
        if not batch:
            break
    return Counter(rater for rater, _ in sorted(missing))


def hold_to_band(
    database: Database, campaign: Campaign, band: BandSettings, *, actor: str
) -> tuple[list[JudgeFigures], list[str]]:
    """Measure the campaign's AI judges over all time and demote those outside the band; return figures and reasons."""
    with database.write() as connection:
        items = stored.items(connection, campaign)
        recorded = judgements_in_force(connection, campaign)
        calls = judge_calls(connection, [item.comparison.id for item in items.values()])
        figures = measure_judges(items, recorded, calls, is_weekly=False)
        gone = {rater.name for rater in raters(connection, campaign.id) if rater.demotion}
        voting = {entry.judgement.rater for entry in recorded if entry.judgement.rater_kind == "ai"} - gone
        demoted = []
        for one in figures:
            reasons = demotion(one, band) if one.judge in voting else []
            if reasons:
                demote(connection, one.judge, "; ".join(reasons), actor=actor)
                demoted.append(f"Demoted, no longer counted: {'; '.join(reasons)}")
    return figures, demoted


def _changes_on_anchors(
    members: Sequence[AIJudge], items: dict[str, Item], recorded: Sequence[RecordedJudgement]
) -> list[str]:
    """Say how each judge's verdicts on the calibration items differ from those of its earlier versions."""
    said: dict[str, list[Judgement]] = defaultdict(list)
    for entry in recorded:
        if items[entry.item_id].is_gold and entry.judgement.rater_kind == "ai":
            said[entry.judgement.rater].append(entry.judgement)
    remarks = []
    for name in [member.name for member in members]:
        model = name.rpartition("@")[0]
        for earlier in sorted(other for other in said if other != name and other.rpartition("@")[0] == model):
            changes = anchor_changes(said[earlier], said[name])
            remarks.append(
                f"{name} beside its earlier version {earlier} on {changes.total()} calibration items: "
                f"{changes['flipped']} verdicts flipped, {changes['softened']} became or ceased to be a tie."
            )
    return remarks


def _not_judged_by_all(
    names: set[str], items: dict[str, Item], recorded: Sequence[RecordedJudgement]
) -> list[Comparison]:
    judged = {(entry.item_id, entry.judgement.rater) for entry in recorded}
    return [
        item.comparison
        for item in sorted(items.values(), key=lambda item: not item.is_gold)
        if not item.hold and not all((item.id, name) in judged for name in names)
    ]
