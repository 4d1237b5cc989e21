"""A reward model as a scorer: raw scores z-scored by constants frozen on the reference policy, then clipped.

Frozen constants make the KL penalty, the missing-EOS penalty and the value clip mean the same after every refresh of
the reward model. Answers are scored on the tokens that were sampled, if these are the reward model's own; all else
is encoded from its text. One that was made elsewhere reads every whole answer as text, to where its template ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import torch

from kleash.data.batches import TokenSequence
from kleash.errors import DataError, SettingsError
from kleash.maths.bradley_terry import normalise_reward
from kleash.models.chat import tokenizer_digest
from kleash.models.folders import Loading
from kleash.models.forward import sequence_scores
from kleash.models.heads import RewardNormaliser, ScalarModel
from kleash.models.reward_models import load_reward_model, member_folders
from kleash.protocols import Scorer, Scores
from kleash.records import Completion


class RewardModelScorer:
    """Scores answers with one reward model: total = clip((raw - mean) / sd, -z_clip, z_clip).

    Parts: "raw", before normalisation, and "clipped_share", 1 where the clip acted; a mean above .05 is a sign of
    over-optimisation.
    max_batch_tokens: padded tokens of one forward pass.
    """

    def __init__(
        self,
        model: ScalarModel,
        normaliser: RewardNormaliser,
        *,
        z_clip: float = 5.0,
        max_batch_tokens: int = 4096,
    ) -> None:
        if not z_clip > 0 or not (normaliser.sd > 0 and math.isfinite(normaliser.sd + normaliser.mean)):
            raise SettingsError(
                f"Rewards cannot be normalised with mean {normaliser.mean}, sd {normaliser.sd} and clip {z_clip}. "
                "Expected finite numbers, sd and clip above 0. Measure the normaliser again, or correct the clip."
            )
        normaliser.warn_of_precision(model)
        self.model = model
        self.normaliser = normaliser
        self.z_clip = z_clip
        self.max_batch_tokens = max_batch_tokens
        self.own_tokenizer = tokenizer_digest(model.tokenizer)

    @torch.no_grad()
    def score(self, completions: Sequence[Completion]) -> Scores:
        """Return clipped z-scores; each answer is read up to and with its first EOS, if it has one.

        Raises DataError for a score that is not a number.
        """
        sequences = [self._sequence(completion) for completion in completions]
        raw_B = sequence_scores(self.model, sequences, max_tokens=self.max_batch_tokens).cpu()
        _require_finite(raw_B.tolist(), completions)
        scored = normalise_reward(raw_B, mean=self.normaliser.mean, sd=self.normaliser.sd, clip=self.z_clip)
        return Scores(
            total=scored.reward_B.tolist(),
            parts={"raw": raw_B.tolist(), "clipped_share": scored.is_clipped_B.float().tolist()},
        )

    def _sequence(self, completion: Completion) -> TokenSequence:
        rendering, prompt = self.model.rendering, completion.prompt
        is_cut_off = completion.finish_reason == "length"
        has_own_ids = completion.token_ids and completion.tokenizer == self.own_tokenizer
        if has_own_ids and (is_cut_off or not rendering.ends_as_served):
            return TokenSequence(rendering.encode_prompt(prompt), _up_to_eos(completion.token_ids, rendering.eos_ids))
        if not is_cut_off:
            return rendering.encode(prompt, completion.text)
        response_ids = rendering.encode_response(prompt, completion.text)
        cut_ids = response_ids[:-1] if len(response_ids) > 1 else response_ids
        return TokenSequence(rendering.encode_prompt(prompt), cut_ids)


def load_scorer(
    folder: str | Path,
    *,
    z_clip: float = 5.0,
    max_batch_tokens: int = 4096,
    **loading: Unpack[Loading],
) -> RewardModelScorer:
    """Load a reward artifact, or any Hugging Face sequence-classification folder with one label, as a scorer.

    Of an ensemble it is the first member (`load_members` has all). A folder without a normaliser is taken as it
    scores: mean 0, sd 1. Without `dtype` it scores in the precision in which its scale was measured.
    Raises ModelError for what is no reward model.
    """
    normaliser = RewardNormaliser.load(folder)
    loading.setdefault("dtype", normaliser.measured_with.get("dtype", "float32"))
    return RewardModelScorer(
        load_reward_model(folder, **loading),
        normaliser,
        z_clip=z_clip,
        max_batch_tokens=max_batch_tokens,
    )


def load_members(folder: str | Path, *, z_clip: float = 5.0, **loading: Unpack[Loading]) -> list[Scorer]:
    """Load every member of a reward artifact as a scorer, each normalised by itself; most artifacts have one."""
    return [load_scorer(member, z_clip=z_clip, **loading) for member in member_folders(folder)]


def _up_to_eos(token_ids: tuple[int, ...], eos_ids: tuple[int, ...]) -> tuple[int, ...]:
    end = next((index + 1 for index, token in enumerate(token_ids) if token in eos_ids), len(token_ids))
    return token_ids[:end]


def _require_finite(raw: Sequence[float], completions: Sequence[Completion]) -> None:
    for score, completion in zip(raw, completions, strict=True):
        if not math.isfinite(score):
            raise DataError(
                f"The reward model scored the answer {completion.text[:80]!r} to {completion.prompt.text[:60]!r} "
                f"{score}. Expected a finite number. Check the reward model with `kleash audit`; load it in float32."
            )
