"""Candidates: which policy answers what, at which temperature, and what was left out."""

import json
import os

import pytest
from pydantic import ValidationError

import tiny
from kleash.data.batches import derived_seed
from kleash.errors import DataError, SettingsError
from kleash.formats import read_completions
from kleash.rollout.local import LocalGenerator
from kleash.stages.candidates import PROMPTS_PER_BLOCK, CandidatesSettings, sample_candidates
from kleash.stages.support.scoring import ScorerSettings, ScorerSource
from kleash.testing import FakeScorer
from stages.tiny_recipe import tiny_context

LENGTH = ScorerSource(FakeScorer(lambda answer: float(len(answer.text))), {}, ScorerSettings(kind="rules"))


def answers_of(artifact):
    return read_completions(artifact.path / "candidates.jsonl").records


def test_answers_stand_prompt_by_prompt_with_where_they_came_from(made):
    answers = answers_of(made["candidates"])
    assert len(answers) == made["candidates"].summary["answers"] == 30
    assert [answer.prompt for answer in answers[::2]] == [answer.prompt for answer in answers[1::2]]
    assert {answer.policy_id for answer in answers} == {made["sft"].id}
    assert all(len(answer.token_ids) == len(answer.logprobs) <= 6 for answer in answers)
    assert all(answer.prompt.slices["thing"] in answer.prompt.text for answer in answers)
    unfinished = sum(answer.finish_reason == "length" for answer in answers)
    assert made["candidates"].summary["truncation_share"] == unfinished / 30


def test_policies_and_temperatures_take_turns(base, data, tmp_path):
    other = tiny.tiny_language_model_folder(tmp_path / "other", seed=1)
    settings = CandidatesSettings(num_prompts=3, samples_per_prompt=4, temperatures=(1.0, 0.5), max_new_tokens=4)
    artifact = sample_candidates(
        tiny_context(), settings, policies=[base, other], prompts=data["prompts"], output_dir=tmp_path / "candidates"
    )
    ids = [artifact.parents["policy"], artifact.parents["policy_1"]]
    answers = answers_of(artifact)
    assert [answer.policy_id for answer in answers] == ids * 6
    assert [answer.temperature for answer in answers] == [1.0, 0.5] * 6
    assert len({answer.seed for answer in answers}) == 12


def test_prompts_that_are_too_long_are_counted_whatever_the_limit_on_their_number(base, tmp_path):
    file = tmp_path / "prompts.jsonl"
    prompts = ["the cat " * 50, "is it big?", "why?", "the dog " * 50, "how?"]
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    settings = CandidatesSettings(num_prompts=2, max_new_tokens=2, max_prompt_tokens=20)
    artifact = sample_candidates(
        tiny_context(), settings, policies=[base], prompts=file, output_dir=tmp_path / "candidates"
    )
    assert artifact.summary["prompts"] == 2
    assert artifact.summary["prompts_too_long"] == 2


def test_the_best_and_the_worst_of_several_are_picked_and_the_rest_is_kept(base, data, tmp_path):
    about = {"num_prompts": 3, "max_new_tokens": 6, "picks": ("best", "any", "worst"), "pick_from": 3}
    picked = sample_candidates(
        tiny_context(),
        CandidatesSettings(samples_per_prompt=3, **about),
        policies=[base],
        prompts=data["prompts"],
        output_dir=tmp_path / "picked",
        scorer_source=LENGTH,
    )
    plain = CandidatesSettings(num_prompts=3, max_new_tokens=6, samples_per_prompt=3)
    without = sample_candidates(
        tiny_context(), plain, policies=[base], prompts=data["prompts"], output_dir=tmp_path / "plain"
    )
    answers, rest = answers_of(picked), read_completions(picked.path / "left_out.jsonl").records
    assert answers[1::3] == answers_of(without)[1::3]
    # Loaded as the stage does: torch rounds products of weights that may be trained otherwise.
    model = tiny_context().load_policy(base)
    generator = LocalGenerator(model, max_new_tokens=6, policy_id=picked.parents["policy"])
    assert len(rest) == 3 * 2 * 2
    assert {answer.prompt.tags["left_out"] for answer in rest} == {"not picked"}
    for turn, choice in ((0, max), (2, min)):
        seed = derived_seed(0, "candidates", 0, turn)
        asked = [answer.prompt for answer in answers[::3]]
        drawn = generator.generate(asked, samples_per_prompt=3, seed=seed, policy_version=0).completions()
        of_prompts = [drawn[first : first + 3] for first in (0, 3, 6)]
        assert answers[turn::3] == [choice(of_prompt, key=lambda answer: len(answer.text)) for of_prompt in of_prompts]
        assert {(answer.text, answer.seed) for answer in drawn} <= {(a.text, a.seed) for a in [*answers, *rest]}
    assert picked.summary["left_out"] == {"not picked": 12}
    assert picked.settings["scorer"]["kind"] == "rules"


def test_difficulty_chooses_prompts_and_stays_with_them(base, data, tmp_path):
    by_thing = FakeScorer(lambda answer: len(answer.text) * (5.0 if "cat" in answer.prompt.text else 0.0))
    settings = CandidatesSettings(
        num_prompts=4, max_new_tokens=6, mix={"difficulty": {"easy": 1, "near_miss": 1}, "pool_factor": 3.75}
    )
    made = sample_candidates(
        tiny_context(),
        settings,
        policies=[base],
        prompts=data["prompts"],
        output_dir=tmp_path / "candidates",
        scorer_source=ScorerSource(by_thing, {}),
    )
    answers, rest = answers_of(made), read_completions(made.path / "left_out.jsonl").records
    is_easy = {answer.prompt.text: answer.prompt.tags["difficulty"] == "easy" for answer in answers}
    assert (len(answers), len(is_easy), len(rest)) == (8, 4, 22)
    assert sum(is_easy.values()) == made.summary["difficulty"]["easy"] == 2
    assert all("cat" in text for text, easy in is_easy.items() if easy)
    assert {answer.prompt.tags["left_out"] for answer in rest} == {"difficulty"}
    assert not {answer.prompt.text for answer in rest} & set(is_easy)


def test_attacks_of_a_file_and_of_wrappers_are_asked_with_the_others(base, data, tmp_path):
    (tmp_path / "attacks.jsonl").write_text('{"prompt": "be bad please"}\n')
    mix = {
        "red_team_share": 0.5,
        "red_team_file": str(tmp_path / "attacks.jsonl"),
        "red_team_wrappers": ("past_tense",),
    }
    settings = CandidatesSettings(num_prompts=4, max_new_tokens=2, mix=mix)
    made = sample_candidates(
        tiny_context(), settings, policies=[base], prompts=data["prompts"], output_dir=tmp_path / "candidates"
    )
    found = [answer.prompt for answer in answers_of(made)[::2]]
    assert [prompt.tags.get("red_team") for prompt in found] == [None, None, "file", "past_tense"]
    assert found[2].text == "be bad please"
    assert set(made.parents) == {"policy", "prompts", "red_team"}


BLOCK = "block-00000000"


@pytest.mark.parametrize(
    "lose",
    [
        lambda work: None,
        lambda work: (work / f"{BLOCK}-left-out.jsonl").unlink(),
        lambda work: (work / f"{BLOCK}.jsonl").write_text(""),
        lambda work: os.truncate(work / f"{BLOCK}.jsonl", 2000),
    ],
    ids=["nothing", "what was not picked", "all answers", "some answers"],
)
def test_a_killed_stage_goes_on_with_its_picks(base, tmp_path, lose):
    """A scorer that fails at the second block leaves the first one; the next sitting gives what one alone would."""
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"is {n} big?"}) + "\n" for n in range(PROMPTS_PER_BLOCK + 2)))
    settings = CandidatesSettings(max_new_tokens=2, picks=("best", "worst"), pick_from=2)
    calls = []

    def make(output_dir, scorer):
        scorer_source = ScorerSource(scorer, {})
        return sample_candidates(
            tiny_context(), settings, policies=[base], prompts=file, output_dir=output_dir, scorer_source=scorer_source
        )

    class Dying:
        def score(self, answers):
            calls.append(len(answers))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return LENGTH.scorer.score(answers)

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "killed", Dying())
    left = [path.name for path in (tmp_path / "killed.partial" / "work").glob("block-*")]
    assert sorted(left) == [f"{BLOCK}-left-out.jsonl", f"{BLOCK}.jsonl"]
    lose(tmp_path / "killed.partial" / "work")
    again, once = make(tmp_path / "killed", LENGTH.scorer), make(tmp_path / "once", LENGTH.scorer)
    assert (again.id, again.files) == (once.id, once.files)


def test_picks_and_difficulty_need_a_scorer_before_anything_is_loaded(data, tmp_path):
    settings = CandidatesSettings(picks=("best", "worst"))
    with pytest.raises(SettingsError, match=r"picks is best, worst .* nothing scores answers yet\. Expected a scorer"):
        sample_candidates(
            tiny_context(), settings, policies=[tmp_path], prompts=data["prompts"], output_dir=tmp_path / "candidates"
        )


def test_shares_are_of_a_number_of_prompts():
    with pytest.raises(ValidationError, match="shares of num_prompts, which is not set; set it"):
        CandidatesSettings(mix={"slices": {"topic=sums": 1.0}})


def test_no_prompt_that_fits_is_refused(base, data, tmp_path):
    settings = CandidatesSettings(max_prompt_tokens=1)
    with pytest.raises(DataError, match=r"None of the 15 prompts fits into 1 tokens.*Raise max_prompt_tokens"):
        sample_candidates(
            tiny_context(), settings, policies=[base], prompts=data["prompts"], output_dir=tmp_path / "candidates"
        )


def test_settings_ask_for_at_least_two_answers_and_one_temperature():
    with pytest.raises(ValidationError):
        CandidatesSettings(samples_per_prompt=1)
    with pytest.raises(ValidationError):
        CandidatesSettings(temperatures=())
