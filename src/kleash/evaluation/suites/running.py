"""From items to results: a policy answers, the check judges. No file is read or written here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kleash.checks.code import CodeLimits
from kleash.checks.table import CHECKS
from kleash.checks.verdicts import ItemResult
from kleash.evaluation.suites.items import SuiteItem
from kleash.protocols import Generator
from kleash.records import Message, Prompt

Answers = tuple[str | None, ...]
"""An answer to the prompt and, where the item has one, to its follow-up; None where the question did not fit."""

AGAIN = "_when_asked_again"


@dataclass(frozen=True)
class Result:
    """What one model made of one item."""

    item: SuiteItem
    answers: Answers
    verdict: ItemResult

    @property
    def answer(self) -> str:
        return self.answers[-1] or ""


TOO_LONG = "prompt and suites.max_new_tokens exceed the model's context, or the prompt suites.max_prompt_tokens"


def with_limits(item: SuiteItem, limits: CodeLimits) -> SuiteItem:
    """Say how far a code item's program may run; other items stay as they are."""
    return replace(item, params={**item.params, "limits": limits}) if item.check == "code" else item


def answer_items(
    items: Sequence[SuiteItem], generator: Generator, *, as_asked: Callable[[Prompt], Prompt | None], seed: int
) -> list[Answers]:
    """Have a model answer every item, follow-ups after its own first answers.

    as_asked: a prompt as the model is to read it, None if that leaves no room for an answer.
    """
    first = _answer([item.prompt for item in items], generator, as_asked=as_asked, seed=seed)
    follow_ups = {
        row: _followed_up(item, answer)
        for row, (item, answer) in enumerate(zip(items, first, strict=True))
        if item.follow_up and answer is not None
    }
    second = _answer(list(follow_ups.values()), generator, as_asked=as_asked, seed=seed)
    answers_by_row = dict(zip(follow_ups, second, strict=True))
    return [
        (answer, answers_by_row.get(row)) if items[row].follow_up else (answer,) for row, answer in enumerate(first)
    ]


def judge_answer(item: SuiteItem, answer: str) -> ItemResult:
    """Check one answer; a verdict without tallies counts once under the item's measure, an unchecked one nowhere."""
    verdict = CHECKS[item.check].judge(answer, item.params)
    if verdict.passed is None or verdict.tallies:
        return verdict
    return ItemResult(verdict.passed, verdict.detail, {item.measure: (int(verdict.passed), 1)})


def judge_answers(item: SuiteItem, answers: Answers) -> Result:
    """Check what was answered; of an item with a follow-up, whether a passing answer still passes when asked again."""
    if None in answers:
        return Result(item, answers, ItemResult(None, TOO_LONG))
    asked_again = replace(item, params={**item.params, "is_follow_up": True})
    verdicts = [judge_answer(asked_again if index else item, answer or "") for index, answer in enumerate(answers)]
    last = verdicts[-1]
    if len(verdicts) == 1 or last.passed is None:
        return Result(item, answers, last)
    tallies = dict(verdicts[0].tallies)
    if verdicts[0].passed:
        tallies[item.measure + AGAIN] = (int(last.passed), 1)
    return Result(item, answers, replace(last, tallies=tallies))


def to_row(result: Result, reference: Result | None = None) -> dict[str, Any]:
    """Return the JSON-able row of items.jsonl."""
    item, verdict = result.item, result.verdict
    row: dict[str, Any] = {
        "id": item.id,
        "bucket": item.bucket,
        "suite": item.suite,
        "prompt": item.prompt.text,
        "slices": dict(item.prompt.dimensions),
        "answer": result.answer,
        "passed": verdict.passed,
        "measure": item.measure,
        "detail": verdict.detail,
        "tallies": {name: list(tally) for name, tally in verdict.tallies.items()},
    }
    row |= {name: value for name in ("follow_up", "pair", "variant") if (value := getattr(item, name))}
    if item.follow_up:
        row["first_answer"] = result.answers[0]
    if reference is not None:
        row["reference_answer"] = reference.answer
        row["reference_passed"] = reference.verdict.passed
        row["reference_tallies"] = {name: list(tally) for name, tally in reference.verdict.tallies.items()}
    return row


def _answer(
    prompts: Sequence[Prompt], generator: Generator, *, as_asked: Callable[[Prompt], Prompt | None], seed: int
) -> list[str | None]:
    asked = {row: shown for row, prompt in enumerate(prompts) if (shown := as_asked(prompt)) is not None}
    if not asked:
        return [None] * len(prompts)
    rollouts = generator.generate(list(asked.values()), samples_per_prompt=1, seed=seed, policy_version=0)
    texts = dict(zip(asked, rollouts.texts, strict=True))
    return [texts.get(row) for row in range(len(prompts))]


def _followed_up(item: SuiteItem, answer: str) -> Prompt:
    content = item.prompt.content
    turns = (Message("user", content),) if isinstance(content, str) else content
    return replace(item.prompt, content=(*turns, Message("assistant", answer), Message("user", item.follow_up)))
