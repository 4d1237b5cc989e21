"""Best of n: have a policy answer each prompt n times and keep the answer that the scorer likes best.

The answers kept are demonstrations: to fine-tune the policy on them (the `rft` stage, SFT's own training) is
rejection-sampling fine-tuning. Source: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field

from kleash.artifacts import Artifact, read
from kleash.data.batches import derived_seed
from kleash.data.prompts import drawn
from kleash.errors import DataError
from kleash.formats import read_prompts, write_jsonl
from kleash.models.causal_lm import LanguageModel
from kleash.progress import progress
from kleash.protocols import Scorer
from kleash.records import Completion, Demonstration, Prompt
from kleash.results import CandidatesSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.screen import say
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import dropped_figures, prompts_that_fit
from kleash.stages.support.scoring import ScorerSource

_PROMPTS_AT_ONCE = 64


class BestOfNSettings(SamplingSettings):
    """How the best answers are found."""

    n: int = Field(16, ge=2, description="answers per prompt, of which the best is kept")
    num_prompts: int | None = Field(None, ge=1, description="so many prompts, drawn at random; none = all")


def choose_best(
    context: StageContext,
    settings: BestOfNSettings,
    *,
    policy: Path | Artifact,
    prompts: Path,
    scorer_source: ScorerSource,
    output_dir: Path,
) -> Artifact:
    """Write each prompt's best whole answer as a demonstration: cut-off ones would teach to stop in mid-sentence.

    Raises DataError when no prompt has one.
    """
    scorer = scorer_source.require()
    parents = {"policy": as_artifact(policy, "model"), "prompts": as_artifact(prompts, "prompts")}
    parents |= scorer_source.parents
    plan = Plan(kind="demonstrations", parents=parents, settings=settings, extra_settings=scorer_source.recorded())
    if done := context.find_finished(output_dir, **plan):
        return done
    loaded, model = read_prompts(prompts, strict=context.is_strict), context.load_policy(parents["policy"])
    fitting = prompts_that_fit(loaded.records, model, max_tokens=settings.prompt_room(model))
    seed, n = derived_seed(context.seed, "best of n"), settings.n
    chosen = drawn(fitting, settings.num_prompts or len(fitting), seed=seed)
    with context.write_artifact(output_dir, **plan, language_model=model) as draft:
        with progress(n * len(chosen), f"Best of {n}") as advance:
            best = best_answers(model, chosen, scorer, settings, n=n, seed=seed, wanted=_is_whole, on_done=advance)
        whole = [answer for answer in best if _is_whole(answer)]
        num_left_out = len(best) - len(whole)
        if not whole:
            raise DataError(
                f"None of the {len(best)} prompts got an answer that comes to an end. Expected some to imitate. Raise "
                "best_of_n.max_new_tokens."
            )
        say(
            f"The best of {n} answers score {fmean(scorer.score(whole).total):.3g} on average; {num_left_out:,} of "
            f"{len(best):,} prompts got no whole answer, and are left out."
        )
        write_jsonl(draft.path / "demonstrations.jsonl", [Demonstration(one.prompt, one.text) for one in whole])
        draft.summary |= CandidatesSummary(
            prompts=len(best),
            answers=len(whole),
            left_out={"no whole answer": num_left_out},
            dropped=dropped_figures(loaded),
        ).to_json()
    return read(output_dir)


def best_answers(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    scorer: Scorer,
    sampling: SamplingSettings,
    *,
    n: int,
    seed: int,
    wanted: Callable[[Completion], bool] = lambda answer: True,
    on_done: Callable[[int], None] = lambda num_done: None,
) -> list[Completion]:
    """Return each prompt's best of n sampled answers; one that is not wanted only where none of the n is."""
    best: list[Completion] = []
    for part in range(0, len(prompts), _PROMPTS_AT_ONCE):
        asked, own = prompts[part : part + _PROMPTS_AT_ONCE], derived_seed(seed, "part", part)
        rollouts = answer_prompts(model, asked, sampling, seed=own, samples_per_prompt=n, on_done=on_done)
        answers = rollouts.completions()
        worth = [(wanted(answer), score) for answer, score in zip(answers, scorer.score(answers).total, strict=True)]
        best += [answers[max(range(at, at + n), key=worth.__getitem__)] for at in range(0, len(answers), n)]
    return best


def _is_whole(answer: Completion) -> bool:
    return answer.finish_reason == "stop" and bool(answer.text.strip())
