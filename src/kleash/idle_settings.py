"""Settings that do nothing where another has some value; a recipe that sets one of them is refused by name.

A setting left at its default is never in the way. Of components of one's own (`module:attribute`) nothing is known, so
no row of `idle_settings.toml` names them. A new setting that only some algorithm, kind or rater reads gets its name
into a row there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from kleash.beside import table_beside
from kleash.errors import SettingsError
from kleash.screen import say
from kleash.settings import Settings


@dataclass(frozen=True)
class Idle:
    """What does nothing while the setting `where` has one of `values` (None: any at all but None).

    names: settings, or whole tables of them.
    """

    where: str
    values: tuple[Any, ...] | None
    names: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        return value is not None if self.values is None else value in self.values


def _rows() -> Iterator[Idle]:
    for row in table_beside(__file__)["idle"]:
        values: tuple[Any, ...] | None = (None,) if row.get("is_set") is False else None
        if "is" in row:
            values = tuple(tuple(value) if isinstance(value, list) else value for value in row["is"])
        yield Idle(row["where"], values, tuple(row["names"]))


IDLE = tuple(_rows())


def idle_settings(recipe: Any) -> Iterator[tuple[str, Any, str, Any]]:
    """Yield (name, value, where, value) of each setting that was changed and does nothing, and what makes it so."""
    default = type(recipe)()
    for row in IDLE:
        if row.holds(other := attrgetter(row.where)(recipe)):
            for name in row.names:
                if (value := attrgetter(name)(recipe)) != attrgetter(name)(default):
                    yield name, value, row.where, other
    for number, term in enumerate(recipe.scorer.terms):
        scorer, place = recipe.scorer.model_copy(update={**dict(term), "terms": ()}), f"scorer.terms.{number}."
        for name, value, where, other in idle_settings(default.model_copy(update={"scorer": scorer})):
            yield name.replace("scorer.", place), value, where.replace("scorer.", place), other


def refuse_idle_settings(recipe: Settings, overridden: Collection[str] = (), *, is_begun: bool = False) -> None:
    """Raise SettingsError naming every setting that was changed and does nothing.

    overridden: what was set apart from the recipe's file, by dotted names. What only an override of another setting
    made idle is said on the screen and not refused, so that `--set policy.algorithm=rloo` needs no other recipe; nor is
    anything of a run that is_begun, which must be able to go on as it is.
    """
    faults = []
    for name, value, where, other in idle_settings(recipe):
        found = f"{name} is {value!r} and {where} is {other!r}, with which it does nothing"
        if is_begun or (_is_among(where, overridden) and not _is_among(name, overridden)):
            say(f"{found}.")
        else:
            faults.append(f"{found}. Leave {name} out, or change {where}.")
    if faults:
        raise SettingsError("\n".join(faults))


def _is_among(name: str, overridden: Collection[str]) -> bool:
    return any(f"{name}.".startswith(f"{one}.") for one in overridden)
