"""What stages come to, as records: a class for the summary of each kind of artifact.

Stages write their summaries through these records, and everybody reads them by attribute. What an earlier version did
not write, or a damaged file does not hold, is None or empty; what a later one adds is kept. No torch here.
What a whole run comes to is in `run_summary.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from kleash.artifacts import Artifact
from kleash.estimates import Difference, Estimate, HeldoutRate, Rate

_READING = "what cannot be read is missing"


class Record(BaseModel):
    """A part of a summary: strict where a stage writes it, forgiving where it is read."""

    model_config = ConfigDict(frozen=True, extra="allow")

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Read what is there; a figure that is not finite, or not what it should be, counts as missing."""
        return cls.model_validate(_finite(content) if isinstance(content, Mapping) else {}, context=_READING)

    def to_json(self) -> dict[str, Any]:
        """Return what was given, in the order of the fields."""
        return self.model_dump(exclude_unset=True)

    @field_validator("*", mode="wrap")
    @classmethod
    def _forgive(cls, value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return read(value)
        except ValidationError:
            if info.context != _READING or info.field_name is None:
                raise
            return cls.model_fields[info.field_name].get_default(call_default_factory=True)


class Summary(Record):
    """A stage's own figures. seconds: how long it took."""

    seconds: float | None = None

    @classmethod
    def of(cls, artifact: Artifact) -> Self:
        """Read an artifact's summary."""
        return cls.from_json(artifact.summary)


class WorldSummary(Summary):
    """The sandbox's files."""

    demonstrations: int = 0
    prompts: int = 0
    evaluation_per_slice: int | None = None


class PolicySummary(Summary):
    """What any stage that makes a policy came to: `stage` says which, and only its own figures are there.

    outcome: how the loop ended.  best_step: where the weights are from after a roll-back or an early end.
    share: the newer policy's in an average.  audit: what the audits said of the reward models, "not audited" where
    there was none.  merge_gap_nats: how far merged weights' log-probabilities are from the adapter's, per token.
    """

    stage: str = ""
    merge_gap_nats: dict[str, float] = {}
    algorithm: str = ""
    steps: int | None = None
    rows_trained: int | None = None
    rows_too_long: int | None = None
    outcome: str = ""
    ended_because: list[str] = []
    beta_final: float | None = None
    best_step: int | None = None
    prompts: int | None = None
    dropped: dict[str, Any] = {}
    heldout_loss_nats_per_token: float | None = None
    rows_heldout: int | None = None
    heldout_accuracy: Rate | None = None
    heldout_ties: int | None = None
    slices: dict[str, HeldoutRate] = {}
    longer_wins: float | None = None
    documents: int | None = None
    tokens: int | None = None
    parameters: int | None = None
    share: float | None = None
    audit: str = ""


class CandidatesSummary(Summary):
    """Sampled answers. left_out: how many for which reason.  difficulty: prompts by how the scorer finds them."""

    prompts: int = 0
    answers: int = 0
    truncation_share: float | None = None
    difficulty: dict[str, int] = {}
    left_out: dict[str, int] = {}
    prompts_too_long: int | None = None
    dropped: dict[str, Any] = {}


class AgreementWithPeople(Record):
    """How far a judge says what most people say of the same pairs, each n counting comparisons.

    percent: ties being a choice.  decided: where neither calls a tie.  kappa: Cohen's, of percent, beyond chance.
    """

    percent: Rate | None = None
    decided: Rate | None = None
    kappa: Estimate | None = None


class JudgeBesidePeople(Record):
    """An AI judge held against people where both judged, over all and group by group, {what by: {group: agreement}}.

    longer, first, people_longer, people_first: shares of decided pairs that went to the longer answer, and to the one
    shown first, by the judge and by people on the same comparisons.
    """

    judge: str = ""
    overall: AgreementWithPeople = AgreementWithPeople()
    groups: dict[str, dict[str, AgreementWithPeople]] = {}
    longer: Rate | None = None
    people_longer: Rate | None = None
    first: Rate | None = None
    people_first: Rate | None = None


class PreferencesSummary(Summary):
    """Preferences, as collected, imported or replayed, or answers with thumbs.

    agreement: the raters', ties apart.  skills: by rater.  beside_people: AI judges held against people.
    replay: what a buffer of old and fresh rows is mixed of.  unanswered: by judge, the comparisons on which its
    endpoint gave no answer; accepted_missing: why that, or no verdict at all, would do.
    """

    rows: int | None = None
    prompts: int | None = None
    pairs: int | None = None
    ties: int | None = None
    thumbs_up: int | None = None
    thumbs_down: int | None = None
    left_out: dict[str, int] = {}
    format: str = ""
    dropped: dict[str, Any] = {}
    comparisons: int | None = None
    judgements: int | None = None
    raters: int | None = None
    agreement: float | None = None
    agreement_interval: Rate | None = None
    gates: dict[str, dict[str, str]] = {}
    judgements_left_out: dict[str, int] = {}
    skills: dict[str, float | None] = {}
    judges: list[dict[str, Any]] = []
    beside_people: list[JudgeBesidePeople] = []
    unanswered: dict[str, int] = {}
    accepted_missing: str = ""
    replay: dict[str, Any] | None = None


class RewardSummary(Summary):
    """A reward model: the constants of its z-score, and how it orders pairs it was not trained on.

    best_steps: of each member, the step whose weights an early end kept.
    """

    rows_trained: int | None = None
    rows_too_long: int | None = None
    best_steps: list[int] = []
    mean: float = 0.0
    sd: float = 1.0
    heldout_accuracy: Rate | None = None
    heldout_ties: int | None = None
    slices: dict[str, HeldoutRate] = {}
    longer_wins: float | None = None


class Calibration(Record):
    """How sure a reward model is against how right, and after one temperature; bins: agreement, confidence, n."""

    ece: float | None = None
    ece_after: float | None = None
    temperature: float | None = None
    brier: float | None = None
    reliability: list[dict[str, Any]] = []
    reliability_after: list[dict[str, Any]] = []


class RememberedRound(Record):
    """How a refreshed reward model orders what an earlier round held out, beside the model before it; paired."""

    before: Rate | None = None
    after: Rate | None = None
    change: Estimate | None = None


class AuditMeasures(Record):
    """What an audit measured of a reward model. memory: by round.  training_gap: accuracy there less held out."""

    accuracy: Rate | None = None
    slices: dict[str, Rate] = {}
    strengths: dict[str, Rate] = {}
    difficulties: dict[str, Rate] = {}
    benchmarks: dict[str, Rate] = {}
    outside: dict[str, Rate] = {}
    length_baseline_accuracy: float | None = None
    accuracy_where_longer_preferred: Rate | None = None
    accuracy_where_shorter_preferred: Rate | None = None
    margin_length_correlation: Estimate | None = None
    sides_with_facts: Rate | None = None
    raters_side_with_facts: Rate | None = None
    training_accuracy: Rate | None = None
    training_gap: Estimate | None = None
    disagreement_sd: Estimate | None = None
    memory: dict[str, RememberedRound] = {}
    calibration: Calibration = Calibration()


@dataclass(frozen=True)
class Reason:
    """One figure of an audit beyond its threshold, and what that means, in a sentence."""

    measure: str = ""
    value: float | None = None
    threshold: float | None = None
    level: Literal["ok", "warn", "fail"] = "warn"
    text: str = ""


class AuditSummary(Summary):
    """Whether a reward model may train a policy, and why not."""

    verdict: Literal["pass", "warn", "fail", ""] = ""
    reasons: list[Reason] = []
    accuracy: Rate | None = None
    measures: AuditMeasures = AuditMeasures()


class AnswerFigures(Record):
    """The SFT model's answers (before) against the policy's (after) to the same prompts: all, or those of a slice.

    judge: who decided, said once for all prompts.  correct_..., refusal_...: shares; judge_..., proxy_...: mean scores;
    length_...: mean tokens.
    """

    judge: str = ""
    n: int | None = None
    win_rate: Rate | None = None
    win_rate_length_controlled: Rate | None = None
    judge_before: Estimate | None = None
    judge_after: Estimate | None = None
    judge_difference: Estimate | None = None
    length_before: float | None = None
    length_after: float | None = None
    kl_nats_per_sequence: Estimate | None = None
    correct_before: float | None = None
    correct_after: float | None = None
    correct_difference: Estimate | None = None
    refusal_before: float | None = None
    refusal_after: float | None = None
    refusal_difference: Estimate | None = None
    proxy_before: Estimate | None = None
    proxy_after: Estimate | None = None


class EvaluationSummary(AnswerFigures, Summary):
    """A policy against its reference."""

    slices: dict[str, AnswerFigures] = {}


class GateSummary(Summary):
    """Whether a round's policy becomes the current one. against: win rate against each policy accepted before."""

    moves: bool | None = None
    reasons: list[str] = []
    current: str = ""
    against: dict[str, Rate] = {}
    slices: dict[str, Rate] = {}


class SuiteSides(Record):
    """Rates of the policy and its reference and their differences: {bucket: {measure: figure}}."""

    buckets: dict[str, dict[str, Rate]] = {}
    reference: dict[str, dict[str, Rate]] = {}
    differences: dict[str, dict[str, Difference]] = {}


class BrokenItem(Record):
    """An item that was passed the last time and is not now."""

    suite: str = ""
    id: str = ""
    prompt: str = ""
    detail: str = ""


class Regression(Record):
    """What changed since suites were asked the last time."""

    compared: int | None = None
    newly_broken: int | None = None
    newly_fixed: int | None = None
    broken: list[BrokenItem] = []


class SuitesSummary(Summary, SuiteSides):
    """Suites of checked items. unwanted: measures of which less is better; unchecked: number of items by reason."""

    items: int | None = None
    variants: dict[str, dict[str, Difference]] = {}
    slices: dict[str, SuiteSides] = {}
    unwanted: list[str] = []
    unchecked: dict[str, int] = {}
    regression: Regression | None = None
    harness: dict[str, Any] = {}


class CheckpointFigures(Record):
    """A checkpoint's answers in one slice, beside step 0's. refused: share of them that are refusals."""

    judge_mean: Estimate | None = None
    win_rate: Rate | None = None
    refused: Rate | None = None


class CheckpointQuality(Record):
    """A checkpoint's answers beside step 0's: a row of checkpoints.jsonl, by a judge or by one kind of raters.

    refuses_everything: what a policy that does would score, by aim; on the first row.
    """

    step: int | None = None
    rater_kind: str = ""
    judge_mean: Estimate | None = None
    win_rate: Rate | None = None
    refused: Rate | None = None
    slices: dict[str, CheckpointFigures] = {}
    refuses_everything: dict[str, float] = {}


class FrozenCampaign(PreferencesSummary):
    """What one kind of raters said of checkpoints, and the name of the campaign."""

    name: str = ""


class CampaignSummary(Summary):
    """Campaigns over checkpoints, by who was asked."""

    people: FrozenCampaign | None = None
    judges: FrozenCampaign | None = None
    checkpoints: list[CheckpointQuality] = []


# -------------------------------------------------------------------------------------------------------- inside
def _finite(content: Any) -> Any:
    """Return JSON content with null for numbers that are not finite, and for estimates whose value is none."""
    if isinstance(content, Mapping):
        known = {name: _finite(value) for name, value in content.items()}
        return None if "low" in known and known.get("value", 0.0) is None else known
    if isinstance(content, list | tuple):
        return [_finite(item) for item in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


SUMMARIES: Mapping[str, type[Summary]] = {
    "world": WorldSummary,
    "candidates": CandidatesSummary,
    "policy": PolicySummary,
    "preferences": PreferencesSummary,
    "labelled": PreferencesSummary,
    "reward": RewardSummary,
    "audit": AuditSummary,
    "evaluation": EvaluationSummary,
    "suites": SuitesSummary,
}
"""{kind of artifact: the record of its summary}."""
