"""Preferences in others' formats: what TRL gets, what a Parquet table keeps, and that both are read again."""

import json

import pytest

from kleash.errors import DataError
from kleash.formats import read_preferences
from kleash.formats.canonical import write_parquet, write_trl
from kleash.records import Message, Pair, Preference, Prompt

PLAIN = [
    Preference(
        Prompt("what is 2 plus 3 ?", {"topic": "sums"}),
        ("5", "6", "five"),
        (Pair(0, 1, 1.0, "much"), Pair(1, 2, 1 / 3), Pair(0, 2, 0.5)),
        num_judgements=3,
        aspects={"style": (Pair(0, 1, 0.0),)},
        sources=("a", "b", "a"),
    ),
    Preference(Prompt("why ?"), ("because", "so"), (Pair(0, 1, 0.0),)),
    Preference(Prompt("how ?", {"topic": "talk"}), ("x", "y"), (), left_out="both_bad"),
]
CHAT = [
    Preference(
        Prompt((Message("user", "hello"), Message("assistant", "hi"), Message("user", "how are you ?"))),
        ("fine", "bad"),
        (Pair(0, 1, 0.0),),
    )
]


def test_trl_gets_one_row_per_decided_pair(tmp_path):
    assert write_trl(tmp_path / "trl.jsonl", PLAIN) == 3
    rows = [json.loads(line) for line in (tmp_path / "trl.jsonl").read_text().splitlines()]
    sums = {"prompt": "what is 2 plus 3 ?", "slices": {"topic": "sums"}}
    assert rows == [
        {**sums, "chosen": "5", "rejected": "6", "strength": "much"},
        {**sums, "chosen": "five", "rejected": "6"},
        {"prompt": "why ?", "chosen": "so", "rejected": "because"},
    ]


def test_trl_gets_conversations_as_messages(tmp_path):
    write_trl(tmp_path / "trl.jsonl", CHAT)
    row = json.loads((tmp_path / "trl.jsonl").read_text())
    assert row["prompt"][2] == {"role": "user", "content": "how are you ?"}
    assert row["chosen"] == [{"role": "assistant", "content": "bad"}]


@pytest.mark.parametrize("rows", [PLAIN, CHAT])
def test_trl_rows_are_read_again_as_the_same_verdicts(tmp_path, rows):
    write_trl(tmp_path / "trl.jsonl", rows)
    loaded = read_preferences(tmp_path / "trl.jsonl", strict=True)
    verdicts = {
        (row.prompt, *((row.completions[0], row.completions[1]) if p.label else ()))
        for row in loaded.records
        for p in row.pairs
    }
    expected = {
        (row.prompt, *((row.completions[p.first], row.completions[p.second])[:: 1 if p.label > 0.5 else -1]))
        for row in rows
        for p in row.pairs
        if p.label != 0.5
    }
    assert loaded.format == "trl-preference"
    assert verdicts == expected


def test_trl_itself_understands_the_columns(tmp_path):
    import datasets

    write_trl(tmp_path / "trl.jsonl", CHAT)
    table = datasets.load_dataset("json", data_files=str(tmp_path / "trl.jsonl"), split="train", cache_dir=tmp_path)
    assert set(table.column_names) == {"prompt", "chosen", "rejected"}


@pytest.mark.parametrize("rows", [PLAIN, CHAT])
def test_a_parquet_table_keeps_everything(tmp_path, rows):
    write_parquet(tmp_path / "rows.parquet", rows)
    loaded = read_preferences(tmp_path / "rows.parquet", strict=True)
    assert loaded.records == rows
    assert [row.prompt.slices for row in loaded.records] == [row.prompt.slices for row in rows]
    assert loaded.columns_unused == ()


def test_a_parquet_column_cannot_hold_both_kinds_of_prompts(tmp_path):
    with pytest.raises(DataError, match=r"3 of the 4 prompts are plain text and the rest are conversations.*as jsonl"):
        write_parquet(tmp_path / "rows.parquet", PLAIN + CHAT)
