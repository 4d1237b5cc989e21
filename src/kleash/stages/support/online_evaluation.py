"""What a policy answers while it trains: the fixed prompts, scored, compared with the reference's and held to alarms.

Answers, figures and events go to files that can be cut back to a checkpoint, so that a resumed run leaves the very
files an uninterrupted one leaves. What follows from them is decided by the alarms and the watch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kleash.data.batches import derived_seed
from kleash.durable import write_rows
from kleash.evaluation.alarms import AlarmReport, AlarmTracker, screen_lines
from kleash.evaluation.checkpoints import KEPT_ANSWERS
from kleash.evaluation.external_signal import ExternalSignal
from kleash.evaluation.matched_checkpoints import CheckpointSnapshot
from kleash.formats import to_json
from kleash.loop import LoopComponents
from kleash.maths.kl import kl_per_sequence
from kleash.records import Completion, Prompt
from kleash.screen import say
from kleash.tracking import JsonlTracker

ANSWERS, EVALUATIONS, EVENTS = "answers", "evaluations.jsonl", "alarms.jsonl"


@dataclass
class OnlineEvaluation:
    """Has the policy under way answer `prompts`, and reads the alarms off its answers.

    signal: who is asked whether answers get better; None = nobody.
    """

    folder: Path
    prompts: Sequence[Prompt]
    components: LoopComponents
    signal: ExternalSignal | None
    alarms: AlarmTracker
    seed: int

    def __post_init__(self) -> None:
        self.evaluations, self.events = JsonlTracker(self.folder / EVALUATIONS), JsonlTracker(self.folder / EVENTS)

    def evaluate(self, step: int, *, training: Mapping[str, float]) -> AlarmReport:
        """Answer the prompts after `step` updates; return what the alarms make of it.

        training: the loop's figures of its newest update.
        """
        seed = derived_seed(self.seed, "watched")
        engine = self.components.engine
        rollouts = self.components.generator.generate(
            self.prompts, samples_per_prompt=1, seed=seed, policy_version=step
        )
        answers = rollouts.completions()
        logprob_BT, reference_logprob_BT, _ = engine.annotate(rollouts)
        scores = self.components.scorer.score(answers)
        snapshot = CheckpointSnapshot(
            step=step,
            texts=[answer.text for answer in answers],
            num_tokens=[len(answer.token_ids) for answer in answers],
            proxy=list(scores.total),
            external=self._votes(rollouts.texts),
            kl_nats=kl_per_sequence(logprob_BT, reference_logprob_BT, rollouts.mask_BT).tolist(),
            entropy_nats=[-sum(answer.logprobs) for answer in answers],
            parts={name: list(part) for name, part in scores.parts.items()},
            training=dict(training),
        )
        report = self.alarms.note(snapshot)
        if engine.rank == 0:
            self._write(answers, snapshot, report)
        return report

    def cut(self, step: int) -> None:
        """Forget all evaluations after those of `step` updates; -1 forgets all."""
        self.evaluations.cut(step + 1)
        self.events.cut(step + 1)
        for file in (self.folder / ANSWERS).glob(KEPT_ANSWERS):
            if int(file.stem.removeprefix("step-")) > step:
                file.unlink()
            else:
                file.touch()  # kept by the stage, and so none of the strays that a draft sets aside

    def _votes(self, texts: Sequence[str]) -> list[float | None]:
        """Have answers compared with the reference's; the first rank asks, for all."""
        if self.signal is None:
            return [None] * len(texts)
        cast: Mapping[str, float] = {}
        if self.components.engine.rank == 0:
            reference = self.alarms.reference.texts if self.alarms.reference else texts
            votes = self.signal.votes(self.prompts, reference, texts)
            cast = {str(row): vote for row, vote in enumerate(votes) if vote is not None}
        shared = self.components.engine.sum_across_ranks(cast)
        return [shared.get(str(row)) for row in range(len(texts))]

    def _write(self, answers: Sequence[Completion], snapshot: CheckpointSnapshot, report: AlarmReport) -> None:
        """Keep the answers, each with its score and its vote, for whoever reads or judges them afterwards."""
        step = snapshot.step
        rows = [
            {**to_json(answer), "proxy": proxy, "external": vote}
            for answer, proxy, vote in zip(answers, snapshot.proxy, snapshot.external, strict=True)
        ]
        (self.folder / ANSWERS).mkdir(exist_ok=True)
        write_rows(self.folder / ANSWERS / f"step-{step:08d}.jsonl", rows)
        self.evaluations.log(step, report.figures)
        for alarm in report.alarms:
            self.events.log(step, alarm.to_json())
        for line in screen_lines(report.alarms):
            say(line)
