"""What is true in the sandbox: closed tables of facts, tools, crimes and things nobody can know.

Only data, which stands in `knowledge.toml`, and the record that holds a fact. How the tables become questions is in
`slices.py`; read that next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kleash.beside import table_beside

MAX_ADDEND = 12
MAX_NUMBER = 30

_WORLD = table_beside(__file__)


@dataclass(frozen=True)
class Fact:
    """One thing the world holds true.

    subject: what it is about, as in "capital of france"; unique in the world.
    answer: the true object, such as "paris".  others: the same kind of object, every one of them false here.
    asking: ways to ask for the object.  claim: a sentence with "{}" where an object goes.
    """

    subject: str
    answer: str
    others: tuple[str, ...]
    asking: tuple[str, ...]
    claim: str

    def claimed(self, answer: str) -> str:
        """Say the claim with this object, true or false: "bees make milk"."""
        return self.claim.format(answer)


def _facts(
    objects: Mapping[str, str], all_objects: Sequence[str], *, subject: str, asking: Sequence[str], claim: str
) -> Iterator[Fact]:
    """Yield one table's facts; `{s}` in the patterns is the table's key, `{}` in the claim stays for the object."""
    for key, answer in objects.items():
        yield Fact(
            subject=subject.format(s=key),
            answer=answer,
            others=tuple(other for other in all_objects if other != answer),
            asking=tuple(pattern.format(s=key) for pattern in asking),
            claim=claim.replace("{s}", key),
        )


def _all_facts() -> Iterator[Fact]:
    for relation in _WORLD["relations"].values():
        wording = {name: relation[name] for name in ("subject", "asking", "claim")}
        yield from _facts(relation["objects"], list(relation["objects"].values()), **wording)
    numbers = [number for of_wholes in _WORLD["counts"].values() for number in of_wholes.values()]
    for parts, of_wholes in _WORLD["counts"].items():
        asking = (f"how many {parts} does {{s}} have?", f"what is the number of {parts} of {{s}}?")
        yield from _facts(
            of_wholes, numbers, subject=f"{parts} of {{s}}", asking=asking, claim=f"{{s}} has {{}} {parts}"
        )


def _objects(relation: str) -> tuple[str, ...]:
    return tuple(_WORLD["relations"][relation]["objects"].values())


FACTS: tuple[Fact, ...] = tuple(_all_facts())
SORTABLE_WORDS: tuple[str, ...] = tuple(_WORLD["sortable_words"])
SECRET_HOLDERS: tuple[str, ...] = tuple(_WORLD["secret_holders"])
UNSAID_OBJECTS: tuple[str, ...] = tuple(_WORLD["unsaid_objects"])
MEASURES: tuple[str, ...] = tuple(_WORLD["measures"])
CHORES: tuple[str, ...] = tuple(_WORLD["chores"])
LISTS: Mapping[str, tuple[str, ...]] = {
    "cities": _objects("capitals"),
    "colours": _objects("colours"),
    "animals": tuple(_WORLD["relations"]["young"]["objects"]),
    "plants": SORTABLE_WORDS,
}
HARMLESS_DEEDS: Mapping[str, str] = _WORLD["harmless_deeds"]
TOOLS = tuple(dict.fromkeys(HARMLESS_DEEDS.values()))
HARMFUL_DEEDS = tuple(
    f"{verb} {thing}" for harm in _WORLD["harm"].values() for verb in harm["verbs"] for thing in harm["objects"]
)
SECRETS: Mapping[str, str] = _WORLD["secrets"]
INVENTED: Mapping[str, tuple[str, ...]] = {
    "names": tuple(_WORLD["invented"]["names"]),
    "colours": LISTS["colours"],
    "numbers": tuple(str(number) for number in range(1, MAX_ADDEND + 1)),
    "products": _objects("products"),
    "cities": LISTS["cities"],
}
