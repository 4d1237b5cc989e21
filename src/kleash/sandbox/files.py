"""The world as files: what a user of real data would bring, written by the sandbox in the same formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kleash.durable import write_rows
from kleash.records import Prompt
from kleash.sandbox.demonstrations import demonstrations
from kleash.sandbox.slices import Question
from kleash.sandbox.world import evaluation_prompts, find_question, train_prompts

_BUCKET_OF_AIM = {"helpful": "tasks", "harmless": "safety", "honest": "honesty"}


def write_files(
    folder: Path,
    *,
    seed: int = 0,
    num_demonstrations: int = 12_000,
    num_prompts: int = 6_000,
    num_evaluation_per_slice: int = 100,
) -> None:
    """Write demonstrations.jsonl, prompts.jsonl and evaluation.jsonl into the folder, which is made if missing.

    The same seed writes the same bytes. Training prompts repeat now and then, evaluation prompts never, and the two
    share no instance (`world.py` says what that means). The evaluation prompts are the same for every seed, so that
    runs with different seeds are judged on the same questions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = demonstrations(num_demonstrations, seed=seed)
    write_rows(folder / "demonstrations.jsonl", (_prompt_row(row.prompt, completion=row.completion) for row in shown))
    write_rows(folder / "prompts.jsonl", map(_prompt_row, train_prompts(num_prompts, seed=seed)))
    write_rows(folder / "evaluation.jsonl", map(_prompt_row, evaluation_prompts(num_evaluation_per_slice)))


def write_suite(path: Path, *, num_per_slice: int = 50) -> None:
    """Write held-out prompts as a suite whose answers must be right ones to the letter, case and punctuation apart.

    So flattery or filler around a right answer fails. Questions with too many right answers to list are left out.
    """
    questions = [(prompt, find_question(prompt.text).question) for prompt in evaluation_prompts(num_per_slice)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, (_suite_row(prompt, question) for prompt, question in questions if question.rule is None))


def _suite_row(prompt: Prompt, question: Question) -> dict[str, Any]:
    bucket = _BUCKET_OF_AIM[prompt.slices["aim"]]
    check = {"kind": "exact", "expected": list(question.right), "ignore_case": True, "ignore_punctuation": True}
    return {**_prompt_row(prompt), "bucket": bucket, "check": check}


def _prompt_row(prompt: Prompt, **answer: str) -> dict[str, Any]:
    return {"prompt": prompt.text, **answer, "slices": dict(prompt.slices)}
