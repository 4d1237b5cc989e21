"""One whole round, from data to an evaluated policy: every stage of a recipe, in order.

Each stage finds its finished artifact or makes it, so running the same recipe again goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kleash.artifacts import Artifact
from kleash.collection.store.calls import StoredCalls
from kleash.errors import SettingsError
from kleash.plugins import resolve
from kleash.stages.alarming import build_alarms
from kleash.stages.audit import audit
from kleash.stages.candidates import candidates
from kleash.stages.collect import collect, import_preferences, open_store
from kleash.stages.direct import direct
from kleash.stages.evaluate import evaluate
from kleash.stages.policy import policy
from kleash.stages.pretrain import pretrain
from kleash.stages.reward import reward
from kleash.stages.scoring import JudgedBy, build_comparer, build_scorer
from kleash.stages.sft import sft
from kleash.stages.suites import suites
from kleash.stages.workplace import Workplace
from kleash.training.ranks import Ranks

if TYPE_CHECKING:
    from kleash.recipe import Recipe


TRAINING = {"pretrain", "sft", "reward", "policy", "direct"}


@dataclass
class Round:
    """A round under way: its folder, its recipe, and what has been made so far, by stage."""

    recipe: Recipe
    folder: Path
    place: Workplace
    made: dict[str, Artifact] = field(default_factory=dict)

    def run(self, announce: Callable[[str, Artifact], None] = lambda stage, artifact: None) -> dict[str, Artifact]:
        """Make every stage's artifact in the recipe's order; stages that do not train are the first rank's alone."""
        together = self.place
        for stage in self.recipe.stages:
            is_alone = stage not in TRAINING and together.ranks.num_ranks > 1
            if is_alone and not together.ranks.is_first:
                together.ranks.barrier()
            self.place = replace(together, ranks=Ranks()) if is_alone else together
            self.made[stage] = getattr(self, stage)(self.folder / stage)
            if is_alone and together.ranks.is_first:
                together.ranks.barrier()
            announce(stage, self.made[stage])
        return self.made

    def world(self, into: Path) -> Artifact:
        return resolve("world", self.recipe.world.kind)(self.place, self.recipe.world, into)

    def pretrain(self, into: Path) -> Artifact:
        return pretrain(self.place, self.recipe.pretrain, documents=self._file("documents"), into=into)

    def sft(self, into: Path) -> Artifact:
        demonstrations = self._file("demonstrations")
        return sft(self.place, self.recipe.sft, base=self.base(), demonstrations=demonstrations, into=into)

    def candidates(self, into: Path) -> Artifact:
        prompts, settings = self._file("prompts"), self.recipe.candidates
        return candidates(self.place, settings, policies=[self.start()], prompts=prompts, into=into)

    def preferences(self, into: Path) -> Artifact:
        settings = self.recipe.preferences
        if self.recipe.data.preferences is not None:
            return import_preferences(self.place, settings, file=self.recipe.data.preferences, into=into)
        with closing(open_store(settings, into)) as database:
            comparer = build_comparer(settings, seed=self.recipe.seed, calls=StoredCalls(database))
            return collect(
                self.place,
                settings,
                candidates=self.made["candidates"],
                comparer=comparer,
                database=database,
                into=into,
            )

    def reward(self, into: Path) -> Artifact:
        return reward(
            self.place, self.recipe.reward, base=self.start(), preferences=self.made["preferences"], into=into
        )

    def audit(self, into: Path) -> Artifact:
        return audit(
            self.place,
            self.recipe.audit,
            reward_model=self.made["reward"],
            preferences=self.made["preferences"],
            reference=self.start(),
            into=into,
        )

    def policy(self, into: Path) -> Artifact:
        return policy(
            self.place,
            self.recipe.policy,
            reference=self.start(),
            judged_by=self.judged_by(audits=[self.made["audit"]] if "audit" in self.made else []),
            prompts=self._file("prompts"),
            evaluation_prompts=self._watched_prompts(),
            watched_by=build_alarms(self.recipe.alarms, seed=self.recipe.seed),
            texts_to_keep=self._file("demonstrations") if self.recipe.policy.pretraining_coefficient else None,
            into=into,
        )

    def direct(self, into: Path) -> Artifact:
        return direct(
            self.place, self.recipe.direct, reference=self.start(), preferences=self.made["preferences"], into=into
        )

    def evaluation(self, into: Path) -> Artifact:
        judged_by = self.judged_by() if self._has_scorer() else JudgedBy(None, {})
        return evaluate(
            self.place,
            self.recipe.evaluation,
            policy=self.trained(),
            reference=self.start(),
            prompts=self._file("evaluation_prompts"),
            proxy=judged_by.scorer,
            proxy_parents=dict(judged_by.parents),
            into=into,
        )

    def suites(self, into: Path) -> Artifact:
        earlier = sorted(self.folder.parent.glob(f"round-*/{into.name}"))
        return suites(
            self.place,
            self.recipe.suites,
            policy=self.trained(),
            reference=self.start(),
            previous=[folder for folder in earlier if folder < into],
            into=into,
        )

    def base(self) -> Path | Artifact:
        """What training starts from: a pretrained model of this round, the recipe's folder, or the world's own."""
        if "pretrain" in self.made:
            return self.made["pretrain"]
        if self.recipe.base is not None:
            return Path(self.recipe.base)
        if "world" in self.made:
            return Path(resolve("world_base", self.recipe.world.kind)())
        raise SettingsError("The recipe names no model to start from. Set `base` to a Hugging Face model folder.")

    def start(self) -> Path | Artifact:
        """The reference of preference training: the SFT policy where there is one, else what it would start from."""
        return self.made["sft"] if "sft" in self.made else self.base()

    def trained(self) -> Path | Artifact:
        """What is to be evaluated: the last policy that was trained."""
        for stage in ("policy", "direct", "sft"):
            if stage in self.made:
                return self.made[stage]
        return self.base()

    def judged_by(self, *, audits: Sequence[Artifact] = ()) -> JudgedBy:
        """What scores answers. audits: given where a policy is to be trained on it; a failed one is refused."""
        reward_models = [self.made["reward"]] if "reward" in self.made else []
        clip = self.recipe.policy.score_clip
        return build_scorer(self.place, self.recipe.scorer, reward_models=reward_models, audits=audits, z_clip=clip)

    def _has_scorer(self) -> bool:
        return "reward" in self.made or self.recipe.scorer.kind not in ("reward_model", "ensemble")

    def _file(self, name: str) -> Path:
        """Return a data file: the recipe's own, or the world's."""
        own: Path | None = getattr(self.recipe.data, name)
        if own is not None:
            return own
        return self.made["world"].path / f"{name}.jsonl"

    def _watched_prompts(self) -> Path | None:
        """The prompts answered while training: the world writes some apart from both training and evaluation."""
        return self.made["world"].path / "watched_prompts.jsonl" if "world" in self.made else None
