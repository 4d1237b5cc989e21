"""Answers made elsewhere, from a file, put beside the items of suites: by id, or by the prompt's text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kleash.errors import DataError
from kleash.evaluation.suites.items import SuiteItem
from kleash.formats import fields
from kleash.formats.rows import RowProblem, rows_of

NOT_GIVEN = "no answer to it is given"
_NUM_SHOWN = 3


@dataclass(frozen=True)
class GivenAnswers:
    """by_id, by_prompt: the answers of a file, by what its rows say of the item they belong to."""

    path: Path
    by_id: Mapping[str, str]
    by_prompt: Mapping[str, str]

    def to(self, item: SuiteItem) -> str | None:
        found = self.by_id.get(item.id)
        return self.by_prompt.get(item.prompt.text.strip()) if found is None else found

    def belonging_nowhere(self, items: Sequence[SuiteItem]) -> list[str]:
        """Return the ids and prompts of answers to no item. Raises DataError if that is all of them."""
        ids, prompts = {item.id for item in items}, {item.prompt.text.strip() for item in items}
        strange = [name for name in self.by_id if name not in ids] + [
            text for text in self.by_prompt if text not in prompts
        ]
        if items and len(strange) == len(self.by_id) + len(self.by_prompt):
            raise DataError(
                f"No row of {self.path} belongs to an item of the suites: the first is of {fields.shown(strange[0])}, "
                f"the first item's id is {fields.shown(items[0].id)}. Expected the items' ids under 'id', or their "
                "prompts under 'prompt'. Correct the column, or name the suite that was answered."
            )
        return strange


def read_answers(path: Path) -> GivenAnswers:
    """Read rows {"id" or "prompt", "completion"}; a row's `task_id` is its id too.

    Raises DataError for a file with a row that is not understood, or with two answers to one item.
    """
    by_id: dict[str, str] = {}
    by_prompt: dict[str, str] = {}
    faults = []
    for row in rows_of(path, own_files=["answers.jsonl"]):
        try:
            if isinstance(row.content, RowProblem):
                raise row.content
            given = {"id": row.content.get("task_id"), **row.content}
            answer = _completion(given)
            name = given["id"]
            known, key = by_id, str(name)
            if name is None:
                known, key = by_prompt, fields.prompt(given, "prompt", ()).text.strip()
            if key in known:
                raise RowProblem(f"answers {fields.shown(key)} once more", "keep one answer to an item")
            known[key] = answer
        except RowProblem as problem:
            faults.append(f"{row.file}:{row.line}: {problem} ({problem.fix})")
    if faults:
        raise DataError(
            f"{len(faults)} rows of {path} cannot be used: {'; '.join(faults[:_NUM_SHOWN])}"
            f"{' ...' * (len(faults) > _NUM_SHOWN)} Expected an 'id' or a 'prompt', and a 'completion'. Correct them."
        )
    return GivenAnswers(path, by_id, by_prompt)


def _completion(row: Mapping[str, object]) -> str:
    """Return the text of a completion, which may be an assistant's message in a list."""
    value = row.get("completion")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        return fields.text(value[0], "content")
    return fields.text(row, "completion")
