"""`kleash evaluate`: what it measures by, and what suites look like on the screen."""

import json
from pathlib import Path

import pytest

from kleash.artifacts import read
from kleash.cli.suite_tables import suite_tables
from kleash.evaluation.suites.figures import summarise_rows
from kleash.results import SuitesSummary
from kleash.screen import results

SHORT = ["--recipe", "tiny.toml", "--set", "suites.max_new_tokens=8"]


def write_suite(name, **check):
    rows = [{"id": str(n), "prompt": f"how much is {n} plus 1?", "check": check} for n in range(4)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Nothing to measure by. Expected --prompts, --suite, --lm-eval, --people or --judges."),
        (["--prompts", "p.jsonl"], "--prompts needs a policy to compare with. Expected --reference POLICY."),
        (["--suite", "missing"], "There is no suite missing: no such file"),
    ],
)
def test_what_is_lacking_is_said_at_once(kleash, workplace, options, said):
    shown = kleash("evaluate", "base", "--into", "x", *options)
    assert shown.code == 2
    assert shown.err.startswith(said)
    assert not list(workplace.glob("x*"))


def test_a_suite_is_run_and_run_again_over_rounds(kleash, workplace):
    write_suite("any.jsonl", kind="regex", pattern="")
    first = kleash("evaluate", "base", "--suite", "any.jsonl", "--into", "one", *SHORT)
    assert first.code == 0, first.err
    assert first.out.startswith(f"suites {read(Path('one')).id} in one\n4 items (95 % intervals")
    assert "any/correct" in first.out
    write_suite("any.jsonl", kind="exact", expected="never said")
    second = kleash(
        "evaluate", "base", "--reference", "base", "--suite", "any.jsonl", "--previous", "one", "--into", "two", *SHORT
    )
    assert second.code == 0, second.err
    assert "4 newly broken, 0 newly fixed, of 4 items" in second.out
    assert "how much is 3 plus 1?" in second.out
    assert "0 points (-" in second.out, "the reference is the policy itself"


def lines(name, *rows):
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


SUMS = [
    {"id": number, "prompt": f"{number} + 1?", "check": {"kind": "numeric", "expected": number + 1}}
    for number in range(4)
]


def test_answers_made_elsewhere_are_scored_without_a_model(kleash, workplace):
    lines("sums.jsonl", *SUMS)
    lines(
        "answers.jsonl",
        {"id": "0", "completion": "It is 1."},
        {"id": 1, "completion": "3"},
        {"prompt": "2 + 1?", "completion": [{"role": "assistant", "content": "1,5"}]},
        {"id": "stranger", "completion": "7"},
    )
    shown = kleash("evaluate", "--answers", "answers.jsonl", "--suite", "sums.jsonl", "--into", "scored")
    assert shown.code == 0, shown.err
    assert "1 answers of answers.jsonl belong to no item and are left out, the first: 'stranger'" in shown.err
    rows = [json.loads(line) for line in Path("scored/items.jsonl").read_text().splitlines()]
    assert [(row["id"], row["passed"]) for row in rows] == [("0", True), ("1", False), ("2", None), ("3", None)]
    assert [row["detail"] for row in rows] == [
        "1; expected 1", "3; expected 2", "not read: its number can be read in two ways", "no answer to it is given",
    ]  # fmt: skip
    assert set(read(Path("scored")).parents) == {"answers", "suite_0"}
    again = kleash("evaluate", "--answers", "answers.jsonl", "--suite", "sums.jsonl", "--into", "scored")
    assert again.code == 0, again.err
    lines("answers.jsonl", {"id": "0", "completion": "2"})
    assert kleash("evaluate", "--answers", "answers.jsonl", "--suite", "sums.jsonl", "--into", "scored").code == 2


def test_humaneval_samples_are_scored_as_they_are(kleash, workplace):
    lines("humaneval.jsonl", {
        "task_id": "HumanEval/0", "prompt": "def add(a, b):\n    \"\"\"Add.\"\"\"\n", "entry_point": "add",
        "canonical_solution": "    return a + b\n", "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    })  # fmt: skip
    lines("samples.jsonl", {"task_id": "HumanEval/0", "completion": "    return a + b\n"})
    options = ["--answers", "samples.jsonl", "--suite", "humaneval.jsonl"]
    assert kleash("evaluate", *options, "--into", "refused").code == 0
    assert json.loads(Path("refused/items.jsonl").read_text())["passed"] is None
    shown = kleash("evaluate", *options, "--into", "run", "--set", "suites.code.is_allowed=true")
    assert shown.code == 0, shown.err
    assert json.loads(Path("run/items.jsonl").read_text())["passed"] is True


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([{"id": 0, "completion": "1"}], ["base"], "--answers does not go with POLICY"),
        (
            [{"id": "zz", "completion": "1"}],
            [],
            "No row of answers.jsonl belongs to an item of the suites: the first is of",
        ),
        ([{"id": 0, "completion": "1"}] * 2, [], "answers.jsonl:2: answers '0' once more (keep one answer to an item)"),
        ([{"id": 0, "completion": 1}], [], "answers.jsonl:1: 'completion' is 1, not text (write the text in quotes)"),
        ([{"completion": "1"}], [], "answers.jsonl:1: has nothing in column 'prompt'"),
        ([{"id": 0}], [], "answers.jsonl:1: has nothing in column 'completion'"),
    ],
)
def test_answers_that_cannot_be_scored_are_refused_by_name(kleash, workplace, rows, options, said):
    lines("sums.jsonl", *SUMS)
    lines("answers.jsonl", *rows)
    shown = kleash("evaluate", *options, "--answers", "answers.jsonl", "--suite", "sums.jsonl", "--into", "x")
    assert shown.code == 2
    assert said in shown.err.replace("\n", " ")
    assert not list(workplace.glob("x*"))


def test_a_policy_or_answers_and_a_suite_must_be_named(kleash, workplace):
    lines("answers.jsonl", {"id": 0, "completion": "1"})
    assert kleash("evaluate", "--into", "x").err.startswith("No policy is named. Expected one, or --answers FILE")
    said = kleash("evaluate", "--answers", "answers.jsonl", "--into", "x").err
    assert said.startswith("There is nothing to score --answers by. Expected --suite FILE.")


@pytest.mark.slow
def test_prompts_and_suites_in_one_command_make_two_artifacts(kleash, workplace):
    write_suite("any.jsonl", kind="regex", pattern="")
    Path("prompts.jsonl").write_text('{"prompt": "how much is 2 plus 2?"}\n{"prompt": "what do bees make?"}\n')
    shown = kleash(
        "evaluate", "base", "--reference", "base", "--prompts", "prompts.jsonl", "--suite", "any.jsonl",
        "--into", "all", *SHORT,
    )  # fmt: skip
    assert shown.code == 0, shown.err
    assert (read(Path("all/evaluation")).kind, read(Path("all/suites")).kind) == ("evaluation", "suites")


def test_variants_and_what_was_not_checked_have_tables_of_their_own():
    def row(id, passed, **more):
        tallies = {} if passed is None else {"refused": [int(passed), 1]}
        row = {"id": id, "suite": "s", "bucket": "safety", "slices": {}, "passed": passed, "tallies": tallies}
        return {**row, "detail": "no check for it", **more}

    rows = [row("1", True, pair="p"), row("2", False, pair="p", variant="in a story"), row("3", None)]
    titles = [table.title for table in suite_tables(SuitesSummary.from_json(summarise_rows(rows)))]
    assert titles == [
        "3 items (95 % intervals; differences are paired)",
        "Variants of a question against the plain one",
        "Not checked, and counted nowhere",
    ]


@pytest.mark.parametrize(("measure", "order"), [("m", ["facts", "sums"]), ("safe_refused", ["sums", "facts"])])
def test_slices_that_changed_beyond_chance_are_shown_worst_first(measure, order):
    """Of refusals of what is safe, less is better."""

    def row(number, topic, passed, before):
        row = {"id": str(number), "suite": "s", "bucket": "tasks", "slices": {"topic": topic}, "passed": passed}
        return {**row, "detail": "", "tallies": {measure: [passed, 1]}, "reference_tallies": {measure: [before, 1]}}

    outcomes = {"sums": (1, 0), "facts": (0, 1), "lists": (1, 1)}
    rows = [row(n, topic, *passed) for topic, passed in outcomes.items() for n in range(20)]
    table = suite_tables(SuitesSummary.from_json(summarise_rows(rows)))[1]
    assert table.title == "Slices whose difference excludes zero, worst first"
    assert [str(cell) for cell in table.columns[0].cells] == [f"topic={topic}" for topic in order]


def test_many_broken_items_are_cut_and_hostile_text_is_made_harmless(capsys):
    item = {"suite": "s", "id": "1", "prompt": "\x1b[2J" + "word " * 40, "detail": "d"}
    figures = {
        **summarise_rows([]),
        "regression": {"compared": 60, "newly_broken": 60, "newly_fixed": 0, "broken": [item] * 50},
    }
    table = suite_tables(SuitesSummary.from_json(figures))[-1]
    cells = [str(cell) for column in table.columns for cell in column.cells]
    assert table.row_count == 11
    assert "and 50 more, in items.jsonl" in cells
    results().print(table)
    assert "␛[2J" in capsys.readouterr().out
    assert max(map(len, cells)) <= 70
