"""Compare methods on the same preferences and budget: PPO, RLOO, GRPO, DPO, IPO, KTO, best-of-n, SFT on the chosen.

One run per seed makes what all methods share (SFT, candidates, preferences, reward model), then every method starts
from the same SFT policy. The budget is counted in token passes, the tokens that a model of the policy's size reads or
writes, a backward pass being worth two: PPO as the recipe has it sets it, the others get as many updates or epochs as
fit. What came of it is measured by the recipe's own evaluation. `advice.py` says what to make of the figures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

from kleash.artifacts import Artifact
from kleash.beside import table_beside
from kleash.data.batches import derived_seed
from kleash.data.preferences import usable_pairs
from kleash.durable import json_text, write_text
from kleash.estimates import Estimate, Rate
from kleash.evaluation.side_by_side import Answered, compare
from kleash.formats import read_completions, read_preferences, read_prompts, write_jsonl
from kleash.maths.best_of_n import best_of_n_kl
from kleash.progress import progress
from kleash.records import Demonstration
from kleash.results import EvaluationSummary, Record, Summary
from kleash.stages.best_of_n import best_answers
from kleash.stages.context import StageContext
from kleash.stages.evaluate import answer, build_judge
from kleash.stages.round import Round
from kleash.stages.summary import peak_rss_mb
from kleash.stages.support.alarming import AlarmSettings
from kleash.stages.support.encoding import prompts_that_fit
from kleash.stages.wiring import make, scorer_source

if TYPE_CHECKING:
    from kleash.recipe import Recipe

RESULT_FILE = "result.json"
SHARED_STAGES = ("world", "pretrain", "sft", "candidates", "preferences", "reward", "audit")
# A forward pass reads each token once; a backward pass is worth two forward ones.
_UPDATE = 3.0
# More epochs on the same pairs teach nothing but the pairs; a method that ends here has budget to spare, and says so.
MAX_EPOCHS = 3.0
NO_CHANGES: Mapping[str, Any] = {}
# The comparison judges every method at its end; alarms would end some of them earlier.
NOBODY_WATCHES = AlarmSettings()


@dataclass(frozen=True)
class Method:
    """One way to use preferences. settings: what it changes in the recipe's own table of its stage."""

    kind: Literal["online", "direct", "chosen", "best_of_n"]
    about: str
    settings: Mapping[str, Any] = field(default_factory=dict)


_ROWS = table_beside(__file__)
METHODS: Mapping[str, Method] = {name: Method(**row) for name, row in _ROWS.items()}


class MethodFigures(EvaluationSummary):
    """An evaluation against the SFT policy that measured all that methods are compared by."""

    win_rate: Rate
    judge_difference: Estimate
    kl_nats_per_sequence: Estimate
    length_before: float
    length_after: float


class MethodResult(Record):
    """One method on one seed.

    passes: token passes of training.  passes_per_answer: those of answering one prompt, in answers' lengths.
    seconds: of training.  peak_rss_mb: of the process that trained.
    """

    method: str
    seed: int
    judge: str
    figures: MethodFigures
    passes: float
    passes_per_answer: float
    seconds: float
    peak_rss_mb: float
    note: str = ""


class Bench:
    """The runs of one seed: what is shared, then each method; everything is found again when it is there."""

    def __init__(self, folder: Path, recipe: Recipe, context: StageContext) -> None:
        self.folder, self.context = folder, context
        shared = tuple(stage for stage in SHARED_STAGES if stage in recipe.stages)
        self.recipe = recipe.model_copy(update={"stages": shared})

    def shared(self) -> Round:
        """Make the round that every method starts from."""
        one = Round(self.recipe, self.folder / "shared" / "round-000", self.context)
        one.run()
        return one

    def result(self, name: str) -> MethodResult:
        """Train and measure one method; its figures are kept beside it."""
        file = self.folder / name / RESULT_FILE
        if not file.is_file():
            found = self._measured(name, METHODS[name], self.shared())
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json_text(found.to_json(), indent=1) + "\n")
        return MethodResult(**json.loads(file.read_text(encoding="utf-8")))

    # -------------------------------------------------------------------------------------------------------- inside
    def _measured(self, name: str, method: Method, shared: Round) -> MethodResult:
        if method.kind == "best_of_n":
            return self._best_of_n(name, method.settings["n"], shared)
        passes, note, trained = self._trained(name, method, shared)
        measured = self._make(
            "evaluation",
            name,
            policy=trained,
            reference=shared.start,
            prompts=shared.evaluation_prompts,
            rewards=shared.rewards,
        )
        seconds = Summary.of(trained).seconds or 0.0
        figures = MethodFigures(**measured.summary)
        return MethodResult(
            method=name,
            seed=self.context.seed,
            judge=figures.judge,
            figures=figures,
            passes=passes,
            passes_per_answer=1.0,
            seconds=seconds,
            peak_rss_mb=peak_rss_mb(),
            note=note,
        )

    def _trained(self, name: str, method: Method, shared: Round) -> tuple[float, str, Artifact]:
        """Return the token passes spent, a remark, and the policy."""
        pairs = Pairs.of(shared.artifacts["preferences"], shared.artifacts.get("candidates"))
        budget = online_passes(self.recipe.policy, pairs.tokens_per_answer) * self.recipe.policy.steps
        if method.kind == "online":
            return self._online(name, method, shared, pairs, budget)
        if method.kind == "direct":
            per_epoch = pairs.number * 2 * pairs.tokens_per_answer * (_UPDATE + 1)
            epochs, note = epochs_within(budget, per_epoch)
            fit = self.recipe.direct.fit.model_copy(update={"epochs": epochs})
            settings = self.recipe.direct.model_copy(update={**method.settings, "fit": fit})
            inputs = {"reference": shared.start, "preferences": shared.artifacts["preferences"]}
            return epochs * per_epoch, note, self._make("direct", name, {"direct": settings}, **inputs)
        per_epoch = pairs.number * pairs.tokens_per_answer * _UPDATE
        epochs, note = epochs_within(budget, per_epoch)
        fit = self.recipe.sft.fit.model_copy(update={"epochs": epochs})
        settings_of_sft = self.recipe.sft.model_copy(update={"fit": fit})
        file = self.folder / name / "chosen.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(file, chosen_answers(shared.artifacts["preferences"]))
        trained = self._make("sft", name, {"sft": settings_of_sft}, base=shared.start, demonstrations=file)
        return epochs * per_epoch, note, trained

    def _online(
        self, name: str, method: Method, shared: Round, pairs: Pairs, budget: float
    ) -> tuple[float, str, Artifact]:
        own = self.recipe.policy
        samples = method.settings.get("samples_per_prompt", own.samples_per_prompt)
        num_answers = own.prompts_per_step * own.samples_per_prompt
        settings = own.model_copy(update={**method.settings, "prompts_per_step": max(1, num_answers // samples)})
        per_step = online_passes(settings, pairs.tokens_per_answer)
        steps = max(1, round(budget / per_step))
        settings = settings.model_copy(update={"steps": steps})
        inputs = {"reference": shared.start, "prompts": shared.prompts, "rewards": shared.rewards}
        tables = {"policy": settings, "alarms": NOBODY_WATCHES}
        trained = self._make("policy", name, tables, **inputs)
        return steps * per_step, f"{steps} updates", trained

    def _best_of_n(self, name: str, n: int, shared: Round) -> MethodResult:
        """Answer with the best of n by the reward model. Nothing is trained; each answer costs n, and n scores."""
        settings, scorer = self.recipe.evaluation, scorer_source(self.recipe, self.context, shared.rewards).require()
        model = self.context.load_policy(shared.start)
        judge = build_judge(settings, scorer)
        loaded = read_prompts(shared.evaluation_prompts).records
        chosen = prompts_that_fit(loaded, model, max_tokens=settings.prompt_room(model))[: settings.num_prompts]
        with progress((n + 1) * len(chosen), f"Best of {n}, answers") as advance:
            before = answer(self.context, settings, model, model, chosen, scorer, judge, on_done=advance)
            seed = derived_seed(self.context.seed, "best of n")
            best = best_answers(model, chosen, scorer, settings, n=n, seed=seed, on_done=advance)
        # KL of best-of-n is known without looking at log-probabilities; where scores tie it is an upper bound.
        kl_nats = [best_of_n_kl(n)] * len(best)
        lengths = [len(one.token_ids) for one in best]
        after = Answered([one.text for one in best], lengths, scorer.score(best), judge.score(best), kl_nats)
        return MethodResult(
            method=name,
            seed=self.context.seed,
            judge=settings.judge,
            figures=MethodFigures(**compare(chosen, before, after)),
            passes=0.0,
            passes_per_answer=2.0 * n,
            seconds=0.0,
            peak_rss_mb=peak_rss_mb(),
            note=f"n = {n}, nothing trained",
        )

    def _make(self, stage: str, name: str, tables: Mapping[str, Any] = NO_CHANGES, **inputs: Any) -> Artifact:
        recipe = self.recipe.model_copy(update=tables)
        return make(stage, recipe, self.context, inputs, self.folder / name / "round-000" / stage)


@dataclass(frozen=True)
class Pairs:
    """What the preferences amount to: decided pairs, and the tokens of one prompt with one answer."""

    number: int
    tokens_per_answer: float

    @staticmethod
    def of(preferences: Artifact, candidates: Artifact | None) -> Pairs:
        rows = read_preferences(preferences.path / "preferences.jsonl").records
        number = sum(1 for _ in usable_pairs(rows, keeps_ties=False))
        lengths: Sequence[int] = ()
        if candidates is not None:
            answers = read_completions(candidates.path / "candidates.jsonl").records
            lengths = [len(one.token_ids) + len(one.prompt.text.split()) for one in answers]
        # Imported pairs have words and no tokens; the same unit for all methods is what counts here.
        lengths = lengths or [len((row.prompt.text + " " + text).split()) for row in rows for text in row.completions]
        return Pairs(number, fmean(lengths))


def online_passes(settings: Any, tokens_per_answer: float) -> float:
    """Return the token passes of one update: sample, score, annotate by policy and reference, then learn.

    With a separate critic it annotates and learns as well, one more model's worth.
    """
    num_answers = settings.prompts_per_step * settings.samples_per_prompt
    num_models = 2.0 if settings.algorithm == "ppo" and settings.critic == "separate" else 1.0
    per_answer = 1 + 1 + 1 + num_models + settings.epochs * _UPDATE * num_models
    return float(num_answers * tokens_per_answer * per_answer)


def epochs_within(budget: float, per_epoch: float) -> tuple[float, str]:
    """Return how many epochs fit into the budget, at most MAX_EPOCHS, and a remark."""
    epochs = round(min(budget / per_epoch, MAX_EPOCHS), 2)
    spared = "" if epochs < MAX_EPOCHS else f", {1 - epochs * per_epoch / budget:.0%} of the budget spared"
    return max(epochs, 0.01), f"{epochs:g} epochs{spared}"


def chosen_answers(preferences: Artifact) -> list[Demonstration]:
    """Return each decided pair's preferred answer as a demonstration."""
    rows = read_preferences(preferences.path / "preferences.jsonl").records
    return [
        Demonstration(row.prompt, row.completions[pair.first if pair.label > 0.5 else pair.second])
        for row, pair in usable_pairs(rows, keeps_ties=False)
    ]


def bench_of(folder: Path, recipe: Recipe, context: StageContext, *, seed: int) -> Bench:
    """Return the bench of one seed below the comparison's folder."""
    with_seed = recipe.model_copy(update={"seed": seed})
    return Bench(folder / f"seed-{seed}", with_seed, replace(context, seed=seed))


def results_in(folder: Path) -> list[MethodResult]:
    """Read every result below a comparison's folder, seed after seed, in the table's order of methods."""
    seeds = sorted(folder.glob("seed-*"), key=lambda path: int(path.name.removeprefix("seed-")))
    files = [seed / name / RESULT_FILE for seed in seeds for name in METHODS]
    return [MethodResult(**json.loads(file.read_text(encoding="utf-8"))) for file in files if file.is_file()]
