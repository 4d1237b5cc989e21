"""Candidates: k answers per prompt from one or several policies, for people or judges to compare.

Work is done in blocks of prompts, each written whole, so that a killed stage goes on with the next block; the seed
belongs to the block's prompts, so the answers are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from kleash.artifacts import Artifact, Draft, read
from kleash.data.batches import derived_seed
from kleash.durable import partial_path, publish, sync_path
from kleash.formats import read_completions, read_prompts, write_jsonl
from kleash.models.causal_lm import LanguageModel
from kleash.progress import progress
from kleash.records import Completion, Prompt
from kleash.rollout.local import LocalGenerator
from kleash.settings import Settings
from kleash.stages.encoding import dropped_figures, prompts_that_fit
from kleash.stages.workplace import Workplace, given

PROMPTS_PER_BLOCK = 256


class CandidatesSettings(Settings):
    """How candidates are sampled."""

    num_prompts: int | None = Field(None, ge=1, description="use the first so many prompts; none = all")
    samples_per_prompt: int = Field(2, ge=2, description="answers per prompt, over all policies and temperatures")
    temperatures: tuple[float, ...] = Field((1.0,), min_length=1, description="taken in turn, one per answer")
    max_new_tokens: int = Field(64, ge=1)
    max_prompt_tokens: int = Field(512, ge=1, description="longer prompts are left out, and counted")


def candidates(
    place: Workplace,
    settings: CandidatesSettings,
    *,
    policies: Sequence[Path | Artifact],
    prompts: Path,
    into: Path,
) -> Artifact:
    """Sample answers; answer i of a prompt comes from policy i (mod the number of policies), in turn."""
    sources = [given(policy, "model") for policy in policies]
    parents = {f"policy_{i}" if i else "policy": source for i, source in enumerate(sources)}
    parents["prompts"] = given(prompts, "prompts")
    if done := place.finished(into, kind="candidates", parents=parents, settings=settings):
        return done
    loaded = read_prompts(prompts, strict=place.is_strict)
    models = [place.load_policy(source) for source in sources]
    fitting = prompts_that_fit(loaded.records, models[0], max_tokens=settings.max_prompt_tokens)
    asked = fitting[: settings.num_prompts]
    with place.making(into, kind="candidates", parents=parents, settings=settings, language_model=models[0]) as draft:
        with progress(len(asked), "Candidates") as advance:
            answers: list[Completion] = []
            for start in range(0, len(asked), PROMPTS_PER_BLOCK):
                block = asked[start : start + PROMPTS_PER_BLOCK]
                answers += _block(place, settings, draft, models, sources, block, start)
                advance(len(block))
        write_jsonl(draft.path / "candidates.jsonl", answers)
        num_unfinished = sum(answer.finish_reason == "length" for answer in answers)
        draft.summary |= {
            "prompts": len(asked),
            "prompts_too_long": len(loaded.records) - len(fitting),
            "answers": len(answers),
            "truncation_share": num_unfinished / len(answers),
            "dropped": dropped_figures(loaded),
        }
    return read(into)


def _block(
    place: Workplace,
    settings: CandidatesSettings,
    draft: Draft,
    models: Sequence[LanguageModel],
    sources: Sequence[Artifact],
    block: Sequence[Prompt],
    start: int,
) -> list[Completion]:
    """Return the answers to one block of prompts, from its file when an earlier sitting made them."""
    file = draft.work / f"block-{start:08d}.jsonl"
    if file.exists():
        return list(read_completions(file).records)
    per_sample: list[list[Completion]] = []
    for sample in range(settings.samples_per_prompt):
        which = sample % len(models)
        temperature = settings.temperatures[sample % len(settings.temperatures)]
        generator = LocalGenerator(
            models[which],
            max_new_tokens=settings.max_new_tokens,
            temperature=temperature,
            policy_id=sources[which].id,
        )
        seed = derived_seed(place.seed, "candidates", start, sample)
        rollouts = generator.generate(block, samples_per_prompt=1, seed=seed, policy_version=0)
        per_sample.append(rollouts.completions())
    answers = [answer for of_prompt in zip(*per_sample, strict=True) for answer in of_prompt]
    partial = partial_path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(partial, answers)
    sync_path(partial)
    publish(partial, file)
    return answers
