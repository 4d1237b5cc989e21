"""Best of n: the best whole answer of each prompt becomes a demonstration, and what is left out is said."""

import pytest

from kleash.errors import DataError, SettingsError
from kleash.formats import read_demonstrations, read_prompts
from kleash.results import CandidatesSummary
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
    summary, said = CandidatesSummary.of(artifact), capsys.readouterr().err
    assert 0 < len(kept) == summary.answers < summary.prompts == 15
    assert summary.left_out == {"no whole answer": 15 - len(kept)}
    assert "The best of 8 answers score -" in said
    assert f"{15 - len(kept)} of 15 prompts got no whole answer, and are left out." in said
    assert made(base, data, tmp_path / "best").id == artifact.id


def test_the_best_is_the_one_that_the_scorer_likes_most(base, data):
    """The same answers are sampled twice: liked for being short, and for being long."""
    model, prompts = tiny_context().load_policy(base), list(read_prompts(data["prompts"]).records)[:3]
    lengths = []
    for liked in (SCORER, FakeScorer(lambda answer: float(len(answer.token_ids)))):
        best = best_answers(
            model, prompts, liked, BestOfNSettings(max_new_tokens=24), n=8, seed=5, wanted=lambda one: "a" in one.text
        )
        assert [answer.prompt.id for answer in best] == [prompt.id for prompt in prompts]
        assert all("a" in answer.text for answer in best)
        lengths.append(sum(len(answer.token_ids) for answer in best))
    assert lengths[0] <= lengths[1]


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
