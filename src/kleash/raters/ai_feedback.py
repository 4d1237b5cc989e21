"""An AI judge as a rater (RLAIF): asks an endpoint about every pair of answers in both orders.

How a question reads is in `prompting.py`, how it is sent and paid for in `judge_run.py` and `endpoint.py`, how a reply
is read in `verdicts.py`, how verdicts become a judgement in `merging.py`, and whether the judge is any good in
`monitoring.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from kleash.protocols import CallLog
from kleash.raters.configuration import JudgeSettings
from kleash.raters.endpoint import Endpoint, request_of
from kleash.raters.judge_run import JudgeRun, Purse, Spending
from kleash.raters.merging import Order
from kleash.raters.prompting import Form, JudgeQuestion, judge_question, prompt_form, rubric_digest
from kleash.records import Comparison, JudgeCall, Judgement, content_id


class AIJudge:
    """Compares answers by asking a language model behind an OpenAI-compatible endpoint.

    log: where calls are kept and found again; by default they last as long as the process.
    rubric_version: what judgements call the rubric; by default a digest of its text.
    shared: what all judges of the run pay from together.  `spending` tells what this one has cost so far, over all
    calls of `compare`: a run hands it comparisons a few at a time.
    Raises SettingsError when the openai package or the key is missing.
    """

    def __init__(
        self,
        settings: JudgeSettings,
        *,
        log: CallLog | None = None,
        rubric_version: str = "",
        shared: Purse | None = None,
    ) -> None:
        self.settings = settings
        self.log = log if log is not None else MemoryCallLog()
        self.name = rater_name(settings)
        self.rubric_version = rubric_version or rubric_digest(settings.rubric_text)
        self.spending = Spending(settings, shared or Purse())
        # A missing package or key is told now rather than when the run is under way.
        Endpoint(settings).close()

    def compare(self, comparisons: Sequence[Comparison]) -> Generator[Judgement, None, None]:
        """Yield one judgement per comparison, in their order, each as soon as all its replies are in.

        Raises JudgeStopped, after yielding all that is whole, when max_calls or the budget would be exceeded or
        give_up_after requests in a row had no reply; RunError when the endpoint refuses key, model or address.
        A later run with the same log takes up from there and pays only for what is missing.
        """
        run = JudgeRun(self.spending, log=self.log, name=self.name, rubric_version=self.rubric_version)
        try:
            yield from run.judgements(comparisons, self.question)
        finally:
            run.close()

    def question(self, comparison: Comparison, order: Order) -> JudgeQuestion:
        """Return what is asked about two of a comparison's answers in one order."""
        request = {**request_of(self.settings), "revision": self.settings.revision}
        return judge_question(comparison, order, request=request, **_form(self.settings))


class MemoryCallLog:
    """A `CallLog` that lasts as long as the process, for a judge outside a campaign, whose store keeps them."""

    def __init__(self) -> None:
        self.calls: dict[str, JudgeCall] = {}

    def find_call(self, key: str) -> JudgeCall | None:
        return self.calls.get(key)

    def add_call(self, call: JudgeCall) -> None:
        self.calls[call.key] = call  # a dictionary takes one entry from each of several threads unharmed


def rater_name(settings: JudgeSettings) -> str:
    """Return "model@version"; its version is a digest of all that shapes a verdict: rubric, form, sampling."""
    form = prompt_form(**_form(settings))
    return f"{settings.model}@{content_id(form, request_of(settings), settings.revision)[:8]}"


def _form(settings: JudgeSettings) -> Form:
    return Form(rubric=settings.rubric_text, aspects=settings.aspects, rationale=settings.rationale)
