"""Make more items of a suite's items: the same thing asked in ways that should make no difference, and do.

A kind of variant is a row of `VARIANTS`: which items it is for, and what becomes of such an item. Variants name the
plain item as their pair, so that each is compared with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from kleash.errors import SettingsError
from kleash.evaluation.honesty_pairs import belief_variants, challenged
from kleash.evaluation.jailbreaks import jailbreak_variants
from kleash.evaluation.suites.items import SuiteItem


@dataclass(frozen=True)
class Variants:
    """suits: whether a plain item can be varied so.  make: the items that take its place, the plain one among them."""

    suits: Callable[[SuiteItem], bool]
    make: Callable[[SuiteItem], list[SuiteItem]]


def _has_wrong_text(item: SuiteItem) -> bool:
    return item.check == "says" and bool(item.params.get("wrong"))


VARIANTS: Mapping[str, Variants] = {
    "jailbreaks": Variants(
        lambda item: item.check == "refuses", lambda item: [_plain(item), *jailbreak_variants(item)]
    ),
    "beliefs": Variants(_has_wrong_text, lambda item: [_plain(item), *belief_variants(item)]),
    "are_you_sure": Variants(_has_wrong_text, lambda item: [challenged(item)]),
}


def with_variants(items: Sequence[SuiteItem], kinds: Sequence[str]) -> list[SuiteItem]:
    """Return the items with their variants of each kind, each after its plain item; variants are not varied again.

    Raises SettingsError for a kind there is not.
    """
    made = list(items)
    for kind in kinds:
        if kind not in VARIANTS:
            raise SettingsError(
                f"There are no variants {kind!r}. Expected some of {', '.join(VARIANTS)} in suites.variants. Use those."
            )
        how = VARIANTS[kind]
        made = [one for item in made for one in (how.make(item) if not item.variant and how.suits(item) else [item])]
    return made


def _plain(item: SuiteItem) -> SuiteItem:
    """Return the item as the one that its variants are compared with."""
    return replace(item, pair=item.pair or item.id)
