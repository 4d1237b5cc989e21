"""What a run comes to, as records: `summary.json`. Read `stages/summary.py` next for how it is made. No torch here."""

from __future__ import annotations

from pydantic import Field

from kleash.estimates import Estimate, Rate
from kleash.results import PreferencesSummary, Record


class HeldoutTotals(Record):
    """How something trained on pairs orders those it was not trained on; longer_wins: what length alone would reach."""

    heldout_accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    longer_wins: float | None = None

    @property
    def accuracy(self) -> Rate | None:
        if self.heldout_accuracy is None:
            return None
        return Rate(self.heldout_accuracy, self.low, self.high, self.n)


class JudgedSide(Record):
    """The judge's mean score of one side's answers; the gold reward has a name of its own."""

    gold_mean: float | None = None
    judge_mean: float | None = None
    interval: Estimate | None = None


class SliceSummary(Record):
    """The SFT model's answers against the policy's in one slice."""

    gold_sft: float | None = None
    gold_policy: float | None = None
    judge_sft: float | None = None
    judge_policy: float | None = None
    kl_nats_per_sequence: float | None = None
    length_sft: float | None = None
    length_policy: float | None = None
    win_rate: float | None = None
    n: int | None = None
    correct_sft: float | None = None
    correct_policy: float | None = None
    correct_difference: Estimate | None = None
    refusal_sft: float | None = None
    refusal_policy: float | None = None
    refusal_difference: Estimate | None = None

    @property
    def before(self) -> float | None:
        return self.judge_sft if self.gold_sft is None else self.gold_sft

    @property
    def after(self) -> float | None:
        return self.judge_policy if self.gold_policy is None else self.gold_policy

    @property
    def gain(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before


class RoundSummary(Record):
    """One round of a run, and what its gate said."""

    round: str = ""
    seconds: float | None = None
    moves: bool | None = None
    reasons: list[str] = Field(default_factory=list)
    against: dict[str, Rate] = Field(default_factory=dict)
    pairs: int | None = None
    heldout_accuracy: float | None = None
    win_rate: Rate | None = None
    judge_mean: float | None = None
    kl_nats_per_sequence: float | None = None


class RunSummary(Record):
    """What a run came to: summary.json, which `kleash summary --json` prints.

    seconds: by stage, and in total.  kl_target_nats: what the leash aimed at, if it aimed.  audit: of the reward model
    that trained the policy.  slices: by name, the dimension `topic` left out of it.  unfinished: stages still to do.
    artifacts: the ids of all that the run made, by round and stage.
    """

    name: str = ""
    seed: int | None = None
    seconds: dict[str, float | None] = Field(default_factory=dict)
    preferences: PreferencesSummary | None = None
    reward_model: HeldoutTotals | None = None
    direct: HeldoutTotals | None = None
    beta_final: float | None = None
    kl_target_nats: float | None = None
    outcome: str = ""
    audit: str = ""
    judge: str = ""
    sft: JudgedSide | None = None
    policy: JudgedSide | None = None
    win_rate: Rate | None = None
    kl_nats_per_sequence: float | None = None
    slices: dict[str, SliceSummary] = Field(default_factory=dict)
    peak_rss_mb: float | None = None
    rounds: list[RoundSummary] = Field(default_factory=list)
    unfinished: list[str] = Field(default_factory=list)
    artifacts: dict[str, str] = Field(default_factory=dict)
