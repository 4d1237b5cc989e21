"""`kleash data show`: rows of a file as the tokens that a model will read, and which of them are learnt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.text import Text

from kleash import formats
from kleash.data.inspection import Report
from kleash.data.prompts import prompt_of
from kleash.errors import DataError, KleashError, ModelError, SettingsError
from kleash.formats import BadRow
from kleash.models.rendering import Rendering, difference, rendering_of_folder
from kleash.records import Comparison, Completion, Demonstration, LabelledCompletion, Preference, Prompt
from kleash.web.visible import visible_text

LEGEND = "│ parts tokens, ⏎ is a line break, ⟦ ⟧ holds what is learnt; all before it is the prompt."


def tokens_of_file(
    file: str,
    tokenizer: str,
    *,
    num_rows: int,
    turns: Literal["auto", "chat", "text"],
    system_prompt: str | None,
    kind: str | None,
    format: str | None,
) -> Iterator[Text]:
    """Yield the first rows of a file as the tokens that will be trained, one text per answer.

    Raises SettingsError for a kind of row that no model reads, and what reading file and tokenizer raises.
    """
    kind = kind or formats.kind_of_file(file, format=format)
    if kind not in ("prompts", "demonstrations", "preferences", "labelled", "completions", "comparisons"):
        raise SettingsError(f"{file} holds {kind}, which no model reads. Expected prompts or answers. Give others.")
    rendering = rendering_of_folder(Path(tokenizer), turns=turns, system_prompt=system_prompt)
    yield Text(_how_read(rendering), style="dim")
    loaded = getattr(formats, f"read_{kind}")(file, format=format)
    for number, record in enumerate(loaded.records[:num_rows], start=1):
        for name, answer in _answers(record):
            try:
                yield _shown(rendering, f"row {number}{name}", prompt_of(record), answer)
            except KleashError as error:
                yield Text(f"row {number}{name}: {error}", style="red")


def held_against_template(report: Report, tokenizer: str, *, is_strict: bool) -> Report:
    """Return a report in which rows whose turns a chat template refuses are bad rows, with their lines.

    Raises DataError for such a row if they are not to be left out.
    """
    rendering = rendering_of_folder(Path(tokenizer))
    if not rendering.tokenizer.chat_template or report.kind == "judgements":
        return report
    loaded = report.loaded
    refused = []
    for record, (file, line) in zip(loaded.records, loaded.places, strict=True):
        try:
            rendering.encode_prompt(prompt_of(record))
        except ModelError as error:
            reason, _, fix = str(error).rstrip(".").rpartition(". ")
            refused.append(BadRow(file, line, reason, fix))
    if refused and is_strict:
        raise DataError(f"The chat template refuses {len(refused):,} rows. The first is {refused[0]}. Repair them.")
    return replace(report, loaded=replace(loaded, bad_rows=[*loaded.bad_rows, *refused]))


def _how_read(rendering: Rendering) -> str:
    if not rendering.tokenizer.chat_template:
        return "No chat template: plain prompts as they stand, conversations as a transcript."
    if not rendering.is_chat:
        return "Plain prompts stand outside the chat template; conversations go through it."
    return "Plain prompts are user turns of the chat template."


def _answers(record: Any) -> Iterator[tuple[str, str | None]]:
    match record:
        case Demonstration():
            yield "", record.completion
        case LabelledCompletion():
            yield ", thumbs up" if record.is_desirable else ", thumbs down", record.completion
        case Completion():
            yield "", record.text
        case Preference() | Comparison():
            for number, text in enumerate(record.completions, start=1):
                yield f", answer {number}", text
        case _:
            yield "", None


def _shown(rendering: Rendering, heading: str, prompt: Prompt, answer: str | None) -> Text:
    prompt_ids = rendering.encode_prompt(prompt)
    learnt_ids = () if answer is None else rendering.encode_response(prompt, answer)
    shown = Text(f"\n{heading}: {len(prompt_ids)} tokens of prompt", style="bold")
    shown.append(f", {len(learnt_ids)} learnt\n" if answer is not None else "\n")
    shown.append(_readable(rendering, prompt_ids), style="not bold cyan")
    if answer is not None:
        shown.append(f"⟦{_readable(rendering, learnt_ids)}⟧", style="not bold green")
        parted = difference(rendering, prompt, answer)
        if parted:
            shown.append(
                f"\nThe chat template would write, from token {parted.position + 1} on: {' '.join(parted.served)}",
                style="not bold yellow",
            )
    return shown


def _readable(rendering: Rendering, ids: tuple[int, ...]) -> str:
    pieces = (str(rendering.tokenizer.decode([token_id], clean_up_tokenization_spaces=False)) for token_id in ids)
    return "│".join(visible_text(piece).replace("\n", "⏎").replace("\t", "⇥") for piece in pieces)
