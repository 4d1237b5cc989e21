"""A judges file: one judge or a panel, strict, without secrets."""

import re
from pathlib import Path

import pytest

from kleash.errors import SettingsError
from kleash.raters.configuration import JudgeSettings, family_of, load_judges
from kleash.raters.prompting import DEFAULT_RUBRIC

ONE = '[[judges]]\nbase_url = "http://localhost:8000/v1"\nmodel = "m"\n'


def loaded(folder, text, *overrides):
    path = folder / "judges.toml"
    path.write_text(text, encoding="utf-8")
    return load_judges(path, overrides)


def test_the_shipped_example_is_a_valid_file_with_what_it_leaves_out_put_in(tmp_path):
    (tmp_path / "rubric.md").write_text("Prefer rhymes.\n", encoding="utf-8")
    shipped = (Path(__file__).parents[2] / "recipes" / "judges" / "local.toml").read_text(encoding="utf-8")
    settings = loaded(tmp_path, re.sub(r"(?m)^# (\w+ = )", r"\1", shipped))
    assert [judge.family_name for judge in settings.judges] == ["qwen"]
    assert settings.judges[0].rubric_text == "Prefer rhymes.\n"
    assert (settings.judges[0].budget, settings.judges[0].api_key_env) == (20.0, "JUDGE_KEY")
    assert settings.band.min_agreement == 0.65


def test_one_judge_gets_the_built_in_rubric_and_a_judge_may_keep_its_own(tmp_path):
    assert loaded(tmp_path, ONE).judges[0].rubric_text == DEFAULT_RUBRIC
    both = loaded(tmp_path, 'rubric = "Prefer rhymes."\n' + ONE + ONE + 'rubric = "Prefer prose."\n')
    assert [judge.rubric_text for judge in both.judges] == ["Prefer rhymes.", "Prefer prose."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "judges is missing"),
        ("judges = []\n", "judges is empty, expected at least one"),
        ('[[judges]]\nmodel = "m"\n', "base_url is missing"),
        (ONE + "temperatur = 1.0\n", "did you mean temperature"),
        (ONE.replace("http://localhost:8000/v1", "localhost:8000"), "expected an http or https address"),
        (ONE.replace("localhost", "me:secret@localhost"), "holds a password or a query"),
        (ONE + "budget = 3.0\n", "budget is 3.0, but both prices are 0"),
        (ONE + 'aspects = ["style", "style"]\n', "expected different names other than overall and rationale"),
        (ONE + 'aspects = ["overall"]\n', "expected different names other than overall and rationale"),
        ('rubric = "r"\nrubric_file = "rubric.md"\n' + ONE, "rubric and rubric_file are both set"),
    ],
)
def test_a_faulty_file_is_refused_with_its_fault(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        loaded(tmp_path, text)


def test_a_password_in_an_address_is_not_repeated(tmp_path):
    with pytest.raises(SettingsError) as error:
        loaded(tmp_path, ONE.replace("localhost", "me:secret@localhost"))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(("content", "message"), [(None, "Cannot read the rubric"), (" \n", "is empty")])
def test_a_rubric_file_must_be_there_and_say_something(tmp_path, content, message):
    if content is not None:
        (tmp_path / "rubric.md").write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        loaded(tmp_path, 'rubric_file = "rubric.md"\n' + ONE)


@pytest.mark.parametrize(
    ("model", "family"),
    [("Qwen/Qwen2.5-7B-Instruct", "qwen"), ("gpt-4o", "gpt"), ("models/llama/", "llama"), ("7b", "")],
)
def test_a_family_is_what_a_models_name_begins_with(model, family):
    assert family_of(model) == family
    assert JudgeSettings(base_url="http://h/v1", model=model).family_name == family
    assert JudgeSettings(base_url="http://h/v1", model=model, family="Mistral").family_name == "mistral"
