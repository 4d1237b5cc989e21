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
from kleash.maths.best_of_n import best_of_n_kl
from kleash.models.causal_lm import LanguageModel
from kleash.progress import progress
from kleash.protocols import Scorer
from kleash.records import Completion, Demonstration, Prompt
from kleash.results import BestOfNSummary
from kleash.rollout.local import SamplingSettings, answer_prompts
from kleash.screen import say
from kleash.stages.context import Plan, StageContext, as_artifact
from kleash.stages.support.encoding import dropped_figures, prompts_that_fit
from kleash.stages.support.scoring import ScorerSource

DEMONSTRATIONS = "demonstrations.jsonl"
_PROMPTS_AT_ONCE = 64


class BestOfNSettings(SamplingSettings):
    """How the best answers are found."""

    n: int = Field(16, ge=2, description="answers per prompt, of which the best is kept")
    num_prompts: int | None = Field(None, ge=1, description="so many prompts, drawn at random; none = all")
    temperature: float = Field(1.0, gt=0)


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
    plan: Plan = {
        "kind": "demonstrations",
        "parents": parents | dict(scorer_source.parents),
        "settings": settings,
        "extra_settings": scorer_source.recorded(),
    }
    if done := context.find_finished(output_dir, **plan):
        return done
    loaded, model = read_prompts(prompts, strict=context.is_strict), context.load_policy(parents["policy"])
    chosen = prompts_that_fit(loaded.records, model, max_tokens=settings.prompt_room(model))
    seed = derived_seed(context.seed, "best of n")
    if settings.num_prompts is not None:
        chosen = drawn(chosen, settings.num_prompts, seed=seed)
    with context.write_artifact(output_dir, **plan, language_model=model) as draft:
        with progress(settings.n * len(chosen), f"Best of {settings.n}") as advance:
            best, scores = best_answers(
                model, chosen, scorer, settings, n=settings.n, seed=seed, are_whole=True, on_done=advance
            )
        whole = [answer for answer in best if _is_whole(answer)]
        if len(whole) < len(best):
            say(f"{len(best) - len(whole):,} of {len(best):,} prompts got no whole answer, and are left out.")
        if not whole:
            raise DataError(
                f"None of the {len(best)} prompts got an answer that comes to an end. Expected some to imitate. Raise "
                "best_of_n.max_new_tokens."
            )
        write_jsonl(draft.path / DEMONSTRATIONS, [Demonstration(one.prompt, one.text) for one in whole])
        draft.summary |= BestOfNSummary(
            rows=len(whole),
            prompts=len(best),
            score_best=fmean(max(of_prompt) for of_prompt in scores),
            score_mean=fmean(map(fmean, scores)),
            kl_nats=best_of_n_kl(settings.n),
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
    are_whole: bool = False,
    on_done: Callable[[int], None] = lambda num_done: None,
) -> tuple[list[Completion], list[Sequence[float]]]:
    """Return each prompt's best of n sampled answers, and the scores of all n.

    are_whole: an answer that is empty or cut off is the best only where all n are.  on_done: as for `answer_prompts`.
    """
    best: list[Completion] = []
    scores: list[Sequence[float]] = []
    for part in range(0, len(prompts), _PROMPTS_AT_ONCE):
        asked = prompts[part : part + _PROMPTS_AT_ONCE]
        drawn_by = derived_seed(seed, "part", part)
        rollouts = answer_prompts(model, asked, sampling, seed=drawn_by, samples_per_prompt=n, on_done=on_done)
        answers = rollouts.completions()
        totals = scorer.score(answers).total
        for start in range(0, len(answers), n):
            scores.append(totals[start : start + n])
            rows = range(start, start + n)
            whole = [row for row in rows if _is_whole(answers[row])] if are_whole else []
            best.append(answers[max(whole or rows, key=totals.__getitem__)])
    return best, scores


def _is_whole(answer: Completion) -> bool:
    return answer.finish_reason == "stop" and bool(answer.text.strip())
