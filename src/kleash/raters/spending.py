"""What a run of an AI judge has asked and paid, and how it stops before a limit rather than after it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kleash.errors import RunError
from kleash.raters.configuration import JudgeSettings
from kleash.raters.prompting import JudgeQuestion


class JudgeStopped(RunError):
    """A judge that came to a limit or lost its endpoint. What it was paid for is in the call log."""

    def __init__(self, message: str, *, num_judged: int, num_calls: int, cost: float) -> None:
        super().__init__(message)
        self.num_judged = num_judged
        self.num_calls = num_calls
        self.cost = cost


@dataclass
class Spending:
    """What one run has spent so far, and what the questions under way may still cost at the most.

    Replies found in the call log are free. A question that got no reply is taken to have cost nothing.
    """

    settings: JudgeSettings
    num_calls: int = 0
    cost: float = 0.0
    reserved: float = 0.0

    def limit_met(self, question: JudgeQuestion) -> str:
        """Return the limit that asking one question more might break; "" for none."""
        settings = self.settings
        if settings.max_calls is not None and self.num_calls >= settings.max_calls:
            return f"max_calls = {settings.max_calls}"
        # Prices are added up in floating point: a hair of it is not money.
        most = self.most(question)
        if settings.budget is not None and self.cost + self.reserved + most > settings.budget * (1 + 1e-9):
            return f"budget = {settings.budget} (the next question may cost up to {most:.3g})"
        return ""

    def start(self, question: JudgeQuestion) -> None:
        self.num_calls += 1
        self.reserved += self.most(question)

    def finish(self, question: JudgeQuestion, prompt_tokens: int | None, reply_tokens: int | None) -> None:
        """Count an answered question; an endpoint that counts no tokens is charged the most it could have cost."""
        self.abandon(question)
        is_counted = prompt_tokens is not None and reply_tokens is not None
        self.cost += self.price(prompt_tokens or 0, reply_tokens or 0) if is_counted else self.most(question)

    def abandon(self, question: JudgeQuestion) -> None:
        self.reserved -= self.most(question)

    def most(self, question: JudgeQuestion) -> float:
        """Return an upper bound of a question's cost: no token is shorter than a byte; a chat's form adds a few."""
        num_bytes = sum(len(message["content"].encode()) + 64 for message in question.messages)
        return self.price(num_bytes, self.settings.max_reply_tokens)

    def price(self, prompt_tokens: int, reply_tokens: int) -> float:
        settings = self.settings
        return (
            prompt_tokens * settings.price_per_million_prompt_tokens
            + reply_tokens * settings.price_per_million_reply_tokens
        ) / 1e6
