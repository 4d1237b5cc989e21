"""Tasks of lm-evaluation-harness: a local one on a tiny model with the real library, and how its samples are read."""

import json

import datasets
import pytest

from kleash.errors import SettingsError
from kleash.evaluation.suites.figures import differences, rates
from kleash.evaluation.suites.harness import _row, _tally, refuse_unknown_tasks, run_tasks, with_reference
from kleash.models.causal_lm import load_language_model
from tiny import tiny_language_model_folder

CHOICE = """\
task: animals
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
metric_list: [{{metric: acc}}]
"""
GENERATED = """\
task: sayings
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{max_gen_toks: 6, until: ["!"]}}
metric_list: [{{metric: exact_match}}, {{metric: bleu}}]
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A folder of two tasks over one local file; what the datasets library keeps goes to the test's own folder."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [
        {"question": f"a {word} is", "choices": [" big", " small"], "answer": n % 2} for n, word in enumerate("abc")
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("animals", CHOICE), ("sayings", GENERATED)):
        (folder / f"{name}.yaml").write_text(text.format(data=folder / "rows.jsonl"))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the library's own and its dependencies' warnings are not ours to mend
def test_local_tasks_run_with_the_real_library(tasks, tmp_path):
    model = load_language_model(tiny_language_model_folder(tmp_path / "model"), device="cpu")
    found = run_tasks(model, ["animals", "sayings"], folder=tasks, num_prompts=2, batch_size=2, seed=0)
    assert [(row["suite"], row["id"]) for row in found.rows] == [
        ("animals", "0"), ("animals", "1"), ("sayings", "0"), ("sayings", "1"),
    ]  # fmt: skip
    assert rates(found.rows)["tasks"]["animals/acc"]["value"] == found.figures["animals"]["acc"]
    assert {row["answer"] for row in found.rows[:2]} <= {"big", "small"}
    assert set(found.rows[2]["tallies"]) == {"exact_match"}, "BLEU is no matter of passing or failing"
    assert "bleu" in found.figures["sayings"]
    assert json.loads(json.dumps(found.rows)) == found.rows


def test_an_unknown_task_is_refused_with_the_nearest_one():
    with pytest.raises(SettingsError, match=r"knows no task gsmk8\. Expected a task or group it has, such as gsm8k\."):
        refuse_unknown_tasks(["arc_easy", "gsmk8"], ["arc_easy", "gsm8k"])


SAMPLE = {"doc_id": 3, "filter": "none", "arguments": [["2 + 2?", {}]], "filtered_resps": ["4"], "target": "4"}


def test_a_sample_of_another_filter_is_an_item_of_its_own():
    row = _row("sums", {**SAMPLE, "filter": "flexible", "exact_match": 1.0}, ["exact_match"])
    assert (row["id"], row["measure"]) == ("3 (flexible)", "exact_match (flexible)")
    assert row["tallies"] == {"exact_match (flexible)": [1, 1]}


@pytest.mark.parametrize(
    ("value", "tally"),
    [
        (1.0, (1, 1)),
        (False, (0, 1)),
        ([True, False, True], (2, 3)),
        (0.5, None),
        (["a", "b"], None),
        ([], None),
        (None, None),
    ],
)
def test_a_metric_is_a_tally_where_it_is_a_matter_of_passing(value, tally):
    assert _tally(value) == tally


def test_the_likeliest_choice_is_the_answer():
    sample = {**SAMPLE, "arguments": [["?", " moo"], ["?", " meow"]], "filtered_resps": [[-9.0, False], [-2.0, False]]}
    assert _row("animals", {**sample, "acc": 1.0}, ["acc"])["answer"] == "meow"


def test_the_references_answers_stand_beside_the_policys():
    mine, other = (_row("sums", {**SAMPLE, "exact_match": value}, ["exact_match"]) for value in (1.0, 0.0))
    [row] = with_reference([mine], [other])
    assert (row["reference_passed"], row["reference_answer"]) == (False, "4")
    assert differences([row])["tasks"]["sums/exact_match"]["value"] == 1
    assert with_reference([mine], []) == [mine]
