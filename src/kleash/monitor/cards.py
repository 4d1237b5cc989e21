"""The cards of what is exported: what the lineage knows of data, method, KL, evaluation, audit and licences.

Everything is read from manifests; nothing is asked for and nothing is guessed. What the lineage does not know is said
to be unknown, because a reader of the card cannot go and look. The wording is in templates/cards; files are written by
`stages/exporting.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kleash.artifacts import Artifact
from kleash.lineage import Lineage, labels_behind
from kleash.monitor.pages.rendering import fragment
from kleash.records import Preference
from kleash.results import SUMMARIES, CampaignSummary, PolicySummary, PreferencesSummary


@dataclass(frozen=True)
class Family:
    """An artifact with what it was made from, nearest first, and what measured it or its reward models."""

    subject: Artifact
    ancestors: list[Artifact]
    measurements: list[Artifact]

    def of_kind(self, kind: str) -> list[Artifact]:
        """Return the ancestors of a kind, in the order in which they were made."""
        return sorted((one for one in self.ancestors if one.kind == kind), key=lambda one: one.created)

    def measured_by(self, kind: str) -> list[Artifact]:
        return [artifact for artifact in self.measurements if artifact.kind == kind]


def family_of(lineage: Lineage, identity: str) -> Family:
    """Gather what a policy's card speaks of. What measured an ancestor other than a reward model is left aside."""
    policy, ancestors = lineage.artifacts[identity], lineage.ancestors_of(identity)
    subjects = {policy.id, *(artifact.id for artifact in ancestors if artifact.kind == "reward")}
    known = {artifact.id for artifact in ancestors}
    measuring = {"policy", "reward", "policy_0", "reward_0"}
    measurements = [
        artifact
        for artifact in lineage.artifacts.values()
        if artifact.kind not in ("policy", "reward")
        and (artifact.id in known or subjects & {artifact.parents.get(role) for role in measuring})
    ]
    return Family(policy, ancestors, measurements)


def model_card(lineage: Lineage, identity: str, *, name: str, licence: str = "") -> str:
    """Return the README.md of an exported policy, with the front matter that model hubs read."""
    family = family_of(lineage, identity)
    labels = [PreferencesSummary.of(one) for one in family.of_kind("preferences")]
    return _card(
        "cards/model.md",
        lineage,
        family=family,
        name=name,
        licence=licence,
        num_pairs=sum(one.pairs or 0 for one in labels if one.replay is None),  # a replay mixes what is counted already
    )


def preferences_card(lineage: Lineage | None, rows: Sequence[Preference], *, name: str, licence: str = "") -> str:
    """Return the README.md of exported preferences; lineage: of the artifact they are from, None for a plain file."""
    return _card(
        "cards/preferences.md",
        lineage,
        family=family_of(lineage, lineage.focus[0]) if lineage else None,
        name=name,
        licence=licence,
        num_rows=len(rows),
        num_pairs=sum(len(row.pairs) for row in rows if not row.left_out),
        num_prompts=len({row.prompt.id for row in rows}),
        num_left_out=sum(bool(row.left_out) for row in rows),
    )


# ----------------------------------------------------------------------------------------------------------- inside
def _card(template: str, lineage: Lineage | None, **content: Any) -> str:
    def raters_of(artifact: Artifact) -> dict[str, int]:
        names_of: dict[str, set[str]] = {}
        for row in labels_behind(lineage, artifact.id) if lineage else ():
            names_of.setdefault(str(row.get("rater_kind", "unknown")), set()).add(str(row.get("rater")))
        return {kind: len(names) for kind, names in sorted(names_of.items())}

    card = fragment(
        template,
        **content,
        summary=lambda artifact: SUMMARIES[artifact.kind].of(artifact),
        training=PolicySummary.of,
        method_of=_method_of,
        raters_of=raters_of,
        licences_of=_licences_of,
        latest_votes=lambda campaign: {row.rater_kind: row for row in CampaignSummary.of(campaign).checkpoints},
    )
    return card.strip() + "\n"


def _method_of(policy: Artifact) -> str:
    trained = PolicySummary.of(policy)
    return trained.algorithm or trained.stage or policy.kind


def _licences_of(artifacts: Sequence[Artifact]) -> Iterator[tuple[str, str | None]]:
    """Yield (what, its licence as far as it is known) of all that came from outside."""
    # An imported artifact speaks for the file or folder it was copied from.
    spoken_for = {artifact.parents.get("source") for artifact in artifacts if "origin" in artifact.settings}
    for artifact in artifacts:
        if "origin" in artifact.settings:
            yield f"{artifact.kind} from {artifact.settings['origin']}", artifact.settings.get("licence")
        elif not artifact.created and artifact.id not in spoken_for:
            yield f"{artifact.kind} `{artifact.path.name}`", None
