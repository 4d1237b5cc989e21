"""Collect preferences: put candidates before raters, or import a file of preferences; freeze either into an artifact.

Whoever judges, people, AI judges or simulated labellers, the verdicts go through one label database, the workplace;
what training reads is the artifact frozen from it. It holds every judgement as it was given and one training row per
comparison. Nothing is thrown away: rows that are not to be trained on say why.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kleash.artifacts import Artifact, begun_settings, read, require
from kleash.collection.campaign import Campaign
from kleash.collection.exporting import missing_verdicts, write_export
from kleash.collection.identity import identity_holds
from kleash.collection.store import campaigns as stored
from kleash.collection.store.calls import judge_calls
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import exports_of, judgements_in_force, record_export
from kleash.errors import RunError
from kleash.formats import read_completions
from kleash.functions import FUNCTIONS, FunctionRecord
from kleash.progress import Advance, progress
from kleash.protocols import Comparer
from kleash.raters.configuration import load_judges
from kleash.raters.monitoring import BandSettings
from kleash.raters.panel import JudgePanel
from kleash.records import Comparison, comparisons_of, content_id
from kleash.results import PreferencesSummary
from kleash.settings import Settings
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.comparing import ACTOR, PEOPLE, Chosen, PreferencesSettings
from kleash.stages.support.freezing import freeze_labels
from kleash.stages.support.judging import have_compared
from kleash.stages.support.rlaif import judges_at_work, label_by_judges, report_on_judges

_SECONDS_BETWEEN_LOOKS = 2.0


def make_preferences(
    context: StageContext,
    settings: PreferencesSettings,
    *,
    output_dir: Path,
    candidates: Artifact | None = None,
    file: Path | None = None,
    **labelling: Any,
) -> Artifact:
    """Make preferences from a file, or by having candidates compared; labelling: see `collect_preferences`."""
    if file is not None:
        return import_preferences(context, settings, file=file, output_dir=output_dir)
    assert candidates is not None, "one of them is given"
    return collect_preferences(context, settings, candidates=candidates, output_dir=output_dir, **labelling)


def collect_preferences(
    context: StageContext,
    settings: PreferencesSettings,
    *,
    candidates: Artifact,
    comparer: Comparer | None,
    database: Database,
    output_dir: Path,
    chosen: Chosen | None = None,
    rounds_before: Sequence[Artifact] = (),
    announce: Callable[[str], None] = print,
) -> Artifact:
    """Have the candidates compared and freeze the outcome.

    comparer: None waits for people, who label in the pages that `kleash collect serve` shows; interrupt at will, the
    same call goes on waiting.  chosen: which comparisons; None = each prompt's answers by
    `settings.completions_per_comparison`.  rounds_before: the preferences of earlier rounds; a judge that one of them
    demoted is not asked again.  announce: tells a person what to do.
    """
    labels = settings.labels
    # A permission, which decides no verdict, and may be given once it is wanted: recorded in the summary alone.
    settings = settings.model_copy(update={"labels": labels.model_copy(update={"accept_missing": None})})
    judges = judges_at_work(comparer, band=_band(settings), settings=settings.drift, rounds_before=rounds_before)
    parents = {"candidates": require(candidates, "candidates"), **(chosen.parents if chosen else {})}
    if judges:
        parents |= {f"preferences_{number}": artifact for number, artifact in enumerate(rounds_before)}
    extra_settings: dict[str, Any] = dict(chosen.settings) if chosen else {}
    if isinstance(comparer, JudgePanel):
        band = FunctionRecord(str(settings.judges), content_id(_band(settings).model_dump(mode="json")))
        functions = {**extra_settings.get(FUNCTIONS, {}), "judges": comparer.recorded(), "band": vars(band)}
        extra_settings[FUNCTIONS] = functions
    # Of everything that decides the verdicts, so that a run with other settings has a campaign of its own; as they
    # were begun with, so that a setting that a later version adds leads to no other campaign.
    begun = begun_settings(output_dir) or context.resolved(settings, extra_settings)
    own = {setting: value for setting, value in begun.items() if setting in type(settings).model_fields}
    others = {setting: begun[setting] for setting in begun.keys() - own.keys() - {"model", "seed"}}
    digest = content_id([sorted(parent.id for parent in parents.values()), others], context.seed, own)[:8]
    name = f"{' '.join(output_dir.absolute().parts[-3:])} {digest}"
    plan: Plan = {"kind": "preferences", "parents": parents, "settings": settings, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        _note_export(database, name, done)
        return done
    answers = read_completions(candidates.path / "candidates.jsonl").records
    if chosen:
        comparisons = chosen.choose(answers)
    else:
        comparisons = comparisons_of(answers, num_completions=settings.completions_per_comparison)
    with context.write_artifact(output_dir, **plan) as draft:
        campaign = _campaign(database, name, settings, comparisons, seed=f"{context.seed} {digest}")
        missing: Mapping[str, int] = {}
        if comparer is None:
            _wait_for_people(database, campaign, announce)
        elif judges:
            label_by_judges(database, campaign, comparisons, judges, announce=announce)
            draft.summary |= report_on_judges(database, campaign, judges, draft.path).to_json()
        else:
            missing = _have_compared(database, campaign, comparisons, comparer)
        with database.read() as connection:
            items, given_here = stored.items(connection, campaign), judgements_in_force(connection, campaign)
            asked = set(judges.names) - judges.retired.keys() if judges else ()
            absent = missing_verdicts(connection, campaign, asked, settings=labels, missing=missing)
            draft.summary |= absent.to_json()
            rubrics = stored.rubrics(connection, campaign.id)
            calls = judge_calls(connection, [comparison.id for comparison in comparisons]) if judges else []
        export = write_export(draft.path, campaign, rubrics, items, given_here, settings=settings.labels, calls=calls)
        draft.summary |= export.to_json()
    artifact = read(output_dir)
    _note_export(database, name, artifact)
    return artifact


def open_store(settings: PreferencesSettings, output_dir: Path) -> Database:
    """Open the label database that the settings name, or the one beside the stage's folder."""
    return Database(settings.store or output_dir.parent / "labels.sqlite")


def import_preferences(context: StageContext, settings: Settings, *, file: Path, output_dir: Path) -> Artifact:
    """Freeze a file of preferences, in any format `kleash data check` understands."""
    parents = {"file": as_artifact(file, "preferences file")}
    return freeze_labels(context, settings, source=file, parents=parents, output_dir=output_dir)


def _campaign(
    database: Database, name: str, settings: PreferencesSettings, comparisons: Sequence[Comparison], *, seed: str
) -> Campaign:
    """Find the campaign of a run that was interrupted, or make it."""
    with database.write() as connection:
        known = {campaign.name: campaign for campaign in stored.campaigns(connection)}
        if name in known:
            return known[name]
        campaign = stored.create_campaign(
            connection,
            name,
            settings.campaign,
            rubric=settings.rubric_text(),
            seed=seed,
            actor=ACTOR,
        )
        # A person who reads which model wrote an answer is not blind any more; the others do not care.
        holds = identity_holds(comparisons) if settings.comparer == PEOPLE else {}
        stored.add_items(connection, campaign, comparisons, holds=holds, actor=ACTOR)
        return campaign


def _note_export(database: Database, name: str, artifact: Artifact) -> None:
    """Note in the label database which judgements went into the artifact, unless it says so already.

    A finished stage asks again: a kill may have come between the artifact and this.
    """
    with database.write() as connection:
        campaign = next((one for one in stored.campaigns(connection) if one.name == name), None)
        if campaign is None:  # the run has been moved, or its labels are kept elsewhere
            return
        # Judgements only ever come after those that are there.
        ids = [
            entry.id
            for entry in judgements_in_force(connection, campaign)[: PreferencesSummary.of(artifact).judgements]
        ]
        if not ids or artifact.id in dict(exports_of(connection, ids[0])):
            return
        path = str(artifact.path.absolute())
        record_export(connection, campaign, artifact_id=artifact.id, path=path, judgement_ids=ids, actor=ACTOR)


def _have_compared(
    database: Database, campaign: Campaign, comparisons: Sequence[Comparison], comparer: Comparer
) -> Counter[str]:
    with database.read() as connection:
        full = stored.full_comparisons(connection, campaign)
    waiting = [comparison for comparison in comparisons if comparison.id not in full]
    return have_compared(database, campaign, waiting, comparer, already_done=len(comparisons) - len(waiting))


def _band(settings: PreferencesSettings) -> BandSettings:
    """Return the band of AI judges: the recipe's own, or that of their file."""
    if settings.judges is None or "band" in settings.model_fields_set:
        return settings.band
    return load_judges(settings.judges).band


def _wait_for_people(database: Database, campaign: Campaign, announce: Callable[[str], None]) -> None:
    """Wait until the campaign has what it wants; raises RunError when somebody has closed it before."""
    announce(
        f"Waiting for people's judgements in campaign {campaign.name!r}. Show them the pages with\n"
        f"    kleash collect serve --store {database.shown_url.removeprefix('sqlite:///')}\n"
        f"and label at http://127.0.0.1:8321/label/{campaign.id}. Ctrl-C stops waiting and loses nothing: the same "
        "command goes on from here."
    )
    with database.read() as connection:
        now = stored.progress(connection, campaign)
    with progress(now.target, "Labelled", already_done=min(now.num_full, now.target)) as advance:
        _watch(database, campaign, now.num_full, advance)


def _watch(database: Database, campaign: Campaign, num_full: int, advance: Advance) -> None:
    while True:
        with database.read() as connection:
            now = stored.progress(connection, campaign)
            state = stored.campaign_named(connection, campaign.name).state
        advance(now.num_full - num_full)
        num_full = now.num_full
        if now.is_complete:
            return
        if state == "closed":
            raise RunError(
                f"Campaign {campaign.name!r} was closed with {now.num_full} of {now.target} items labelled. Expected "
                "all of them. Open it again, or set preferences.campaign.target_items to what there is."
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)
