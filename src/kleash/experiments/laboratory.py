"""One seed of the over-optimisation experiment: makes each artifact once, from the real stages, when it is asked for.

    seed-0/start/            world, sft, candidates: shared by all
    seed-0/labels-NAME/      preferences            seed-0/reward-NAME/    reward
    seed-0/NAME/             the arm: policy, or candidates for best-of-n, and points.json

Each is a run folder with a `round-000`, so `kleash monitor`, `kleash lineage` and `kleash chat` work on all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from kleash.artifacts import Artifact
from kleash.collection.campaign import CampaignSettings
from kleash.data.batches import Rollouts, derived_seed
from kleash.data.preferences import usable_preferences
from kleash.data.prompts import split_by_prompt
from kleash.data.replay import NO_ROOM, ReplaySettings, version_of
from kleash.durable import json_text, read_rows, write_text
from kleash.evaluation.checkpoints import kept_answers
from kleash.experiments import measuring
from kleash.experiments.arms import ARMS, LABELS, REWARD_MODELS, Arm
from kleash.experiments.curves import Curve, Point
from kleash.experiments.scale import MAX_NEW_TOKENS, Scale
from kleash.formats import read_completions, read_preferences, read_prompts, write_jsonl
from kleash.models.causal_lm import LanguageModel
from kleash.models.forward import kl_to_reference
from kleash.plugins import resolve
from kleash.protocols import Scorer
from kleash.recipe import Recipe
from kleash.records import Completion, Preference
from kleash.results import PolicySummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.stages.candidates import CandidatesSettings
from kleash.stages.context import StageContext
from kleash.stages.support.comparing import PreferencesSettings
from kleash.stages.support.refreshing import RefreshSettings
from kleash.stages.support.scoring import ScorerSettings
from kleash.stages.wiring import make, scorer_source

ROUND = "round-000"
POINTS_FILE = "points.json"


class Laboratory:
    """Makes and finds the artifacts of one seed. Everything here may be called again: what is there is only read."""

    def __init__(self, folder: Path, scale: Scale, *, seed: int, context: StageContext | None = None) -> None:
        self.folder, self.scale, self.seed = folder, scale, seed
        self.context = context or StageContext(seed=seed)

    # ------------------------------------------------------------------------------------------------ shared by arms
    def world(self) -> Artifact:
        return self._make("world", "start")

    def sft(self) -> Artifact:
        base = Path(resolve("world_base", self.scale.world.kind)())
        demonstrations = self.world().path / "demonstrations.jsonl"
        return self._make("sft", "start", base=base, demonstrations=demonstrations)

    def candidates(self) -> Artifact:
        """Two answers of the SFT policy to each training prompt."""
        prompts = self.world().path / "prompts.jsonl"
        return self._make("candidates", "start", policies=[self.sft()], prompts=prompts)

    def labels(self, name: str) -> Artifact:
        return self._labelled(name, self.candidates(), f"labels-{name}")

    def reward_model(self, name: str) -> Artifact:
        """Train a reward model on its draw of the comparisons; a refreshed one on old and on-policy ones together."""
        row = REWARD_MODELS[name]
        if row.refreshed_on:
            preferences, share = self.replayed(name), self.scale.reward.holdout_share
        else:
            preferences = self.labels(row.labels)
            share = self._held_out(preferences, row.num_pairs)
        settings = self.scale.reward.model_copy(update={"holdout_share": share})
        recipe = self._recipe(reward=settings)
        seed = self._seed_of_split(row.split)
        return self._make("reward", f"reward-{name}", recipe, seed=seed, base=self.sft(), preferences=preferences)

    # ------------------------------------------------------------------------------------------------------- arms
    def arm(self, name: str) -> Curve:
        """Make an arm and measure it; the points are kept beside it."""
        arm, file = ARMS[name], self.folder / name / POINTS_FILE
        if not file.is_file():
            points, extra = self._measured(name, arm)
            content = {"points": [asdict(point) for point in points], "extra": extra}
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json_text(content, indent=1) + "\n")
        content = json.loads(file.read_text(encoding="utf-8"))
        known = [{name: value for name, value in row.items() if value is not None} for row in content["points"]]
        points = [Point(**row) for row in known]
        return Curve(name, self.seed, arm.kind, arm.about, tuple(points), content["extra"])

    def _measured(self, name: str, arm: Arm) -> tuple[list[Point], dict[str, float]]:
        if arm.kind == "ppo":
            return self._ppo(name, arm)
        if arm.kind == "best_of_n":
            scorer = self._scorer(arm.reward_models, arm)
            points = measuring.best_of_n_points(self.pool(), scorer, largest_n=self.scale.pool_samples)
            return points, {}
        return self._direct(name, arm), {}

    def _ppo(self, name: str, arm: Arm) -> tuple[list[Point], dict[str, float]]:
        trained = self.policy(name)
        evaluations = read_rows(trained.path / "evaluations.jsonl")
        proxy = {row["step"]: row["score_mean"] for row in evaluations}
        kl_nats = {row["step"]: row["kl_nats_per_sequence"] for row in evaluations}
        answers = kept_answers(trained)
        yardstick = measuring.gold_of(answers[0])
        points = [
            measuring.point(at, kept, kl_nats=kl_nats[at], proxy=proxy[at] - proxy[0], yardstick=yardstick)
            for at, kept in answers.items()
        ]
        extra = {"target_nats": self.scale.leash.target_nats} if arm.is_leashed else {}
        refreshed = [REWARD_MODELS[model].refreshed_on for model in arm.reward_models]
        return points, extra | (self._refresh_figures(arm.reward_models[0]) if any(refreshed) else {})

    def policy(self, name: str) -> Artifact:
        """Train an arm's policy by PPO; every few updates it answers the held-out prompts, which gold judges later."""
        arm = ARMS[name]
        settings = self.scale.policy
        if arm.is_leashed:
            settings = settings.model_copy(update={"leash": self.scale.leash})
        world = self.world().path
        return self._make(
            "policy",
            name,
            self._recipe(policy=settings, scorer=_scorer_of(arm)),
            reference=self.sft(),
            rewards=[self.reward_model(model) for model in arm.reward_models],
            prompts=world / "prompts.jsonl",
            evaluation_prompts=world / "evaluation_prompts.jsonl",
        )

    def _direct(self, name: str, arm: Arm) -> list[Point]:
        settings = self.scale.direct.model_copy(update={"algorithm": arm.algorithm})
        inputs = {"reference": self.sft(), "preferences": self.labels("unbiased")}
        trained = make("direct", self._recipe(direct=settings), self.context, inputs, self._stage(name, "policy"))
        reference = self.context.load_policy(self.sft())
        yardstick, points = None, []
        for at, model in ((0, reference), (PolicySummary.of(trained).steps or 0, self.context.load_policy(trained))):
            rollouts = self._answers(model)
            answers = rollouts.completions()
            kl_nats = fmean(kl_to_reference(rollouts, model, reference, max_tokens=4096))
            yardstick = yardstick or measuring.gold_of(answers)
            points.append(measuring.point(at, answers, kl_nats=kl_nats, proxy=0.0, yardstick=yardstick))
        return points

    def pool(self) -> Sequence[Completion]:
        """Many answers of the SFT policy to held-out prompts, to take the best of."""
        settings = CandidatesSettings(samples_per_prompt=self.scale.pool_samples, max_new_tokens=MAX_NEW_TOKENS)
        file = self._evaluation_prompts_evenly(self.scale.pool_prompts)
        pool = self._make("candidates", "pool", self._recipe(candidates=settings), policies=[self.sft()], prompts=file)
        return read_completions(pool.path / "candidates.jsonl").records

    # ---------------------------------------------------------------------------------------------------- refresh
    def on_policy_labels(self, name: str) -> Artifact:
        """Have answers of the policy that over-optimised compared, by the same labellers."""
        row = REWARD_MODELS[name]
        assert row.refreshed_on is not None, "only a refreshed reward model has on-policy labels"
        settings = CandidatesSettings(num_prompts=self.scale.refresh_prompts, max_new_tokens=MAX_NEW_TOKENS)
        answers = self._make(
            "candidates",
            f"labels-{name}",
            self._recipe(candidates=settings),
            seed=derived_seed(self.seed, "refresh"),
            policies=[self.policy(row.refreshed_on)],
            prompts=self.world().path / "prompts.jsonl",
        )
        return self._labelled(row.labels, answers, f"labels-{name}")

    def replayed(self, name: str) -> Artifact:
        """Mix the on-policy comparisons with as many old ones; what finds no room stays to be tested on."""
        row = REWARD_MODELS[name]
        recipe = self._recipe(refresh=RefreshSettings(replay=ReplaySettings(max_rows=2 * row.num_pairs)))
        older, fresh = self.labels(row.labels), self.on_policy_labels(name)
        return self._make("replay", f"labels-{name}", recipe, older=older, fresh=fresh, version=1)

    def _refresh_figures(self, name: str) -> dict[str, float]:
        """Measure the reward model before and after its refresh on current and old pairs that neither learned from."""
        before = REWARD_MODELS[name].refreshes
        assert before is not None, "only a refreshed reward model has a model before it"
        rows = read_preferences(self.replayed(name).path / "preferences.jsonl").records
        learned, _ = self._split(before)
        seen = {one.prompt.text for one in learned} | {one.prompt.text for one in rows if not one.left_out}
        heldout = [replace(one, left_out="") for one in rows if one.left_out == NO_ROOM and one.prompt.text not in seen]
        figures: dict[str, float] = {}
        for when, model in (("before", before), ("after", name)):
            scorer = self._scorer((model,))
            for which, version in (("old", 0), ("current", 1)):
                accuracy, n = measuring.pair_accuracy([one for one in heldout if version_of(one) == version], scorer)
                figures |= {f"accuracy_{which}_{when}": accuracy, f"n_{which}": float(n)}
        return figures

    # ----------------------------------------------------------------------------------------------------- inside
    def _recipe(self, **tables: Any) -> Recipe:
        """Return the experiment's recipe; tables: what one stage of it has otherwise."""
        candidates = CandidatesSettings(max_new_tokens=MAX_NEW_TOKENS)
        scale = self.scale
        usual = {"world": scale.world, "sft": scale.sft, "candidates": candidates, "policy": scale.policy}
        return Recipe(seed=self.seed, **{**usual, **tables})

    def _make(
        self, stage: str, run: str, recipe: Recipe | None = None, *, seed: int | None = None, **inputs: Any
    ) -> Artifact:
        context = self.context if seed is None else StageContext(self.context.model, seed)
        return make(stage, recipe or self._recipe(), context, inputs, self._stage(run, stage))

    def _labelled(self, name: str, answers: Artifact, run: str) -> Artifact:
        who = LABELS[name]
        settings = PreferencesSettings(
            panel=who.panel, bias=who.bias, campaign=CampaignSettings(overlap=who.num_raters)
        )
        return self._make("preferences", run, self._recipe(preferences=settings), candidates=answers)

    def _held_out(self, preferences: Artifact, num_pairs: int) -> float:
        """Return the share of prompts to keep apart so that about num_pairs comparisons are left to learn from."""
        share = 1 - num_pairs / max(len(_usable(preferences)), 1)
        return round(max(share, self.scale.reward.holdout_share), 4)

    def _seed_of_split(self, split: int) -> int:
        """Return the seed that decides which prompts are held out, and so what is learned from."""
        return derived_seed(self.seed, "split", split)

    def _split(self, name: str) -> tuple[Sequence[Preference], Sequence[Preference]]:
        """Return the comparisons that a reward model learned from, and those kept apart."""
        row = REWARD_MODELS[name]
        preferences, seed = self.labels(row.labels), self._seed_of_split(row.split)
        share = self._held_out(preferences, row.num_pairs)
        return split_by_prompt(_usable(preferences), holdout_share=share, seed=seed)

    def _scorer(self, models: Sequence[str], arm: Arm | None = None) -> Scorer:
        rewards = [self.reward_model(model) for model in models]
        recipe = self._recipe(scorer=_scorer_of(arm) if arm else ScorerSettings())
        return scorer_source(recipe, self.context, rewards).require()

    def _answers(self, model: LanguageModel) -> Rollouts:
        """Answer the held-out prompts as every PPO arm does while it trains."""
        prompts = read_prompts(self.world().path / "evaluation_prompts.jsonl").records
        sampling = SamplingSettings(max_new_tokens=MAX_NEW_TOKENS)
        return answer_prompts(model, prompts, sampling, seed=derived_seed(self.seed, "watched"))

    def _evaluation_prompts_evenly(self, num_prompts: int) -> Path:
        """Write every k-th held-out prompt, which come slice after slice, to a file of its own."""
        prompts = read_prompts(self.world().path / "evaluation_prompts.jsonl").records
        step = max(1, len(prompts) // num_prompts)
        file = self.folder / "pool" / "prompts.jsonl"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(file, prompts[::step][:num_prompts])
        return file

    def _stage(self, run: str, stage: str) -> Path:
        return self.folder / run / ROUND / stage


def _scorer_of(arm: Arm) -> ScorerSettings:
    return ScorerSettings(kind="ensemble", combine=arm.combine) if len(arm.reward_models) > 1 else ScorerSettings()


def _usable(preferences: Artifact) -> list[Preference]:
    return usable_preferences(read_preferences(preferences.path / "preferences.jsonl").records)
