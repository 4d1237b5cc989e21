"""A fake for every seam of `protocols.py`: small, deterministic, honest, for our tests and for plug-in authors.

They are working parts rather than mocks: `TabularPolicy` is the smallest policy there is, `FakeGenerator` samples from
it and `FakeEngine` trains it, so that the real loop runs on them in milliseconds. Nothing here loads a model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Tensor

from kleash.data.batches import Rollouts, TokenBatch, TokenSequence, derived_seed, token_batch
from kleash.protocols import Outputs, Scores, WatchDecision
from kleash.records import Comparison, Completion, Judgement, Prompt


class TabularPolicy(torch.nn.Module):
    """One distribution over tokens, the same at every position: its logits are all its weights.

    It also answers as a `LanguageModel` does, so that `LocalEngine` trains it.
    """

    pad_id = 0
    is_exact = True
    device = torch.device("cpu")

    def __init__(self, probabilities: Sequence[float]) -> None:
        super().__init__()
        self.logits_V = torch.nn.Parameter(torch.tensor(probabilities).log())

    @property
    def probabilities(self) -> Tensor:
        return torch.softmax(self.logits_V.detach(), dim=0)

    def response_outputs(
        self, batch: TokenBatch, *, temperature: float = 1.0, value_head: torch.nn.Module | None = None
    ) -> Outputs:
        """Return log-probability and entropy of each response token; a value head reads the state (1,) everywhere."""
        logprob_V = torch.log_softmax(self.logits_V / temperature, dim=0)
        mask_BT = batch.response_mask_BT
        zero_BT = torch.zeros(mask_BT.shape)
        entropy_BT = (-(logprob_V.exp() * logprob_V).sum()).expand_as(mask_BT).where(mask_BT, zero_BT)
        value_BT = None
        if value_head is not None:
            value_BT = zero_BT.masked_scatter(mask_BT, value_head(torch.ones(int(mask_BT.sum()), 1)))
        return Outputs(zero_BT.masked_scatter(mask_BT, logprob_V[batch.response_ids_N()]), entropy_BT, value_BT)

    def trainable_parameters(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        return self.named_parameters()

    def named_weights(self) -> Iterable[tuple[str, Tensor]]:
        return self.named_parameters()


@dataclass
class FakeGenerator:
    """A `Generator` that samples answers from a `TabularPolicy`; an answer's text is its token ids, as words.

    An answer ends with one of eos_ids, or at max_new_tokens. `version` is that of the weights loaded last.
    """

    policy: TabularPolicy
    max_new_tokens: int
    eos_ids: Collection[int]
    version: int = 0

    def generate(
        self, prompts: Sequence[Prompt], *, samples_per_prompt: int, seed: int, policy_version: int
    ) -> Rollouts:
        num_rows = len(prompts) * samples_per_prompt
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(
            self.policy.probabilities, num_rows * self.max_new_tokens, replacement=True, generator=generator
        )
        answers = [self._cut(row) for row in drawn.view(num_rows, -1).tolist()]
        sequences = tuple(TokenSequence((0,), answer) for answer in answers)
        with torch.no_grad():
            batch = token_batch(sequences, pad_id=0)
            logprob_BT = self.policy.response_outputs(batch).logprob_BT
        assert logprob_BT is not None
        return Rollouts(
            prompts=tuple(prompt for prompt in prompts for _ in range(samples_per_prompt)),
            sequences=sequences,
            texts=tuple(" ".join(map(str, answer)) for answer in answers),
            logprob_BT=logprob_BT,
            mask_BT=batch.response_mask_BT,
            is_finished_B=torch.tensor([answer[-1] in self.eos_ids for answer in answers]),
            samples_per_prompt=samples_per_prompt,
            policy_version=policy_version,
            seeds=tuple(derived_seed(seed, row) for row in range(num_rows)),
        )

    def load_weights(self, named_weights: Iterable[tuple[str, Tensor]], *, version: int) -> None:
        """Copy the weights; nothing changes when the policy is the very one that is trained."""
        self.policy.load_state_dict(dict(named_weights))
        self.version = version

    def _cut(self, tokens: Sequence[int]) -> tuple[int, ...]:
        length = next((index + 1 for index, token in enumerate(tokens) if token in self.eos_ids), len(tokens))
        return tuple(tokens[:length])


@dataclass(eq=False)
class FakeEngine:
    """A `TrainingEngine` that trains a `TabularPolicy`, and one number as critic, by plain gradient descent.

    rows_per_micro_batch: how it splits a step. `sum_across_ranks` is the identity: it is alone.
    """

    rank = 0
    num_ranks = 1

    policy: TabularPolicy
    _: KW_ONLY
    learning_rate: float = 0.1
    uses_critic: bool = False
    rows_per_micro_batch: int = 1000

    def __post_init__(self) -> None:
        self.reference = TabularPolicy(self.policy.probabilities.tolist())
        self.value = torch.nn.Parameter(torch.zeros(())) if self.uses_critic else None
        self.rate_shares: list[float] = []

    @torch.no_grad()
    def annotate(self, rollouts: Rollouts) -> tuple[Tensor, Tensor, Tensor | None]:
        batch = token_batch(rollouts.sequences, pad_id=0)
        reference_BT = self.reference.response_outputs(batch).logprob_BT
        assert reference_BT is not None
        return rollouts.logprob_BT, reference_BT, self._values(batch)

    def step(
        self,
        rows: Sequence[Any],
        compute_loss: Callable[[Outputs, Sequence[int]], Tensor],
        *,
        learning_rate_share: float = 1.0,
    ) -> Mapping[str, float]:
        self.rate_shares.append(learning_rate_share)
        for start in range(0, len(rows), self.rows_per_micro_batch):
            chosen = range(start, min(start + self.rows_per_micro_batch, len(rows)))
            batch = token_batch([rows[row] for row in chosen], pad_id=0)
            seen = self.policy.response_outputs(batch)
            compute_loss(Outputs(seen.logprob_BT, seen.entropy_BT, self._values(batch)), chosen).backward()
        optimizer = torch.optim.SGD(self._weights(), lr=self.learning_rate * learning_rate_share)
        optimizer.step()
        norm = torch.nn.utils.get_total_norm([w.grad for w in self._weights() if w.grad is not None])
        optimizer.zero_grad()
        return {"gradient_norm": float(norm)}

    def sum_across_ranks(self, figures: Mapping[str, float]) -> dict[str, float]:
        return dict(figures)

    def named_weights(self) -> Iterable[tuple[str, Tensor]]:
        return self.policy.named_weights()

    def snapshot(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {f"weight_{index}": weight.detach().clone() for index, weight in enumerate(self._weights())}, {}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        with torch.no_grad():
            for index, weight in enumerate(self._weights()):
                weight.copy_(tensors[f"weight_{index}"])

    def policy_snapshot(self) -> dict[str, Tensor]:
        return {"logits_V": self.policy.logits_V.detach().clone()}

    def restore_policy(self, tensors: Mapping[str, Tensor]) -> None:
        self.policy.load_state_dict(tensors)

    def _weights(self) -> list[torch.nn.Parameter]:
        return [self.policy.logits_V] if self.value is None else [self.policy.logits_V, self.value]

    def _values(self, batch: TokenBatch) -> Tensor | None:
        return None if self.value is None else self.value * batch.response_mask_BT


class FakeScorer:
    """A `Scorer` by a function of one answer; `parts` are named functions more."""

    def __init__(self, total: Callable[[Completion], float], **parts: Callable[[Completion], float]) -> None:
        self.total = total
        self.parts = parts

    def score(self, completions: Sequence[Completion]) -> Scores:
        parts = {name: [part(completion) for completion in completions] for name, part in self.parts.items()}
        return Scores([self.total(completion) for completion in completions], parts)


@dataclass
class FakeComparer:
    """A `Comparer` that ranks texts by a number, equal ones tied; `raters` all say the same."""

    worth: Callable[[str], float]
    raters: Sequence[str] = ("fake",)

    def compare(self, comparisons: Sequence[Comparison]) -> Iterable[Judgement]:
        for comparison in comparisons:
            worths = [self.worth(text) for text in comparison.completions]
            ranks = tuple(1 + sum(other > own for other in worths) for own in worths)
            for rater in self.raters:
                yield Judgement(comparison.id, rater, "rule", tuple(range(len(worths))), outcome="ranked", ranks=ranks)


@dataclass
class ScriptedWatch:
    """A `Watch` that says at each step what it was told to say, and remembers what it was shown."""

    verdicts: Mapping[int, WatchDecision] = field(default_factory=dict)
    steps: list[int] = field(default_factory=list)
    best_step: int | None = None
    reasons: tuple[str, ...] = ()

    def note_evaluation(self, step: int, wanted: WatchDecision) -> None:
        """Take every evaluation for the best."""
        self.best_step = step

    def observe(self, step: int, rollouts: Rollouts, metrics: Mapping[str, float]) -> WatchDecision:
        self.steps.append(step)
        return self.verdicts.get(step, WatchDecision())

    def state(self) -> dict[str, Any]:
        return {"steps": list(self.steps)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.steps = list(state["steps"])


@dataclass
class ListTracker:
    """A `Tracker` that keeps its rows in memory."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.append({"step": step, **metrics})
