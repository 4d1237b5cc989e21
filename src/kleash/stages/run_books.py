"""The books of one online training run: evaluations, the best weights so far, checkpoints and what to resume from.

`stages/policy.py` builds the run; this keeps it. Every file here can be cut back to a checkpoint, so that a resumed
run leaves the very files an uninterrupted one leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kleash.algorithms.policy_settings import PolicySettings
from kleash.artifacts import Draft
from kleash.data.batches import derived_seed
from kleash.durable import partial_path, publish, sync_path
from kleash.evaluation.watch import BoundsWatch
from kleash.formats import write_jsonl
from kleash.loop import LoopState
from kleash.maths.kl import Leash
from kleash.models.causal_lm import LanguageModel
from kleash.progress import Advance
from kleash.protocols import Scorer
from kleash.records import Prompt
from kleash.rollout.local import LocalGenerator
from kleash.stages.workplace import Workplace
from kleash.tracking import JsonlTracker, open_trackers
from kleash.training import checkpoints
from kleash.training.local import LocalEngine


class RunBooks:
    """Keeps one online run's books: evaluations, the best weights so far, checkpoints and what to resume from."""

    def __init__(
        self,
        place: Workplace,
        settings: PolicySettings,
        draft: Draft,
        name: str,
        model: LanguageModel,
        engine: LocalEngine,
        watched: Sequence[Prompt],
        external: Scorer | None,
        proxy: Scorer,
    ) -> None:
        self.place, self.settings, self.draft = place, settings, draft
        self.model, self.engine = model, engine
        self.watched, self.external, self.proxy = watched, external, proxy
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
        self.tracker = open_trackers(draft.path, names=place.trackers, run_name=name)
        self.evaluations = JsonlTracker(draft.path / "evaluations.jsonl")
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
        self._cut_logs(checkpoint.step, evaluated_to=checkpoint.step)
        loop = checkpoint.state["loop"]
        return LoopState(checkpoint.step, type(leash)(**loop["leash"]), loop["baseline"], loop["outcome"])

    def after_step(self, state: LoopState) -> None:
        """Evaluate and checkpoint after a step, when it is due."""
        is_last = state.outcome != "running"
        if state.step % self.settings.evaluate_every == 0 or is_last:
            self.evaluate(state.step)
        if state.step % self.settings.checkpoint_every == 0 or is_last:
            self.save(state)

    def save(self, state: LoopState) -> None:
        """Write a checkpoint from which the run goes on exactly."""
        if not self.place.ranks.is_first:
            return
        tensors, engine_state = self.engine.snapshot()
        loop = {"leash": state.leash.state(), "baseline": state.baseline, "outcome": state.outcome}
        content = {"engine": engine_state, "loop": loop, "watch": self.watch.state()}
        checkpoints.save(self.draft.work / "checkpoints", state.step, tensors, content)

    def evaluate(self, step: int) -> None:
        """Answer the fixed prompts after `step` updates, score them, and keep the weights if they are the best."""
        if not self.watched:
            return
        seed = derived_seed(self.place.seed, "watched")
        rollouts = self.generator.generate(self.watched, samples_per_prompt=1, seed=seed, policy_version=step)
        answers = rollouts.completions()
        row = {"score_mean": _mean_of(self.proxy.score(answers).total)}
        if self.external is not None:
            row["external/score_mean"] = _mean_of(self.external.score(answers).total)
            if self.watch.note_external(step, row["external/score_mean"]) and self.place.ranks.is_first:
                tensors, _ = self.engine.snapshot()
                weights = {name: tensor for name, tensor in tensors.items() if name.startswith("policy/weights/")}
                checkpoints.save(self.draft.work / "best", step, weights, {}, keep=1)
        if self.place.ranks.is_first:
            folder = self.draft.path / "answers"
            folder.mkdir(exist_ok=True)
            file = folder / f"step-{step:08d}.jsonl"
            write_jsonl(partial_path(file), answers)
            sync_path(partial_path(file))
            publish(partial_path(file), file)
            self.evaluations.log(step, row)

    def take_best(self, state: LoopState) -> None:
        """End with the best weights by the external score, where one was given; else with the last ones."""
        if self.watch.best_step is None or self.watch.best_step == state.step:
            return
        path = checkpoints.latest(self.draft.work / "best")
        assert path is not None, "the best weights are saved when they are noted"
        tensors = checkpoints.load(path).tensors
        for name, parameter in self.model.trainable_parameters():
            parameter.data.copy_(tensors[f"policy/weights/{name}"])

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Be the loop's tracker: pass the figures on and move the progress bar."""
        if self.place.ranks.is_first:
            self.tracker.log(step, metrics)
        names = {"reward": "score_mean", "kl": "kl_nats_per_sequence", "beta": "beta"}
        self.advance(1, **{short: metrics[name] for short, name in names.items()})

    def _cut_logs(self, step: int, *, evaluated_to: int) -> None:
        if not self.place.ranks.is_first:
            return
        self.tracker.cut(step)
        self.evaluations.cut(evaluated_to + 1)
        for file in (self.draft.path / "answers").glob("step-*.jsonl"):
            if int(file.stem.removeprefix("step-")) > evaluated_to:
                file.unlink()


def _mean_of(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ignore(num_done: int = 1, /, **figures: float) -> None:
    """Show nothing: there is no progress bar yet."""
