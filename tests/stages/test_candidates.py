"""Candidates: which policy answers what, at which temperature, and what was left out."""

import json

import pytest
from pydantic import ValidationError

import tiny
from kleash.errors import DataError
from kleash.formats import read_completions
from kleash.stages.candidates import CandidatesSettings, candidates
from stages.tiny_recipe import tiny_place


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
    artifact = candidates(
        tiny_place(), settings, policies=[base, other], prompts=data["prompts"], into=tmp_path / "candidates"
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
    artifact = candidates(tiny_place(), settings, policies=[base], prompts=file, into=tmp_path / "candidates")
    assert artifact.summary["prompts"] == 2
    assert artifact.summary["prompts_too_long"] == 2


def test_no_prompt_that_fits_is_refused(base, data, tmp_path):
    settings = CandidatesSettings(max_prompt_tokens=1)
    with pytest.raises(DataError, match=r"None of the 15 prompts fits into 1 tokens.*Raise max_prompt_tokens"):
        candidates(tiny_place(), settings, policies=[base], prompts=data["prompts"], into=tmp_path / "candidates")


def test_settings_ask_for_at_least_two_answers_and_one_temperature():
    with pytest.raises(ValidationError):
        CandidatesSettings(samples_per_prompt=1)
    with pytest.raises(ValidationError):
        CandidatesSettings(temperatures=())
