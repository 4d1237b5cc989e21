"""Records to token sequences, once per stage, with a clear account of what had to be cut or left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kleash.data.batches import TokenSequence
from kleash.errors import DataError
from kleash.formats import Loaded
from kleash.formats.conversations import as_transcript
from kleash.models.causal_lm import LanguageModel
from kleash.models.chat import encode_prompt, encode_sequence
from kleash.records import Demonstration, LabelledCompletion, Preference, Prompt

RecordT = TypeVar("RecordT", Demonstration, Preference, LabelledCompletion)


@dataclass(frozen=True)
class Encoded(Generic[RecordT]):
    """Records that fit, each with its token sequences (one per completion), and how many did not."""

    records: list[RecordT]
    sequences: list[list[TokenSequence]]
    num_too_long: int

    def __len__(self) -> int:
        return len(self.records)


def readable_by(model: LanguageModel, prompt: Prompt) -> Prompt:
    """Turn a conversation into a plain transcript for a model without a chat template; else change nothing."""
    return prompt if model.tokenizer.chat_template else as_transcript(prompt)


def encode(
    records: Sequence[RecordT],
    texts_of: Callable[[RecordT], Sequence[str]],
    model: LanguageModel,
    *,
    max_tokens: int,
) -> Encoded[RecordT]:
    """Encode each record's completions after its prompt; records longer than max_tokens are left out, and counted.

    Leaving out is honest where cutting is not: a cut answer teaches the model to stop in mid-sentence.
    Raises DataError when nothing is left.
    """
    limit = min(max_tokens, model.max_positions)
    kept: list[RecordT] = []
    sequences: list[list[TokenSequence]] = []
    for record in records:
        prompt = readable_by(model, record.prompt)
        row = [encode_sequence(model.tokenizer, prompt, text, eos_id=model.eos_ids[0]) for text in texts_of(record)]
        if max((sequence.num_tokens for sequence in row), default=0) <= limit:
            kept.append(record)
            sequences.append(row)
    if not kept:
        raise DataError(
            f"None of the {len(records)} rows fits into {limit} tokens. Expected at least one. Raise max_tokens, use a "
            "model with a longer context, or shorten the data."
        )
    return Encoded(kept, sequences, len(records) - len(kept))


def prompts_that_fit(prompts: Sequence[Prompt], model: LanguageModel, *, max_tokens: int) -> list[Prompt]:
    """Keep the prompts of at most max_tokens tokens. Raises DataError when none is left."""
    readable = [readable_by(model, prompt) for prompt in prompts]
    kept = [prompt for prompt in readable if len(encode_prompt(model.tokenizer, prompt)) <= max_tokens]
    if not kept:
        raise DataError(
            f"None of the {len(prompts)} prompts fits into {max_tokens} tokens. Expected at least one. Raise "
            "max_prompt_tokens or shorten the prompts."
        )
    return kept


def dropped_figures(loaded: Loaded) -> dict[str, int]:
    """What reading a file dropped, for an artifact's summary."""
    return {"rows": loaded.num_rows, "bad_rows": len(loaded.bad_rows), "duplicates": loaded.num_duplicates}
