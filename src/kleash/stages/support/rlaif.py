"""Have AI judges label while people label a share: a judge that leaves its band is demoted, and the rest goes on.

The judges' figures are looked at as their verdicts come in (`raters/drift.py`), against whatever people have said of
the same comparisons by then. Who was demoted, and from which judgement on nothing of it counts, stands in the label
database, so that a labelling that was stopped goes on as it would have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sqlalchemy.engine import Connection

from kleash.artifacts import Artifact
from kleash.collection.campaign import Campaign
from kleash.collection.judge_quality import votes_of_people
from kleash.collection.recorded import RecordedJudgement
from kleash.collection.store import campaigns as stored
from kleash.collection.store.calls import judge_calls
from kleash.collection.store.campaigns import shared_comparisons
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from kleash.collection.store.raters import demote, raters
from kleash.durable import write_rows
from kleash.errors import RunError, SettingsError
from kleash.maths.intervals import wilson_interval
from kleash.progress import progress
from kleash.protocols import Comparer
from kleash.raters.drift import Drift, DriftSettings, Facts, Look, facts_of, find_drift, looks
from kleash.raters.monitoring import BandSettings, majority_choices
from kleash.raters.panel import JudgePanel
from kleash.records import Comparison
from kleash.results import PreferencesSummary
from kleash.stages.support.comparing import ACTOR
from kleash.stages.support.judging import have_batch_compared, hold_to_band

LOOKS = "judge_looks.jsonl"


@runtime_checkable
class SimulatedJudgeComparer(Protocol):
    """The sandbox's judge. num_judged: verdicts it has given before.  expert: stands in for the people of the share."""

    name: str
    num_judged: int
    expert: Comparer

    def compare(self, comparisons: Sequence[Comparison]) -> Any: ...


@dataclass(frozen=True)
class JudgesAtWork:
    """The AI judges of one round, by what they are held to.

    earlier: per judge its verdicts in earlier rounds.  retired: judges that an earlier round demoted, with the reason.
    """

    comparer: JudgePanel | SimulatedJudgeComparer
    band: BandSettings
    settings: DriftSettings
    earlier: Mapping[str, int]
    retired: Mapping[str, str]

    @property
    def names(self) -> list[str]:
        if isinstance(self.comparer, JudgePanel):
            return [judge.name for judge in self.comparer.judges]
        return [self.comparer.name]

    def comparer_of(self, names: Collection[str]) -> Comparer | None:
        """Return the comparer of some of the judges; None for none."""
        if isinstance(self.comparer, JudgePanel):
            members = [judge for judge in self.comparer.judges if judge.name in names]
            return JudgePanel(members) if members else None
        return self.comparer if names else None


def judges_at_work(
    comparer: Comparer | None, *, band: BandSettings, settings: DriftSettings, rounds_before: Sequence[Artifact]
) -> JudgesAtWork | None:
    """Return the AI judges that label, with what earlier rounds' preferences say of them; None for other raters.

    Raises SettingsError for a window too small for the band ever to decide.
    """
    if not isinstance(comparer, JudgePanel | SimulatedJudgeComparer):
        return None
    if settings.window < band.min_n:
        raise SettingsError(
            f"preferences.drift.window is {settings.window} items, and the band decides from {band.min_n} on. Expected "
            "a window in which it can. Raise the window, or lower the band's min_n."
        )
    rows = [row for artifact in rounds_before for row in PreferencesSummary.of(artifact).judges]
    earlier: Counter[str] = Counter()
    for row in rows:
        earlier[row["judge"]] += row["verdicts"]
    retired = {row["judge"]: row["reason"] for row in rows if row["is_demoted"]}
    return JudgesAtWork(comparer, band, settings, earlier, retired)


def label_by_judges(
    database: Database,
    campaign: Campaign,
    comparisons: Sequence[Comparison],
    judges: JudgesAtWork,
    *,
    announce: Callable[[str], None],
) -> None:
    """Have the judges label what they have not labelled yet, looking at them every few verdicts.

    A demoted judge is asked no more; the expert of the sandbox goes on with the share. What a panel has spent is said.
    Raises RunError when a demotion leaves too few comparisons with a verdict that counts.
    """
    for name in judges.names:
        if name in judges.retired:
            announce(f"{name} is not asked: an earlier round demoted it. {judges.retired[name]}")
    with database.read() as connection:
        recorded = judgements_in_force(connection, campaign, includes_demoted=True)
        shared = shared_comparisons(connection, campaign)
    said = Counter((entry.judgement.comparison_id, entry.judgement.rater) for entry in recorded)
    if isinstance(judges.comparer, SimulatedJudgeComparer):
        name = judges.comparer.name
        judges.comparer.num_judged = judges.earlier.get(name, 0) + sum(rater == name for _, rater in said)
    size = judges.settings.every
    with progress(len(comparisons), "Comparing") as advance:
        for start in range(0, len(comparisons), size):
            batch = comparisons[start : start + size]
            active = _hold(database, campaign, judges, announce)
            if isinstance(judges.comparer, SimulatedJudgeComparer):
                # Before the judge, so that whoever looks at its verdicts, after a kill too, has the share beside them.
                # Those the expert has judged already are judged the same again, and not stored twice.
                share = [one for one in batch if one.id in shared]
                have_batch_compared(database, campaign, share, judges.comparer.expert)
            waiting = [one for one in batch if any((one.id, name) not in said for name in active)]
            if waiting and (comparer := judges.comparer_of(active)):
                have_batch_compared(database, campaign, waiting, comparer)
            advance(len(batch))
    _hold(database, campaign, judges, announce, is_over=True)
    if judges.settings.demotes:
        # Once more over all time and over the calls: a steady judge below its band, and unreadable replies.
        for remark in hold_to_band(database, campaign, judges.band, actor=ACTOR)[1]:
            announce(remark)
    if isinstance(judges.comparer, JudgePanel):
        for judge in judges.comparer.judges:
            announce(f"{judge.name}: {judge.spending.told} in this run.")
    _check_what_is_left(database, campaign, judges, num_comparisons=len(comparisons))


def report_on_judges(
    database: Database, campaign: Campaign, judges: JudgesAtWork, output_dir: Path
) -> PreferencesSummary:
    """Write how the judges did at each look, and return the summary: who was demoted, when, why, what was dropped."""
    with database.read() as connection:
        histories = _histories(connection, campaign, judges.names)
        counted = Counter(entry.judgement.rater for entry in judgements_in_force(connection, campaign))
        demotions = {rater.name: rater.demotion for rater in raters(connection, campaign.id)}
        used = _tokens(connection, campaign, judges)
    summary, lines = [], []
    for one in histories:
        reason = demotions.get(one.judge, "") or judges.retired.get(one.judge, "")
        summary.append(
            {
                "judge": one.judge,
                "verdicts": one.num_verdicts,
                "dropped": one.num_verdicts - counted[one.judge],
                "is_demoted": bool(reason),
                "reason": reason,
                **used.get(one.judge, {}),
                **_agreement(one, one.drift(judges, is_over=True)),
            }
        )
        seen = looks(one.judge, one.facts, num_verdicts=one.num_verdicts, settings=judges.settings, is_over=True)
        lines += [_look_row(look) for look in seen]
    write_rows(output_dir / LOOKS, lines)
    return PreferencesSummary(judges=summary)


def _tokens(connection: Connection, campaign: Campaign, judges: JudgesAtWork) -> dict[str, dict[str, Any]]:
    """Return what each judge of a panel has read and written on these comparisons, in all runs, and its cost."""
    if not isinstance(judges.comparer, JudgePanel):
        return {}
    used: dict[str, dict[str, Any]] = {}
    calls = judge_calls(connection, [item.comparison.id for item in stored.items(connection, campaign).values()])
    for judge in judges.comparer.judges:
        own = [call for call, _ in calls if call.judge == judge.name]
        tokens = sum(call.prompt_tokens for call in own), sum(call.reply_tokens for call in own)
        used[judge.name] = {"calls": len(own), "prompt_tokens": tokens[0], "reply_tokens": tokens[1]}
        if judge.settings.is_priced:
            used[judge.name]["cost"] = round(judge.spending.price(*tokens), 6)
    return used


# ------------------------------------------------------------------------------------------------------------- holding
@dataclass(frozen=True)
class _History:
    """One judge's verdicts in the order they were given, and what they show."""

    judge: str
    recorded: Sequence[RecordedJudgement]
    facts: Facts

    @property
    def num_verdicts(self) -> int:
        return len(self.recorded)

    def drift(self, judges: JudgesAtWork, *, is_over: bool) -> Drift | None:
        return find_drift(
            self.judge,
            self.facts,
            num_verdicts=self.num_verdicts,
            band=judges.band,
            settings=judges.settings,
            is_over=is_over,
        )


def _histories(connection: Connection, campaign: Campaign, names: Sequence[str]) -> list[_History]:
    recorded = judgements_in_force(connection, campaign, includes_demoted=True)
    comparisons = {item.comparison.id: item.comparison for item in stored.items(connection, campaign).values()}
    majority = majority_choices(votes_of_people(recorded))
    histories = []
    for name in names:
        own = [entry for entry in recorded if entry.judgement.rater == name and not entry.is_repeat]
        facts = facts_of([entry.judgement for entry in own], majority, comparisons)
        histories.append(_History(name, own, facts))
    return histories


def _hold(
    database: Database,
    campaign: Campaign,
    judges: JudgesAtWork,
    announce: Callable[[str], None],
    *,
    is_over: bool = False,
) -> set[str]:
    """Demote the judges that have left the band; return the names of those that go on."""
    with database.write() as connection:
        demoted = {rater.name for rater in raters(connection, campaign.id) if rater.demotion}
        active = set(judges.names) - demoted - set(judges.retired)
        for one in _histories(connection, campaign, sorted(active)):
            drift = one.drift(judges, is_over=is_over)
            if drift is None or not judges.settings.demotes:
                continue
            active.discard(one.judge)
            num_counting = _num_counting(drift, judges.settings)
            # The judgement after those that count, whether it is there already or only to come.
            first_dropped = int(one.recorded[num_counting - 1].id) + 1 if num_counting else None
            reason = f"{'; '.join(drift.reasons)}. {_what_counts(drift, num_counting)}"
            demote(connection, one.judge, reason, actor=ACTOR, counts_before=first_dropped)
            announce(f"Demoted: {reason}")
    return active


def _num_counting(drift: Drift, settings: DriftSettings) -> int:
    """Return how many of a demoted judge's verdicts go on counting."""
    return {"later": drift.found_after, "drift": drift.began_after, "all": 0}[settings.drops]


def _what_counts(drift: Drift, num_counting: int) -> str:
    kept = f"Its first {num_counting} verdicts count" if num_counting else "None of its verdicts counts"
    return f"Found after {drift.found_after} verdicts, begun after {drift.began_after}. {kept}"


def _check_what_is_left(database: Database, campaign: Campaign, judges: JudgesAtWork, *, num_comparisons: int) -> None:
    with database.read() as connection:
        demoted = {one.name: one.demotion for one in raters(connection, campaign.id) if one.demotion}
        votes = {entry.item_id for entry in judgements_in_force(connection, campaign) if entry.is_vote}
    reasons = {**judges.retired, **{name: demoted[name] for name in judges.names if name in demoted}}
    if reasons and len(votes) < judges.settings.min_left:
        raise RunError(
            f"{len(votes)} of {num_comparisons} comparisons have a verdict that counts once judges were demoted: "
            f"{' '.join(reasons.values())}. Expected at least {judges.settings.min_left} (preferences.drift.min_left). "
            "Let people label more (preferences.campaign.people_share), ask another judge, or lower what is expected."
        )


# ------------------------------------------------------------------------------------------------------------- figures
def _agreement(one: _History, drift: Drift | None) -> dict[str, Any]:
    """Return the agreement with people over all, and on both sides of a drift."""
    facts = one.facts["agreement_without_ties"]
    figures: dict[str, Any] = {"agreement": _share([fact.value for fact in facts])}
    if drift:
        figures["found_after"], figures["began_after"] = drift.found_after, drift.began_after
        figures["agreement_before"] = _share([fact.value for fact in facts if fact.position < drift.began_after])
        figures["agreement_since"] = _share([fact.value for fact in facts if fact.position >= drift.began_after])
    return figures


def _look_row(look: Look) -> dict[str, Any]:
    figures = {
        name: getattr(look.figures, name) for name in ("agreement_without_ties", "flip_rate", "length_preference")
    }
    known = {name: vars(figure) for name, figure in figures.items() if figure.n}
    return {"judge": look.figures.judge, "verdicts": look.num_verdicts, **known}


def _share(values: Sequence[float]) -> dict[str, Any] | None:
    return vars(wilson_interval(sum(values), len(values))) if values else None
