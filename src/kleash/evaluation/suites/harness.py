"""Tasks of lm-evaluation-harness on a model of ours, as rows of the same form as our own suites'.

The only file that imports `lm_eval` (extra `lm-eval`), and only when a task is asked for. A task is one of the
library's own, whose data it fetches, or a YAML file of yours over local files, which needs no network.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kleash.errors import SettingsError
from kleash.models.causal_lm import LanguageModel


@dataclass(frozen=True)
class HarnessResults:
    """What the library found: a row per document that passed or failed something, and its own figures by task.

    figures: {task: {metric: value}}, those included that are no rates (BLEU, perplexity).
    """

    rows: list[dict[str, Any]]
    figures: dict[str, dict[str, Any]]


def run_tasks(
    model: LanguageModel,
    tasks: Sequence[str],
    *,
    folder: Path | None,
    num_prompts: int | None,
    batch_size: int,
    seed: int,
) -> HarnessResults:
    """Run tasks, or groups of tasks, on a loaded model.

    folder: YAML tasks of one's own, looked at first. num_prompts: the first so many documents of each task.
    Raises SettingsError for a task that nobody knows.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    if model.role is not None:
        model.role.activate()
    found = simple_evaluate(
        model=HFLM(pretrained=model.model, tokenizer=model.tokenizer, batch_size=batch_size),
        tasks=list(tasks),
        task_manager=_task_manager(tasks, folder),
        limit=num_prompts,
        system_instruction=model.rendering.system_prompt,
        apply_chat_template=model.rendering.is_chat,
        log_samples=True,
        bootstrap_iters=0,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        fewshot_random_seed=seed,
    )
    rows: list[dict[str, Any]] = []
    for task, samples in found["samples"].items():
        if metrics := _metrics_passed_or_failed(samples, found["higher_is_better"][task]):
            rows += [_row(task, sample, metrics) for sample in samples]
    return HarnessResults(rows, {task: _numbers(results) for task, results in found["results"].items()})


def with_reference(rows: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Put the reference's answers beside the policy's, document by document."""
    others = {(row["suite"], row["id"]): row for row in reference}
    return [
        {**row, **{f"reference_{name}": other[name] for name in ("answer", "passed", "tallies")}}
        if other
        else dict(row)
        for row in rows
        for other in [others.get((row["suite"], row["id"]))]
    ]


def refuse_unknown_tasks(tasks: Sequence[str], known: Sequence[str]) -> None:
    """Raise SettingsError for the first task that is not among the known ones."""
    for task in tasks:
        if task not in known:
            nearest = difflib.get_close_matches(task, known, n=1)
            raise SettingsError(
                f"lm-evaluation-harness knows no task {task}. Expected a task or group it has"
                f"{f', such as {nearest[0]}' if nearest else ''}. Correct suites.harness.tasks, or set "
                "suites.harness.folder to the folder of your own YAML tasks."
            )


def _task_manager(tasks: Sequence[str], folder: Path | None) -> Any:
    """Return an index of tasks that knows all those asked for; the library's own takes seconds and is made last."""
    from lm_eval.tasks import TaskManager

    include = None if folder is None else str(folder)
    manager = TaskManager(include_path=include, include_defaults=False)
    if not set(tasks) <= set(manager.all_tasks):
        manager = TaskManager(include_path=include)
    refuse_unknown_tasks(tasks, manager.all_tasks)
    return manager


def _metrics_passed_or_failed(samples: Sequence[Mapping[str, Any]], higher_is_better: Mapping[str, bool]) -> list[str]:
    """Return the metrics that each document of a task passes or fails; one with shares in between is none of them."""
    return [
        name
        for name, is_high in higher_is_better.items()
        if is_high and all(_tally(sample.get(name)) is not None for sample in samples)
    ]


def _row(task: str, sample: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """Return the row of a document; one that several filters looked at has a row, and measures, for each."""
    tallies = {name: _tally(sample[name]) or (0, 0) for name in metrics}
    suffix = "" if sample["filter"] == "none" else f" ({sample['filter']})"
    prompt, _ = sample["arguments"][0][:2]
    return {
        "id": f"{sample['doc_id']}{suffix}",
        "bucket": "tasks",
        "suite": task,
        "prompt": prompt if isinstance(prompt, str) else json.dumps(prompt, ensure_ascii=False),
        "slices": {},
        "answer": _answer(sample),
        "passed": all(successes == tries for successes, tries in tallies.values()),
        "measure": f"{next(iter(tallies))}{suffix}",
        "detail": f"expected {sample['target']}",
        "tallies": {f"{name}{suffix}": list(tally) for name, tally in tallies.items()},
    }


def _tally(value: object) -> tuple[int, int] | None:
    """Read a document's metric as successes and tries; None where it is a number of another kind."""
    tries = value if isinstance(value, list) else [value]
    if not tries or not all(isinstance(one, bool | int | float) and one in (0, 1) for one in tries):
        return None
    return int(sum(tries)), len(tries)


def _answer(sample: Mapping[str, Any]) -> str:
    """Return what was generated, or of several continuations the likeliest."""
    found = sample["filtered_resps"]
    if isinstance(found[0], str):
        return found[0]
    likeliest = max(range(len(found)), key=lambda choice: found[choice][0])
    return str(sample["arguments"][likeliest][1]).strip()


def _numbers(results: Mapping[str, Any]) -> dict[str, float]:
    """Return a task's own figures: `acc,none` is called `acc`, one of another filter `acc (filter)`."""
    found = {}
    for name, value in results.items():
        metric, _, filter_name = name.partition(",")
        if filter_name and isinstance(value, int | float):
            found[metric if filter_name == "none" else f"{metric} ({filter_name})"] = float(value)
    return found
