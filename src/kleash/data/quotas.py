"""Choose so many records from groups: equally, or by given shares, and the same ones wherever the seed is the same.

The replay buffer balances slices by it, candidates mix their prompts by it. Who stands first in a group is decided by a
hash of the seed and the record's key, not by a shuffle, so that records that come or go move none of the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence


def quotas(num_available: Mapping[str, int], total: int, *, weights: Mapping[str, float]) -> dict[str, int]:
    """Part `total` places among groups in proportion to their weights; what a small group lacks goes to the others.

    A group without a weight gets nothing. The places add up to `total`, or to all there are in groups with a weight.
    """
    granted = dict.fromkeys(num_available, 0)
    is_open = {group for group, number in num_available.items() if number and weights.get(group, 0) > 0}
    left = min(total, sum(num_available[group] for group in is_open))
    while is_open:
        places_per_weight = left / sum(weights[group] for group in is_open)
        full = {group for group in is_open if weights[group] * places_per_weight >= num_available[group]}
        if not full:
            break
        for group in full:
            granted[group] = num_available[group]
        left -= sum(num_available[group] for group in full)
        is_open -= full
    if is_open:
        exact = {group: weights[group] * places_per_weight for group in sorted(is_open)}
        granted |= {group: int(places) for group, places in exact.items()}
        num_over = left - sum(int(places) for places in exact.values())
        by_remainder = sorted(exact, key=lambda group: int(exact[group]) - exact[group])
        for group in by_remainder[:num_over]:
            granted[group] += 1
    return granted


def choose(
    groups: Sequence[str], keys: Sequence[str], total: int, *, seed: int, weights: Mapping[str, float] | None = None
) -> list[int]:
    """Return the numbers of at most `total` records, in order. groups, keys: one per record, what it is and who it is.

    weights: each group's share; none = every group alike.
    """
    places_of = quotas(Counter(groups), total, weights=weights or dict.fromkeys(groups, 1.0))
    of_group: dict[str, list[int]] = defaultdict(list)
    for number, group in enumerate(groups):
        of_group[group].append(number)
    chosen: list[int] = []
    for group, numbers in of_group.items():
        chosen += sorted(numbers, key=lambda number: _lot(keys[number], seed))[: places_of[group]]
    return sorted(chosen)


def _lot(key: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{key}".encode("utf-8", "surrogatepass")).digest()
