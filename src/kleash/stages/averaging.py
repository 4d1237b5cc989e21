"""A moving average of policies as a policy: the reference of a later round that should follow, but slowly.

    weights = share * newer + (1 - share) * older

An average of weights is a sensible policy only where both came from the same start by small steps, as the policies of
successive rounds do. Source: Ramé et al. 2024 (WARP), arXiv:2406.16768, its moving-average anchor.
"""

from __future__ import annotations

from pathlib import Path

import torch

from kleash.artifacts import Artifact, read
from kleash.errors import ModelError
from kleash.results import PolicySummary
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.refreshing import AverageSettings


@torch.no_grad()
def average_policies(
    context: StageContext,
    settings: AverageSettings,
    *,
    older: Path | Artifact,
    newer: Path | Artifact,
    output_dir: Path,
) -> Artifact:
    """Average two policies weight by weight. Raises ModelError when their weights have other names or shapes."""
    parents = {"older": as_artifact(older, "model"), "newer": as_artifact(newer, "model")}
    plan: Plan = {"kind": "policy", "parents": parents, "settings": settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    result, other = (context.load_policy(parents[name], whole=True) for name in ("newer", "older"))
    with context.write_artifact(output_dir, **plan, language_model=result) as draft:
        old_weights = dict(other.model.named_parameters())
        for name, weight in result.model.named_parameters():
            old = old_weights.get(name)
            if old is None or old.shape != weight.shape:
                found = "is missing" if old is None else f"has shape {tuple(old.shape)}"
                raise ModelError(
                    f"Weight {name} has shape {tuple(weight.shape)} in {parents['newer'].path} and {found} in "
                    f"{parents['older'].path}. Expected two policies of one model. Name policies of the same run."
                )
            weight.lerp_(old, 1 - settings.share)
        if context.ranks.is_first:
            result.save(draft.path)
        draft.summary |= PolicySummary(stage="average", share=settings.share).to_json()
    return read(output_dir)
