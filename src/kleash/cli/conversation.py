"""A conversation with a policy at the keyboard: what was said so far, and the loop that reads, answers and obeys.

A model with a chat template is sent the whole conversation, older turns dropped where it no longer fits. One without
a template knows no turns: each line is a prompt of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kleash.screen import results

if TYPE_CHECKING:
    from kleash.models.causal_lm import LanguageModel
    from kleash.records import Message, Prompt
    from kleash.rollout.local import SamplingSettings

HELP = "/reset forgets the conversation, /temperature 0.7 changes the sampling, /quit ends."


class Conversation:
    """What was said so far, and how to answer; each answer has a seed of its own."""

    def __init__(self, model: LanguageModel, sampling: SamplingSettings, *, seed: int) -> None:
        self.model = model
        self.sampling = sampling
        self.seed = seed
        self.turns: list[Message] = []
        self.num_answers = 0

    @property
    def has_turns(self) -> bool:
        return self.model.rendering.is_chat

    def answer(self, text: str) -> Iterator[str]:
        """Yield the answer piece by piece; once it has ended, or was cut short, it is part of the conversation."""
        from kleash.data.batches import derived_seed
        from kleash.records import Message
        from kleash.rollout.local import generator_of

        prompt = self.prompt_for(text)
        generator = generator_of(self.model, self.sampling)
        seed = derived_seed(self.seed, "chat", self.num_answers)
        self.num_answers += 1
        said: list[str] = []
        try:
            for piece in generator.stream(prompt, seed=seed):
                said.append(piece)
                yield piece
        finally:
            if self.has_turns:
                self.turns += [Message("user", text), Message("assistant", "".join(said))]

    def prompt_for(self, text: str) -> Prompt:
        """Return the prompt that carries a new line and as much of the conversation before it as fits."""
        from kleash.records import Message, Prompt

        if not self.has_turns:
            return Prompt(text)
        while True:
            prompt = Prompt((*self.turns, Message("user", text)))
            num_tokens = len(self.model.rendering.encode_prompt(prompt))
            if not self.turns or num_tokens + self.sampling.max_new_tokens <= self.model.max_positions:
                return prompt
            del self.turns[:2]  # the oldest question goes with its answer, so that the roles keep taking turns


def converse(conversation: Conversation, read_line: Callable[[str], str] = input) -> None:
    """Read lines until /quit or the end of input; Ctrl-C cuts an answer short, and at the prompt ends."""
    from kleash.errors import KleashError

    _remember_lines()
    screen = results()
    screen.print(HELP, style="dim")
    if not conversation.has_turns:
        screen.print("The model is not asked in turns: each line is a prompt of its own.", style="dim")
    while True:
        try:
            line = read_line("> ").strip()
        except (EOFError, KeyboardInterrupt):
            screen.print()
            return
        if line == "/quit":
            return
        if line.startswith("/"):
            screen.print(obey(conversation, line), style="dim")
            continue
        if not line:
            continue
        try:
            for piece in conversation.answer(line):
                screen.print(piece, end="", soft_wrap=True)
        except KeyboardInterrupt:
            screen.print(" (cut short)", style="yellow", end="")
        except KleashError as error:
            screen.print(str(error), style="red", end="", soft_wrap=True)
        screen.print()


def obey(conversation: Conversation, line: str) -> str:
    """Carry out a line that begins with a slash and return what to say about it."""
    command, _, argument = line.partition(" ")
    if command == "/reset":
        conversation.turns.clear()
        return "The conversation is forgotten."
    if command == "/temperature":
        try:
            temperature = float(argument)
        except ValueError:
            temperature = math.nan
        if not 0 <= temperature < math.inf:
            return f"/temperature {argument}: expected a number from 0 up, such as /temperature 0.7."
        conversation.sampling = conversation.sampling.model_copy(update={"temperature": temperature})
        return f"Temperature {temperature:g}."
    return f"There is no {command}. {HELP}"


def _remember_lines() -> None:
    """Let the arrow keys bring back earlier lines, where Python was built with readline."""
    try:
        import readline  # noqa: F401 (importing it is what gives `input` a history)
    except ImportError:
        return
