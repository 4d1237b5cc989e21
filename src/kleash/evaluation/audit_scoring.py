"""What is audited, behind one small face: it scores answers, and says which ones it can read at all.

`ModelReader` is any reward model, ours or a sequence-classification folder from elsewhere; `ScorerReader` is anybody's
scorer, such as a Python function. Scores are raw: neither normalised nor clipped. A state is what a model's head reads,
the pooled hidden vector of one answer; `outside_share` says how many lie outside what the model was trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kleash.data.batches import TokenSequence
from kleash.errors import DataError
from kleash.evaluation.probe_gains import Answer
from kleash.maths.intervals import Interval, wilson_interval
from kleash.models.forward import micro_batches
from kleash.models.heads import ScalarModel
from kleash.protocols import Scorer
from kleash.records import Completion

States = NDArray[np.float64]
OnRead = Callable[[int], None]

PERCENTILE = 99.0
MIN_STATES = 20


def _nobody_listens(num_read: int) -> None:
    """Hear nothing."""


class Reader(Protocol):
    """What an audit needs of a reward model. on_read: hears how many more answers were read."""

    on_read: OnRead

    def score(self, answers: Sequence[Answer]) -> list[float]: ...

    def fits(self, answer: Answer) -> bool: ...

    def can_read(self, answer: Answer) -> bool: ...

    def length(self, answer: Answer) -> int: ...


class ModelReader:
    """A reward model that reads answers as its training did: whole, with the EOS that ends them.

    others: further members of an ensemble; the score is the mean of all, the rest is as the first one reads.
    max_batch_tokens: padded tokens of one forward pass.
    """

    def __init__(
        self,
        model: ScalarModel,
        *,
        others: Sequence[ScalarModel] = (),
        max_batch_tokens: int = 4096,
    ) -> None:
        self.model = model
        self.others = others
        self.max_batch_tokens = max_batch_tokens
        self.on_read: OnRead = _nobody_listens
        self._sequence_of: dict[Answer, TokenSequence] = {}
        self._score_of: dict[Answer, float] = {}

    def score(self, answers: Sequence[Answer]) -> list[float]:
        """Return one raw score per answer; an answer is read once, however often it is asked about."""
        fresh = [answer for answer in dict.fromkeys(answers) if answer not in self._score_of]
        if fresh:
            read_MN = torch.stack([self._read(fresh, by)[0] for by in (self.model, *self.others)])
            self._score_of.update(zip(fresh, read_MN.mean(dim=0).tolist(), strict=True))
        return [self._score_of[answer] for answer in answers]

    def states(self, answers: Sequence[Answer]) -> NDArray[np.float64]:
        """Return what the head reads of each answer, (N, D): the pooled hidden state."""
        return self._read(answers, self.model)[1].double().numpy()

    def fits(self, answer: Answer) -> bool:
        """Say whether prompt and answer are within the model's positions."""
        return self._sequence(answer).num_tokens <= self.model.max_positions

    def can_read(self, answer: Answer) -> bool:
        """Say whether the answer fits and holds no word that the tokenizer does not know."""
        unknown = self.model.tokenizer.unk_token_id
        return self.fits(answer) and (unknown is None or unknown not in self._sequence(answer).response_ids)

    def length(self, answer: Answer) -> int:
        """Return the answer's length in the model's own tokens."""
        return len(self._sequence(answer).response_ids)

    @torch.no_grad()
    def _read(self, answers: Sequence[Answer], model: ScalarModel) -> tuple[torch.Tensor, torch.Tensor]:
        sequences = [self._sequence(answer) for answer in answers]
        score_N = torch.zeros(len(sequences))
        state_ND = torch.zeros(len(sequences), model.head.in_features)
        seen: list[torch.Tensor] = []
        hook = model.head.register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0]))
        try:
            for rows, batch in micro_batches(sequences, model, max_tokens=self.max_batch_tokens):
                score_N[rows] = model.score(batch).float().cpu()
                state_ND[rows] = seen.pop().float().cpu()
                self.on_read(len(rows))
        finally:
            hook.remove()
        return score_N, state_ND

    def _sequence(self, answer: Answer) -> TokenSequence:
        if answer not in self._sequence_of:
            self._sequence_of[answer] = self.model.rendering.encode(*answer)
        return self._sequence_of[answer]


class ScorerReader:
    """Any scorer: it reads every text, and length is counted in words."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.on_read: OnRead = _nobody_listens

    def score(self, answers: Sequence[Answer]) -> list[float]:
        """Return one score per answer."""
        records = [Completion(prompt, text, finish_reason="stop") for prompt, text in answers]
        scores = list(self.scorer.score(records).total)
        self.on_read(len(scores))
        return scores

    def fits(self, answer: Answer) -> bool:
        return True

    def can_read(self, answer: Answer) -> bool:
        return True

    def length(self, answer: Answer) -> int:
        return len(answer[1].split())


def outside_share(training_ND: States, other_MD: States) -> Interval:
    """Return the share of other states farther out than the 99th percentile of the training states; .01 = all alike.

    Mean and covariance are estimated on every other training state and the percentile on those between: on its own
    states a covariance finds everything near.
    Raises DataError with too few training states.
    Source: Lee et al. 2018, arXiv:1807.03888; shrinkage: Ledoit and Wolf 2004.
    """
    if len(training_ND) < 2 * MIN_STATES:
        raise DataError(
            f"There are states of {len(training_ND)} training answers. Expected at least {2 * MIN_STATES} to say what "
            "is usual. Give more preference pairs, or leave the reference out."
        )
    from sklearn.covariance import LedoitWolf

    # A model's last states can have a few huge dimensions; on one scale the shrinkage treats all of them alike.
    scale_D = training_ND.std(axis=0) + 1e-8
    fitted = LedoitWolf().fit(training_ND[::2] / scale_D)
    border = np.percentile(fitted.mahalanobis(training_ND[1::2] / scale_D), PERCENTILE)
    return wilson_interval(int((fitted.mahalanobis(other_MD / scale_D) > border).sum()), len(other_MD))
