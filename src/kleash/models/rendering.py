"""How one model reads prompts and answers: through its chat template, or as plain text; with what an answer ends.

What is trained is what is served: an answer's tokens are those that the template writes between the place where the
assistant's turn opens and the token that ends it. Read `chat.py` next for how text becomes token ids.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import jinja2
import transformers
from pydantic import Field

from kleash.artifacts import MANIFEST, read
from kleash.data.batches import TokenSequence
from kleash.errors import ModelError
from kleash.formats.conversations import as_transcript
from kleash.limits import limited
from kleash.models import folders
from kleash.models.chat import (
    control_tokens,
    encode_prompt,
    encode_rendered,
    encode_response,
    replace_all,
    stand_ins,
    text_format,
)
from kleash.models.lora import uppermost
from kleash.records import Message, Prompt
from kleash.settings import Settings

Turns = Literal["auto", "chat", "text"]

CLOCK = datetime(2024, 7, 26)
"""The day that templates which write today's date are told: a run must read the same tokens tomorrow.

It is the one that Llama's own templates fall back on.
"""

TEMPLATE_SECONDS = 5.0
"""The longest that a template may take for one conversation; real ones take a thousandth of it."""

TEMPLATE_BYTES = 1 << 28

_MARK = chr(0xF8FF)  # a private-use character, to find a text again in what a template wrote
_CLOCK_CALL = re.compile(r"""strftime_now\(\s*(['"])([^'"]*)\1\s*\)""")
_THINK, _END_OF_THOUGHT = "<think>", "</think>"


class RenderingSettings(Settings):
    """How plain prompts are put to a model."""

    turns: Turns = Field(
        "auto",
        description="plain prompts: chat = a user's turn of the chat template, text = as they stand, auto = as the "
        "model was trained; where that is not recorded, chat if it has a template",
    )
    system_prompt: str | None = Field(
        None, description="a system turn before prompts that have none; needs a chat template"
    )


class Rendering:
    """How one model's tokenizer reads prompts and answers.

    is_chat: plain prompts become a user's turn. Conversations go through the template wherever there is one, and are
    written as a transcript where there is none; an empty prompt, that of a document, stays empty.
    eos_ids: every id at which an answer ends, the tokenizer's own end of text first. turn_end_id: the one that is
    written after an answer to turns.  ends_as_served: an answer to turns is read to where the template ends the
    conversation, such as the line break after the turn's end, as models are that somebody else trained to score.
    Raises ModelError for "chat" without a template, and for a system prompt that nothing would read.
    """

    def __init__(
        self,
        tokenizer: Any,
        eos_ids: tuple[int, ...],
        *,
        turns: Turns = "auto",
        system_prompt: str | None = None,
        end_id: int | None = None,
        ends_as_served: bool = False,
    ) -> None:
        has_template = bool(tokenizer.chat_template)
        self.ends_as_served = ends_as_served and has_template
        if turns == "chat" and not has_template:
            raise ModelError(
                "data.turns is 'chat', and the tokenizer has no chat template. Expected a chat model. Use one, or "
                "set data.turns to 'text'."
            )
        self.tokenizer = tokenizer
        self.remarks: set[str] = set()  # what was said of it on the screen already
        self.is_chat = has_template and turns != "text"
        self.system_prompt = system_prompt or None
        if self.system_prompt and not self.is_chat:
            raise ModelError(
                "data.system_prompt is set, and prompts are put to this model as plain text. Expected a chat "
                "template to write the system's turn. Use a chat model with data.turns 'chat', or leave the system "
                "prompt out."
            )
        written_end = _turn_end(tokenizer) if has_template else None
        self.template_ends_turns = written_end is not None
        self.turn_end_id = next(one for one in (end_id, written_end, eos_ids[0]) if one is not None)
        self.eos_ids = eos_ids if self.turn_end_id in eos_ids else (*eos_ids, self.turn_end_id)

    @property
    def turns(self) -> str:
        return "chat" if self.is_chat else "text"

    def as_read(self, prompt: Prompt) -> Prompt:
        """Return the prompt as the model is shown it: as turns, as a transcript, or as it stands."""
        if not self.tokenizer.chat_template:
            return as_transcript(prompt)
        if isinstance(prompt.content, str):
            if not prompt.content or not self.is_chat:
                return prompt
            messages: tuple[Message, ...] = (Message("user", prompt.content),)
        else:
            messages = prompt.content
        if self.system_prompt and messages[0].role != "system":
            messages = (Message("system", self.system_prompt), *messages)
        if messages[0].role == "system" and not self.takes_system_turns:
            messages = _with_system_folded(messages)
        return replace(prompt, content=messages)

    @functools.cached_property
    def takes_system_turns(self) -> bool:
        """Whether the template renders a system turn; else it is put at the head of the user's first."""
        try:
            written = _apply(self.tokenizer, (Message("system", _MARK), Message("user", "a")), is_open=True)
        except ModelError:
            return False
        return _MARK in written

    def encode_prompt(self, prompt: Prompt) -> tuple[int, ...]:
        """Return a prompt's ids up to where the answer begins. Raises ModelError for turns the template refuses."""
        shown = self.as_read(prompt)
        if isinstance(shown.content, str):
            return encode_prompt(self.tokenizer, shown)
        hidden = stand_ins(self.tokenizer, [message.content for message in shown.content])
        return tuple(
            encode_rendered(self.tokenizer, _apply(self.tokenizer, shown.content, hidden, is_open=True), hidden)
        )

    def encode_response(self, prompt: Prompt, text: str) -> tuple[int, ...]:
        """Return an answer's ids, its end included, as the template writes them where the prompt is turns.

        Raises ModelError for turns the template refuses.
        """
        shown = self.as_read(prompt)
        if isinstance(shown.content, str):
            return encode_response(self.tokenizer, shown, text, eos_id=self.eos_ids[0])
        written, hidden = self._written(shown.content, text)
        if written == replace_all(text, hidden):  # as it stands: encoded whole, so that no token is cut at a stand-in
            return encode_response(self.tokenizer, shown, text, eos_id=self.turn_end_id)
        return (*encode_rendered(self.tokenizer, written, hidden, is_continuation=True), self.turn_end_id)

    def encode(self, prompt: Prompt, text: str) -> TokenSequence:
        """Return prompt and answer as one sequence of tokens. Raises ModelError for turns the template refuses."""
        prompt_ids = self.encode_prompt(prompt)
        if not self.ends_as_served or isinstance(self.as_read(prompt).content, str):
            return TokenSequence(prompt_ids, self.encode_response(prompt, text))
        ids = tuple(self.served(prompt, text))
        # A template that writes past answers otherwise than it opens them parts from the prompt before its end.
        num_prompt = min(len(prompt_ids), len(ids) - 1)
        return TokenSequence(ids[:num_prompt], ids[num_prompt:])

    def served(self, prompt: Prompt, text: str) -> list[int]:
        """Return what the template makes of prompt and answer in one go: what the model meets when it is served.

        Of plain text without a template it is the text as trained. Raises ModelError for turns the template refuses.
        """
        if not self.tokenizer.chat_template or not prompt.content:
            return [*self.encode_prompt(prompt), *self.encode_response(prompt, text)]
        as_chat = self if self.is_chat else Rendering(self.tokenizer, self.eos_ids, turns="chat")
        content = as_chat.as_read(prompt).content
        assert not isinstance(content, str)
        hidden = stand_ins(self.tokenizer, [*(message.content for message in content), text])
        whole = _apply(self.tokenizer, (*content, Message("assistant", text)), hidden, is_open=False)
        return encode_rendered(self.tokenizer, whole, hidden)

    def text_format(self) -> dict[str, str | None]:
        """Return how text becomes tokens, as artifacts record it: digests, turns and the system prompt itself."""
        return {**text_format(self.tokenizer), "turns": self.turns, "system_prompt": self.system_prompt}

    def _written(self, messages: tuple[Message, ...], text: str) -> tuple[str, dict[str, str]]:
        """Return what the template writes for an answer, up to the token that ends the turn."""
        hidden = stand_ins(self.tokenizer, [*(message.content for message in messages), text])
        opened = _apply(self.tokenizer, messages, hidden, is_open=True)
        whole = _apply(self.tokenizer, (*messages, Message("assistant", text)), hidden, is_open=False)
        answer = replace_all(text, hidden)
        if not whole.startswith(opened):
            return _without_prefill(opened, answer), hidden
        end = self.tokenizer.convert_ids_to_tokens(self.turn_end_id)
        before, found, _ = whole[len(opened) :].partition(end)
        # A template that writes no end leaves the answer to us, less the line break it may close with.
        return (before if found else answer), hidden


@dataclass(frozen=True)
class Parting:
    """Where what is trained and what the template serves part: both token sequences from shortly before."""

    position: int
    trained: tuple[str, ...]
    served: tuple[str, ...]


def difference(rendering: Rendering, prompt: Prompt, text: str, *, num_shown: int = 12) -> Parting | None:
    """Compare template(prompt + answer) with the ids that are trained; None where they agree.

    What a template writes after the end of the turn is not learnt and not compared.
    """
    sequence = rendering.encode(prompt, text)
    trained = list(sequence.prompt_ids + sequence.response_ids)
    served = rendering.served(prompt, text)
    tokenizer = rendering.tokenizer
    # Text against text: a token that would straddle the border of prompt and answer is no matter, for answers are
    # sampled behind the prompt's own tokens.
    compared = trained if rendering.template_ends_turns else trained[:-1]
    if str(tokenizer.decode(served)).startswith(str(tokenizer.decode(compared))):
        return None
    position = next(
        (index for index, (one, other) in enumerate(zip(trained, served, strict=False)) if one != other),
        min(len(trained), len(served)),
    )
    start = max(position - 3, 0)
    window = slice(start, start + num_shown)
    return Parting(
        position,
        tuple(tokenizer.convert_ids_to_tokens(trained[window])),
        tuple(tokenizer.convert_ids_to_tokens(served[window])),
    )


def template_marks(tokenizer: Any) -> list[str]:
    """Return the control tokens that the chat template writes: a text that holds one was rendered already."""
    template = _template_of(tokenizer)
    return [token for token in control_tokens(tokenizer) if token in template and not token.isalnum()]


def load_rendering(
    folder: Path,
    tokenizer: Any,
    eos_ids: tuple[int, ...],
    loading: folders.Loading,
    *,
    is_policy: bool = True,
    ends_as_served: bool = False,
) -> Rendering:
    """Return how the model in a folder reads prompts: as asked for, else as its artifact records.

    An end of text named by hand ends answers to turns too. is_policy: what is asked for is meant for this very model;
    one that only scores, perhaps a stranger with another template or none, follows as far as it can.
    """
    turns, system_prompt, eos_token = loading["turns"], loading["system_prompt"], loading["eos_token"]
    if not is_policy and not tokenizer.chat_template:
        turns = "auto"
    recorded = recorded_rendering(folder) if turns == "auto" else {}
    turns = recorded.get("turns", turns)
    is_text = turns == "text" or not tokenizer.chat_template
    return Rendering(
        tokenizer,
        eos_ids,
        turns=turns,
        system_prompt=None if is_text and not is_policy else system_prompt or recorded.get("system_prompt"),
        end_id=None if eos_token is None else eos_ids[0],
        ends_as_served=ends_as_served,
    )


def rendering_of(
    model: Any,
    folder: Path,
    stack: Sequence[Path],
    loading: folders.Loading,
    *,
    eos_ids: Sequence[int] = (),
    is_policy: bool = True,
    ends_as_served: bool = False,
) -> Rendering:
    """Return how a loaded model reads prompts, with its tokenizer. stack: where it and its adapters are from.

    eos_ids: what ends an answer, if that is settled.  A reward model whose tokenizer lacks `eos_token` has its own.
    Raises ModelError for a tokenizer or generation settings that do not fit the model.
    """
    named = [*stack, folder]
    tokenizer_path = uppermost(named, "tokenizer_config.json")  # not every adapter folder brings one
    tokenizer = folders.load_tokenizer(tokenizer_path, trust_remote_code=loading["trust_remote_code"])
    folders.check_vocabulary(folder, model, tokenizer)
    generation_path, eos_token = uppermost(named, "generation_config.json"), loading["eos_token"]
    folders.check_generation_settings(generation_path, model.get_input_embeddings().weight.shape[0])
    if not is_policy and eos_token is not None and not folders.knows_token(tokenizer, eos_token):
        eos_token = None
    ids = tuple(eos_ids or folders.resolve_eos_ids(generation_path, model.config, tokenizer, eos_token))
    loading = {**loading, "eos_token": eos_token}
    return load_rendering(folder, tokenizer, ids, loading, is_policy=is_policy, ends_as_served=ends_as_served)


def rendering_of_folder(folder: Path, *, turns: Turns = "auto", system_prompt: str | None = None) -> Rendering:
    """Return how a model will read prompts, from its tokenizer and settings alone; weights need not be there.

    Raises ModelError for a folder without a tokenizer, or one whose settings name no end of text.
    """
    tokenizer = folders.load_tokenizer(folder)
    has_settings = (folder / "config.json").is_file()
    config = folders.load_config(folder) if has_settings else transformers.PretrainedConfig()
    eos_ids = folders.resolve_eos_ids(folder, config, tokenizer, None)
    asked: folders.Loading = {**folders.DEFAULT_LOADING, "turns": turns, "system_prompt": system_prompt}
    return load_rendering(folder, tokenizer, eos_ids, asked)


def recorded_rendering(folder: Path) -> dict[str, Any]:
    """Return how the artifact in a folder says its model reads prompts; empty for a model of somebody else's.

    A version that did not record it put plain prompts as they stood.
    """
    for place in (folder, folder.parent):  # an ensemble's members lie one below
        recorded = read(place).text_format if (place / MANIFEST).is_file() else None
        if recorded is not None:
            return {"turns": recorded.get("turns", "text"), "system_prompt": recorded.get("system_prompt")}
    return {}


def _turn_end(tokenizer: Any) -> int | None:
    """Return the control token that the template writes right after an assistant's turn; None if it writes none."""
    try:
        whole = _apply(tokenizer, (Message("user", "a"), Message("assistant", _MARK)), is_open=False)
    except ModelError:  # what it refuses is said when a real conversation comes
        return None
    ids = encode_rendered(tokenizer, whole.rpartition(_MARK)[2], {})
    controls = {tokenizer.convert_tokens_to_ids(token) for token in control_tokens(tokenizer)}
    return next((token_id for token_id in ids if token_id in controls), None)


def _without_prefill(opened: str, answer: str) -> str:
    """Return what is left to write of an answer where the template has opened the thought already.

    Such a template writes past answers without their thoughts, so that its own text of them is not what is served.
    """
    thought = opened.rpartition(_THINK)[2] if opened.rstrip().endswith(_THINK) else None
    if thought is None or (_END_OF_THOUGHT in answer and _THINK not in answer):
        return answer
    opening = _THINK + thought
    if answer.startswith(opening) or answer.lstrip().startswith(_THINK):
        return answer.lstrip().removeprefix(_THINK).removeprefix(thought)
    return f"{_END_OF_THOUGHT}\n\n{answer}"


def _with_system_folded(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Put a system turn at the head of the user's first turn."""
    system, *others = messages
    first = next((index for index, message in enumerate(others) if message.role == "user"), None)
    if first is None:
        return messages
    others[first] = Message("user", f"{system.content}\n\n{others[first].content}")
    return tuple(others)


def _apply(tokenizer: Any, messages: Sequence[Message], hidden: dict[str, str] | None = None, *, is_open: bool) -> str:
    """Render messages; is_open: up to where the assistant's next turn opens. Raises ModelError if refused."""
    turns = [{"role": message.role, "content": replace_all(message.content, hidden or {})} for message in messages]
    template = _template_of(tokenizer)
    try:
        with limited(seconds=TEMPLATE_SECONDS, extra_bytes=TEMPLATE_BYTES):
            shown = tokenizer.apply_chat_template(
                turns, chat_template=template, tokenize=False, add_generation_prompt=is_open
            )
        return str(shown)
    except Exception as error:  # a template is code: it may raise anything, and says why in its own words
        raise ModelError(
            f"The chat template refused a conversation of {[message.role for message in messages]}: {error}. Expected "
            "turns that the template knows how to write. Reorder or merge the messages, or change the template."
        ) from error


def _template_of(tokenizer: Any) -> str:
    """Return the chat template, its clock stopped at `CLOCK`. Raises ModelError for one that cannot be written."""
    template = tokenizer.chat_template
    return _stopped(template if isinstance(template, str) else tokenizer.get_chat_template())


@functools.lru_cache(maxsize=16)
def _stopped(template: str) -> str:
    with suppress(jinja2.TemplateSyntaxError):  # said when a conversation is written
        signs = [(kind, sign) for _, kind, sign in jinja2.Environment().lex(template) if kind != "whitespace"]
        # One such operation can take years, which nothing interrupts; before keyword arguments it is another sign.
        if any(sign == ("operator", "**") and before[1] not in ("(", ",") for before, sign in pairwise(signs)):
            raise ModelError("The chat template raises to a power, which may never end. Expected one that does not.")
    stopped = _CLOCK_CALL.sub(lambda call: repr(CLOCK.strftime(call[2])), template)
    if "strftime_now(" in stopped:
        raise ModelError(
            "The chat template writes the time in a format of its own making, so that the same conversation would be "
            "other tokens tomorrow. Expected strftime_now('...') with a format written out. Change the template."
        )
    return stopped
