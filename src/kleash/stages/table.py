"""Every stage in one table, `table.toml`: what makes it, from what, by which settings, when in a run. No torch here.

A row is all that the rest of KLeash knows of a stage: recipes are checked against it, `round.py` runs it, the command
line shows it as a command, the library and the experiments make it, the monitor lists it, all through
`wiring.make`. A new stage is a row here and a file with its function and settings beside this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kleash.beside import table_beside

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
    about, examples: of its command; a stage without `about` has none of its own.
    """

    name: str
    function: str
    settings: str
    inputs: tuple[Input, ...] = ()
    services: Sequence[str] = ()
    rounds: Literal["first", "every", "later"] = "every"
    trains: bool = False
    draws_anew: bool = False
    leaves_policy: bool = False
    about: str = ""
    examples: Sequence[str] = ()

    def input(self, name: str) -> Input:
        """Return the input of that name."""
        return next(one for one in self.inputs if one.name == name)


PROVIDERS: Mapping[str, tuple[str, str, str]] = {
    "documents": ("data.documents", "", ""),
    "demonstrations": ("data.demonstrations", "world", ""),
    "prompts": ("data.prompts", "world", ""),
    "evaluation_prompts": ("data.evaluation_prompts", "world", ""),
    "candidates_to_compare": ("data.preferences", "candidates", ""),
    "labels": ("", "preferences", "preferences"),
    "best_answers": ("", "best_of_n", "best answers"),
    "reward_to_audit": ("scorer.reward_models", "reward", "a reward model"),
}
"""Where a run has an input from: a setting, an earlier stage, and what to call it where no file is expected."""


def _read_table() -> dict[str, Stage]:
    rows = table_beside(__file__)
    inputs = {name: row.pop("inputs", {}) for name, row in rows.items()}
    return {
        name: Stage(name, inputs=tuple(Input(one, **keys) for one, keys in inputs[name].items()), **row)
        for name, row in rows.items()
    }


STAGES: Mapping[str, Stage] = _read_table()
"""All stages, in the order in which a later round has them."""

RECIPE_STAGES = tuple(name for name, row in STAGES.items() if row.rounds != "later")
"""What a recipe may name in `stages`."""
