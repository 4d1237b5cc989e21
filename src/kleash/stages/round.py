"""One whole round, from data to an evaluated policy: every stage of a recipe, in order.

Each stage finds its finished artifact or makes it, so running the same recipe again goes on where it stopped. Rounds
after the first (`refreshing.py`) begin with fresh answers of the current policy and take over the world, the SFT model
and the evaluation; a policy becomes the current one only through its gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kleash.artifacts import Artifact
from kleash.collection.store.calls import StoredCalls
from kleash.data.batches import derived_seed
from kleash.durable import read_rows
from kleash.errors import SettingsError
from kleash.plugins import resolve
from kleash.stages.alarming import AlarmSetup, build_alarms
from kleash.stages.audit import audit_reward
from kleash.stages.averaging import AverageSettings, average_policies
from kleash.stages.candidates import sample_candidates
from kleash.stages.comparing import JUDGES, Chosen
from kleash.stages.context import StageContext, as_artifact
from kleash.stages.direct import train_direct
from kleash.stages.evaluate import evaluate_policy
from kleash.stages.gate import decide_gate
from kleash.stages.policy import train_policy
from kleash.stages.preferences import collect_preferences, import_preferences, open_store
from kleash.stages.pretrain import pretrain
from kleash.stages.refreshing import chosen_by
from kleash.stages.replay import replay_preferences
from kleash.stages.reward import train_reward
from kleash.stages.scoring import ScorerSource, build_comparer, build_scorer
from kleash.stages.sft import train_sft
from kleash.stages.suites import run_suites
from kleash.training.ranks import Ranks

if TYPE_CHECKING:
    from kleash.recipe import Recipe


TRAINING = {"pretrain", "sft", "reward", "policy", "direct"}
ONCE = ("world", "pretrain", "sft")
"""Stages of the first round that all rounds build on."""
REFRESHED = ("candidates", "preferences", "replay", "reward", "audit", "average", "policy", "direct")
LATER = (*REFRESHED, "evaluation", "suites", "gate")
"""Stages of later rounds in their order, as far as the recipe has them."""
CURRENT = "current"


@dataclass
class Round:
    """A round under way: its folder, its recipe, what has been made so far, by stage, and the rounds before it."""

    recipe: Recipe
    folder: Path
    context: StageContext
    made: dict[str, Artifact] = field(default_factory=dict)
    before: tuple[Round, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Return this round's stages in order."""
        asked: tuple[str, ...] = self.recipe.stages
        if not self.before:
            return (*asked, "gate") if self.recipe.rounds > 1 and "gate" not in asked else asked
        wanted = {*asked, "replay", "gate"}
        if self.recipe.refresh.reference == "average":
            wanted.add("average")
        return tuple(stage for stage in LATER if stage in wanted)

    def run(self, announce: Callable[[str, Artifact], None] = lambda stage, artifact: None) -> dict[str, Artifact]:
        """Make every stage's artifact in the recipe's order; stages that do not train are the first rank's alone."""
        together = self.context
        for stage in self.stages:
            is_alone = stage not in TRAINING and together.ranks.num_ranks > 1
            if is_alone and not together.ranks.is_first:
                together.ranks.barrier()
            self.context = replace(together, ranks=Ranks()) if is_alone else together
            self.made[stage] = getattr(self, stage)(self.folder / stage)
            if is_alone and together.ranks.is_first:
                together.ranks.barrier()
            announce(stage, self.made[stage])
        return self.made

    def world(self, output_dir: Path) -> Artifact:
        return resolve("world", self.recipe.world.kind)(self.context, self.recipe.world, output_dir)

    def pretrain(self, output_dir: Path) -> Artifact:
        return pretrain(self.context, self.recipe.pretrain, documents=self._file("documents"), output_dir=output_dir)

    def sft(self, output_dir: Path) -> Artifact:
        demonstrations = self._file("demonstrations")
        return train_sft(
            self.context, self.recipe.sft, base=self.base(), demonstrations=demonstrations, output_dir=output_dir
        )

    def candidates(self, output_dir: Path) -> Artifact:
        """Sample from the current policy, in later rounds from the newest others as well: raters compare them blind.

        What the gate held back is among them: its answers show what the reward model has wrong.
        """
        current, policy = self.current()
        others = [other for name, other in reversed(self.policies().items()) if name != current]
        settings, number = self.recipe.candidates, len(self.before)
        if not self.before and self.recipe.scorer.kind in ("reward_model", "ensemble"):
            settings = settings.without_scorer()
        return sample_candidates(
            self.own_place(),
            settings,
            policies=[policy, *others[: self.recipe.refresh.older_policies]],
            prompts=self.prompts(),
            scorer_source=self._earlier_judge() if settings.needs_scorer else None,
            skip=number * (settings.num_prompts or 0),
            output_dir=output_dir,
        )

    def preferences(self, output_dir: Path) -> Artifact:
        settings = self.recipe.preferences
        if self.recipe.data.preferences is not None:
            return import_preferences(self.context, settings, file=self.recipe.data.preferences, output_dir=output_dir)
        with closing(open_store(settings, output_dir)) as database, self.alarms(output_dir) as alarm_setup:
            comparer = build_comparer(settings, seed=self.recipe.seed, calls=StoredCalls(database))
            return collect_preferences(
                self.context,
                settings,
                candidates=self.made["candidates"],
                comparer=comparer,
                database=database,
                chosen=self._choice(alarm_setup) if self.before else None,
                rounds_before=[one.made["preferences"] for one in self.before],
                output_dir=output_dir,
            )

    def replay(self, output_dir: Path) -> Artifact:
        older, fresh = self.before[-1].labels(), self.made["preferences"]
        settings = self.recipe.refresh.replay
        return replay_preferences(
            self.context, settings, older=older, fresh=fresh, version=len(self.before), output_dir=output_dir
        )

    def reward(self, output_dir: Path) -> Artifact:
        # The seed of the first round: it decides which prompts are held out, and those are never trained on later.
        goes_on = self.before and self.recipe.refresh.continues_reward
        return train_reward(
            self.context,
            self.recipe.reward,
            base=self.start(),
            preferences=self.labels(),
            continues=self.before[-1].made["reward"] if goes_on else None,
            output_dir=output_dir,
        )

    def audit(self, output_dir: Path) -> Artifact:
        return audit_reward(
            self.context,
            self.recipe.audit,
            reward_model=self.made["reward"],
            preferences=self.labels(),
            reference=self.start(),
            previous=self.before[-1].made.get("reward") if self.before else None,
            earlier=[one.made["preferences"] for one in self.before],
            output_dir=output_dir,
        )

    def average(self, output_dir: Path) -> Artifact:
        """Move the average of the policies towards the current one; it begins at the SFT model."""
        settings = AverageSettings(share=self.recipe.refresh.average_share)
        older = self.before[-1].made.get("average", self.start())
        return average_policies(self.context, settings, older=older, newer=self.current()[1], output_dir=output_dir)

    def policy(self, output_dir: Path) -> Artifact:
        settings, refresh = self.recipe.policy, self.recipe.refresh
        if refresh.every_updates is not None:
            settings = settings.model_copy(update={"steps": refresh.every_updates})
        reference = self.reference()
        start = self.current()[1] if self.before and refresh.start == "previous" else self.start()
        with self.alarms(output_dir) as alarm_setup:
            return train_policy(
                self.own_place(),
                settings,
                reference=reference,
                start=None if start == reference else start,
                scorer_source=self.scorer_source(audits=[self.made["audit"]] if "audit" in self.made else []),
                prompts=self.prompts(),
                evaluation_prompts=self._watched_prompts(),
                alarm_setup=alarm_setup,
                texts_to_keep=self._file("demonstrations") if self.recipe.policy.pretraining_coefficient else None,
                output_dir=output_dir,
            )

    def direct(self, output_dir: Path) -> Artifact:
        settings = self.recipe.direct
        return train_direct(
            self.context, settings, reference=self.start(), preferences=self.labels(), output_dir=output_dir
        )

    def evaluation(self, output_dir: Path) -> Artifact:
        scorer_source = self.scorer_source() if self._has_scorer() else ScorerSource(None, {})
        return evaluate_policy(
            self.context,
            self.recipe.evaluation,
            policy=self.trained(),
            reference=self.start(),
            prompts=self.evaluation_prompts(),
            proxy=scorer_source.scorer,
            proxy_parents=dict(scorer_source.parents),
            output_dir=output_dir,
        )

    def suites(self, output_dir: Path) -> Artifact:
        earlier = sorted(self.folder.parent.glob(f"round-*/{output_dir.name}"))
        return run_suites(
            self.context,
            self.recipe.suites,
            policy=self.trained(),
            reference=self.start(),
            previous=[folder for folder in earlier if folder < output_dir],
            output_dir=output_dir,
        )

    def gate(self, output_dir: Path) -> Artifact:
        """Decide whether this round's policy becomes the current one."""
        current, _ = self.current()
        with self.alarms(output_dir) as alarm_setup:
            return decide_gate(
                self.context,
                self.recipe.gate,
                policy=as_artifact(self.trained(), "model"),
                earlier={name: as_artifact(model, "model") for name, model in self.accepted().items()},
                current=current,
                prompts=self._watched_prompts() or self.evaluation_prompts(),
                signal=alarm_setup.signal,
                audit=self.made.get("audit"),
                output_dir=output_dir,
            )

    # ------------------------------------------------------------------------------------------------ what there is
    def known(self, stage: str) -> Artifact | None:
        """Return a stage's artifact: this round's, or the first round's of what all rounds build on."""
        first = self.before[0].made if self.before and stage in ONCE else {}
        return self.made.get(stage) or first.get(stage)

    def base(self) -> Path | Artifact:
        """What training starts from: a pretrained model of this run, the recipe's folder, or the world's own."""
        if pretrained := self.known("pretrain"):
            return pretrained
        if self.recipe.base is not None:
            return Path(self.recipe.base)
        if self.known("world"):
            return Path(resolve("world_base", self.recipe.world.kind)())
        raise SettingsError("The recipe names no model to start from. Set `base` to a Hugging Face model folder.")

    def start(self) -> Path | Artifact:
        """The reference of preference training: the SFT policy where there is one, else what it would start from."""
        return self.known("sft") or self.base()

    def reference(self) -> Path | Artifact:
        """What the leash is tied to."""
        if self.before and self.recipe.refresh.reference == "average":
            return self.made["average"]
        if self.before and self.recipe.refresh.reference == "previous":
            return self.current()[1]
        return self.start()

    def trained(self) -> Path | Artifact:
        """What is to be evaluated: the last policy that was trained."""
        for stage in ("policy", "direct"):
            if stage in self.made:
                return self.made[stage]
        return self.start()

    def policies(self) -> dict[str, Path | Artifact]:
        """Return every policy before this round by its round, oldest first, after the SFT model."""
        return {"sft": self.start(), **{one.folder.name: one.trained() for one in self.before}}

    def accepted(self) -> dict[str, Path | Artifact]:
        """Return the policies to go on from: those that no gate held back."""
        held_back = {
            one.folder.name for one in self.before if "gate" in one.made and not one.made["gate"].summary["moves"]
        }
        return {name: policy for name, policy in self.policies().items() if name not in held_back}

    def current(self) -> tuple[str, Path | Artifact]:
        """Return the round whose policy is the current one, and that policy."""
        return list(self.accepted().items())[-1]

    def labels(self) -> Artifact:
        """The preferences that this round's reward model learns from."""
        return self.made.get("replay") or self.made["preferences"]

    def own_place(self) -> StageContext:
        """Where a later round samples: by a seed of its own, so that it does not repeat the first one's answers."""
        if not self.before:
            return self.context
        return replace(self.context, seed=derived_seed(self.context.seed, "round", len(self.before)))

    def prompts(self) -> Path:
        return self._file("prompts")

    def evaluation_prompts(self) -> Path:
        return self._file("evaluation_prompts")

    @contextmanager
    def alarms(self, output_dir: Path) -> Iterator[AlarmSetup]:
        """Give who watches over the policy; what AI judges are asked and say is kept, so that none is paid twice."""
        settings, seed = self.recipe.alarms, self.recipe.seed
        if settings.comparer != JUDGES:
            yield build_alarms(settings, seed=seed)
            return
        with closing(open_store(self.recipe.preferences, output_dir)) as database:
            yield build_alarms(settings, seed=seed, calls=StoredCalls(database))

    def scorer_source(self, *, audits: Sequence[Artifact] = ()) -> ScorerSource:
        """What scores answers. audits: given where a policy is to be trained on it; a failed one is refused."""
        reward_models = [self.made["reward"]] if "reward" in self.made else []
        clip = self.recipe.policy.score_clip
        return build_scorer(self.context, self.recipe.scorer, reward_models=reward_models, audits=audits, z_clip=clip)

    def _has_scorer(self) -> bool:
        return "reward" in self.made or self.recipe.scorer.kind not in ("reward_model", "ensemble")

    def _file(self, name: str) -> Path:
        """Return a data file: the recipe's own, or the world's."""
        own: Path | None = getattr(self.recipe.data, name)
        if own is not None:
            return own
        world = self.known("world")
        assert world is not None, "check_order saw to it that a world comes before what it provides"
        return world.path / f"{name}.jsonl"

    def _watched_prompts(self) -> Path | None:
        """The prompts answered while training: the world writes some apart from both training and evaluation."""
        world = self.known("world")
        return world.path / "watched_prompts.jsonl" if world else None

    def _earlier_judge(self) -> ScorerSource | None:
        """What scored the last round's answers; in the first round, whatever is there without a reward model."""
        last = self.before[-1] if self.before else self
        return last.scorer_source() if last._has_scorer() else None

    def _choice(self, alarm_setup: AlarmSetup) -> Chosen | None:
        """Have the last round's reward model choose the pairs to label, where there is one."""
        judge, settings = self._earlier_judge(), self.recipe.refresh.selection
        return None if judge is None else chosen_by(judge, alarm_setup, settings, seed=self.own_place().seed)


def run_rounds(
    recipe: Recipe,
    run: Path,
    context: StageContext,
    announce: Callable[[Round, str, Artifact], None] = lambda one, stage, artifact: None,
) -> list[Round]:
    """Go round as often as the recipe says, and again where alarms ask for it; `current` follows what passes its gate.

    run: the run's folder, with a folder for each round; a round that was begun is gone on with in any case.
    """
    made: list[Round] = []
    while wants_another(recipe, made) or (run / round_name(len(made))).is_dir():
        one = Round(recipe, run / round_name(len(made)), context, before=tuple(made))
        one.run(partial(announce, one))
        made.append(one)
        # Rounds that are only found again must not lead `current` back to where it was after them.
        is_latest = not (run / round_name(len(made))).is_dir()
        if is_latest and context.ranks.is_first:
            point_current(run, made)
    return made


def round_name(number: int) -> str:
    return f"round-{number:03d}"


def wants_another(recipe: Recipe, made: Sequence[Round]) -> bool:
    """Say whether the reward model is to be refreshed once more."""
    num_extra = len(made) - recipe.rounds
    if num_extra < 0:
        return True
    refresh, trained = recipe.refresh, made[-1].made.get("policy")
    if num_extra >= refresh.extra_rounds or trained is None:
        return False
    ended_by_alarm = trained.summary["outcome"] in ("stop", "roll_back")
    limit, outside = refresh.outside_share, share_outside(trained)
    is_outside = limit is not None and outside is not None and outside > limit
    return (refresh.on_alarm and ended_by_alarm) or is_outside


def share_outside(trained: Artifact) -> float | None:
    """Return the share of a policy's last answers that score beyond what the reward model is used to."""
    file = trained.path / "evaluations.jsonl"
    rows = read_rows(file) if file.is_file() else []
    return rows[-1].get("symptom/beyond_range") if rows else None


def point_current(run: Path, made: Sequence[Round]) -> None:
    """Let the link `current` lead to the round whose policy is the one to use; to none while that is the SFT model."""
    upcoming = replace(made[-1], made={}, before=tuple(made))
    name, _ = upcoming.current()
    link, fresh = run / CURRENT, run / f".{CURRENT}.partial"
    if name == "sft":
        link.unlink(missing_ok=True)
        return
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.replace(link)
