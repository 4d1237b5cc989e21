"""Rows with one answer, or none: instructions, conversations, documents, samples, thumbs up or down."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kleash.formats import canonical, conversations, fields, readings
from kleash.formats.fields import Content
from kleash.formats.readings import Reading
from kleash.records import Completion, Demonstration, LabelledCompletion


def read_prompt(column: str) -> Callable[[Content, Sequence[str]], list[Reading]]:
    return lambda row, slice_columns: [Reading(fields.prompt(row, column, slice_columns))]


def read_instruction(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return [Reading(readings.instruction(row, slice_columns, more="input"))]


def read_alpaca(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return readings.answered(readings.instruction(row, slice_columns, more="input"), fields.answer(row, "output"))


def read_dolly(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return readings.answered(readings.instruction(row, slice_columns, more="context"), fields.answer(row, "response"))


def read_gsm8k(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return readings.answered(fields.prompt(row, "question", slice_columns), fields.answer(row, "answer"))


def read_prompt_completion(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    answer = fields.not_blank(readings.completion_text(row, "completion"), "completion")
    return readings.answered(fields.prompt(row, "prompt", slice_columns), answer)


def read_messages(column: str) -> Callable[[Content, Sequence[str]], list[Reading]]:
    def read(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
        turns = fields.messages(fields.column(row, column), column)
        if turns[-1].role != "assistant":
            return [Reading(fields.with_dimensions(turns, row, slice_columns))]
        prompt, answer = conversations.prompt_and_answer(turns, column)
        return readings.answered(fields.with_dimensions(prompt, row, slice_columns), fields.not_blank(answer, column))

    return read


def read_document(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.with_dimensions("", row, slice_columns)
    return [Reading(demonstration=Demonstration(prompt, fields.answer(row, "text")))]


def read_unpaired(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    answer = readings.completion_text(row, "completion")
    labelled = LabelledCompletion(prompt, answer, fields.truth_value(row, "label"))
    return [Reading(prompt, labelled=labelled, completions=(Completion(prompt, answer),))]


def read_sampled(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    prompt = fields.prompt(row, "prompt", slice_columns)
    sampled = canonical.completion_from_json(row, prompt)
    demonstration = Demonstration(prompt, sampled.text) if sampled.text.strip() else None
    return [Reading(prompt, demonstration=demonstration, completions=(sampled,))]


def read_judgement(row: Content, slice_columns: Sequence[str]) -> list[Reading]:
    return [Reading(judgements=(canonical.judgement_from_json(row),))]
