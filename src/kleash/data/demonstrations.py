"""Demonstrations made from what raters liked, for fine-tuning on chosen answers (the baseline that DPO must beat)."""

from __future__ import annotations

from collections.abc import Iterable

from kleash.data.preferences import labelled_from_preferences
from kleash.records import Demonstration, LabelledCompletion, Preference


def demonstrations_from_preferences(preferences: Iterable[Preference]) -> list[Demonstration]:
    """Return the answers that won more votes than they lost, empty ones left out."""
    return demonstrations_from_labelled(labelled_from_preferences(preferences))


def demonstrations_from_labelled(labelled: Iterable[LabelledCompletion]) -> list[Demonstration]:
    """Return the desirable answers, empty ones left out."""
    return [
        Demonstration(row.prompt, row.completion) for row in labelled if row.is_desirable and row.completion.strip()
    ]
