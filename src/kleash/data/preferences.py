"""Preferences as training reads them: the pairs that may be trained on, and single labelled answers made from them.

What splits them, as everything else with a prompt, is in `prompts.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kleash.records import LabelledCompletion, Pair, Preference


def usable_preferences(preferences: Iterable[Preference], *, aspect: str | None = None) -> list[Preference]:
    """Return the rows to train on: those with pairs that nobody left out.

    aspect: what raters said of it stands in the place of what they said of the answers as a whole.
    """
    rows = preferences if aspect is None else [replace(row, pairs=row.aspects.get(aspect, ())) for row in preferences]
    return [row for row in rows if row.pairs and not row.left_out]


def usable_pairs(preferences: Iterable[Preference], *, keeps_ties: bool = True) -> Iterator[tuple[Preference, Pair]]:
    """Yield each pair to train on with the row it stands in; a label of .5 is a tie."""
    for preference in usable_preferences(preferences):
        for pair in preference.pairs:
            if keeps_ties or pair.label != 0.5:
                yield preference, pair


def labelled_from_preferences(preferences: Iterable[Preference]) -> list[LabelledCompletion]:
    """Make thumbs of comparisons, for KTO: the chosen answer is desirable, the rejected one is not.

    An answer compared several times counts once, by whether it won more votes than it lost; ties are left out.
    """
    labelled = []
    for preference in usable_preferences(preferences):
        net_votes = [0.0] * len(preference.completions)
        for pair in preference.pairs:
            net_votes[pair.first] += pair.label - 0.5
            net_votes[pair.second] -= pair.label - 0.5
        labelled += [
            LabelledCompletion(preference.prompt, completion, votes > 0)
            for completion, votes in zip(preference.completions, net_votes, strict=True)
            if abs(votes) > 1e-9  # votes in thirds do not add up to exactly zero
        ]
    return labelled
