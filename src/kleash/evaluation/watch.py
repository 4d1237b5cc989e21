"""The watch over a training run: bounds at every step, and what the alarms of the last evaluation want done.

What the alarms go by stands in `symptoms.py`, what they make of it in `alarms.py`. The watch implements
`protocols.Watch`; the loop knows nothing else of it. Its memory is plain JSON and part of every checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from kleash.data.batches import Rollouts
from kleash.maths.intervals import chance_below_zero
from kleash.protocols import WatchDecision

# Standard errors that KL must lie above its bound by; those of answers whose true KL is the bound.
ERRORS_ABOVE = 3.0
_REMEMBERED = ("best_value", "best_step", "num_without_better", "fresh_quality")
WATCHED = ("kl_nats_per_sequence", "score_mean", "policy_loss")


@dataclass
class Stretch:
    """The updates of late over which KL lies beyond a bound, taken together: few answers an update tell little apart.

    beyond_nats: by how much, added up over their answers; where that falls to zero, a stretch begins anew (CUSUM).
    """

    num_answers: float = 0.0
    beyond_nats: float = 0.0

    def add(self, beyond_nats: float, num_answers: float) -> None:
        self.beyond_nats += beyond_nats * num_answers
        self.num_answers += num_answers
        if self.beyond_nats <= 0:
            self.num_answers = self.beyond_nats = 0.0

    @property
    def mean_nats(self) -> float:
        return self.beyond_nats / self.num_answers if self.num_answers else 0.0


class BoundsWatch:
    """Ends a run that has gone wrong, or that no longer gets better by a score the policy is not trained on.

    max_kl_nats: KL per sequence above which the run stops; None = no bound.  min_kl_nats: mean KL cannot truly be
    negative, so a mean below this is a fault in the log-probabilities. Both are held against what chance does to the
    mean of so few answers, over as many updates as they last.  patience: evaluations without a better external score
    before the run stops; None = never.
    """

    def __init__(
        self, *, max_kl_nats: float | None = None, min_kl_nats: float = -0.5, patience: int | None = None
    ) -> None:
        self.max_kl_nats = max_kl_nats
        self.min_kl_nats = min_kl_nats
        self.patience = patience
        self.below_zero, self.above_bound = Stretch(), Stretch()
        self.best_value: float | None = None
        self.best_step: int | None = None
        self.num_without_better = 0
        self.fresh_quality: float | None = None
        self.wanted = WatchDecision()
        self.reasons: tuple[str, ...] = ()

    def observe(self, step: int, rollouts: Rollouts, metrics: Mapping[str, float]) -> WatchDecision:
        """Judge one step's figures; pass on, once, an external score and what alarms want since the last step."""
        quality, self.fresh_quality = self.fresh_quality, None
        wanted, self.wanted = self.wanted, WatchDecision()
        verdict = self._bounds(step, metrics)
        if verdict.action == "continue":
            verdict = replace(wanted, quality=quality)
        self.reasons = verdict.reasons
        return verdict

    def note_evaluation(self, step: int, wanted: WatchDecision) -> None:
        """Take in what an evaluation came to: its action is due after the next step, its quality may be the best."""
        self.wanted = WatchDecision(wanted.action, wanted.reasons)
        if wanted.quality is None:
            return
        self.fresh_quality = wanted.quality
        if self.best_value is None or wanted.quality > self.best_value:
            self.best_value, self.best_step, self.num_without_better = wanted.quality, step, 0
        else:
            self.num_without_better += 1

    def state(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in _REMEMBERED},
            "wanted": self.wanted.action,
            "wanted_reasons": list(self.wanted.reasons),
            "reasons": list(self.reasons),
            "below_zero": asdict(self.below_zero),
            "above_bound": asdict(self.above_bound),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        for name in _REMEMBERED:
            setattr(self, name, state[name])
        self.wanted = WatchDecision(state["wanted"], tuple(state["wanted_reasons"]))
        self.reasons = tuple(state["reasons"])
        # Checkpoints of 0.2.0 hold no stretches.
        self.below_zero, self.above_bound = (Stretch(**state.get(name, {})) for name in ("below_zero", "above_bound"))

    def _bounds(self, step: int, metrics: Mapping[str, float]) -> WatchDecision:
        for name in WATCHED:
            if name in metrics and not math.isfinite(metrics[name]):
                return WatchDecision("roll_back", (f"{name} is {metrics[name]} at step {step}",))
        kl_nats, num_answers = metrics["kl_nats_per_sequence"], metrics["answers"]
        below, above = self.below_zero, self.above_bound
        below.add(-kl_nats, num_answers)
        chance = chance_below_zero(below.num_answers)
        if below.mean_nats > max(-self.min_kl_nats, chance):
            reason = (
                f"mean KL is {-below.mean_nats:.3f} nats over {below.num_answers:,.0f} answers up to step {step}; it "
                f"cannot be negative, and chance goes no lower than {-chance:.3f}: log-probabilities disagree"
            )
            return WatchDecision("stop", (reason,))
        if self.max_kl_nats is not None:
            above.add(kl_nats - self.max_kl_nats, num_answers)
            # Of k1 the variance is about twice its mean.
            chance = ERRORS_ABOVE * math.sqrt(2 * self.max_kl_nats / max(above.num_answers, 1.0))
            if above.mean_nats > chance:
                reason = (
                    f"KL is {self.max_kl_nats + above.mean_nats:.2f} nats per sequence over {above.num_answers:,.0f} "
                    f"answers up to step {step}, above the bound of {self.max_kl_nats:.2f} by more than {chance:.2f}"
                )
                return WatchDecision("roll_back" if self.best_step is not None else "stop", (reason,))
        if self.patience is not None and self.num_without_better >= self.patience:
            reason = f"no better external score in {self.patience} evaluations; the best was at step {self.best_step}"
            return WatchDecision("roll_back", (reason,))
        return WatchDecision()
