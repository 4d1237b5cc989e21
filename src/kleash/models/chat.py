"""Text to token ids and back: prompts, responses and the digests that say whether two models read text alike.

No model here. The rule everywhere: prompt ids followed by response ids is the whole sequence, and text never turns
into control tokens. Only the tokenizer's own frame (BOS, the chat template's turn marks) and the EOS that ends a
response are control tokens; a `</s>` or `<|im_end|>` that somebody *wrote* stays the characters they wrote.
Read `data/batches.py` next for what becomes of the sequences.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kleash.data.batches import TokenSequence
from kleash.errors import ModelError
from kleash.records import Prompt

# Tokenizers that mark word starts (SentencePiece) put a space before any text they encode. Text that continues other
# text is therefore encoded, and decoded, behind this anchor, whose own tokens are then taken away.
_ANCHOR = "\n"

_FIRST_STAND_IN = 0xF0000  # the private-use plane: no tokenizer's special token and no sensible text lives there


def encode_prompt(tokenizer: Any, prompt: Prompt) -> tuple[int, ...]:
    """Return the ids of a prompt of plain text, as the model reads it just before its answer begins.

    The text is encoded as it stands, with the BOS the tokenizer adds and without the EOS some add at the end.
    """
    ids = tokenizer.encode(prompt.text, split_special_tokens=True)
    if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return tuple(ids)


def encode_response(tokenizer: Any, prompt: Prompt, text: str, *, eos_id: int) -> tuple[int, ...]:
    """Return a response's token ids, ended by exactly one EOS.

    The text is encoded on its own, never together with the prompt, so that no token straddles the border between
    them, and as a continuation: a space comes between the two only where one is written. After messages it is the
    assistant's turn and ends the same way, by `eos_id` alone; what a template would put after that is not learnt.
    `prompt` is not read: whatever was asked, the same answer is the same tokens.
    """
    return (*_encode_continuation(tokenizer, text), eos_id)


def decode_response(tokenizer: Any, ids: tuple[int, ...] | list[int]) -> str:
    """Return a response's text, special tokens left out; a leading space is kept where the tokens hold one."""
    anchor_ids = _encode_text(tokenizer, _ANCHOR) if _adds_leading_space(tokenizer) else []
    anchor = _decode(tokenizer, anchor_ids)
    text = _decode(tokenizer, [*anchor_ids, *ids])
    return text[len(anchor) :] if text.startswith(anchor) else _decode(tokenizer, list(ids))


def truncate(sequence: TokenSequence, max_tokens: int) -> TokenSequence:
    """Cut a sequence to max_tokens: the response keeps its start, the prompt its end (what was asked last).

    The response goes first, down to one token, for it is what grows without bound; a cut response has lost its EOS.
    Then the prompt loses its start, BOS included. max_tokens: at least 2, so that both parts stay.
    Raises ModelError below that.
    """
    if max_tokens < 2:
        raise ModelError(
            f"A sequence cannot be cut to {max_tokens} tokens. Expected a limit of at least 2, for one prompt token "
            "and one response token. Raise the limit."
        )
    excess = sequence.num_tokens - max_tokens
    if excess <= 0:
        return sequence
    num_response = min(len(sequence.response_ids), max(1, len(sequence.response_ids) - excess))
    num_prompt = max_tokens - num_response
    return replace(
        sequence, prompt_ids=sequence.prompt_ids[-num_prompt:], response_ids=sequence.response_ids[:num_response]
    )


def text_format(tokenizer: Any) -> dict[str, str | None]:
    """Digest how text becomes tokens: {"tokenizer": 16 hex digits, "chat_template": 16 hex digits or None}.

    Two models with equal digests read the same text as the same ids.
    """
    template = tokenizer.chat_template
    return {
        "tokenizer": tokenizer_digest(tokenizer),
        "chat_template": _digest(template) if template else None,
    }


def tokenizer_digest(tokenizer: Any) -> str:
    """Return in 16 hex digits whose ids a tokenizer's are; padding and truncation settings do not count."""
    return _digest_of_rules(tokenizer, len(tokenizer))


@functools.lru_cache(maxsize=16)
def _digest_of_rules(tokenizer: Any, num_tokens: int) -> str:
    """num_tokens: a tokenizer that was given more tokens since is another one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        rules = {key: content.get(key) for key in ("added_tokens", "normalizer", "pre_tokenizer", "post_processor")}
        rules["model"] = content["model"]
    else:
        rules = {"vocabulary": tokenizer.get_vocab()}
    return _digest(rules)


def encode_rendered(
    tokenizer: Any, rendered: str, stand_in_of: Mapping[str, str], *, is_continuation: bool = False
) -> list[int]:
    """Encode what a template wrote, its control tokens as such and those somebody wrote in their text as plain text.

    stand_in_of: for each control token in the contents, the private-use character that stands for it in `rendered`.
    The pieces between the stand-ins are encoded with control tokens, the stand-ins' originals without. Where nothing
    was hidden there is one piece, so the ids are exactly what `apply_chat_template` gives.
    is_continuation: the text follows other text, whose tokens are not asked for.
    """
    original_of = {stand_in: special for special, stand_in in stand_in_of.items()}
    first, *others = re.split(f"([{''.join(original_of)}])", rendered) if original_of else [rendered]
    encode_first = _encode_continuation if is_continuation else _encode_text
    ids = encode_first(tokenizer, first, keeps_control_tokens=True)
    for piece in others:
        text = original_of.get(piece, piece)
        ids += _encode_continuation(tokenizer, text, keeps_control_tokens=piece not in original_of)
    return ids


def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """Return the tokenizer's control tokens as they are written, longest first."""
    return _control_tokens(tokenizer, len(tokenizer))


@functools.lru_cache(maxsize=16)
def _control_tokens(tokenizer: Any, num_tokens: int) -> tuple[str, ...]:
    """num_tokens: a tokenizer that was given more tokens since is another one."""
    added = tokenizer.added_tokens_decoder.values()
    specials = set(tokenizer.all_special_tokens) | {str(token) for token in added if token.special}
    return tuple(sorted(specials, key=lambda special: (-len(special), special)))


def stand_ins(tokenizer: Any, texts: Sequence[str]) -> dict[str, str]:
    """Map each control token that is written out in the texts, longest first, to a private-use character."""
    found = [special for special in control_tokens(tokenizer) if any(special in text for text in texts)]
    return {special: chr(_FIRST_STAND_IN + index) for index, special in enumerate(found)}


def replace_all(text: str, replacement_of: Mapping[str, str]) -> str:
    for old, replacement in replacement_of.items():
        text = text.replace(old, replacement)
    return text


def _encode_text(tokenizer: Any, text: str, *, keeps_control_tokens: bool = False) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not keeps_control_tokens))


def _encode_continuation(tokenizer: Any, text: str, *, keeps_control_tokens: bool = False) -> list[int]:
    """Encode text that follows other text: without the space a word-marking tokenizer puts before it."""
    if _adds_leading_space(tokenizer):
        anchor_ids = _encode_text(tokenizer, _ANCHOR)
        ids = _encode_text(tokenizer, _ANCHOR + text, keeps_control_tokens=keeps_control_tokens)
        if ids[: len(anchor_ids)] == anchor_ids:  # otherwise the anchor has merged with the text
            return ids[len(anchor_ids) :]
    return _encode_text(tokenizer, text, keeps_control_tokens=keeps_control_tokens)


def _adds_leading_space(tokenizer: Any) -> bool:
    first = tokenizer.convert_ids_to_tokens(_encode_text(tokenizer, "a")[:1])
    return bool(first) and first[0].startswith("▁")


def _decode(tokenizer: Any, ids: list[int]) -> str:
    # The "clean-up" of spaces before punctuation changes what was sampled.
    return str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _digest(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
