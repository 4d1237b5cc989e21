"""Whether who judges a policy decided part of its training: looked up in what was recorded, and said on the screen."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any

from kleash.artifacts import Artifact, parent_path, read
from kleash.errors import ArtifactError
from kleash.evaluation.first_update import training_of
from kleash.screen import say


def preferences_behind(artifacts: Iterable[Artifact]) -> dict[str, Mapping[str, Any]]:
    """Return the settings of all preferences among artifacts and their ancestors, as far as these still lie there."""
    found: dict[str, Mapping[str, Any]] = {}
    waiting, seen = list(artifacts), set[str]()
    while waiting:
        one = waiting.pop()
        if one.id in seen:
            continue
        seen.add(one.id)
        if one.kind == "preferences":
            found[f"preferences_{len(found)}"] = one.settings
        for role in one.parents:
            with suppress(ArtifactError, KeyError):
                waiting.append(read(parent_path(one, role)))
    return found


def say_if_it_trained(
    setting: str, judge: str, settings_of: Mapping[str, Mapping[str, Any]], *, known_by: Collection[str] = ()
) -> None:
    """Say on the screen that who judges decided part of the training itself: see `training_of`. setting: its name."""
    if trained := training_of(judge, settings_of, known_by=known_by):
        say(
            f"{setting} is {judge!r}, which {trained}: this tells how well it was obeyed, not that the answers are "
            "better. Name somebody that training did not ask."
        )
