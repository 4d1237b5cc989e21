"""Write where a run's results came from as HTML: its rounds, its chain of artifacts, the settings that made them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kleash.monitor.findings import Contrast, findings_of
from kleash.monitor.markup import arrow, escape, rate_note
from kleash.monitor.measures import Estimate, finite
from kleash.monitor.reader import RoundFolder, Run, Stage
from kleash.monitor.verdict import gate_told
from kleash.web.wording import MISSING, duration, number, percent


def rounds_section(run: Run) -> str:
    """Return one row per round where there are several."""
    if len(run.rounds) < 2:
        return ""
    rows = []
    for found in run.rounds:
        own = findings_of(run, found)
        accuracy = own.reward_model.accuracy if own.reward_model else None
        rows.append(
            f'<tr><th scope="row">{found.number}</th><td>{_rate_cell(own.overall.win_rate)}</td>'
            f"<td>{_judge_cell(own.overall)}</td>"
            f"<td>{number(own.kl_nats.value if own.kl_nats else None)}</td><td>{_rate_cell(accuracy)}</td>"
            f"<td>{escape(gate_told(found.summary('gate')) or MISSING)}</td></tr>"
        )
    head = "".join(
        f'<th scope="col">{title}<span>{unit}</span></th>'
        for title, unit in (
            ("Round", ""),
            ("Win rate", "against its SFT model"),
            ("Judge's score", "mean points, SFT → policy"),
            ("KL", "nats per answer"),
            ("Reward model", "on unseen pairs"),
            ("Gate", "does it become the current one"),
        )
    )
    return (
        '<section><h2>Rounds</h2><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _judge_cell(overall: Contrast) -> str:
    before, after = overall.judge_before, overall.judge_after
    return arrow(before.value, after.value, 2) if before and after else MISSING


def _rate_cell(rate: Estimate | None) -> str:
    return MISSING if rate is None else f"{percent(rate.value)} <small>{rate_note(rate)}</small>"


def lineage_section(run: Run, found: RoundFolder | None) -> str:
    """Return the chain of artifacts, each with what it was made from, and the settings that made it."""
    stages = list(found.stages.values()) if found else []
    made = [stage for stage in stages if stage.artifact]
    if not made:
        return ""
    names = {stage.artifact.id: stage.name for stage in made if stage.artifact}
    rows = "".join(_lineage_row(run, stage, names) for stage in made)
    return (
        '<section id="lineage"><h2>Where it came from</h2><p class="about">Each artifact names its parents by a hash '
        "of their contents: the same id is the same work. <code>kleash lineage</code> follows the chain to each label, "
        "<code>kleash verify</code> hashes it again.</p>"
        '<div class="scroll" tabindex="0"><table class="lineage"><thead><tr><th scope="col">Stage</th>'
        '<th scope="col">Id</th><th scope="col">Made from</th><th scope="col">Seed</th><th scope="col">Took</th>'
        f'<th scope="col">Finished</th></tr></thead><tbody>{rows}</tbody></table></div>{_packages(made)}</section>'
    )


def _lineage_row(run: Run, stage: Stage, names: Mapping[str, str]) -> str:
    artifact = stage.artifact
    if artifact is None:
        return ""
    parents = ", ".join(
        f'<a href="#artifact-{escape(identity)}">{escape(role)}</a>\u00a0<code>{escape(identity[:8])}</code>'
        if identity in names
        else f"{escape(role)}\u00a0<code>{escape(identity[:8])}</code>"
        for role, identity in artifact.parents.items()
    )
    kind = "" if artifact.kind == stage.name else f" <small>{escape(artifact.kind)}</small>"
    seed = MISSING if artifact.seed is None else escape(artifact.seed)
    return (
        f'<tr id="artifact-{escape(artifact.id)}"><th scope="row">{escape(stage.name)}{kind}</th>'
        f"<td><code>{escape(artifact.id[:8])}</code></td><td>{parents or MISSING}</td><td>{seed}</td>"
        f"<td>{duration(stage_seconds(run, stage))}</td><td>{escape(artifact.created[:16].replace('T', ' '))}</td></tr>"
    )


def _packages(stages: Sequence[Stage]) -> str:
    newest = stages[-1].artifact
    if newest is None:
        return ""
    packages = ", ".join(f"{escape(name)} {escape(version)}" for name, version in newest.packages.items())
    commit = f"; code {escape(newest.code_commit[:12])}" if newest.code_commit else ""
    return f'<p class="about">{packages}{commit}</p>'


def settings_section(run: Run, found: RoundFolder | None) -> str:
    """Return the recipe as the user wrote it and, folded away, every stage's settings with all defaults."""
    recipe = f"<pre>{escape(run.recipe_text.strip())}</pre>" if run.recipe_text.strip() else ""
    folded = "".join(
        f"<details><summary>{escape(stage.name)}, all settings</summary><table class='settings'>"
        + "".join(
            f"<tr><th scope='row'>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in flat_settings(stage.settings)
        )
        + "</table></details>"
        for stage in (found.stages.values() if found else ())
        if stage.settings
    )
    if not recipe and not folded:
        return ""
    return f'<section id="settings"><h2>Settings</h2>{recipe}{folded}</section>'


def flat_settings(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    """Yield (name with dots, value) of nested settings; "none" stands for a value that is not set."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat_settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "none" if value is None else value


def stage_seconds(run: Run, stage: Stage) -> float | None:
    """Return how long a stage took, from the run's summary or its own."""
    seconds = run.summary.get("seconds")
    told = finite(seconds.get(stage.name)) if isinstance(seconds, Mapping) else None
    return told if told is not None else finite(stage.summary.get("seconds"))
