"""What is wrong with a training run from its first update on, and whether its judge is one that trained it. Pure.

The policy is its reference then, so its figures are known beforehand: a z-score is about 0, answers end, and their
scores differ. `stages/policy.py` says what is found on the screen at once, `monitor/read/checks.py` in the report.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kleash.functions import FUNCTIONS

REWARD_MODELS = ("reward_model", "ensemble")
"""The kinds of scorer that ask reward models, whose score is 0 on average over their reference's answers."""

# The scale's own error, and other prompts than those it was measured on, move a mean by less.
LARGEST_MEAN_Z = 0.75
# Shares of the answers that have the very lowest, or highest, score: a continuous score has 1/n there.
AT_AN_END, LEAST_ANSWERS = 0.9, 8
NO_KL_NATS = 0.05
# Names that do not say who it is that judges.
_WHOEVER = {"gold", "proxy", "people", "judges", "simulated", "simulated_judge"}


@dataclass(frozen=True)
class Remark:
    """What was found, and what to do about it. name: "cut off", "constant", "floor", "ceiling" or "scale"."""

    name: str
    text: str
    remedy: str


def remarks_on(first: Mapping[str, float], *, is_z_score: bool) -> list[Remark]:
    """Return what is wrong with the figures of the first update, as `policy/metrics.jsonl` has them; worst first.

    is_z_score: a reward model scores, so that the reference's mean score is 0.
    """
    found, n, mean = [], first.get("answers", 0), first.get("score_mean", 0.0)
    if first.get("truncation_share", 0.0) >= 1:
        text = f"All {n:,.0f} answers of the first update were cut off at the length limit"
        remedy = "Raise policy.max_new_tokens: an unfinished answer scores at most policy.credit.missing_eos_penalty."
        found.append(Remark("cut off", text, remedy))
    is_constant = n >= 2 and first.get("score_sd", math.inf) <= 1e-6 * max(abs(mean), 1.0)
    if is_constant:
        text = f"All {n:,.0f} answers of the first update score the same, {mean:.3g}: there is nothing to learn from"
        remedy = "See to what scores them, or to answers that are all alike or all cut off."
        found.append(Remark("constant", text, remedy))
    for name, meant in (("floor", "few answers show what is better"), ("ceiling", "little is left to gain")):
        share = first.get(f"score_{name}_share", 0.0)
        if n >= LEAST_ANSWERS and share >= AT_AN_END and not is_constant:
            text = f"{share:.0%} of the first update's answers score at the {name} of the reward: {meant}"
            remedy = "Take other prompts, a better SFT model, or a reward that tells its answers apart."
            found.append(Remark(name, text, remedy))
    mean = first.get("reward/unpenalised", mean)
    is_reference = abs(first.get("kl_nats_per_sequence", math.inf)) < NO_KL_NATS
    largest = LARGEST_MEAN_Z + 3 * max(first.get("score_sd", 0.0), 1.0) / math.sqrt(max(n, 1))
    if n and is_z_score and is_reference and abs(mean) > largest:
        text = (
            f"The first update's answers score {mean:+.2f} SD on average, and by the reward model's own scale the "
            f"reference's score 0 (within {largest:.2f})"
        )
        remedy = "Look for another precision, template, length limit or prompts than those the scale was measured with."
        found.append(Remark("scale", text, remedy))
    return found


def training_of(judge: str, settings_of: Mapping[str, Mapping[str, Any]], *, known_by: Collection[str] = ()) -> str:
    """Say what of a policy's training its judge decided itself; "" where nothing of the kind is recorded.

    settings_of: the recorded settings of the stages "policy" and "evaluation", and of all preferences that it learnt
    from ("preferences", "preferences_1", ...), those there are.  known_by: marks of the judge beside its name and what
    "evaluation" records of it: see `marks_of`. AI judges are the same where they ask the same model.
    """
    policy = settings_of.get("policy", {})
    own = ({judge} - _WHOEVER) | marks_of(settings_of.get("evaluation", {}), "judge") | set(known_by)
    scorer = policy.get("scorer") or {}
    scored_by = scorer.get("function") if scorer.get("kind") == "function" else scorer.get("kind")
    if own & ({scored_by} | marks_of(policy, "scorer.function")):
        return "scores its answers while it trains"
    for name, preferences in settings_of.items():
        labelled_by = {preferences.get("comparer")} | marks_of(preferences, "comparer", "judges")
        if name.startswith("preferences") and own & labelled_by:
            return "labelled the pairs that it learnt from"
    return ""


def marks_of(settings: Mapping[str, Any], *names: str) -> set[str]:
    """Return what those whom settings name are known by: digests of functions and panels, models of AI judges."""
    functions = settings.get(FUNCTIONS) or {}
    recorded = [functions.get(name) or {} for name in names]
    raters = [rater for one in recorded for rater in one.get("members") or ()]
    digests = {one["digest"] for one in recorded if one.get("digest")}
    return digests | model_marks(rater.rpartition("@")[0] for rater in raters)


def model_marks(models: Iterable[str]) -> set[str]:
    """Return what AI judges that ask these models are known by, whatever their rubrics and endpoints."""
    return {f"model {model}" for model in models}
