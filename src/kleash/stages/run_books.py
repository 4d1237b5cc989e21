"""The books of one online training run: evaluations, the best weights so far, checkpoints and what to resume from.

`stages/policy.py` builds the run; this keeps it. Every file here can be cut back to a checkpoint, so that a resumed
run leaves the very files an uninterrupted one leaves.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from kleash.algorithms.policy_settings import PolicySettings
from kleash.artifacts import Draft
from kleash.data.batches import Rollouts, derived_seed
from kleash.durable import write_rows
from kleash.evaluation.alarms import AlarmTracker, screen_lines
from kleash.evaluation.matched_checkpoints import CheckpointSnapshot, snapshot_of
from kleash.evaluation.symptoms import WATCHED_FIGURES
from kleash.evaluation.watch import BoundsWatch
from kleash.formats import to_json
from kleash.loop import LoopState
from kleash.maths.kl import Leash, kl_per_token
from kleash.models.causal_lm import LanguageModel
from kleash.progress import Advance
from kleash.protocols import Scorer
from kleash.records import Completion, Prompt
from kleash.rollout.local import LocalGenerator
from kleash.stages.alarming import AlarmSetup
from kleash.stages.context import StageContext
from kleash.tracking import JsonlTracker
from kleash.training import checkpoints
from kleash.training.local import LocalEngine


class RunBooks:
    """Keeps one online run's books: evaluations, the best weights so far, checkpoints and what to resume from."""

    def __init__(
        self,
        context: StageContext,
        settings: PolicySettings,
        draft: Draft,
        name: str,
        model: LanguageModel,
        engine: LocalEngine,
        watched: Sequence[Prompt],
        alarm_setup: AlarmSetup,
        proxy: Scorer,
    ) -> None:
        self.context, self.settings, self.draft = context, settings, draft
        self.model, self.engine = model, engine
        self.watched, self.signal, self.proxy = watched, alarm_setup.signal, proxy
        self.generator = LocalGenerator(
            model, max_new_tokens=settings.max_new_tokens, temperature=settings.temperature, policy_id=name
        )
        target = settings.leash.target_nats if settings.leash.kind == "adaptive" else None
        ratio = settings.watch.max_kl_ratio
        self.watch = BoundsWatch(
            max_kl_nats=ratio * target if ratio and target else None,
            min_kl_nats=settings.watch.min_kl_nats,
            patience=settings.watch.patience_evaluations,
        )
        self.alarms = AlarmTracker(
            watched,
            action=alarm_setup.settings.action,
            thresholds=alarm_setup.settings.thresholds,
            kl_target_nats=target,
        )
        self.tracker = context.open_tracker(draft)
        self.evaluations = JsonlTracker(draft.path / "evaluations.jsonl")
        self.events = JsonlTracker(draft.path / "alarms.jsonl")
        self.training: Mapping[str, float] = {}
        self.advance: Advance = _ignore

    def resume(self, leash: Leash) -> LoopState:
        """Return the state to go on from, with engine and watch restored and every log cut behind it.

        leash: as the settings describe it, before its first observation.
        """
        path = checkpoints.latest(self.draft.work / "checkpoints")
        if path is None:
            self._cut_logs(0, evaluated_to=-1)
            return LoopState(0, leash)
        checkpoint = checkpoints.load(path)
        self.engine.restore(checkpoint.tensors, checkpoint.state["engine"])
        self.watch.load_state(checkpoint.state["watch"])
        self.alarms.load_state(checkpoint.state["alarms"])
        self._cut_logs(checkpoint.step, evaluated_to=checkpoint.step)
        loop = checkpoint.state["loop"]
        return LoopState(checkpoint.step, type(leash)(**loop["leash"]), loop["baseline"], loop["outcome"])

    def after_step(self, state: LoopState) -> None:
        """Evaluate and checkpoint after a step, when it is due."""
        is_last = state.outcome != "running"
        # Weights that are given up are not evaluated: they may have been given up because they are not numbers.
        if (state.step % self.settings.evaluate_every == 0 or is_last) and state.outcome != "roll_back":
            self.evaluate(state.step)
        if state.step % self.settings.checkpoint_every == 0 or is_last:
            self.save(state)

    def save(self, state: LoopState) -> None:
        """Write a checkpoint from which the run goes on exactly."""
        if not self.context.ranks.is_first:
            return
        tensors, engine_state = self.engine.snapshot()
        loop = {"leash": state.leash.state(), "baseline": state.baseline, "outcome": state.outcome}
        content = {"engine": engine_state, "loop": loop, "watch": self.watch.state(), "alarms": self.alarms.state()}
        checkpoints.save(self.draft.work / "checkpoints", state.step, tensors, content)

    def evaluate(self, step: int) -> None:
        """Answer the fixed prompts after `step` updates, look for symptoms, keep the weights if they are the best."""
        if not self.watched:
            return
        seed = derived_seed(self.context.seed, "watched")
        rollouts = self.generator.generate(self.watched, samples_per_prompt=1, seed=seed, policy_version=step)
        answers = rollouts.completions()
        snapshot = snapshot_of(
            step,
            answers,
            scores=self.proxy.score(answers),
            kl_nats=self._kl_nats(rollouts),
            external=self._votes(rollouts.texts),
            training=self.training,
        )
        noted = self.alarms.note(snapshot)
        self.watch.note_alarms(noted)
        if noted.win_rate is not None and self.watch.note_external(step, noted.win_rate):
            self._save_best(step)
        if self.context.ranks.is_first:
            self._write_answers(answers, snapshot)
            self.evaluations.log(step, noted.figures)
            for alarm in noted.alarms:
                self.events.log(step, alarm.to_json())
                if alarm.is_change:
                    self.tracker.note(step, f"alarm/{alarm.symptom}", alarm.line)
            for line in screen_lines(noted.alarms):
                print(line, file=sys.stderr, flush=True)

    def take_best(self, state: LoopState) -> None:
        """After a roll-back, end with the best weights by the external signal, where there was one."""
        if state.outcome != "roll_back" or self.watch.best_step in (None, state.step):
            return
        path = checkpoints.latest(self.draft.work / "best")
        assert path is not None, "the best weights are saved when they are noted"
        tensors = checkpoints.load(path).tensors
        for name, parameter in self.model.trainable_parameters():
            parameter.data.copy_(tensors[f"policy/weights/{name}"])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Be the loop's tracker: pass the figures on and move the progress bar."""
        self.training = {name: metrics[name] for name in WATCHED_FIGURES if name in metrics}
        if self.context.ranks.is_first:
            self.tracker.log(step, metrics)
        names = {"reward": "score_mean", "kl": "kl_nats_per_sequence", "beta": "beta"}
        self.advance(1, **{short: metrics[name] for short, name in names.items()})

    def _kl_nats(self, rollouts: Rollouts) -> list[float]:
        """Return each answer's log pi - log pi_ref, summed over its tokens."""
        logprob_BT, reference_logprob_BT, _ = self.engine.annotate(rollouts)
        kl_BT = kl_per_token(logprob_BT, reference_logprob_BT, estimator="k1")
        return kl_BT.where(rollouts.mask_BT, 0.0).sum(dim=1).tolist()

    def _votes(self, texts: Sequence[str]) -> list[float | None]:
        """Have answers compared with the reference's; the first rank asks, for all."""
        if self.signal is None:
            return [None] * len(texts)
        given: Mapping[int, float] = {}
        if self.context.ranks.is_first:
            reference = self.alarms.reference.texts if self.alarms.reference else texts
            votes = self.signal.votes(self.watched, reference, texts)
            given = {row: vote for row, vote in enumerate(votes) if vote is not None}
        shared = self.context.ranks.sum_across_ranks({str(row): vote for row, vote in given.items()})
        return [shared.get(str(row)) for row in range(len(texts))]

    def _save_best(self, step: int) -> None:
        if not self.context.ranks.is_first:
            return
        tensors, _ = self.engine.snapshot()
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith("policy/weights/")}
        checkpoints.save(self.draft.work / "best", step, weights, {}, keep=1)

    def _write_answers(self, answers: Sequence[Completion], snapshot: CheckpointSnapshot) -> None:
        """Keep the answers, each with its score and its vote, for whoever reads or judges them afterwards."""
        rows = [
            {**to_json(answer), "proxy": proxy, "external": vote}
            for answer, proxy, vote in zip(answers, snapshot.proxy, snapshot.external, strict=True)
        ]
        folder = self.draft.path / "answers"
        folder.mkdir(exist_ok=True)
        write_rows(folder / f"step-{snapshot.step:08d}.jsonl", rows)

    def _cut_logs(self, step: int, *, evaluated_to: int) -> None:
        if not self.context.ranks.is_first:
            return
        self.tracker.cut(step)
        self.evaluations.cut(evaluated_to + 1)
        self.events.cut(evaluated_to + 1)
        for file in (self.draft.path / "answers").glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > evaluated_to:
                file.unlink()


def _ignore(num_done: int = 1, /, **figures: float) -> None:
    """Show nothing: there is no progress bar yet."""
