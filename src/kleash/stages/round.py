"""One whole round, from data to an evaluated policy: every stage of a recipe, in order.

Each stage finds its finished artifact or makes it, so running the same recipe again goes on where it stopped. Rounds
after the first (`refreshing.py`) begin with fresh answers of the current policy and take over the world, the SFT model
and the evaluation; a policy becomes the current one only through its gate. Which stages there are is in `table.py`,
how one is made in `wiring.py`; here is what each is made from: a row's inputs name the properties below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.artifacts import MANIFEST, Artifact, read
from kleash.data.batches import derived_seed
from kleash.durable import discard, read_rows
from kleash.errors import RunError, SettingsError
from kleash.plugins import resolve
from kleash.results import GateSummary, PolicySummary
from kleash.screen import say
from kleash.stages.context import StageContext
from kleash.stages.support.scoring import named_reward_models
from kleash.stages.table import STAGES, Stage
from kleash.stages.wiring import make
from kleash.training.ranks import Ranks

if TYPE_CHECKING:
    from kleash.recipe import Recipe

CURRENT = "current"
TRAINED = ("policy", "direct", "rft")
"""The stages that train a policy by preferences; what is evaluated is the first of them that a recipe has."""
Source = Path | Artifact


@dataclass
class Round:
    """A round under way: its folder, its recipe, its artifacts so far, by stage, and the rounds before it."""

    recipe: Recipe
    folder: Path
    context: StageContext
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    before: tuple[Round, ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Return this round's stages in order."""
        wanted: tuple[str, ...] = self.recipe.stages
        if not self.before:
            return (*wanted, "gate") if self.recipe.rounds > 1 and "gate" not in wanted else wanted
        wanted = (*wanted, "replay", "gate", *(("average",) if self.recipe.refresh.reference == "average" else ()))
        return tuple(name for name, row in STAGES.items() if name in wanted and row.rounds != "first")

    def run(self, announce: Callable[[str, Artifact], None] = lambda stage, artifact: None) -> dict[str, Artifact]:
        """Make every stage's artifact in the recipe's order; stages that do not train are the first rank's alone."""
        ranks = self.context.ranks
        for name in self.stages:
            is_alone = not STAGES[name].trains and ranks.num_ranks > 1
            if is_alone and not ranks.is_first:
                ranks.barrier()
            self.artifacts[name] = self.make(name, ranks=Ranks() if is_alone else ranks)
            if is_alone and ranks.is_first:
                ranks.barrier()
            announce(name, self.artifacts[name])
        return self.artifacts

    def make(self, name: str, *, ranks: Ranks | None = None) -> Artifact:
        """Make one stage's artifact from what there is so far, or find it."""
        stage = STAGES[name]
        context = self.own_context if stage.draws_anew else self.context
        context = replace(context, ranks=ranks or context.ranks)
        return make(name, self._recipe, context, self.inputs(stage), self.folder / name)

    def inputs(self, stage: Stage) -> dict[str, Any]:
        """Return what a stage is made from in this round; nothing that a setting would have to ask for and does not."""
        rows = [row for row in stage.inputs if not row.when or self.recipe.setting(row.when)]
        return {row.name: self.input(row.origin) for row in rows}

    def input(self, origin: str) -> Any:
        """Return one input by what a run calls it: an artifact by its stage, or a property of this round."""
        if origin in STAGES:
            first = self.before[0].artifacts if self.before and STAGES[origin].rounds == "first" else {}
            return self.artifacts.get(origin) or first.get(origin)
        return getattr(self, origin)

    @property
    def _recipe(self) -> Recipe:
        """The recipe of this round: updates as [refresh] says, and at first no reward model to pick answers by."""
        recipe = self.recipe
        changes: dict[str, Any] = {}
        if recipe.refresh.every_updates is not None:
            changes["policy"] = recipe.policy.model_copy(update={"steps": recipe.refresh.every_updates})
        if not self.before and recipe.waits_for_reward:
            changes["candidates"] = recipe.candidates.without_scorer()
        return recipe.model_copy(update=changes)

    # ------------------------------------------------------------------------------------- data files and settings
    @property
    def documents(self) -> Path | None:
        return self.recipe.data.documents

    @property
    def demonstrations(self) -> Path:
        return self._file("demonstrations")

    @property
    def prompts(self) -> Path:
        return self._file("prompts")

    @property
    def evaluation_prompts(self) -> Path:
        return self._file("evaluation_prompts")

    @property
    def watched_prompts(self) -> Path | None:
        """The prompts answered while training: the world writes some apart from both training and evaluation."""
        world = self.input("world")
        return world.path / "watched_prompts.jsonl" if world else None

    @property
    def gate_prompts(self) -> Path:
        return self.watched_prompts or self.evaluation_prompts

    @property
    def preferences_file(self) -> Path | None:
        return self.recipe.data.preferences

    @property
    def nothing(self) -> None:
        """What only a command can give."""

    @property
    def round_number(self) -> int:
        return len(self.before)

    @property
    def own_context(self) -> StageContext:
        """Where a later round samples: by a seed of its own, so that it does not repeat the first one's answers."""
        if not self.before:
            return self.context
        return replace(self.context, seed=derived_seed(self.context.seed, "round", len(self.before)))

    def _file(self, name: str) -> Path:
        """Return a data file: the recipe's own, or the world's."""
        own: Path | None = getattr(self.recipe.data, name)
        world = self.input("world")
        if own is None and world is None:
            raise SettingsError(f"data.{name} is not set, and the run has no world. Set it, or add the world stage.")
        return own or world.path / f"{name}.jsonl"

    # ---------------------------------------------------------------------------------------------------- policies
    @property
    def base(self) -> Source:
        """What training starts from: a pretrained model of this run, the recipe's folder, or the world's own."""
        if pretrained := self.input("pretrain"):
            return pretrained
        if self.recipe.base is not None:
            return Path(self.recipe.base)
        if self.input("world"):
            return Path(resolve("world_base", self.recipe.world.kind)())
        raise SettingsError("The recipe names no model to start from. Set `base` to a Hugging Face model folder.")

    @property
    def start(self) -> Source:
        """The reference of preference training: the SFT policy where there is one, else what it would start from."""
        return self.input("sft") or self.base

    @property
    def leash_reference(self) -> Source:
        """What the leash is tied to."""
        reference = self.recipe.refresh.reference if self.before else "sft"
        if reference == "average":
            return self.artifacts["average"]
        return self.current_policy if reference == "previous" else self.start

    @property
    def policy_start(self) -> Source | None:
        """Where online training starts, if not at its reference."""
        goes_on = self.before and self.recipe.refresh.start == "previous"
        start = self.current_policy if goes_on else self.start
        return None if start == self.leash_reference else start

    @property
    def trained(self) -> Source:
        """What is to be evaluated: the last policy that was trained."""
        return next((self.artifacts[name] for name in TRAINED if name in self.artifacts), self.start)

    @property
    def best_answers(self) -> Path:
        return self.artifacts["best_of_n"].path / "demonstrations.jsonl"

    @property
    def all_policies(self) -> dict[str, Source]:
        """Every policy before this round by its round, oldest first, after the SFT model."""
        return {"sft": self.start, **{one.folder.name: one.trained for one in self.before}}

    @property
    def accepted_names(self) -> list[str]:
        """The rounds to go on from, oldest first, after the SFT model: those that no gate held back."""
        gates = {one.folder.name: one.artifacts["gate"] for one in self.before if "gate" in one.artifacts}
        held_back = {name for name, gate in gates.items() if not GateSummary.of(gate).moves}
        return ["sft", *(one.folder.name for one in self.before if one.folder.name not in held_back)]

    @property
    def accepted(self) -> dict[str, Source]:
        """The policies to go on from, by round."""
        policies = self.all_policies
        return {name: policies[name] for name in self.accepted_names}

    @property
    def current_name(self) -> str:
        """The round whose policy is the current one, "sft" while none is; a run may have no model at all."""
        return self.accepted_names[-1]

    @property
    def current_policy(self) -> Source:
        return self.accepted[self.current_name]

    @property
    def policies(self) -> list[Source]:
        """Who answers for the candidates: the current policy, and in later rounds the newest others as well.

        Raters compare them blind. What the gate held back is among them: its answers show what the reward model has
        wrong.
        """
        others = [policy for name, policy in reversed(self.all_policies.items()) if name != self.current_name]
        return [self.current_policy, *others[: self.recipe.refresh.older_policies]]

    @property
    def average_before(self) -> Source:
        """The average that this round's moves on from; it begins at the SFT model."""
        return self.before[-1].artifacts.get("average", self.start)

    # ------------------------------------------------------------------------------------ labels, reward models, audits
    @property
    def candidates_to_compare(self) -> Artifact | None:
        return None if self.preferences_file else self.artifacts.get("candidates")

    @property
    def labels(self) -> Artifact:
        """The preferences that this round's reward model learns from."""
        return self.artifacts.get("replay") or self.artifacts["preferences"]

    @property
    def labels_before(self) -> Artifact:
        return self.before[-1].labels

    @property
    def preferences_before(self) -> list[Artifact]:
        return [one.artifacts["preferences"] for one in self.before]

    @property
    def rewards(self) -> list[Artifact]:
        return [self.artifacts["reward"]] if "reward" in self.artifacts else []

    @property
    def earlier_rewards(self) -> list[Artifact]:
        """What scored the last round's answers."""
        return self.before[-1].rewards if self.before else []

    @property
    def reward_before(self) -> Artifact | None:
        return self.before[-1].artifacts.get("reward") if self.before else None

    @property
    def reward_to_continue(self) -> Artifact | None:
        # Its seed is the first round's: it decides which prompts are held out, and those are never trained on later.
        return self.before[-1].artifacts["reward"] if self.before and self.recipe.refresh.continues_reward else None

    @property
    def reward_to_audit(self) -> Artifact | None:
        """This round's own reward model, or the first of those made elsewhere."""
        named = named_reward_models(self.recipe.scorer)
        return self.artifacts.get("reward") or (named[0] if named else None)

    @property
    def audits(self) -> list[Artifact]:
        return [self.artifacts["audit"]] if "audit" in self.artifacts else []

    @property
    def suites_before(self) -> list[Path]:
        earlier = sorted(self.folder.parent.glob("round-*/suites"))
        return [folder for folder in earlier if folder < self.folder / "suites"]


def run_rounds(
    recipe: Recipe,
    run: Path,
    context: StageContext,
    announce: Callable[[Round, str, Artifact], None] = lambda one, stage, artifact: None,
) -> list[Round]:
    """Go round as often as the recipe says, and again where alarms ask for it; `current` follows what passes its gate.

    run: the run's folder, with a folder for each round; a round that was begun is gone on with in any case.
    """
    rounds: list[Round] = []
    while wants_another(recipe, rounds) or (run / round_name(len(rounds))).is_dir():
        one = Round(recipe, run / round_name(len(rounds)), context, before=tuple(rounds))
        one.run(partial(announce, one))
        rounds.append(one)
        # Rounds that are only found again must not lead `current` back to where it was after them.
        is_latest = not (run / round_name(len(rounds))).is_dir()
        if is_latest and context.ranks.is_first:
            point_current(run, rounds)
    return rounds


def round_name(number: int) -> str:
    return f"round-{number:03d}"


def wants_another(recipe: Recipe, rounds: Sequence[Round]) -> bool:
    """Say whether the reward model is to be refreshed once more."""
    num_extra = len(rounds) - recipe.rounds
    if num_extra < 0:
        return True
    refresh, trained = recipe.refresh, rounds[-1].artifacts.get("policy")
    if num_extra >= refresh.extra_rounds or trained is None:
        return False
    ended_by_alarm = PolicySummary.of(trained).outcome in ("stop", "roll_back")
    limit, outside = refresh.outside_share, share_outside(trained)
    is_outside = limit is not None and outside is not None and outside > limit
    return (refresh.on_alarm and ended_by_alarm) or is_outside


def share_outside(trained: Artifact) -> float | None:
    """Return the share of a policy's last answers that score beyond what the reward model is used to."""
    file = trained.path / "evaluations.jsonl"
    rows = read_rows(file) if file.is_file() else []
    return rows[-1].get("symptom/beyond_range") if rows else None


def point_current(run: Path, rounds: Sequence[Round]) -> None:
    """Let the link `current` lead to the round whose policy is the one to use; to none while that is the SFT model."""
    upcoming = replace(rounds[-1], artifacts={}, before=tuple(rounds))
    name = upcoming.current_name
    link, fresh = run / CURRENT, run / f".{CURRENT}.partial"
    if link.is_dir() and not link.is_symlink():
        _discard_copy(link, {artifact.id for one in rounds for artifact in one.artifacts.values()})
    if name == "sft":
        link.unlink(missing_ok=True)
        return
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.replace(link)


def _discard_copy(link: Path, known: set[str]) -> None:
    """Remove the second copy of a round that copying a run with its links resolved leaves. Raises RunError for more."""
    if not {read(manifest.parent).id for manifest in link.glob(f"*/{MANIFEST}")} <= known:
        raise RunError(
            f"{link} is a folder, and holds what no round of the run does. Expected KLeash's own link to a round. Move "
            "the folder away and run the same command again."
        )
    say(f"{link} was a copy of a round, and is a link to one again.")
    discard(link)
