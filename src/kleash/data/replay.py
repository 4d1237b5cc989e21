"""The preference replay buffer: what a refreshed reward model learns from, old comparisons beside fresh ones.

A reward model trained on the newest comparisons alone forgets the old policies' answers, which the new policy may come
back to. So a refresh mixes both, and every row says how stale it is: the slice `policy_version` of its prompt is the
round its answers were sampled in, and like any slice it reaches the held-out accuracy, which is thus known for old and
fresh pairs apart. Nothing is thrown away: a row that is not trained on this time says why in `left_out`, and stands for
choice again next time. Pure: rows in, rows out. Which pairs get labelled in the first place is in `selection.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import Field

from kleash.data.prompts import normalise
from kleash.data.quotas import choose
from kleash.records import Preference
from kleash.settings import Settings

VERSION = "policy_version"
_OURS = "replay: "
REPEATED = f"{_OURS}another row compares the same answers"
TOO_OLD = f"{_OURS}too old"
NO_ROOM = f"{_OURS}no room"


class ReplaySettings(Settings):
    """How old and fresh comparisons are mixed when a reward model is refreshed."""

    old_share: float = Field(0.5, ge=0, lt=1, description="at least this share of the rows is from earlier rounds")
    max_rows: int | None = Field(None, ge=2, description="rows to train on; none = as many as there are")
    max_age: int | None = Field(None, ge=1, description="leave out rows more than so many rounds old; none = never")
    balance_by: str | None = Field(
        None, description="slice dimension whose values get equal places where not all fit; none = drawn blindly"
    )


@dataclass(frozen=True)
class Replay:
    """A refreshed buffer.

    rows: old ones first, in the order they came in; those not to be trained on now say why in `left_out`.
    num_old, num_fresh: rows to train on.  num_left_out: how many rows stay out for which reason.
    """

    rows: list[Preference]
    num_old: int
    num_fresh: int
    num_left_out: Mapping[str, int]


def tagged(row: Preference, version: int) -> Preference:
    """Note on a row which policy version, or round, its answers are from."""
    return replace(row, prompt=row.prompt.with_dimensions({VERSION: str(version)}))


def version_of(row: Preference) -> int:
    """Return the round a row's answers are from; 0 for a row that does not say."""
    return int(row.prompt.slices.get(VERSION, 0))


def replayed(
    old: Iterable[Preference], fresh: Iterable[Preference], settings: ReplaySettings, *, version: int, seed: int
) -> Replay:
    """Mix the rows of earlier rounds (a buffer's, or tagged by hand) with those just labelled in round `version`.

    Of rows that compare the same answers the newest counts. Then age, share and number decide; where not all rows fit,
    those that stay are drawn by lot, the same ones for the same seed. In the first round, without anything old, there
    is no share to keep.
    """
    before = [_standing_again(row) for row in old]
    rows = [*before, *(tagged(row, version) for row in fresh)]
    reason_of = {number: row.left_out for number, row in enumerate(rows) if row.left_out or not row.pairs}
    _leave_out_repeats(rows, reason_of)
    if settings.max_age is not None:
        usable = (number for number in range(len(rows)) if number not in reason_of)
        reason_of |= {n: TOO_OLD for n in usable if version - version_of(rows[n]) > settings.max_age}
    usable_old = [number for number in range(len(before)) if number not in reason_of]
    usable_fresh = [number for number in range(len(before), len(rows)) if number not in reason_of]
    num_old, num_fresh = _numbers(len(usable_old), len(usable_fresh), settings)
    kept = {
        *_drawn(rows, usable_old, num_old, settings, seed=seed),
        *_drawn(rows, usable_fresh, num_fresh, settings, seed=seed),
    }
    reason_of |= {number: NO_ROOM for number in [*usable_old, *usable_fresh] if number not in kept}
    return Replay(
        [replace(row, left_out=reason_of.get(number, "")) for number, row in enumerate(rows)],
        num_old=num_old,
        num_fresh=num_fresh,
        num_left_out=dict(Counter(reason or "nothing was compared" for reason in reason_of.values())),
    )


# ----------------------------------------------------------------------------------------------------------- inside
def _standing_again(row: Preference) -> Preference:
    return replace(row, left_out="") if row.left_out.startswith(_OURS) else row


def _leave_out_repeats(rows: Sequence[Preference], reason_of: dict[int, str]) -> None:
    """Leave out each row whose answers are compared in a later round as well, or further up in the same one."""
    newest: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows):
        if number in reason_of:
            continue
        key = (normalise(row.prompt.text), *sorted(map(normalise, row.completions)))
        other = newest.setdefault(key, number)
        if other != number:
            is_newer = version_of(row) > version_of(rows[other])
            reason_of[other if is_newer else number] = REPEATED
            newest[key] = number if is_newer else other


def _numbers(num_old: int, num_fresh: int, settings: ReplaySettings) -> tuple[int, int]:
    """Return how many old and how many fresh rows to train on."""
    most = num_old + num_fresh if settings.max_rows is None else min(settings.max_rows, num_old + num_fresh)
    if num_old and settings.old_share:
        # No more rows in all than the old ones are enough of a share of.
        most = min(most, _floor(num_old / settings.old_share))
        num_fresh = min(num_fresh, _floor(most * (1 - settings.old_share)))
    num_fresh = min(num_fresh, most)
    return min(num_old, most - num_fresh), num_fresh


def _floor(number: float) -> int:
    return int(number + 1e-9)  # 10 * (1 - .9) is a hair below 1


def _drawn(
    rows: Sequence[Preference], numbers: Sequence[int], total: int, settings: ReplaySettings, *, seed: int
) -> list[int]:
    dimension = settings.balance_by
    groups = [rows[number].prompt.dimensions.get(dimension, "") if dimension else "" for number in numbers]
    keys = [f"{rows[number].prompt.text}\n{rows[number].completions}" for number in numbers]
    return [numbers[index] for index in choose(groups, keys, total, seed=seed)]
