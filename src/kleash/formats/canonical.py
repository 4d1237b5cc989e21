"""Records to this project's own JSON lines and back: what is written is read as it was, and written again the same.

A field that holds its default is left out where that loses nothing. Key order is fixed, text is UTF-8 as it stands, so
that exporting, importing and exporting again gives identical bytes. At the end, preferences as others read them:
Parquet, and the rows of TRL's trainers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from kleash.durable import TEMPORARY, clear_write_errors, sync_path, write_rows
from kleash.errors import DataError
from kleash.formats import fields
from kleash.formats.fields import Content
from kleash.formats.rows import RowProblem
from kleash.records import (
    Comparison,
    Completion,
    Demonstration,
    Judgement,
    LabelledCompletion,
    Outcome,
    Pair,
    Preference,
    Prompt,
    RaterKind,
)

Record = Prompt | Demonstration | Completion | Comparison | Judgement | Preference | LabelledCompletion
FinishReasons = ("stop", "length", "unknown")


# What stands in a row of each kind, between the prompt and the prompt's dimensions, in order. A column goes by another
# name than its attribute where that stands before a colon; one with a question mark is left out where it is empty.
_COLUMNS: Mapping[type, str] = {
    Prompt: "",
    Demonstration: "completion",
    LabelledCompletion: "completion label:is_desirable",
    Completion: "completion:text token_ids? logprobs? finish_reason policy_id policy_version temperature seed "
    "tokenizer?",
    Comparison: "completions sources?",
    Preference: "completions pairs num_judgements left_out? aspects? sources?",
    Judgement: "comparison_id rater rater_kind permutation outcome ranks? strength? aspects? rubric_version? seconds? "
    "rationale? flags?",
    Pair: "first second label strength?",
}
# Attributes whose numbers are written with a point, also whole ones.
_FLOATS = frozenset({"label", "logprobs", "seconds", "temperature"})


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as a JSON object; `json.dumps` of it is one line of a file."""
    if isinstance(record, Judgement):
        return _columns(record)
    prompt = record if isinstance(record, Prompt) else record.prompt
    return {"prompt": prompt.content_json(), **_columns(record), **dimension_columns(prompt)}


def dimension_columns(prompt: Prompt) -> dict[str, Any]:
    """Return a prompt's slices, tags, criteria and check as they stand in a row, where it has any."""
    columns = {"slices": _plain(prompt.slices), "tags": _plain(prompt.tags), "criteria": prompt.criteria}
    columns["check"] = dict(prompt.check)
    return {name: value for name, value in columns.items() if value}


def _columns(record: Record | Pair) -> dict[str, Any]:
    row = {}
    for column in _COLUMNS[type(record)].split():
        name, _, attribute = column.removesuffix("?").partition(":")
        value = _plain(getattr(record, attribute or name), is_float=(attribute or name) in _FLOATS)
        if not column.endswith("?") or value not in (None, "", [], {}):
            row[name] = value
    return row


def _plain(value: Any, *, is_float: bool = False) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(value[name]) for name in sorted(value)}
    if isinstance(value, tuple | list):
        return [float(one) if is_float else _columns(one) if isinstance(one, Pair) else one for one in value]
    return float(value) if is_float and value is not None else value


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write records as JSON lines; the file appears under its name only when it is whole.

    Raises DataError, leaving any earlier file alone, for a record that no UTF-8 JSON can hold; RunError when the disk
    refuses.
    """
    path = Path(path)
    temporary = path.with_name(path.name + TEMPORARY)
    with clear_write_errors("records", path):
        with open(temporary, "wb") as file:
            for number, record in enumerate(records, start=1):
                file.write(_line(record, path, number))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_path(path.parent)


def _line(record: Record, path: Path, number: int) -> bytes:
    try:
        return json.dumps(to_json(record), ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
    except ValueError as error:
        raise DataError(
            f"Record {number} for {path}, a {type(record).__name__}, cannot be written: {error}. Expected text without "
            "halves of surrogate pairs and numbers that are finite. Repair it where it is made."
        ) from error


def completion_from_json(row: Content, prompt: Prompt) -> Completion:
    """Rebuild a sampled answer; raises RowProblem."""
    return Completion(
        prompt=prompt,
        text=fields.text(row, "completion"),
        token_ids=fields.whole_numbers(row, "token_ids") if row.get("token_ids") else (),
        logprobs=fields.numbers(row, "logprobs") if row.get("logprobs") else (),
        finish_reason=fields.one_of(row, "finish_reason", FinishReasons),  # type: ignore[arg-type]
        policy_id=fields.text({"policy_id": "", **row}, "policy_id"),
        policy_version=fields.whole_number({"policy_version": 0, **row}, "policy_version"),
        temperature=fields.number({"temperature": 1.0, **row}, "temperature"),
        seed=fields.whole_number({"seed": 0, **row}, "seed"),
        tokenizer=fields.text({"tokenizer": "", **row}, "tokenizer"),
    )


def comparison_from_json(row: Content, prompt: Prompt) -> Comparison:
    """Rebuild a comparison; raises RowProblem."""
    completions = fields.texts(row, "completions")
    if len(completions) < 2:
        raise RowProblem(f"has {len(completions)} completion(s) to compare", "give two or more, or remove the row")
    return Comparison(prompt, completions, _sources(row, len(completions)))


def preference_from_json(row: Content, prompt: Prompt) -> Preference:
    """Rebuild a training row; raises RowProblem."""
    comparison = comparison_from_json(row, prompt)
    num_completions = len(comparison.completions)
    aspects = row.get("aspects") or {}
    if not isinstance(aspects, Mapping):
        raise RowProblem(f"'aspects' is {fields.shown(aspects)}, not an object", 'write {"style": [pairs]}')
    return Preference(
        prompt=prompt,
        completions=comparison.completions,
        pairs=_pairs(fields.column(row, "pairs"), num_completions),
        num_judgements=fields.whole_number({"num_judgements": 1, **row}, "num_judgements"),
        left_out=fields.text({"left_out": "", **row}, "left_out"),
        aspects={str(name): _pairs(pairs, num_completions) for name, pairs in aspects.items() if pairs is not None},
        sources=comparison.sources,
    )


def judgement_from_json(row: Content) -> Judgement:
    """Rebuild a judgement; raises RowProblem."""
    outcome = fields.one_of(row, "outcome", get_args(Outcome))
    permutation = fields.whole_numbers(row, "permutation")
    if sorted(permutation) != list(range(len(permutation))):
        raise RowProblem(f"'permutation' is {list(permutation)}", "name each place from 0 on exactly once")
    aspects = row.get("aspects") or {}
    if not isinstance(aspects, Mapping):
        raise RowProblem(f"'aspects' is {fields.shown(aspects)}, not an object", 'write {"style": [1, 2]}')
    return Judgement(
        comparison_id=fields.text(row, "comparison_id"),
        rater=fields.text(row, "rater"),
        rater_kind=fields.one_of(row, "rater_kind", get_args(RaterKind)),  # type: ignore[arg-type]
        permutation=permutation,
        outcome=outcome,  # type: ignore[arg-type]
        ranks=ranks(row, "ranks", len(permutation)) if row.get("ranks") or outcome == "ranked" else (),
        strength=fields.strength(row),
        aspects={str(name): ranks(aspects, name, len(permutation)) for name in aspects if aspects[name] is not None},
        rubric_version=fields.text({"rubric_version": "", **row}, "rubric_version"),
        seconds=None if row.get("seconds") is None else fields.number(row, "seconds"),
        rationale=fields.text({"rationale": "", **row}, "rationale"),
        flags=fields.texts(row, "flags") if row.get("flags") else (),
    )


def ranks(row: Content, name: str, num_completions: int) -> tuple[int, ...]:
    """Return one rank per completion, 1 = best, equal = tied."""
    values = fields.whole_numbers(row, name)
    if len(values) != num_completions:
        raise RowProblem(f"{name!r} has {len(values)} ranks for {num_completions} completions", "give each one a rank")
    return values


def _sources(row: Content, num_completions: int) -> tuple[str, ...]:
    names = fields.texts(row, "sources") if row.get("sources") else ()
    if names and len(names) != num_completions:
        raise RowProblem(f"has {len(names)} sources for {num_completions} completions", "name one source each, or none")
    return names


def _pairs(value: object, num_completions: int) -> tuple[Pair, ...]:
    if not isinstance(value, list | tuple):
        raise RowProblem(f"'pairs' is {fields.shown(value)}, not a list", "write a list of pairs")
    return tuple(_pair(item, num_completions) for item in value)


def _pair(item: object, num_completions: int) -> Pair:
    if not isinstance(item, Mapping):
        raise RowProblem(f"a pair is {fields.shown(item)}", 'write {"first": 0, "second": 1, "label": 1.0}')
    first, second = fields.whole_number(item, "first"), fields.whole_number(item, "second")
    label = fields.number(item, "label")
    if not (0 <= first < num_completions and 0 <= second < num_completions and first != second):
        raise RowProblem(
            f"a pair is of completions {first} and {second}, and there are {num_completions}",
            "count completions from 0",
        )
    if not 0 <= label <= 1:
        raise RowProblem(f"a pair's label is {label}", "give the share of votes for the first, from 0 to 1")
    return Pair(first, second, label, fields.strength(item))


# ------------------------------------------------------------------------------------------------- for others to read
def write_parquet(path: Path, rows: Sequence[Preference]) -> None:
    """Write preferences as a Parquet table with the columns of our JSON lines.

    Raises DataError for a mixture of plain prompts and conversations, which no one column can hold.
    """
    import pyarrow
    import pyarrow.parquet

    num_plain = sum(isinstance(row.prompt.content, str) for row in rows)
    if 0 < num_plain < len(rows):
        raise DataError(
            f"{num_plain} of the {len(rows)} prompts are plain text and the rest are conversations. Expected one kind: "
            "a Parquet column holds values of one type. Export as jsonl."
        )
    contents = [to_json(row) for row in rows]
    # Asked for a table of rows, pyarrow would take its columns from the first row alone, and drop all others.
    names = dict.fromkeys(name for content in contents for name in content if name != "check")  # of no one type
    columns = {name: [content.get(name) for content in contents] for name in names}
    with clear_write_errors("preferences", path):
        pyarrow.parquet.write_table(pyarrow.table(columns), path)


def write_trl(path: Path, rows: Sequence[Preference]) -> int:
    """Write one JSON line (prompt, chosen, rejected) per decided pair that is not left out; return how many.

    A conversation's answers are written as messages, so that TRL applies the chat template to them. TRL knows neither
    ties nor vote shares: a tie is left out, and a majority counts as a verdict.
    """
    usable = [row for row in rows if not row.left_out]
    pairs = [_trl_row(row, pair) for row in usable for pair in row.pairs if pair.label != 0.5]
    with clear_write_errors("preferences", path):
        write_rows(path, pairs)
    return len(pairs)


def _trl_row(row: Preference, pair: Pair) -> dict[str, Any]:
    better, worse = (pair.first, pair.second) if pair.label > 0.5 else (pair.second, pair.first)
    content = {
        "prompt": row.prompt.content_json(),
        "chosen": _answer(row.prompt, row.completions[better]),
        "rejected": _answer(row.prompt, row.completions[worse]),
    }
    return content | ({"strength": pair.strength} if pair.strength else {}) | dimension_columns(row.prompt)


def _answer(prompt: Prompt, text: str) -> str | list[dict[str, str]]:
    return text if isinstance(prompt.content, str) else [{"role": "assistant", "content": text}]
