"""Ask a policy, and its reference, the items of suites, and write down every answer and what became of it.

What a check is, and how rates and differences are made, is in `evaluation/suites/`. Answers are kept in chunks while
the stage works, so that a killed one asks nothing twice; they do not depend on where it was killed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from pydantic import Field

from kleash.artifacts import Artifact, Draft, external, read, require
from kleash.checks.box import find_box
from kleash.checks.code import CodeLimits
from kleash.checks.verdicts import ItemResult
from kleash.data.batches import derived_seed
from kleash.durable import json_text, read_rows, write_rows, write_text
from kleash.errors import SettingsError
from kleash.evaluation.suites.figures import summarise_rows
from kleash.evaluation.suites.given import NOT_GIVEN, read_answers
from kleash.evaluation.suites.harness import HarnessResults, run_tasks, with_reference
from kleash.evaluation.suites.history import regression, with_history
from kleash.evaluation.suites.items import Suite, SuiteItem
from kleash.evaluation.suites.reading import find_suite, read_suite
from kleash.evaluation.suites.running import Answers, answer_items, judge_answers, to_row, with_limits
from kleash.evaluation.suites.variants import with_variants
from kleash.models.causal_lm import LanguageModel
from kleash.progress import Advance, progress
from kleash.records import Prompt
from kleash.results import SuitesSummary
from kleash.rollout.local import SamplingSettings, generator_of
from kleash.screen import say
from kleash.settings import Settings
from kleash.stages.context import StageContext, as_artifact
from kleash.stages.support.encoding import say_how_prompts_are_read

ITEMS = "items.jsonl"
_CHUNK_ITEMS = 128


class HarnessSettings(Settings):
    """Tasks of lm-evaluation-harness, beside the suites."""

    tasks: tuple[str, ...] = Field((), description="names of its tasks or groups, or of YAML tasks of your own")
    folder: Path | None = Field(None, description="folder of YAML tasks of your own")
    batch_size: int = Field(8, ge=1)


class SuitesSettings(SamplingSettings):
    """What a policy is tested on, beside people's preferences: tasks, safety, honesty, regression."""

    files: tuple[str, ...] = Field((), description="suite files, or names of suites that come with KLeash")
    variants: tuple[str, ...] = Field(
        (), description="ways to ask fitting items again: jailbreaks, beliefs, are_you_sure"
    )
    num_prompts: int | None = Field(None, ge=1, description="the first so many items of each suite; none = all")
    max_new_tokens: int = Field(256, ge=1)
    max_prompt_tokens: int = Field(1024, ge=1, description="longer prompts are not asked, and counted")
    temperature: float = Field(0.0, ge=0, description="0 = the likeliest answer")
    as_messages: bool = Field(False, description="former name of data.turns = 'chat', for the suites alone")
    max_batch_tokens: int = Field(16_384, ge=1)
    code: CodeLimits = CodeLimits()
    harness: HarnessSettings = HarnessSettings()


def run_suites(
    context: StageContext,
    settings: SuitesSettings,
    *,
    policy: Path | Artifact,
    output_dir: Path,
    reference: Path | Artifact | None = None,
    previous: Sequence[Path | Artifact] = (),
) -> Artifact:
    """Make a suites artifact: items.jsonl, a row per item, and the figures by bucket.

    reference: answers the same items; differences are paired. previous: suites artifacts of earlier rounds, oldest
    first, with which each item's history goes on.
    Raises SettingsError without a suite or task or for two of one name, DataError for a suite that cannot be read.
    """
    _check_names(settings)
    earlier = [require(folder, "suites") for folder in previous]
    models = {"policy": as_artifact(policy, "model")} | (
        {"reference": as_artifact(reference, "model")} if reference else {}
    )
    parents = dict(models) | {f"previous_{number}": artifact for number, artifact in enumerate(earlier)}
    parents |= _suite_parents(settings)
    if settings.harness.folder is not None:
        parents["harness_folder"] = external(settings.harness.folder, "folder of tasks")
    if done := context.find_finished(output_dir, kind="suites", parents=parents, settings=settings):
        return done
    tests = [_prepared(read_suite(name), settings) for name in settings.files]
    with context.write_artifact(output_dir, kind="suites", parents=parents, settings=settings) as draft:
        num_answers = len(models) * sum(len(suite.items) for suite in tests)
        with progress(num_answers, "Suites") as advance:
            asked = {
                role: _ask(context, settings, draft, tests, artifact, role=role, advance=advance)
                for role, artifact in models.items()
            }
        rows = _rows(tests, {role: answers.suites for role, answers in asked.items()})
        rows += with_reference(asked["policy"].harness.rows, asked["reference"].harness.rows if reference else ())
        if earlier:
            rows = with_history(rows, [(artifact.id, read_items(artifact)) for artifact in earlier])
        write_rows(draft.path / ITEMS, rows)
        figures = _figures(rows, has_history=bool(earlier))
        if settings.harness.tasks:
            figures["harness"] = {role: answers.harness.figures for role, answers in asked.items()}
        draft.summary |= SuitesSummary(**figures).to_json()
    return read(output_dir)


def score_answers(context: StageContext, settings: SuitesSettings, *, answers: Path, output_dir: Path) -> Artifact:
    """Make a suites artifact of answers that were made elsewhere: no model answers anything.

    answers: a file as `given.read_answers` takes it. An item without an answer is not checked, and counted as that.
    Follow-ups are not asked. Raises DataError for answers that cannot be read, or none of which belongs to an item.
    """
    _check_names(settings)
    given = read_answers(answers)
    parents = {"answers": external(answers, "answers"), **_suite_parents(settings)}
    if done := context.find_finished(output_dir, kind="suites", parents=parents, settings=settings):
        return done
    items = [item for name in settings.files for item in _prepared(read_suite(name), settings).items]
    if strange := given.belonging_nowhere(items):
        say(f"{len(strange):,} answers of {answers} belong to no item and are left out, the first: {strange[0][:60]!r}")
    with context.write_artifact(output_dir, kind="suites", parents=parents, settings=settings) as draft:
        with progress(len(items), "Suites") as advance:
            rows = []
            for item in items:
                answer = given.to(item)
                result = judge_answers(item, (answer,))
                unanswered = replace(result, verdict=ItemResult(None, NOT_GIVEN))
                rows.append(to_row(unanswered if answer is None else result))
                advance(1)
        write_rows(draft.path / ITEMS, rows)
        draft.summary |= SuitesSummary(**_figures(rows, has_history=False)).to_json()
    return read(output_dir)


def read_items(artifact: Artifact) -> list[dict[str, Any]]:
    """Return the rows of a suites artifact."""
    return read_rows(artifact.path / ITEMS)


def _check_names(settings: SuitesSettings) -> None:
    if not settings.files and not settings.harness.tasks:
        raise SettingsError(
            "No suite is named. Expected one in suites.files, or a task in suites.harness.tasks. Name a JSONL file."
        )
    names = [find_suite(name).stem for name in settings.files]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise SettingsError(
            f"Two suites are named {', '.join(sorted(repeated))}. Expected names that differ, as figures and histories "
            "go by them. Rename a file."
        )


def _suite_parents(settings: SuitesSettings) -> dict[str, Artifact]:
    return {f"suite_{number}": external(find_suite(name), "suite") for number, name in enumerate(settings.files)}


def _prepared(suite: Suite, settings: SuitesSettings) -> Suite:
    limits = settings.code
    if limits.is_allowed and any(item.check == "code" for item in suite.items) and find_box() is None:
        if not limits.without_box:
            raise SettingsError(
                f"The programs of the suite {suite.name} cannot be run: this machine has no box for them. Expected "
                "bubblewrap (bwrap), or Landlock and user namespaces. Install the package bubblewrap, or accept with "
                "suites.code.without_box=true that they may do whatever you may."
            )
        say(f"The programs of the suite {suite.name} run without a box: they may do whatever you may.")
    items = with_variants(suite.items[: settings.num_prompts], settings.variants)
    return Suite(suite.name, tuple(with_limits(item, limits) for item in items))


@dataclass(frozen=True)
class _Asked:
    """What one model answered: by suite and item, and to the harness's tasks."""

    suites: list[list[Answers]]
    harness: HarnessResults


def _ask(
    context: StageContext,
    settings: SuitesSettings,
    draft: Draft,
    tests: Sequence[Suite],
    artifact: Artifact,
    *,
    role: str,
    advance: Advance,
) -> _Asked:
    """Have one model answer everything, loaded once and only if something is left to answer."""
    if settings.as_messages:
        context = replace(context, rendering=context.rendering.model_copy(update={"turns": "chat"}))
    loaded = cache(lambda: context.load_policy(artifact))
    by_suite: list[list[Answers]] = []
    for number, suite in enumerate(tests):
        by_suite.append([])
        for start in range(0, len(suite.items), _CHUNK_ITEMS):
            items = suite.items[start : start + _CHUNK_ITEMS]
            file = draft.work / f"answers-{role}-{number}-{start:06}.json"
            found = _kept(file, partial(_answer_chunk, context, settings, loaded, items))
            by_suite[-1] += [tuple(answers) for answers in found]
            advance(len(items))
    if not settings.harness.tasks:
        return _Asked(by_suite, HarnessResults([], {}))
    tasks = settings.harness.model_dump() | {"num_prompts": settings.num_prompts, "seed": context.seed}
    found = _kept(draft.work / f"harness-{role}.json", lambda: asdict(run_tasks(loaded(), **tasks)))
    return _Asked(by_suite, HarnessResults(**found))


def _kept(file: Path, work: Callable[[], Any]) -> Any:
    """Return what a killed stage had done already, else do it and keep it; what is damaged of it is done again."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        pass
    except ValueError as error:
        say(f"{file} is damaged ({error}): what it held is asked again.")
    write_text(file, json_text(work()))
    return json.loads(file.read_bytes())


def _answer_chunk(
    context: StageContext, settings: SuitesSettings, loaded: Callable[[], LanguageModel], items: Sequence[SuiteItem]
) -> list[Answers]:
    model = loaded()
    say_how_prompts_are_read(model.rendering, [item.prompt for item in items])
    generator = generator_of(model, settings, max_batch_tokens=settings.max_batch_tokens)
    seed = derived_seed(context.seed, "suites")
    room = settings.prompt_room(model)

    def as_asked(prompt: Prompt) -> Prompt | None:
        return prompt if len(model.rendering.encode_prompt(prompt)) <= room else None

    return answer_items(items, generator, as_asked=as_asked, seed=seed)


def _rows(tests: Sequence[Suite], answered: dict[str, list[list[Answers]]]) -> list[dict[str, Any]]:
    rows = []
    for number, suite in enumerate(tests):
        for position, item in enumerate(suite.items):
            results = {role: judge_answers(item, lists[number][position]) for role, lists in answered.items()}
            rows.append(to_row(results["policy"], results.get("reference")))
    return rows


def _figures(rows: Sequence[dict[str, Any]], *, has_history: bool) -> dict[str, Any]:
    figures = summarise_rows(rows)
    if has_history:
        figures["regression"] = regression(rows)
        kept = figures["regression"].pop("kept")
        figures["buckets"]["regression"] = {**figures["buckets"].get("regression", {}), **kept}
    return figures
