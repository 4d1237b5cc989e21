"""Whether labels are good enough to train on: a few figures of `quality.py` held against bounds.

Alpha and AC1 are reported and never gated alone. A gate opens or shuts on the figure itself; its interval and n are
in the reason, because a figure that misses its bound by less than its interval is a reason to label more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field, model_validator

from kleash.collection.quality import Agreement, RaterRow, gold_accuracy, longer_share, self_consistency
from kleash.collection.recorded import Item, RecordedJudgement
from kleash.maths.intervals import Interval
from kleash.settings import Settings

GateState = Literal["fail", "warn", "unknown", "pass"]
WORST_FIRST: tuple[GateState, ...] = get_args(GateState)


class LabelGateSettings(Settings):
    """The bounds, with the defaults of published practice.

    Agreement has two: at or above `min_agreement` it passes, below it warns, below `warn_agreement` it fails. The
    rule "at least .70, warn under .65" is read so, because labels that agree less than any published system's are not
    fit to train on unseen. The other figures pass or fail.
    """

    min_agreement: float = Field(0.70, ge=0, le=1, description="agreement of raters on decided pairs: below it warns")
    warn_agreement: float = Field(0.65, ge=0, le=1, description="and below this it fails")
    min_gold_accuracy: float = Field(0.80, ge=0, le=1, description="share of easy calibration items answered rightly")
    min_self_consistency: float = Field(0.80, ge=0, le=1, description="share of second looks that change nothing")
    max_longer: float = Field(0.70, ge=0, le=1, description="share of decided pairs won by the longer answer")
    min_n: int = Field(10, ge=1, description="a figure over fewer items or votes is unknown")

    @model_validator(mode="after")
    def _warning_comes_before_failure(self) -> LabelGateSettings:
        if self.warn_agreement > self.min_agreement:
            raise ValueError(
                f"warn_agreement {self.warn_agreement} is above min_agreement {self.min_agreement}; set it lower"
            )
        return self


DEFAULT = LabelGateSettings()


@dataclass(frozen=True)
class Gate:
    """One figure against its bound. reason: a sentence for the person who must act on it."""

    name: str
    state: GateState
    figure: Interval
    reason: str


def campaign_gates(
    measured: Agreement,
    items: Mapping[str, Item],
    recorded: Sequence[RecordedJudgement],
    *,
    settings: LabelGateSettings = DEFAULT,
) -> list[Gate]:
    """Hold a whole campaign against the bounds. measured: `quality.agreement` of the same items and judgements."""
    bounds = (settings.min_agreement, settings.warn_agreement)
    gold, longer = gold_accuracy(items, recorded, easy_only=True), longer_share(items, recorded)
    return [
        _at_least("agreement_without_ties", measured.percent_without_ties, *bounds, min_n=settings.min_n),
        *_habit_gates(gold, self_consistency(recorded), longer, settings),
    ]


def rater_gates(row: RaterRow, *, settings: LabelGateSettings = DEFAULT) -> list[Gate]:
    """Hold one rater against the bounds that a rater alone can miss."""
    return _habit_gates(row.easy_gold_accuracy, row.self_consistency, row.longer, settings)


def worst(gates: Sequence[Gate]) -> GateState:
    """Return the state of the gate that matters most: fail, warn, unknown, and pass only when all pass."""
    return min((gate.state for gate in gates), key=WORST_FIRST.index, default="pass")


def _habit_gates(gold: Interval, consistency: Interval, longer: Interval, settings: LabelGateSettings) -> list[Gate]:
    min_n, most_gold, most_consistent = settings.min_n, settings.min_gold_accuracy, settings.min_self_consistency
    return [
        _at_least("easy_gold_accuracy", gold, most_gold, min_n=min_n),
        _at_least("self_consistency", consistency, most_consistent, min_n=min_n),
        _at_most("longer_preferred", longer, settings.max_longer, min_n=min_n),
    ]


def _at_least(name: str, figure: Interval, bound: float, fails_below: float | None = None, *, min_n: int) -> Gate:
    """Hold a figure against a bound; between it and `fails_below`, where that is lower, it warns."""
    fails_below = bound if fails_below is None else fails_below
    if figure.n < min_n:
        return _unknown(name, figure, min_n)
    if figure.value >= bound:
        return Gate(name, "pass", figure, f"{_shown(figure)} is at least {bound:.2f}.")
    if figure.value >= fails_below:
        return Gate(name, "warn", figure, f"{_shown(figure)} is below {bound:.2f}, though not below {fails_below:.2f}.")
    return Gate(name, "fail", figure, f"{_shown(figure)} is below {fails_below:.2f}.{_doubt(figure, fails_below)}")


def _at_most(name: str, figure: Interval, bound: float, *, min_n: int) -> Gate:
    if figure.n < min_n:
        return _unknown(name, figure, min_n)
    if figure.value <= bound:
        return Gate(name, "pass", figure, f"{_shown(figure)} is at most {bound:.2f}.")
    return Gate(name, "fail", figure, f"{_shown(figure)} is above {bound:.2f}.{_doubt(figure, bound)}")


def _unknown(name: str, figure: Interval, min_n: int) -> Gate:
    return Gate(name, "unknown", figure, f"Only {figure.n} to go by, and it takes {min_n}. Collect more.")


def _doubt(figure: Interval, bound: float) -> str:
    return " The interval reaches the bound: more labels may change this." if figure.low <= bound <= figure.high else ""


def _shown(figure: Interval) -> str:
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f}, n = {figure.n})"
