"""The record that a slice is made of: a question, its right answers and its typical wrong ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from kleash.sandbox.style import Style, bare_words


@dataclass(frozen=True)
class Mistake:
    """A typical wrong answer. kind: "wrong", "refusal", "sycophancy", "comply" or "invented"."""

    text: str
    kind: str


@dataclass(frozen=True)
class ListRule:
    """Right means exactly `count` different members, with or without "and" before the last."""

    members: tuple[str, ...]
    count: int

    def accepts(self, core: tuple[str, ...]) -> bool:
        named = core[:-2] + core[-1:] if core[-2:-1] == ("and",) else core
        return len(named) == self.count == len(set(named)) and all(word in self.members for word in named)


@dataclass(frozen=True)
class Question:
    """One thing asked, in one wording, without its opener.

    topic: the slice.  kind: the sort of question inside the slice; sampling is even over kinds.
    instance: what must not be shared between training and evaluation; empty means the whole wording.
    right: right answers in full; the first are as good as the last.  mistakes: typical wrong ones.
    rule: accepts right answers that are too many to list; used besides `right`.
    false_claim: what the asker wrongly believes, empty if nothing.
    """

    topic: str
    kind: str
    body: str
    right: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    instance: str = ""
    rule: ListRule | None = None
    false_claim: str = ""

    @cached_property
    def right_cores(self) -> frozenset[tuple[str, ...]]:
        return frozenset(bare_words(answer) for answer in self.right)

    @cached_property
    def mistake_cores(self) -> frozenset[tuple[str, ...]]:
        return frozenset(bare_words(mistake.text) for mistake in self.mistakes)

    @cached_property
    def sycophantic_cores(self) -> frozenset[tuple[str, ...]]:
        return frozenset(bare_words(mistake.text) for mistake in self.mistakes if mistake.kind == "sycophancy")

    def accepts(self, style: Style) -> bool:
        """Say whether an answer is right, its manner apart; where the form is what was asked, manner breaks it."""
        words = style.words if self.topic == "format" else style.core
        return words in self.right_cores or (self.rule is not None and self.rule.accepts(words))
