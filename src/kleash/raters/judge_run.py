"""One run of an AI judge: questions out, a few at a time, replies in, judgements in the order of the comparisons.

A reply is in the call log before it counts. What the log holds a reply to is not asked again; what was refused or
failed is, in a later run, and its new call replaces the old one. One thread decides, the others wait for the endpoint.
A run stops before a limit of its settings rather than after it, and asks less at once where an endpoint says 429.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from kleash.errors import RunError
from kleash.protocols import CallLog
from kleash.raters.configuration import JudgeSettings
from kleash.raters.endpoint import Endpoint, Reply
from kleash.raters.merging import Order, OrderOutcome, Status, merge, orders_of
from kleash.raters.prompting import JudgeQuestion
from kleash.raters.verdicts import parse_verdict
from kleash.records import Comparison, JudgeCall, Judgement


class JudgeStopped(RunError):
    """A judge that came to a limit or lost its endpoint. What it was paid for is in the call log.

    spending: of this run.
    """

    def __init__(self, message: str, spending: Spending) -> None:
        super().__init__(message)
        self.spending = spending


@dataclass
class Purse:
    """What several judges may pay together in one run; budget None = no limit."""

    budget: float | None = None
    cost: float = 0.0
    reserved: float = 0.0

    def allows(self, most: float) -> bool:
        # Prices are added up in floating point: a hair of it is not money.
        return self.budget is None or self.cost + self.reserved + most <= self.budget * (1 + 1e-9)


@dataclass
class Spending:
    """What one judge has spent in one run, and what the questions under way may still cost at the most.

    Replies found in the call log are free. A question that got no reply is taken to have cost nothing.
    shared: what all judges of the run spend together.
    """

    settings: JudgeSettings
    shared: Purse = field(default_factory=Purse)
    num_judged: int = 0
    num_calls: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    own: Purse = field(init=False)

    def __post_init__(self) -> None:
        self.own = Purse(self.settings.budget)

    @property
    def told(self) -> str:
        """What was spent, in words; money only where calls have a price."""
        priced = f", cost {self.cost:.6g}" if self.settings.is_priced else ""
        return f"{self.num_calls:,} calls, {self.prompt_tokens:,} + {self.reply_tokens:,} tokens{priced}"

    @property
    def cost(self) -> float:
        return self.own.cost

    def limit_met(self, question: JudgeQuestion) -> str:
        """Return the limit that asking one question more might break; "" for none."""
        settings = self.settings
        if settings.max_calls is not None and self.num_calls >= settings.max_calls:
            return f"max_calls = {settings.max_calls}"
        most = self.most(question)
        for whose, purse in (("", self.own), (" of all judges", self.shared)):
            if not purse.allows(most):
                return f"budget = {purse.budget}{whose} (the next question may cost up to {most:.3g})"
        return ""

    def start(self, question: JudgeQuestion) -> None:
        self.num_calls += 1
        self._put_by(self.most(question))

    def finish(self, question: JudgeQuestion, prompt_tokens: int | None, reply_tokens: int | None) -> None:
        """Count an answered question; an endpoint that counts no tokens is charged the most it could have cost."""
        self.abandon(question)
        is_counted = prompt_tokens is not None and reply_tokens is not None
        self.prompt_tokens += prompt_tokens or 0
        self.reply_tokens += reply_tokens or 0
        paid = self.price(prompt_tokens or 0, reply_tokens or 0) if is_counted else self.most(question)
        for purse in (self.own, self.shared):
            purse.cost += paid

    def abandon(self, question: JudgeQuestion) -> None:
        self._put_by(-self.most(question))

    def _put_by(self, amount: float) -> None:
        for purse in (self.own, self.shared):
            purse.reserved += amount

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


@dataclass
class Concurrency:
    """How many questions may be under way: halved when an endpoint says 429, one more after every so many answers."""

    most: int
    width: float = field(init=False)
    num_throttled: int = 0
    num_to_settle: int = 0

    def __post_init__(self) -> None:
        self.width = float(self.most)

    def note(self, *, num_throttled: int, num_under_way: int) -> None:
        """Take in that a reply has come. num_throttled: 429s so far.  num_under_way: with that reply itself."""
        if num_throttled > self.num_throttled and not self.num_to_settle:
            self.width = max(1.0, min(self.width, num_under_way) / 2)
            # What is under way was sent at the old pace, and says nothing about the new one.
            self.num_to_settle = num_under_way
        elif num_throttled == self.num_throttled:
            self.width = min(float(self.most), self.width + 1 / self.width)
        self.num_throttled = num_throttled
        self.num_to_settle = max(0, self.num_to_settle - 1)


_Case = tuple[Comparison, Mapping[Order, JudgeQuestion]]


@dataclass(frozen=True)
class _Sent:
    question: JudgeQuestion
    future: Future[tuple[OrderOutcome, Reply]]


class JudgeRun:
    """Sends the questions of one run. Close it, whatever happens: that waits for, and keeps, the replies under way.

    name, rubric_version: under which the judge's calls and judgements are kept.
    """

    def __init__(self, spending: Spending, *, log: CallLog, name: str, rubric_version: str) -> None:
        self.settings = spending.settings
        self.endpoint = Endpoint(spending.settings)
        self.log = log
        self.name = name
        self.rubric_version = rubric_version
        self.spending = spending
        self.concurrency = Concurrency(self.settings.max_concurrency)
        self.pool = ThreadPoolExecutor(self.settings.max_concurrency, thread_name_prefix="judge")
        self.outcomes: dict[str, OrderOutcome] = {}
        self.sent: dict[str, _Sent] = {}
        self.stopped_by = ""
        self.num_answered = 0
        self.num_unanswered_in_a_row = 0

    def judgements(
        self, comparisons: Iterable[Comparison], question_of: Callable[[Comparison, Order], JudgeQuestion]
    ) -> Iterator[Judgement]:
        """Yield a judgement each, in their order; raise JudgeStopped once all that is whole has been yielded."""
        waiting: deque[_Case] = deque()
        for comparison in comparisons:
            questions = {order: question_of(comparison, order) for order in orders_of(len(comparison.completions))}
            waiting.append((comparison, questions))
            for question in questions.values():
                self._send(question, comparison)
            yield from self._whole(waiting)
            if self.stopped_by:
                break
        while self.sent:
            self._receive()
            yield from self._whole(waiting)
        if self.stopped_by:
            raise self._stopped()

    def close(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)
        self.endpoint.close()

    def _send(self, question: JudgeQuestion, comparison: Comparison) -> None:
        """Ask a question, once there is a place free and money for it; not if it is answered, or asked, already."""
        if question.key in self.outcomes or question.key in self.sent:
            return
        call = self.log.find_call(question.key)
        if call is not None and call.status in ("ok", "unparsed"):
            self.outcomes[question.key] = self._outcome_of(call)
            return
        while not self.stopped_by:
            limit = self.spending.limit_met(question)
            if not limit and len(self.sent) < int(self.concurrency.width):
                self.spending.start(question)
                self.sent[question.key] = _Sent(question, self.pool.submit(self._call, question, comparison))
                return
            if self.sent:  # replies under way may cost less than was put by for them
                self._receive()
            else:
                self.stopped_by = f"the limit {limit}"

    def _receive(self) -> None:
        """Wait for at least one reply and take in all that are there."""
        wait([sent.future for sent in self.sent.values()], return_when=FIRST_COMPLETED)
        for key in [key for key, sent in self.sent.items() if sent.future.done()]:
            self.concurrency.note(num_throttled=self.endpoint.num_throttled, num_under_way=len(self.sent))
            sent = self.sent.pop(key)
            self.outcomes[key], reply = sent.future.result()
            if reply.status == "answered":
                self.spending.finish(sent.question, reply.prompt_tokens, reply.reply_tokens)
                self.num_answered += 1
                self.num_unanswered_in_a_row = 0
            else:
                self.spending.abandon(sent.question)
                self._count_unanswered(reply)

    def _count_unanswered(self, reply: Reply) -> None:
        # An endpoint that has answered may refuse a whole slice of harmful prompts: no reason to stop.
        if reply.status == "refused" and self.num_answered:
            return
        self.num_unanswered_in_a_row += 1
        if self.num_unanswered_in_a_row >= self.settings.give_up_after:
            self.stopped_by = f"{self.num_unanswered_in_a_row} requests in a row without a reply ({reply.text[:200]})"

    def _call(self, question: JudgeQuestion, comparison: Comparison) -> tuple[OrderOutcome, Reply]:
        """Ask, read the reply and log it; runs in a thread of the pool."""
        reply = self.endpoint.ask(question.messages)
        is_whole = reply.status == "answered" and not reply.is_cut
        verdict = parse_verdict(reply.text, aspects=self.settings.aspects) if is_whole else None
        status: Status = ("ok" if verdict else "unparsed") if reply.status == "answered" else reply.status
        self.log.add_call(
            JudgeCall(
                key=question.key,
                comparison_id=comparison.id,
                judge=self.name,
                model=reply.model,
                prompt_digest=question.prompt_digest,
                rubric_version=comparison.prompt.rubric_version(self.rubric_version),
                permutation=question.order,
                status=status,
                reply=reply.text,
                prompt_tokens=reply.prompt_tokens or 0,
                reply_tokens=reply.reply_tokens or 0,
                seconds=reply.seconds,
            )
        )
        return OrderOutcome(status, verdict, reply.seconds), reply

    def _outcome_of(self, call: JudgeCall) -> OrderOutcome:
        verdict = parse_verdict(call.reply, aspects=self.settings.aspects) if call.status == "ok" else None
        return OrderOutcome("ok" if verdict else "unparsed", verdict, call.seconds)

    def _whole(self, waiting: deque[_Case]) -> Iterator[Judgement]:
        while waiting and all(question.key in self.outcomes for question in waiting[0][1].values()):
            comparison, questions = waiting.popleft()
            outcomes = {order: self.outcomes[question.key] for order, question in questions.items()}
            version = comparison.prompt.rubric_version(self.rubric_version)
            judgement = merge(comparison, outcomes, rater=self.name, rubric_version=version)
            self.spending.num_judged += judgement.outcome != "skipped"
            yield judgement

    def _stopped(self) -> JudgeStopped:
        return JudgeStopped(
            f"Judge {self.name} stopped at {self.stopped_by}: {self.spending.num_judged} comparisons judged, "
            f"{self.spending.told} in this run. Expected to judge them all. Raise the limit, or see to the endpoint, "
            "and start again: every reply is kept and not paid for twice.",
            self.spending,
        )
