"""What a finished round is told by: the figures of its stages gathered into one summary.json."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.artifacts import Artifact
from kleash.durable import write_text

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.round import Round


def summarise_rounds(made: Sequence[Round]) -> dict[str, Any]:
    """Gather the newest round's figures, and a row for each round where there are several."""
    last = made[-1]
    summary = summarise({**made[0].artifacts, **last.artifacts} if len(made) > 1 else last.artifacts, last.recipe)
    if len(made) > 1:
        summary["seconds"]["total"] = sum(_total_seconds(one.artifacts) for one in made)
        summary["rounds"] = [_round_row(one) for one in made]
    return summary


def summarise(made: dict[str, Artifact], recipe: Recipe) -> dict[str, Any]:
    """Gather a finished round's figures: what `kleash summary --json` prints."""
    summary: dict[str, Any] = {"name": recipe.name, "seed": recipe.seed}
    summary["seconds"] = {stage: artifact.summary.get("seconds") for stage, artifact in made.items()}
    summary["seconds"]["total"] = _total_seconds(made)
    if "preferences" in made:
        figures = made["preferences"].summary
        summary["preferences"] = {"pairs": figures["pairs"], "agreement": figures.get("agreement")}
    if "reward" in made:
        summary["reward_model"] = _heldout_summary(made["reward"].summary)
    if "direct" in made and "heldout_accuracy" in made["direct"].summary:
        summary["direct"] = _heldout_summary(made["direct"].summary)
    if "policy" in made:
        summary["beta_final"] = made["policy"].summary["beta_final"]
        leash = recipe.policy.leash
        summary["kl_target_nats"] = leash.target_nats if leash.kind == "adaptive" else None
        summary["outcome"] = made["policy"].summary["outcome"]
    if "evaluation" in made:
        summary |= _evaluation_summary(made["evaluation"].summary)
    summary["peak_rss_mb"] = peak_rss_mb()
    return summary


def peak_rss_mb() -> float:
    """Return the most memory this process has held, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)


def write_summary(run: Path, summary: dict[str, Any]) -> Path:
    """Write runs/NAME/summary.json."""
    write_text(run / "summary.json", json.dumps(summary, indent=2) + "\n")
    return run / "summary.json"


def _round_row(one: Round) -> dict[str, Any]:
    row: dict[str, Any] = {"round": one.folder.name, "seconds": _total_seconds(one.artifacts)}
    if "gate" in one.artifacts:
        row["moves"] = one.artifacts["gate"].summary["moves"]
        row["reasons"] = one.artifacts["gate"].summary["reasons"]
        row["against"] = one.artifacts["gate"].summary["against"]
    if "preferences" in one.artifacts:
        row["pairs"] = one.artifacts["preferences"].summary["pairs"]
    if "reward" in one.artifacts:
        row["heldout_accuracy"] = one.artifacts["reward"].summary["heldout_accuracy"]["value"]
    if "evaluation" in one.artifacts:
        figures = one.artifacts["evaluation"].summary
        row["win_rate"] = figures["win_rate"]
        row["judge_mean"] = figures["judge_after"]["value"]
        row["kl_nats_per_sequence"] = figures["kl_nats_per_sequence"]["value"]
    return row


def _total_seconds(made: Mapping[str, Artifact]) -> float:
    return round(sum(artifact.summary.get("seconds") or 0.0 for artifact in made.values()), 3)


def _heldout_summary(figures: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = figures["heldout_accuracy"]
    return {
        "heldout_accuracy": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "n": accuracy["n"],
        "longer_wins": figures["longer_wins"],
    }


def _evaluation_summary(figures: Mapping[str, Any]) -> dict[str, Any]:
    kind = "gold" if figures["judge"] == "gold" else "judge"
    slices = {}
    for name, part in figures["slices"].items():
        slices[name.partition("=")[2] if name.startswith("topic=") else name] = {
            f"{kind}_sft": part["judge_before"]["value"],
            f"{kind}_policy": part["judge_after"]["value"],
            "kl_nats_per_sequence": part["kl_nats_per_sequence"]["value"],
            "length_sft": part["length_before"],
            "length_policy": part["length_after"],
            "win_rate": part["win_rate"]["value"],
            "n": part["n"],
            **{
                f"{name}_{new}": part[f"{name}_{old}"]
                for name in ("correct", "refusal")
                for old, new in (("before", "sft"), ("after", "policy"), ("difference", "difference"))
                if f"{name}_{old}" in part
            },
        }
    return {
        "judge": figures["judge"],
        "sft": {f"{kind}_mean": figures["judge_before"]["value"], "interval": figures["judge_before"]},
        "policy": {f"{kind}_mean": figures["judge_after"]["value"], "interval": figures["judge_after"]},
        "win_rate": figures["win_rate"],
        "kl_nats_per_sequence": figures["kl_nats_per_sequence"]["value"],
        "slices": slices,
    }
