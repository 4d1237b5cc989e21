"""Candidates: k answers per prompt from one or several policies, for people or judges to compare.

Policies, temperatures and picks (any answer, the best or the worst of several by a scorer) take turns, one each per
answer. Which prompts are asked is in `prompt_mix.py`. Answers that are not put up for comparison, the samples that were
not picked and the prompts of the wrong difficulty, are kept beside the others and say why.

Work is done in blocks of prompts, each written whole, so that a killed stage goes on with the next block; the seed
belongs to the block's prompts, so the answers are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from kleash.artifacts import Artifact, read
from kleash.data.batches import derived_seed
from kleash.data.quotas import choose
from kleash.errors import DataError, SettingsError
from kleash.formats import read_completions, read_prompts, write_jsonl
from kleash.models.causal_lm import LanguageModel
from kleash.progress import progress
from kleash.protocols import Scorer
from kleash.records import Completion, Prompt
from kleash.results import CandidatesSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.screen import say
from kleash.settings import Settings
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import dropped_figures, prompts_that_fit
from kleash.stages.support.prompt_mix import DIFFICULTY, PromptMix, attacks, difficulty_of, mixed
from kleash.stages.support.scoring import ScorerSource

PROMPTS_PER_BLOCK = 256
NOT_PICKED, WRONG_DIFFICULTY = "not picked", "difficulty"
LEFT_OUT = "left_out"


class CandidatesSettings(Settings):
    """How candidates are sampled."""

    num_prompts: int | None = Field(None, ge=1, description="use the first so many prompts; none = all")
    samples_per_prompt: int = Field(2, ge=2, description="answers per prompt, over all policies and temperatures")
    temperatures: tuple[float, ...] = Field((1.0,), min_length=1, description="taken in turn, one per answer")
    max_new_tokens: int = Field(64, ge=1)
    max_prompt_tokens: int = Field(512, ge=1, description="longer prompts are left out, and counted")
    picks: tuple[Literal["any", "best", "worst"], ...] = Field(
        ("any",), min_length=1, description="taken in turn, one per answer; best, worst: of pick_from by the scorer"
    )
    pick_from: int = Field(4, ge=2, description="samples that a best or worst answer is picked from")
    mix: PromptMix = PromptMix()

    @model_validator(mode="after")
    def _says_how_many(self) -> CandidatesSettings:
        if self.num_prompts is None and (self.mix.slices or self.mix.difficulty):
            raise ValueError("mix.slices and mix.difficulty are shares of num_prompts, which is not set; set it")
        return self

    @property
    def needs_scorer(self) -> bool:
        return bool(self.mix.difficulty) or set(self.picks) != {"any"}

    def without_scorer(self) -> CandidatesSettings:
        """Return what remains of the settings in a first round, before there is a reward model to ask."""
        mix = self.mix.model_copy(update={"difficulty": {}})
        return self.model_copy(update={"picks": ("any",), "mix": mix}) if self.needs_scorer else self


@dataclass(frozen=True)
class Sampled:
    """Answers to compare, prompt by prompt, and those kept out of the comparison, each saying why in a slice."""

    answers: list[Completion] = field(default_factory=list)
    left_out: list[Completion] = field(default_factory=list)

    def joined(self, other: Sampled) -> Sampled:
        return Sampled([*self.answers, *other.answers], [*self.left_out, *other.left_out])


def sample_candidates(
    context: StageContext,
    settings: CandidatesSettings,
    *,
    policies: Sequence[Path | Artifact],
    prompts: Path,
    output_dir: Path,
    scorer_source: ScorerSource | None = None,
    round_number: int = 0,
) -> Artifact:
    """Sample answers; answer i of a prompt comes from policy i (mod the number of policies), in turn.

    scorer_source: what picks the best and the worst and says which prompts are difficult; without such picks it
    is not asked. Raises SettingsError when one is needed and there is none.
    round_number: rounds before this one; as many times num_prompts go to the end of the file's order first, so that a
    later round samples answers to others.
    """
    scorer = _scorer_for(settings, scorer_source)
    skip = round_number * (settings.num_prompts or 0)
    sources = [as_artifact(policy, "model") for policy in policies]
    parents = {f"policy_{i}" if i else "policy": source for i, source in enumerate(sources)}
    parents["prompts"] = as_artifact(prompts, "prompts")
    if settings.mix.red_team_file is not None:
        parents["red_team"] = as_artifact(settings.mix.red_team_file, "prompts")
    extra_settings: dict[str, Any] = {}
    if scorer is not None and scorer_source is not None:
        parents, extra_settings = parents | dict(scorer_source.parents), scorer_source.recorded()
    if skip:
        extra_settings = {**extra_settings, "skip": skip}
    plan: Plan = {"kind": "candidates", "parents": parents, "settings": settings, "extra_settings": extra_settings}
    if done := context.find_finished(output_dir, **plan):
        return done
    loaded = read_prompts(prompts, strict=context.is_strict)
    models = [context.load_policy(source) for source in sources]
    fitting = prompts_that_fit(loaded.records, models[0], max_tokens=settings.max_prompt_tokens)
    first = skip % len(fitting)
    chosen = _choose_prompts(context, settings, [*fitting[first:], *fitting[:first]], models[0])
    with context.write_artifact(output_dir, **plan, language_model=models[0]) as draft:
        sampler = _Sampler(context, settings, models, sources, scorer, draft.work)
        sampled = sampler.answers_to(chosen)
        if scorer is not None and settings.mix.difficulty:
            sampled = _of_wanted_difficulty(sampled, settings, scorer, seed=context.seed)
        write_jsonl(draft.path / "candidates.jsonl", sampled.answers)
        if sampled.left_out:
            write_jsonl(draft.path / "left_out.jsonl", sampled.left_out)
        draft.summary |= CandidatesSummary(
            **_figures(sampled),
            prompts_too_long=len(loaded.records) - len(fitting),
            dropped=dropped_figures(loaded),
        ).to_json()
    return read(output_dir)


def _scorer_for(settings: CandidatesSettings, scorer_source: ScorerSource | None) -> Scorer | None:
    if not settings.needs_scorer:
        return None
    if scorer_source is None:
        raise SettingsError(
            f"candidates.picks is {', '.join(settings.picks)} and candidates.mix.difficulty has "
            f"{len(settings.mix.difficulty)} shares, and nothing scores answers yet. Expected a scorer. Name a reward "
            "model, set scorer.kind to function or rules, or leave these settings to a later round."
        )
    return scorer_source.require()


def _choose_prompts(
    context: StageContext, settings: CandidatesSettings, fitting: Sequence[Prompt], model: LanguageModel
) -> list[Prompt]:
    """Return the prompts to answer: the first ones, unless the settings ask for a mixture."""
    mix, number = settings.mix, settings.num_prompts
    if mix == PromptMix():
        return list(fitting[:number])
    own = read_prompts(mix.red_team_file, strict=context.is_strict).records if mix.red_team_file else []
    red_team = attacks(fitting, own, mix)
    if red_team:
        red_team = prompts_that_fit(red_team, model, max_tokens=settings.max_prompt_tokens)
    if mix.difficulty and number is not None:
        number = round(number * mix.pool_factor)
    return mixed(fitting, red_team, mix, number=number, seed=derived_seed(context.seed, "prompt mix"))


@dataclass
class _Sampler:
    """Answers prompts block by block, and finds the blocks again that an earlier sitting finished."""

    context: StageContext
    settings: CandidatesSettings
    models: Sequence[LanguageModel]
    sources: Sequence[Artifact]
    scorer: Scorer | None
    work: Path

    @property
    def num_per_prompt(self) -> int:
        return sum(map(self._num_sampled, range(self.settings.samples_per_prompt)))

    def answers_to(self, prompts: Sequence[Prompt]) -> Sampled:
        sampled = Sampled()
        with progress(len(prompts) * self.num_per_prompt, "Candidates, answers") as self.on_done:
            for start in range(0, len(prompts), PROMPTS_PER_BLOCK):
                sampled = sampled.joined(self._block(prompts[start : start + PROMPTS_PER_BLOCK], start))
        return sampled

    def _block(self, block: Sequence[Prompt], start: int) -> Sampled:
        """Return the answers to one block of prompts, from its files when an earlier sitting made them."""
        file, left_out = (self.work / f"block-{start:08d}{end}.jsonl" for end in ("", "-left-out"))
        if file.exists():
            kept = Sampled(_records_of(file), _records_of(left_out))
            if len(kept.answers) + len(kept.left_out) == len(block) * self.num_per_prompt:
                self.on_done(len(block) * self.num_per_prompt)
                return kept
            say(f"{file} was cut short: its {len(block)} prompts are asked again.")
        per_sample = [self._sample(block, start, sample) for sample in range(self.settings.samples_per_prompt)]
        in_turn = zip(*(sampled.answers for sampled in per_sample), strict=True)
        answers = [answer for of_prompt in in_turn for answer in of_prompt]
        unpicked = [answer for sampled in per_sample for answer in sampled.left_out]
        self.work.mkdir(parents=True, exist_ok=True)
        if unpicked:
            write_jsonl(left_out, unpicked)
        write_jsonl(file, answers)  # last: where it is, the block is whole
        return Sampled(answers, unpicked)

    def _sample(self, block: Sequence[Prompt], start: int, sample: int) -> Sampled:
        """Return one answer to each prompt: by the policy, at the temperature and by the pick whose turn it is."""
        which = sample % len(self.models)
        pick = self.settings.picks[sample % len(self.settings.picks)]
        num_samples = self._num_sampled(sample)
        temperature = self.settings.temperatures[sample % len(self.settings.temperatures)]
        answers = answer_prompts(
            self.models[which],
            block,
            SamplingSettings(max_new_tokens=self.settings.max_new_tokens, temperature=temperature),
            seed=derived_seed(self.context.seed, "candidates", start, sample),
            samples_per_prompt=num_samples,
            policy_id=self.sources[which].id,
            on_done=self.on_done,
        ).completions()
        if pick == "any":
            return Sampled(answers)
        assert self.scorer is not None, "checked before anything was loaded"
        score_of = self.scorer.score(answers).total
        choice = max if pick == "best" else min
        picked = {
            choice(range(first, first + num_samples), key=score_of.__getitem__)
            for first in range(0, len(answers), num_samples)
        }
        rest = [_tagged(answer, LEFT_OUT, NOT_PICKED) for n, answer in enumerate(answers) if n not in picked]
        return Sampled([answers[n] for n in sorted(picked)], rest)

    def _num_sampled(self, sample: int) -> int:
        picks = self.settings.picks
        return 1 if picks[sample % len(picks)] == "any" else self.settings.pick_from


def _of_wanted_difficulty(sampled: Sampled, settings: CandidatesSettings, scorer: Scorer, *, seed: int) -> Sampled:
    """Keep the prompts that the mixture by difficulty asks for, and note on each how the scorer finds it."""
    assert settings.num_prompts is not None, "the settings ask for a number"
    size, answers = settings.samples_per_prompt, sampled.answers
    scores = scorer.score(answers)
    members = [part for name, part in scores.parts.items() if name.startswith("member_")]
    starts = range(0, len(answers), size)
    found = [
        difficulty_of(answers[at].prompt, scores.total[at : at + size], [part[at : at + size] for part in members])
        for at in starts
    ]
    groups: list[str] = list(found)
    keys = [answers[at].prompt.text for at in starts]
    weights = {str(name): share for name, share in settings.mix.difficulty.items()}
    kept = set(choose(groups, keys, settings.num_prompts, seed=derived_seed(seed, "difficulty"), weights=weights))
    parted = Sampled([], list(sampled.left_out))
    for number, at in enumerate(starts):
        # As a tag of the prompt, so that accuracy is known for easy and hard pairs apart.
        of_prompt = [_tagged(answer, DIFFICULTY, found[number]) for answer in answers[at : at + size]]
        if number in kept:
            parted.answers.extend(of_prompt)
        else:
            parted.left_out.extend(_tagged(answer, LEFT_OUT, WRONG_DIFFICULTY) for answer in of_prompt)
    return parted


def _tagged(answer: Completion, tag: str, value: str) -> Completion:
    return replace(answer, prompt=answer.prompt.with_dimensions({tag: value}))


def _figures(sampled: Sampled) -> dict[str, Any]:
    answers = sampled.answers
    figures: dict[str, Any] = {
        "prompts": len({answer.prompt.id for answer in answers}),
        "answers": len(answers),
        "truncation_share": sum(answer.finish_reason == "length" for answer in answers) / len(answers),
    }
    per_prompt = {answer.prompt.id: answer.prompt.tags for answer in answers}
    difficulties = Counter(tags[DIFFICULTY] for tags in per_prompt.values() if DIFFICULTY in tags)
    left_out = Counter(answer.prompt.tags[LEFT_OUT] for answer in sampled.left_out)
    return figures | ({"difficulty": dict(difficulties)} if difficulties else {}) | {"left_out": dict(left_out)}


def _records_of(file: Path) -> list[Completion]:
    """Return the answers in a file; none where nothing can be read."""
    with suppress(DataError):
        return list(read_completions(file).records)
    return []
