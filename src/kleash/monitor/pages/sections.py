"""The sections that a run's report and its page share: verdict, tiles, checks, charts, alarms, samples, provenance.

Each gathers what its template in templates/parts shows, and is "" where there is nothing to say. The tables of slices
and suites are in `slice_tables.py`. Looks are in static/sections.css, behaviour in report.js and live.js.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from kleash.monitor.pages.rendering import fragment
from kleash.monitor.read.alarms import by_symptom, ending, passed
from kleash.monitor.read.checks import KL_BAND, RunCheck
from kleash.monitor.read.findings import Findings, findings_of, slice_names
from kleash.monitor.read.reader import RoundFolder, RunFolder, StageFolder
from kleash.monitor.read.verdict import RunVerdict, gate_in_words
from kleash.results import GateSummary, Summary
from kleash.web.wording import duration


def stages_line(run: RunFolder, round_folder: RoundFolder | None) -> str:
    """Return the recipe's stages in order with how long each took; those still to come are faint."""
    begun = round_folder.stages if round_folder else {}
    names = run.wanted_stages(round_folder)
    rows = []
    for name in [*names, *(name for name in begun if name not in names)]:
        stage = begun.get(name)
        state = "missing" if stage is None else "done" if stage.is_complete else "unfinished"
        seconds = stage_seconds(run, stage) if stage and stage.is_complete else None
        rows.append((name, state, duration(seconds) if seconds is not None else "" if state == "done" else state))
    return fragment("parts/stages.html", stages=rows)


def verdict_section(verdict: RunVerdict) -> str:
    return fragment("parts/verdict.html", verdict=verdict)


def tiles(findings: Findings) -> str:
    return fragment("parts/tiles.html", findings=findings, kl_band=KL_BAND)


def checks_section(checks: Sequence[RunCheck], problems: Sequence[str]) -> str:
    """Return a box with every warning and unreadable file, and folded below it what else was looked at."""
    return fragment("parts/checks.html", checks=checks, problems=problems)


def training_section(findings: Findings, small: Sequence[tuple[str, str]], *, has_main_figure: bool) -> str:
    """Return a report's places for the training figure and the smaller ones, named by (title, unit)."""
    if not small and not has_main_figure:
        return ""
    slices = slice_names(findings.updates)
    return fragment(
        "parts/training.html",
        is_live=False,
        findings=findings,
        small=small,
        slices=slices,
        has_main_figure=has_main_figure,
    )


def live_training_section(findings: Findings, slice_name: str) -> str:
    """Return a run's page's place for the training figure. slice_name: the one drawn beside the average, or ""."""
    slices = slice_names(findings.updates)
    return fragment("parts/training.html", is_live=True, findings=findings, slices=slices, slice_name=slice_name)


def alarms_section(findings: Findings) -> str:
    """Return the symptoms that stand, the worst one unfolded, and those that passed in one folded list.

    Of a run that was watched silence is worth a sentence; of another there is nothing to say.
    """
    if not findings.is_watched:
        return ""
    alarms = findings.alarms
    return fragment("parts/alarms.html", standing=by_symptom(alarms), passed=passed(alarms), ended=ending(alarms))


def aims_section(findings: Findings) -> str:
    """Return helpful, honest and harmless over the checkpoints, where prompts say which of them they ask for."""
    return fragment("parts/aims.html", path=findings.aims) if findings.aims else ""


def reward_model_section(findings: Findings, drawn: Collection[str]) -> str:
    """Return the places for the reward model's figures, those of them that were drawn."""
    if findings.reward_model is None or not {"margins", "reward-slices"} & set(drawn):
        return ""
    return fragment("parts/reward_model.html", model=findings.reward_model, drawn=drawn)


def samples_section(findings: Findings) -> str:
    """Return the samples browser's controls; report.js fills its list from the embedded data."""
    if not findings.samples:
        return ""
    return fragment(
        "parts/samples.html",
        slices=sorted({name for sample in findings.samples for name in sample.slices}),
        measure={"gold": "gold", "proxy": "reward"}.get(findings.judge, "judge's score"),
        has_gaps=any(sample.gap is not None for sample in findings.samples),
    )


# --------------------------------------------------------------------------------------------------------- provenance
def rounds_section(run: RunFolder) -> str:
    """Return one row per round where there are several."""
    if len(run.rounds) < 2:
        return ""
    rows = [
        (folder.number, findings_of(run, folder), gate_in_words(folder.summary("gate", GateSummary)))
        for folder in run.rounds
    ]
    return fragment("parts/rounds.html", rounds=rows)


def lineage_section(run: RunFolder, round_folder: RoundFolder | None) -> str:
    """Return the chain of artifacts, each with what it was made from."""
    stages = round_folder.stages.values() if round_folder else ()
    rows = [(stage.name, stage.artifact, stage_seconds(run, stage)) for stage in stages if stage.artifact]
    if not rows:
        return ""
    ids = {artifact.id for _, artifact, _ in rows}
    return fragment("parts/provenance.html", stages=rows, ids=ids, newest=rows[-1][1])


def settings_section(run: RunFolder, round_folder: RoundFolder | None) -> str:
    """Return the recipe as the user wrote it and, folded away, every stage's settings with all defaults."""
    stages = round_folder.stages.values() if round_folder else ()
    settings = [(stage.name, list(flat_settings(stage.settings))) for stage in stages if stage.settings]
    recipe = run.recipe_text.strip()
    return fragment("parts/settings.html", recipe=recipe, stages=settings) if recipe or settings else ""


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Yield (name with dots, value) of nested settings; "none" stands for a value that is not set."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "none" if value is None else value


def stage_seconds(run: RunFolder, stage: StageFolder) -> float | None:
    """Return how long a stage took, from the run's summary or its own."""
    of_run = run.summary.seconds.get(stage.name) if run.summary else None
    return of_run if of_run is not None else Summary.from_json(stage.summary).seconds
