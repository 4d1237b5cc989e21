"""What a finished round is told by: the figures of its stages gathered into one summary.json."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kleash.artifacts import Artifact
from kleash.durable import UNSEALED, json_text, sealed, write_text
from kleash.estimates import Estimate
from kleash.records import split_slice
from kleash.results import (
    AnswerFigures,
    EvaluationSummary,
    GateSummary,
    PolicySummary,
    PreferencesSummary,
    RewardSummary,
    Summary,
)
from kleash.run_summary import HeldoutTotals, RoundSummary, RunSummary

if TYPE_CHECKING:
    from kleash.recipe import Recipe
    from kleash.stages.round import Round


def summarise_rounds(made: Sequence[Round]) -> RunSummary:
    """Gather the newest round's figures, and a row for each round where there are several."""
    last = made[-1]
    summary = summarise({**made[0].artifacts, **last.artifacts} if len(made) > 1 else last.artifacts, last.recipe)
    ids = {f"{one.folder.name}/{stage}": artifact.id for one in made for stage, artifact in one.artifacts.items()}
    more: dict[str, Any] = {"peak_rss_mb": peak_rss_mb(), "artifacts": ids}
    if len(made) > 1:
        total = sum(_total_seconds(one.artifacts) for one in made)
        more |= {"seconds": summary.seconds | {"total": total}, "rounds": [_round_summary(one) for one in made]}
    return summary.model_copy(update=more)


def summarise(made: Mapping[str, Artifact], recipe: Recipe) -> RunSummary:
    """Gather a finished round's figures: what `kleash summary --json` prints."""
    seconds = {stage: Summary.of(artifact).seconds for stage, artifact in made.items()}
    figures: dict[str, Any] = {
        "name": recipe.name,
        "seed": recipe.seed,
        "seconds": seconds | {"total": _total_seconds(made)},
    }
    if "preferences" in made:
        labels = PreferencesSummary.of(made["preferences"])
        figures["preferences"] = PreferencesSummary(
            pairs=labels.pairs,
            agreement=labels.agreement,
            thumbs_up=labels.thumbs_up,
            thumbs_down=labels.thumbs_down,
        )
    if "reward" in made:
        figures["reward_model"] = _heldout_totals(RewardSummary.of(made["reward"]))
    if "direct" in made and (totals := _heldout_totals(PolicySummary.of(made["direct"]))):
        figures["direct"] = totals
    if "policy" in made:
        trained, leash = PolicySummary.of(made["policy"]), recipe.policy.leash
        figures["beta_final"] = trained.beta_final
        figures["kl_target_nats"] = leash.target_nats if leash.kind == "adaptive" else None
        figures["outcome"] = trained.outcome
        if trained.audit:
            figures["audit"] = trained.audit
    if "evaluation" in made:
        figures |= _evaluation_figures(EvaluationSummary.of(made["evaluation"]))
    return RunSummary(**figures)


def peak_rss_mb() -> float:
    """Return the most memory this process has held, MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 if sys.platform != "darwin" else 1024**2), 1)


def write_summary(run: Path, summary: RunSummary) -> Path:
    """Write runs/NAME/summary.json."""
    write_text(run / "summary.json", sealed(json_text({"seal": UNSEALED, **summary.to_json()}, indent=2) + "\n"))
    return run / "summary.json"


def _round_summary(one: Round) -> RoundSummary:
    row: dict[str, Any] = {"round": one.folder.name, "seconds": _total_seconds(one.artifacts)}
    if "gate" in one.artifacts:
        gate = GateSummary.of(one.artifacts["gate"]).to_json()
        row |= {name: gate[name] for name in ("moves", "reasons", "against")}
    if "preferences" in one.artifacts:
        row["pairs"] = PreferencesSummary.of(one.artifacts["preferences"]).pairs
    if "reward" in one.artifacts:
        row["heldout_accuracy"] = _value(RewardSummary.of(one.artifacts["reward"]).heldout_accuracy)
    if "evaluation" in one.artifacts:
        figures = EvaluationSummary.of(one.artifacts["evaluation"])
        row["win_rate"] = figures.win_rate
        row["judge_mean"] = _value(figures.judge_after)
        row["kl_nats_per_sequence"] = _value(figures.kl_nats_per_sequence)
    return RoundSummary(**row)


def _total_seconds(made: Mapping[str, Artifact]) -> float:
    return round(sum(Summary.of(artifact).seconds or 0.0 for artifact in made.values()), 3)


def _heldout_totals(figures: RewardSummary | PolicySummary) -> HeldoutTotals | None:
    accuracy = figures.heldout_accuracy
    if accuracy is None:
        return None
    return HeldoutTotals(
        heldout_accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        n=accuracy.n,
        longer_wins=figures.longer_wins,
    )


def _evaluation_figures(figures: EvaluationSummary) -> dict[str, Any]:
    kind = "gold" if figures.judge == "gold" else "judge"
    before, after = figures.judge_before, figures.judge_after
    return {
        "judge": figures.judge,
        "sft": {f"{kind}_mean": _value(before), "interval": before},
        "policy": {f"{kind}_mean": _value(after), "interval": after},
        "win_rate": figures.win_rate,
        "kl_nats_per_sequence": _value(figures.kl_nats_per_sequence),
        "slices": {_shown_name(name): _slice_figures(part, kind) for name, part in figures.slices.items()},
    }


def _shown_name(slice_name: str) -> str:
    """Return what a slice is called in a summary: a topic goes by its value alone."""
    dimension, value = split_slice(slice_name)
    return value if dimension == "topic" else slice_name


def _slice_figures(part: AnswerFigures, kind: str) -> dict[str, Any]:
    measured = part.to_json()
    return {
        f"{kind}_sft": _value(part.judge_before),
        f"{kind}_policy": _value(part.judge_after),
        "kl_nats_per_sequence": _value(part.kl_nats_per_sequence),
        "length_sft": part.length_before,
        "length_policy": part.length_after,
        "win_rate": _value(part.win_rate),
        "n": part.n,
        **{
            f"{name}_{new}": measured[f"{name}_{old}"]
            for name in ("correct", "refusal")
            for old, new in (("before", "sft"), ("after", "policy"), ("difference", "difference"))
            if f"{name}_{old}" in measured
        },
    }


def _value(figure: Estimate | None) -> float | None:
    return figure.value if figure else None
