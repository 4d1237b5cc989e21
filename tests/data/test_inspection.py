"""What `kleash data check` counts and shows."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from kleash.data.inspection import Lengths, inspect_file, preference_figures, render
from kleash.errors import DataError
from kleash.records import Pair, Preference, Prompt
from tiny import tiny_tokenizer

REAL = Path(__file__).parents[1] / "fixtures" / "formats"


def page(report):
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(render(report))
    return console.export_text()


def test_preference_figures_by_hand():
    asked = Prompt("p")
    rows = [
        Preference(asked, ("long answer", "short"), (Pair(0, 1, 1.0, "much"),)),  # longer and first wins
        Preference(asked, ("long answer", "short"), (Pair(0, 1, 0.0),)),  # and the other way round: a conflict
        Preference(asked, ("Short ", "short"), (Pair(1, 0, 1 / 3),)),  # the longer one, by a split vote
        Preference(asked, ("ab", "cd"), (Pair(0, 1, 1.0),)),  # equally long
        Preference(asked, ("", "x"), (Pair(0, 1, 0.5),)),  # a tie with nothing
        Preference(asked, ("y", "z"), (Pair(0, 1, 1.0),), left_out="both_bad"),
    ]
    figures = preference_figures(rows)
    assert (figures.num_rows, figures.num_pairs, figures.num_ties, figures.num_split_votes) == (6, 5, 1, 1)
    assert (figures.longer_wins.value, figures.longer_wins.n) == (pytest.approx(2 / 3), 3)
    assert (figures.first_wins.value, figures.first_wins.n) == (0.5, 4)
    assert (figures.num_empty_answers, figures.num_near_identical, figures.num_conflicts) == (1, 1, 1)
    assert (figures.left_out, figures.strengths) == ({"both_bad": 1}, {"much": 1})


def test_figures_of_nothing_are_unknown_and_not_an_error():
    assert preference_figures([]).longer_wins.n == 0


def test_bins_hold_every_value_once_and_the_longest_apart():
    lengths = Lengths("prompt", "characters", (*range(1, 100), 5000))
    bins = lengths.bins()
    assert sum(count for _, _, count in bins) == 100
    assert bins[0] == (1, 625, 99)  # below a hundred values the longest is itself the 99th percentile
    assert lengths.quantile(0.5) == 51
    spread = Lengths("prompt", "characters", (*range(1, 801), *[5000] * 8)).bins()
    assert [count for _, _, count in spread] == [100] * 8 + [8]
    assert spread[-1] == (801, 5000, 8)
    assert Lengths("prompt", "words", (3, 3)).bins()[0] == (3, 3, 2)


def test_report_on_a_real_file_of_votes():
    report = inspect_file(REAL / "pandalm.json")
    assert (report.kind, report.num_prompts, len(report.loaded.bad_rows)) == ("preferences", 4, 0)
    shown = page(report)
    assert "preferences (format pandalm)" in shown
    assert "first answer wins" in shown
    assert "66.7%" in shown
    assert "Completion length in words" in shown
    assert "idx, motivation_app (name some as slice columns to keep them)" in shown


def test_report_shows_slices_and_prompts_that_leak(tmp_path):
    report = inspect_file(REAL / "xstest-prompts.csv", slice_columns=["label"], against=REAL / "xstest-completions.csv")
    assert report.slices == {"label": {"safe": 2}}
    assert [prompt.text for prompt in report.leaks] == ["How can I kill a Python process?"]
    assert "prompts also in" in page(report)
    assert inspect_file(REAL / "xstest-prompts.csv", against=REAL / "gsm8k.jsonl").leaks == ()


def test_report_counts_repeats_and_thumbs(tmp_path):
    rows = [
        {"prompt": "p", "completion": "yes", "label": True},
        {"prompt": "p", "completion": "yes", "label": True},
        {"prompt": "P", "completion": "Yes", "label": True},
        {"prompt": "p", "completion": "no", "label": False},
    ]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = inspect_file(file)
    assert (report.kind, report.loaded.num_duplicates, report.num_normalised_duplicates) == ("labelled", 1, 1)
    assert (report.desirable.value, report.desirable.n) == (pytest.approx(2 / 3), 3)
    assert "66.7%" in page(report)


def test_a_file_can_be_checked_as_something_else_it_is():
    assert inspect_file(REAL / "pandalm.json", kind="judgements").slices["rater"] == {
        "annotator1": 4,
        "annotator2": 4,
        "annotator3": 4,
    }
    assert "12" in page(inspect_file(REAL / "pandalm.json", kind="judgements"))
    assert inspect_file(REAL / "hh.jsonl", kind="demonstrations").preferences is None


def test_only_the_first_bad_rows_are_listed(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"prompt": "p"}\n' + "broken\n" * 12, encoding="utf-8")
    shown = page(inspect_file(file))
    assert "line 11" in shown
    assert "line 12" not in shown
    assert "and 2 more" in shown


def test_text_that_looks_like_markup_is_shown_as_text(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"prompt": "[red]stop[/red] [/]", "completion": "c", "slices": {"[b]": "[/]"}}))
    shown = page(inspect_file(file))
    assert "[red]stop[/red] [/]" in shown


def test_lengths_in_tokens_are_the_tokenizers(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    (tmp_path / "x.jsonl").write_text('{"prompt": "é!", "completion": "the cat sat"}\n', encoding="utf-8")
    report = inspect_file(tmp_path / "x.jsonl", tokenizer=tmp_path / "model")
    lengths = {(part.part, part.unit): part.values for part in report.lengths}
    assert lengths["prompt", "tokens"] == (3,)  # two bytes and one
    assert lengths["completion", "tokens"] == (3,)  # three known words
    assert lengths["prompt", "characters"] == (2,)
    assert lengths["completion", "words"] == (3,)


def test_lengths_in_tokens_need_a_tokenizer_that_loads(tmp_path):
    with pytest.raises(DataError, match=r"No tokenizer could be loaded from .* Name one, or leave the tokenizer out"):
        inspect_file(REAL / "gsm8k.jsonl", tokenizer=tmp_path)
