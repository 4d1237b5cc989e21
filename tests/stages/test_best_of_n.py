"""Best of n: the best whole answer of each prompt becomes a demonstration, and what is left out is said."""

import pytest

from kleash.errors import DataError, SettingsError
from kleash.formats import read_demonstrations, read_prompts
from kleash.maths.best_of_n import best_of_n_kl
from kleash.results import BestOfNSummary
from kleash.stages.best_of_n import BestOfNSettings, best_answers, choose_best
from kleash.stages.support.scoring import NO_SCORER, ScorerSource
from kleash.testing import FakeScorer
from stages.tiny_recipe import tiny_context

SCORER = FakeScorer(lambda answer: -float(len(answer.token_ids)) + 100 * (answer.finish_reason == "length"))
"""Likes short answers, and cut-off ones best of all."""


def made(base, data, folder, **settings):
    return choose_best(
        tiny_context(),
        BestOfNSettings(**{"n": 8, "max_new_tokens": 24} | settings),
        policy=base,
        prompts=data["prompts"],
        scorer_source=ScorerSource(SCORER, {}),
        output_dir=folder,
    )


def test_the_best_whole_answer_of_each_prompt_is_kept(base, data, tmp_path, capsys):
    artifact = made(base, data, tmp_path / "best")
    kept = {row.prompt.id: row.completion for row in read_demonstrations(artifact.path).records}
    summary = BestOfNSummary.of(artifact)
    assert 0 < len(kept) == summary.rows < summary.prompts == 15
    assert f"{15 - len(kept)} of 15 prompts got no whole answer, and are left out." in capsys.readouterr().err
    assert summary.kl_nats == pytest.approx(best_of_n_kl(8))
    assert summary.score_best > summary.score_mean
    assert made(base, data, tmp_path / "best").id == artifact.id


def test_the_best_is_the_one_that_the_scorer_likes_most(base, data):
    """The very answers, sampled again and looked through."""
    model, prompts = tiny_context().load_policy(base), list(read_prompts(data["prompts"]).records)[:3]
    sampling = BestOfNSettings(max_new_tokens=24)
    best, scores = best_answers(model, prompts, SCORER, sampling, n=4, seed=5)
    assert [len(of_prompt) for of_prompt in scores] == [4, 4, 4]
    for answer, of_prompt in zip(best, scores, strict=True):
        assert SCORER.score([answer]).total[0] == max(of_prompt)


def test_answers_that_never_end_and_a_scorer_that_is_not_there_are_refused(base, data, tmp_path):
    with pytest.raises(DataError, match=r"None of the 15 prompts got an answer that comes to an end.*max_new_tokens"):
        made(base, data, tmp_path / "best", max_new_tokens=1, n=2)
    with pytest.raises(SettingsError, match="There is no scorer and no reward model"):
        choose_best(
            tiny_context(),
            BestOfNSettings(),
            policy=base,
            prompts=data["prompts"],
            scorer_source=NO_SCORER,
            output_dir=tmp_path / "other",
        )
