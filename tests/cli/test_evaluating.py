"""`kleash evaluate`: what it measures by, and what suites look like on the screen."""

import json
from pathlib import Path

import pytest

from kleash.artifacts import read
from kleash.cli.suite_tables import suite_tables
from kleash.evaluation.suites.figures import summarise_rows
from kleash.results import SuitesSummary

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


def test_many_broken_items_are_cut_and_hostile_text_is_made_harmless():
    item = {"suite": "s", "id": "1", "prompt": "\x1b[2J" + "word " * 40, "detail": "d"}
    figures = {
        **summarise_rows([]),
        "regression": {"compared": 60, "newly_broken": 60, "newly_fixed": 0, "broken": [item] * 50},
    }
    table = suite_tables(SuitesSummary.from_json(figures))[-1]
    cells = [str(cell) for column in table.columns for cell in column.cells]
    assert table.row_count == 11
    assert "and 50 more, in items.jsonl" in cells
    assert not any("\x1b" in cell for cell in cells)
    assert max(map(len, cells)) <= 70
