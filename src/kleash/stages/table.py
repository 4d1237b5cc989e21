"""Every stage in one table: what makes it, from what, by which settings, and when in a run. No torch here.

A row is all that the rest of KLeash knows of a stage: recipes are checked against it, `round.py` runs it, the command
line shows it as a command, the library and the experiments make it, the monitor lists it, all through
`wiring.make`. A new stage is a row here and a file with its function and settings beside this one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

Reads = Literal["policy", "artifact", "path", "reward_model"]


@dataclass(frozen=True)
class Input:
    """One thing a stage is made from: a keyword argument of its function.

    source: what a run calls it, if not by the same name: a stage (its artifact), a data file, or a property of
    `round.Round`.  help: of its command-line option; without it only a run gives this input.  option: its name there.
    reads: what it is: a policy (on the command line a folder, RUN or hub:NAME), an artifact (or its folder), any path,
    or whatever scores.
    when: the setting (`table.name`) that asks for it; without one it is required unless `is_optional`.
    alternative: another input, of the same row, that may stand in its place: exactly one of them is given.
    """

    name: str
    source: str = ""
    help: str = ""
    option: str = ""
    reads: Reads = "path"
    is_many: bool = False
    is_optional: bool = False
    alternative: str = ""
    when: str = ""

    @property
    def origin(self) -> str:
        return self.source or self.name

    @property
    def flag(self) -> str:
        return self.option or f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    function: "module:attribute", called as function(context, settings, output_dir=..., **inputs, **services).
    settings: where its settings stand in the recipe.  services: what `wiring.SERVICES` builds for it from the recipe.
    rounds: "first" (all rounds build on it), "every", or "later": those after the first, whether a recipe names it or
    not.  trains: every rank takes part; else the first rank works alone.  draws_anew: samples by the round's own seed.
    about, examples: of its command; a stage without `about` has none of its own. These and inputs' help stand in
    `commands.toml`.
    """

    name: str
    function: str
    settings: str
    inputs: tuple[Input, ...] = ()
    services: tuple[str, ...] = ()
    rounds: Literal["first", "every", "later"] = "every"
    trains: bool = False
    draws_anew: bool = False
    leaves_policy: bool = False
    about: str = ""
    examples: tuple[str, ...] = ()


PROVIDERS: Mapping[str, tuple[str, str, str]] = {
    "documents": ("data.documents", "", ""),
    "demonstrations": ("data.demonstrations", "world", ""),
    "prompts": ("data.prompts", "world", ""),
    "evaluation_prompts": ("data.evaluation_prompts", "world", ""),
    "candidates_to_compare": ("data.preferences", "candidates", ""),
    "labels": ("", "preferences", "preferences"),
    "reward_to_audit": ("scorer.reward_models", "reward", "a reward model"),
}
"""Where a run has an input from: a setting, an earlier stage, and what to call it where no file is expected."""

_PROMPTS = Input("prompts")
REWARDS = Input(
    "rewards",
    help="Reward artifact or sequence-classification folder; several make an ensemble (scorer.kind).",
    option="--reward",
    reads="artifact",
    is_many=True,
    is_optional=True,
)
_LABELS = Input("preferences", source="labels", reads="artifact")
_REFERENCE = Input("reference", source="start", reads="policy")

_WORDS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("commands.toml").read_text(encoding="utf-8"))


def _in_words(row: Stage) -> Stage:
    """Return a row with what its command says."""
    words = _WORDS.get(row.name, {})
    inputs = tuple(replace(one, help=words.get("help", {}).get(one.name, "")) for one in row.inputs)
    return replace(row, inputs=inputs, about=words.get("about", ""), examples=tuple(words.get("examples", ())))


STAGES: Mapping[str, Stage] = {
    row.name: _in_words(row)
    for row in (
        Stage("world", "kleash.stages.wiring:make_world", "world", rounds="first"),
        Stage(
            "pretrain",
            "kleash.stages.pretrain:pretrain",
            "pretrain",
            inputs=(Input("documents"),),
            rounds="first",
            trains=True,
            leaves_policy=True,
        ),
        Stage(
            "sft",
            "kleash.stages.sft:train_sft",
            "sft",
            inputs=(
                Input("base", reads="policy"),
                Input("demonstrations"),
            ),
            rounds="first",
            trains=True,
            leaves_policy=True,
        ),
        Stage(
            "candidates",
            "kleash.stages.candidates:sample_candidates",
            "candidates",
            inputs=(
                Input("policies", option="--policy", reads="policy", is_many=True),
                _PROMPTS,
                Input(
                    "rewards", "earlier_rewards", option="--reward", reads="artifact", is_many=True, is_optional=True
                ),
                Input("round_number", is_optional=True),
            ),
            services=("scorer",),
            draws_anew=True,
        ),
        Stage(
            "preferences",
            "kleash.stages.preferences:make_preferences",
            "preferences",
            inputs=(
                Input("candidates", "candidates_to_compare", reads="artifact", alternative="file"),
                Input("file", "preferences_file", option="--from", is_optional=True),
                Input("rewards", "earlier_rewards", is_many=True, is_optional=True),
                Input("rounds_before", "preferences_before", is_many=True, is_optional=True),
                Input("round_number", is_optional=True),
            ),
            services=("comparer",),
        ),
        Stage(
            "replay",
            "kleash.stages.replay:replay_preferences",
            "refresh.replay",
            inputs=(
                Input("older", "labels_before"),
                Input("fresh", "preferences"),
                Input("version", "round_number"),
            ),
            rounds="later",
        ),
        Stage(
            "reward",
            "kleash.stages.reward:train_reward",
            "reward",
            inputs=(
                Input("base", "start", reads="policy"),
                _LABELS,
                Input("continues", "reward_to_continue", is_optional=True),
            ),
            trains=True,
        ),
        Stage(
            "audit",
            "kleash.stages.audit:audit_reward",
            "audit",
            inputs=(
                Input("reward_model", "reward_to_audit", reads="reward_model"),
                Input("preferences", "labels"),
                Input("benchmarks", source="nothing", option="--benchmark", is_many=True, is_optional=True),
                Input("reference", "start", reads="policy", is_optional=True),
                Input("others", source="nothing", option="--beside", is_many=True, is_optional=True),
                Input("previous", "reward_before", is_optional=True),
                Input("earlier", "preferences_before", is_many=True, is_optional=True),
            ),
        ),
        Stage(
            "average",
            "kleash.stages.averaging:average_policies",
            "refresh.average",
            inputs=(Input("older", "average_before"), Input("newer", "current_policy")),
            rounds="later",
            leaves_policy=True,
        ),
        Stage(
            "policy",
            "kleash.stages.policy:train_policy",
            "policy",
            inputs=(
                Input("reference", "leash_reference", reads="policy"),
                _PROMPTS,
                REWARDS,
                Input("audits", option="--audit", reads="artifact", is_many=True, is_optional=True),
                Input("evaluation_prompts", "watched_prompts", is_optional=True),
                Input(
                    "texts_to_keep", "demonstrations", option="--demonstrations", when="policy.pretraining_coefficient"
                ),
                Input("start", "policy_start", is_optional=True),
            ),
            services=("scorer", "alarms"),
            trains=True,
            draws_anew=True,
            leaves_policy=True,
        ),
        Stage(
            "direct",
            "kleash.stages.direct:train_direct",
            "direct",
            inputs=(_REFERENCE, _LABELS),
            trains=True,
            leaves_policy=True,
        ),
        Stage(
            "evaluation",
            "kleash.stages.evaluate:evaluate_policy",
            "evaluation",
            inputs=(
                Input("policy", "trained"),
                Input("reference", "start"),
                Input("prompts", "evaluation_prompts"),
                Input("rewards", is_many=True, is_optional=True),
            ),
            services=("scorer",),
        ),
        Stage(
            "suites",
            "kleash.stages.suites:run_suites",
            "suites",
            inputs=(
                Input("policy", "trained"),
                Input("reference", "start", is_optional=True),
                Input("previous", "suites_before", is_many=True, is_optional=True),
            ),
        ),
        Stage(
            "gate",
            "kleash.stages.gate:decide_gate",
            "gate",
            inputs=(
                Input("policy", "trained"),
                Input("earlier", "accepted"),
                Input("current", "current_name"),
                Input("prompts", "gate_prompts"),
                Input("audit", is_optional=True),
            ),
            services=("alarms",),
        ),
    )
}
"""All stages, in the order in which a later round has them."""

RECIPE_STAGES = tuple(name for name, row in STAGES.items() if row.rounds != "later")
"""What a recipe may name in `stages`."""
