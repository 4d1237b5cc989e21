"""Records to token sequences, once per stage, with a clear account of what had to be cut or left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kleash.data.batches import TokenSequence
from kleash.errors import DataError, ModelError
from kleash.formats import Loaded
from kleash.models.causal_lm import LanguageModel
from kleash.models.rendering import Rendering, difference, template_marks
from kleash.records import Demonstration, LabelledCompletion, Preference, Prompt
from kleash.screen import say

RecordT = TypeVar("RecordT", Demonstration, Preference, LabelledCompletion)

_NUM_COMPARED = 20  # rows whose training tokens are held against what the template serves


@dataclass(frozen=True)
class Encoded(Generic[RecordT]):
    """Records that fit, each with its token sequences (one per completion), and how many did not."""

    records: list[RecordT]
    sequences: list[list[TokenSequence]]
    num_too_long: int

    def __len__(self) -> int:
        return len(self.records)


def encode(
    records: Sequence[RecordT],
    texts_of: Callable[[RecordT], Sequence[str]],
    model: LanguageModel,
    *,
    max_tokens: int,
    may_be_empty: bool = False,
) -> Encoded[RecordT]:
    """Encode each record's completions after its prompt; records longer than max_tokens are left out, and counted.

    Leaving out is honest where cutting is not: a cut answer teaches the model to stop in mid-sentence. So are those
    whose turns the chat template refuses.
    may_be_empty: what is kept apart to measure on may come to nothing.
    Raises DataError when nothing is left, or when most rows are text that a template has rendered already.
    """
    limit = min(max_tokens, model.max_positions)
    rendering = model.rendering
    say_how_prompts_are_read(rendering, [record.prompt for record in records])
    kept: list[RecordT] = []
    sequences: list[list[TokenSequence]] = []
    refused: list[str] = []
    for record in records:
        try:
            row = [rendering.encode(record.prompt, text) for text in texts_of(record)]
        except ModelError as error:
            refused.append(f"{_beginning(record.prompt)}: {error}")
            continue
        if max((sequence.num_tokens for sequence in row), default=0) <= limit:
            kept.append(record)
            sequences.append(row)
    num_too_long = len(records) - len(kept) - len(refused)
    _say_refused(refused, len(records))
    if num_too_long and (kept or may_be_empty):
        say(f"{num_too_long:,} of {len(records):,} rows are longer than {limit:,} tokens, and left out.")
    if not kept and not may_be_empty:
        raise DataError(
            f"None of the {len(records)} rows fits into {limit} tokens. Expected at least one. Raise max_tokens, use a "
            "model with a longer context, or shorten the data."
        )
    _compare_with_served(rendering, [(record.prompt, text) for record in kept for text in texts_of(record)])
    return Encoded(kept, sequences, num_too_long)


def prompts_that_fit(prompts: Sequence[Prompt], model: LanguageModel, *, max_tokens: int) -> list[Prompt]:
    """Keep the prompts of at most max_tokens tokens that the model can be asked. Raises DataError if none is left."""
    say_how_prompts_are_read(model.rendering, prompts)
    kept: list[Prompt] = []
    refused: list[str] = []
    for prompt in prompts:
        try:
            is_kept = len(model.rendering.encode_prompt(prompt)) <= max_tokens
        except ModelError as error:
            refused.append(f"{_beginning(prompt)}: {error}")
            continue
        if is_kept:
            kept.append(prompt)
    _say_refused(refused, len(prompts))
    if not kept:
        raise DataError(
            f"None of the {len(prompts)} prompts fits into {max_tokens} tokens. Expected at least one. Raise "
            "max_prompt_tokens or shorten the prompts."
        )
    return kept


def say_how_prompts_are_read(rendering: Rendering, prompts: Sequence[Prompt]) -> None:
    """Say on the screen, once a model, what becomes of plain prompts and system turns where there is a choice.

    Raises DataError when most of the plain prompts are text that a chat template has rendered already.
    """
    template = rendering.tokenizer.chat_template
    plain = [prompt.content for prompt in prompts if isinstance(prompt.content, str) and prompt.content]
    if plain and template and rendering.is_chat:
        with_system = " after data.system_prompt" if rendering.system_prompt else ""
        say_once(
            rendering,
            f"Plain prompts become user turns of the chat template{with_system} (data.turns = 'text' leaves them as "
            "they stand).",
        )
    elif plain and template:
        say_once(
            rendering,
            "Plain prompts are read as they stand, outside the model's chat template (data.turns = 'chat' makes user "
            "turns of them).",
        )
    if template:
        _refuse_rendered(rendering, plain)
        systems = sum(not isinstance(prompt.content, str) and prompt.content[0].role == "system" for prompt in prompts)
        if systems and not rendering.takes_system_turns:
            say_once(
                rendering,
                f"The chat template has no system turn: {systems:,} of {len(prompts):,} conversations have theirs at "
                "the head of the user's first turn.",
            )


def say_once(rendering: Rendering, remark: str) -> None:
    """Say something of how a model reads text, once for the model and on the first rank alone."""
    if remark not in rendering.remarks:
        rendering.remarks.add(remark)
        say(remark)


def dropped_figures(loaded: Loaded) -> dict[str, int]:
    """What reading a file dropped, for an artifact's summary."""
    return {"rows": loaded.num_rows, "bad_rows": len(loaded.bad_rows), "duplicates": loaded.num_duplicates}


def _refuse_rendered(rendering: Rendering, texts: Sequence[str]) -> None:
    marks = template_marks(rendering.tokenizer)
    rendered = [mark for text in texts if (mark := next((one for one in marks if one in text), ""))]
    if not rendered:
        return
    found = (
        f"{len(rendered):,} of {len(texts):,} plain prompts hold {rendered[0]}, a mark of the model's chat "
        "template, written out"
    )
    if len(rendered) > len(texts) / 2:
        raise DataError(
            f"{found}: they were put through a template already, and would be read as letters. Expected plain text or "
            "messages. Give the conversations as messages ([{'role': 'user', 'content': ...}]), and leave the template "
            "to KLeash."
        )
    say_once(rendering, f"{found}; it is read as letters, not as a turn.")


def _compare_with_served(rendering: Rendering, rows: Sequence[tuple[Prompt, str]]) -> None:
    """Hold the first rows' tokens against what the template makes of prompt and answer, and show where they part."""
    if not rendering.tokenizer.chat_template:
        return
    for prompt, text in rows[:_NUM_COMPARED]:
        try:
            parted = difference(rendering, prompt, text)
        except ModelError:
            continue
        if parted is not None:
            say_once(
                rendering,
                "What is trained is not what the chat template makes of prompt and answer; they part at token "
                f"{parted.position + 1}:\n  trained {' '.join(parted.trained)}\n  served  {' '.join(parted.served)}",
            )
            return


def _say_refused(refused: Sequence[str], num_rows: int) -> None:
    """Say which rows the chat template refused. Raises DataError when it refused them all."""
    if not refused:
        return
    if len(refused) == num_rows:
        raise DataError(f"None of the {num_rows} rows can be put to the model. The first: {refused[0]}")
    say(
        f"{len(refused):,} of {num_rows:,} rows are left out, for the chat template refuses them. The first: "
        f"{refused[0]} `kleash data check FILE --tokenizer MODEL` names their lines."
    )


def _beginning(prompt: Prompt) -> str:
    return f"the prompt {prompt.text[:60]!r}"
