"""The local generator: prompts in, sampled answers out, from a language model in this process.

Sampling is from the full softmax at the given temperature, so that the log-probabilities returned are exactly those of
the distribution sampled from. Random numbers belong to the sequence: answer g to a prompt uses numbers derived from
(seed, prompt, g) alone, so batch size and order do not matter (rounding apart). Nothing is ever tokenized again.
Read `decoding.py` next for how a batch is decoded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from kleash.data.batches import Rollouts, TokenSequence, derived_seed, pack_by_tokens
from kleash.errors import DataError, ModelError, SettingsError
from kleash.models.causal_lm import LanguageModel
from kleash.models.chat import decode_response, tokenizer_digest
from kleash.records import Prompt
from kleash.rollout.choosing import ALL_TOKENS, Among
from kleash.rollout.decoding import Answer, Ask, sample_answers, stream_tokens
from kleash.settings import Settings

_BROKEN_CHARACTER = "\N{REPLACEMENT CHARACTER}"


class SamplingSettings(Settings):
    """How a policy answers prompts."""

    max_new_tokens: int = Field(64, ge=1, description="of an answer, its end included; longer ones are cut off")
    max_prompt_tokens: int = Field(512, ge=1, description="longer prompts are left out")
    temperature: float = Field(1.0, ge=0, description="0 = the likeliest token each time")
    top_k: int | None = Field(None, ge=1, description="sample from so many likeliest tokens alone; none = all")
    top_p: float = Field(1.0, gt=0, le=1, description="sample from the likeliest tokens that hold this share; 1 = all")

    def prompt_room(self, model: LanguageModel) -> int:
        """Return how long a prompt may be, so that the model has positions left for a whole answer."""
        return min(self.max_prompt_tokens, model.max_positions - self.max_new_tokens)


def answer_prompts(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    sampling: SamplingSettings,
    *,
    seed: int,
    samples_per_prompt: int = 1,
    policy_id: str = "",
    on_done: Callable[[int], None] = lambda num_done: None,
) -> Rollouts:
    """Have a policy answer prompts that fit (`support/encoding.py` leaves out the others); see `LocalGenerator`."""
    generator = generator_of(model, sampling, policy_id=policy_id, on_done=on_done)
    return generator.generate(prompts, samples_per_prompt=samples_per_prompt, seed=seed, policy_version=0)


def generator_of(model: LanguageModel, sampling: SamplingSettings, **more: Any) -> LocalGenerator:
    """Return the generator that answers as the settings say. more: further arguments of `LocalGenerator`."""
    return LocalGenerator(
        model,
        max_new_tokens=sampling.max_new_tokens,
        temperature=sampling.temperature,
        among=Among(sampling.top_k, sampling.top_p),
        **more,
    )


@dataclass(eq=False)
class LocalGenerator:
    """A `Generator` over a language model of this process.

    max_new_tokens: per answer, the EOS included; less where prompt and answer would pass the model's positions.
    temperature: 0 takes the likeliest token each time, for evaluation; log-probabilities are then at temperature 1.
    among: sample from fewer tokens, for evaluation; log-probabilities are then still those of the full softmax.
    max_batch_tokens: bounds the memory of the cache: answers sampled at once x the longest prompt and answer together.
    shares_weights: somebody trains this very model, so `load_weights` has nothing to copy.
    on_done: called with the number of answers each time some have ended.
    Raises SettingsError for a limit below 1 or a temperature below 0.
    """

    language_model: LanguageModel
    _: KW_ONLY
    max_new_tokens: int
    temperature: float = 1.0
    among: Among = ALL_TOKENS
    max_batch_tokens: int = 65_536
    policy_id: str = ""
    shares_weights: bool = True
    on_done: Callable[[int], None] = lambda num_done: None
    version: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.max_batch_tokens < 1 or not 0 <= self.temperature < math.inf:
            raise SettingsError(
                f"Answers cannot be sampled with max_new_tokens = {self.max_new_tokens}, max_batch_tokens = "
                f"{self.max_batch_tokens}, temperature = {self.temperature}. Expected limits of at least 1 and a "
                "temperature of at least 0. Correct the settings."
            )

    def generate(
        self, prompts: Sequence[Prompt], *, samples_per_prompt: int, seed: int, policy_version: int
    ) -> Rollouts:
        """Sample answers; row p * samples_per_prompt + g of the result is answer g to prompt p.

        A prompt given twice gets different answers each time. Raises DataError for a prompt that leaves no room for
        an answer, before anything is sampled, and RunError when the model's probabilities are not numbers.
        """
        asks = self._asks(prompts, samples_per_prompt, seed)
        answers: dict[int, Answer] = {}
        num_tokens = [len(ask.prompt_ids) + ask.max_new_tokens for ask in asks]
        for rows in pack_by_tokens(num_tokens, max_tokens=self.max_batch_tokens, max_padding_share=1.0):
            group = [asks[row] for row in rows]
            sampled = sample_answers(
                self.language_model, group, temperature=self.temperature, among=self.among, on_done=self.on_done
            )
            answers.update(zip(rows, sampled, strict=True))
        tokenizer = self.language_model.tokenizer
        in_order = [answers[row] for row in range(len(asks))]
        logprob_BT, mask_BT = _padded_logprobs(in_order)
        return Rollouts(
            prompts=tuple(prompt for prompt in prompts for _ in range(samples_per_prompt)),
            sequences=tuple(
                TokenSequence(ask.prompt_ids, answer.token_ids) for ask, answer in zip(asks, in_order, strict=True)
            ),
            texts=tuple(decode_response(tokenizer, answer.token_ids) for answer in in_order),
            logprob_BT=logprob_BT,
            mask_BT=mask_BT,
            is_finished_B=torch.tensor([answer.is_finished for answer in in_order], dtype=torch.bool),
            samples_per_prompt=samples_per_prompt,
            policy_id=self.policy_id,
            policy_version=policy_version,
            temperature=self.temperature,
            seeds=tuple(ask.seed for ask in asks),
            tokenizer=tokenizer_digest(tokenizer),
        )

    def stream(self, prompt: Prompt, *, seed: int) -> Iterator[str]:
        """Sample one answer and yield its text piece by piece; together the text that `generate` would return.

        A piece ends where a character does, so that one spread over several tokens appears whole.
        """
        [ask] = self._asks([prompt], 1, seed)
        token_ids: list[int] = []
        shown = ""
        for token in stream_tokens(self.language_model, ask, temperature=self.temperature, among=self.among):
            token_ids.append(token)
            text = decode_response(self.language_model.tokenizer, token_ids)
            if len(text) > len(shown) and not text.endswith(_BROKEN_CHARACTER):
                yield text[len(shown) :]
                shown = text
        text = decode_response(self.language_model.tokenizer, token_ids)
        if len(text) > len(shown):
            yield text[len(shown) :]

    def load_weights(self, named_weights: Iterable[tuple[str, Tensor]], *, version: int) -> None:
        """Sample from these weights from now on; only the version is noted when the model is shared with its trainer.

        Raises ModelError for a weight the model lacks, one of another shape, or one that is missing.
        """
        if not self.shares_weights:
            _copy_weights(self.language_model, named_weights)
        self.version = version

    def _asks(self, prompts: Sequence[Prompt], samples_per_prompt: int, seed: int) -> list[Ask]:
        num_seen: Counter[str] = Counter()
        asks: list[Ask] = []
        limit = self.language_model.max_positions
        for prompt in prompts:
            ids = self.language_model.rendering.encode_prompt(prompt)
            room = limit - len(ids)
            if room < 1 or not ids:
                raise DataError(
                    f"Prompt {prompt.text[:60]!r} has {len(ids)} tokens. Expected between 1 and {limit - 1}, so that "
                    "an answer fits. Shorten it or leave it out."
                )
            prompt_id = prompt.id
            path = (prompt_id, num_seen[prompt_id])
            num_seen[prompt_id] += 1
            asks += [
                Ask(ids, min(self.max_new_tokens, room), derived_seed(seed, "sample", *path, sample))
                for sample in range(samples_per_prompt)
            ]
        return asks


def _padded_logprobs(answers: Sequence[Answer]) -> tuple[Tensor, Tensor]:
    """Return logprob_BT and mask_BT, as wide as the longest answer."""
    width = max((len(answer.token_ids) for answer in answers), default=0)
    logprob_BT = torch.zeros(len(answers), width)
    length_B1 = torch.tensor([len(answer.token_ids) for answer in answers], dtype=torch.long)[:, None]
    mask_BT = torch.arange(width) < length_B1
    logprob_BT[mask_BT] = torch.tensor([logprob for answer in answers for logprob in answer.logprobs])
    return logprob_BT, mask_BT


@torch.no_grad()
def _copy_weights(language_model: LanguageModel, named_weights: Iterable[tuple[str, Tensor]]) -> None:
    own = language_model.model.state_dict()
    for name, weight in named_weights:
        target = own.pop(name, None)
        if target is None or target.shape != weight.shape:
            shape = "no such weight" if target is None else f"the shape {tuple(target.shape)}"
            raise ModelError(
                f"The generator's model has {shape} where the trained one has {name} {tuple(weight.shape)}. Expected "
                "the same architecture on both sides. Load the generator from the folder the policy started from."
            )
        target.copy_(weight)
    if own:
        raise ModelError(
            f"The trained model gave no value for {len(own)} of the generator's weights, {next(iter(own))} among "
            "them. Expected the same architecture on both sides. Load the generator from the folder the policy "
            "started from."
        )
