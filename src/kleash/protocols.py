"""Every seam of KLeash in one file: what a generator, scorer, comparer, engine, watch or tracker must be able to do.

A built-in and a plug-in meet the loop through the same few methods; `testing.py` has a fake for each. No torch at
run time: services import this file too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kleash.records import Comparison, Completion, JudgeCall, Judgement, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from kleash.data.batches import Rollouts


class Generator(Protocol):
    """Proposes answers: samples from the policy and returns the tokens with their exact log-probabilities."""

    def generate(
        self, prompts: Sequence[Prompt], *, samples_per_prompt: int, seed: int, policy_version: int
    ) -> Rollouts: ...

    def load_weights(self, named_weights: Iterable[tuple[str, Tensor]], *, version: int) -> None: ...


@dataclass(frozen=True)
class Scores:
    """A scorer's verdict: one total per completion and the named parts it is made of (each as long as `total`)."""

    total: Sequence[float]
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)


class Scorer(Protocol):
    """Judges answers one by one: a reward model, an ensemble, rules, or anybody's Python function."""

    def score(self, completions: Sequence[Completion]) -> Scores: ...


class Comparer(Protocol):
    """Judges answers against each other: people, AI judges, simulated labellers."""

    def compare(self, comparisons: Sequence[Comparison]) -> Iterable[Judgement]: ...


class CallLog(Protocol):
    """Where an AI judge keeps its calls, so that none is paid for twice; safe to use from several threads."""

    def find_call(self, key: str) -> JudgeCall | None: ...

    def add_call(self, call: JudgeCall) -> None: ...


@dataclass(frozen=True)
class Outputs:
    """One forward of the trained models over some rows, aligned on the response: all (B, T), nats.

    An engine may show policy and critic one after the other; what it does not show is None.
    """

    logprob_BT: Tensor | None = None
    entropy_BT: Tensor | None = None
    value_BT: Tensor | None = None


class Sized(Protocol):
    """A row to train on, as far as its place in a micro-batch goes."""

    @property
    def num_tokens(self) -> int: ...


class Trainer(Protocol):
    """Steps optimisers over micro-batches and ranks, whatever the rows are: all training goes through one of these."""

    @property
    def rank(self) -> int: ...

    @property
    def num_ranks(self) -> int: ...

    def step(
        self,
        rows: Sequence[Sized],
        compute_loss: Callable[[Outputs, Sequence[int]], Tensor],
        *,
        learning_rate_share: float = 1.0,
    ) -> Mapping[str, float]:
        """Take one optimiser step on the sum of compute_loss over micro-batches and ranks; return its figures.

        compute_loss gets the outputs of a micro-batch and its row numbers into `rows`, and returns a scalar that is
        already divided by the *global* count, so that any split into micro-batches and ranks gives one gradient; one
        that needs no gradient trains nothing, and a network that gets none in a step is not updated.
        Outputs are empty where the trainer holds no models: the loss then runs them itself.
        """

    def sum_across_ranks(self, figures: Mapping[str, float]) -> dict[str, float]:
        """Combine figures over all ranks: names ending in ":max" by maximum, all others by sum."""

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Everything needed to go on exactly from here: tensors, and plain JSON state."""

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None: ...


class TrainingEngine(Trainer, Protocol):
    """Holds the models of online training; the only place that knows devices, precision, adapters and ranks.

    `step` trains on `TokenSequence` rows; log-probabilities of texts are at temperature 1, those of answers at the
    sampling's.
    """

    def annotate(self, rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return (logprob_BT of the present policy, reference_logprob_BT, value_BT or None); no gradient."""

    def named_weights(self) -> Iterable[tuple[str, Tensor]]:
        """Everything the policy samples with, by name, for a generator that holds a copy."""

    def policy_snapshot(self) -> dict[str, Tensor]:
        """The policy's trained weights alone, under names of the engine's own."""

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `policy_snapshot` returned; optimisers are left as they are."""


Action = Literal["continue", "raise_beta", "roll_back", "stop"]


@dataclass(frozen=True)
class WatchDecision:
    """What a watch wants done after a step, and why. `roll_back` ends the run at the best weights seen so far.

    quality: the external signal, higher is better, if one was measured since the last decision; a leash may heed it.
    """

    action: Action = "continue"
    reasons: tuple[str, ...] = ()
    quality: float | None = None


class Watch(Protocol):
    """The one door for alarms, early stopping, best-so-far and roll-back.

    best_step: the updates after which the external signal was best; None while nobody was asked.  reasons: of the last
    decision.
    """

    @property
    def best_step(self) -> int | None: ...

    @property
    def reasons(self) -> tuple[str, ...]: ...

    def note_evaluation(self, step: int, wanted: WatchDecision) -> None:
        """Take in an evaluation after `step` updates: what the alarms want done about it, and how good answers are."""

    def observe(self, step: int, rollouts: Rollouts, metrics: Mapping[str, float]) -> WatchDecision:
        """Say what is to be done after a step."""

    def state(self) -> dict[str, Any]:
        """Plain JSON, so that a resumed run remembers what it saw."""

    def load_state(self, state: Mapping[str, Any]) -> None: ...


class Tracker(Protocol):
    """Where metrics go."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None: ...
