"""One run of an AI judge: questions out, a few at a time, replies in, judgements in the order of the comparisons.

A reply is in the call log before it counts. What the log holds a reply to is not asked again; what was refused or
failed is, in a later run, and its new call replaces the old one. One thread decides, the others wait for the endpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from kleash.protocols import CallLog
from kleash.raters.configuration import JudgeSettings
from kleash.raters.endpoint import Endpoint, Reply
from kleash.raters.merging import Heard, Order, Status, merge
from kleash.raters.prompting import JudgeQuestion
from kleash.raters.spending import JudgeStopped, Spending
from kleash.raters.verdicts import parse_verdict
from kleash.records import Comparison, JudgeCall, Judgement


@dataclass(frozen=True)
class Case:
    """A comparison and the question it raises in each order."""

    comparison: Comparison
    questions: Mapping[Order, JudgeQuestion]


@dataclass(frozen=True)
class AskedJudge:
    """Under which names a judge's calls and judgements are kept."""

    name: str
    rubric_version: str


@dataclass(frozen=True)
class _Sent:
    question: JudgeQuestion
    future: Future[tuple[Heard, Reply]]


class Asking:
    """Sends the questions of one run. Close it, whatever happens: that waits for, and keeps, the replies under way."""

    def __init__(
        self, settings: JudgeSettings, endpoint: Endpoint, *, log: CallLog, rater: AskedJudge, spending: Spending
    ) -> None:
        self.settings = settings
        self.endpoint = endpoint
        self.log = log
        self.rater = rater
        self.spending = spending
        self.pool = ThreadPoolExecutor(settings.max_concurrency, thread_name_prefix="judge")
        self.heard: dict[str, Heard] = {}
        self.sent: dict[str, _Sent] = {}
        self.stopped_by = ""
        self.num_judged = 0
        self.num_answered = 0
        self.num_unanswered_in_a_row = 0

    def judgements(self, cases: Iterable[Case]) -> Iterator[Judgement]:
        """Yield each case's judgement, in their order; raise JudgeStopped once all that is whole has been yielded."""
        waiting: deque[Case] = deque()
        for case in cases:
            waiting.append(case)
            for question in case.questions.values():
                self._send(question, case.comparison)
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
        if question.key in self.heard or question.key in self.sent:
            return
        call = self.log.find_call(question.key)
        if call is not None and call.status in ("ok", "unparsed"):
            self.heard[question.key] = self._heard_before(call)
            return
        while not self.stopped_by:
            limit = self.spending.limit_met(question)
            if not limit and len(self.sent) < self.settings.max_concurrency:
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
            sent = self.sent.pop(key)
            self.heard[key], reply = sent.future.result()
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

    def _call(self, question: JudgeQuestion, comparison: Comparison) -> tuple[Heard, Reply]:
        """Ask, read the reply and log it; runs in a thread of the pool."""
        reply = self.endpoint.ask(question.messages)
        is_whole = reply.status == "answered" and not reply.is_cut
        verdict = parse_verdict(reply.text, aspects=self.settings.aspects) if is_whole else None
        status: Status = ("ok" if verdict else "unparsed") if reply.status == "answered" else reply.status
        self.log.add_call(
            JudgeCall(
                key=question.key,
                comparison_id=comparison.id,
                judge=self.rater.name,
                model=reply.model,
                prompt_digest=question.prompt_digest,
                rubric_version=self.rater.rubric_version,
                permutation=question.order,
                status=status,
                reply=reply.text,
                prompt_tokens=reply.prompt_tokens or 0,
                reply_tokens=reply.reply_tokens or 0,
                seconds=reply.seconds,
            )
        )
        return Heard(status, verdict, reply.seconds), reply

    def _heard_before(self, call: JudgeCall) -> Heard:
        verdict = parse_verdict(call.reply, aspects=self.settings.aspects) if call.status == "ok" else None
        return Heard("ok" if verdict else "unparsed", verdict, call.seconds)

    def _whole(self, waiting: deque[Case]) -> Iterator[Judgement]:
        while waiting and all(question.key in self.heard for question in waiting[0].questions.values()):
            case = waiting.popleft()
            heard = {order: self.heard[question.key] for order, question in case.questions.items()}
            self.num_judged += 1
            yield merge(case.comparison, heard, rater=self.rater.name, rubric_version=self.rater.rubric_version)

    def _stopped(self) -> JudgeStopped:
        spending = self.spending
        return JudgeStopped(
            f"Judge {self.rater.name} stopped at {self.stopped_by}: {self.num_judged} comparisons judged, "
            f"{spending.num_calls} calls made in this run, cost {spending.cost:.6g}. Expected to judge them all. "
            "Raise the limit, or see to the endpoint, and start again: every reply is kept and not paid for twice.",
            num_judged=self.num_judged,
            num_calls=spending.num_calls,
            cost=spending.cost,
        )
