"""Which files are meant by a folder, a split, a pattern; and data sets as `datasets` saves them."""

import json

import pyarrow
import pytest

from kleash import formats
from kleash.artifacts import external, writing
from kleash.errors import DataError
from kleash.lineage import verify


@pytest.fixture
def file(tmp_path):
    def write(name, *prompts):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), encoding="utf-8")
        return path

    return write


def texts(source):
    return [row.text for row in formats.read_prompts(source).records]


@pytest.mark.parametrize(
    "names",
    [
        ("train.jsonl", "test.jsonl"),
        ("train-00000-of-00001.jsonl", "test-00000-of-00001.jsonl"),
        ("data/train-00000-of-00001.jsonl", "data/test-00000-of-00001.jsonl"),
        ("mine_train.jsonl", "mine_test.jsonl"),
        ("train/a.jsonl", "test/a.jsonl"),
    ],
)
def test_a_folder_with_splits_is_asked_which(tmp_path, file, names):
    file(names[0], "learn this")
    file(names[1], "secret test")
    with pytest.raises(DataError, match=r"holds several splits: test, train. .* Name the split, as .*:train, or"):
        texts(tmp_path)
    assert texts(f"{tmp_path}:train") == ["learn this"]
    assert texts(f"{tmp_path}:test") == ["secret test"]
    with pytest.raises(DataError, match=r"has no split 'dev'. Expected one of its splits: test, train"):
        texts(f"{tmp_path}:dev")
    assert external(f"{tmp_path}:train", "prompts").id == external(tmp_path / names[0], "prompts").id


def test_a_split_that_was_altered_is_found_in_what_was_made_of_it(tmp_path, file):
    file("data/train.jsonl", "a")
    file("data/test.jsonl", "b")
    with writing(
        tmp_path / "made", kind="prompts", parents={"file": external(f"{tmp_path}/data:train", "prompts")}, settings={}
    ):
        pass
    assert verify(tmp_path / "made") == []
    file("data/test.jsonl", "c")
    assert verify(tmp_path / "made") == []
    file("data/train.jsonl", "c")
    assert "data:train (file of" in verify(tmp_path / "made")[0]


def test_a_split_beside_files_of_none_is_asked_about_too(tmp_path, file):
    file("train.jsonl", "a")
    file("more.jsonl", "b")
    with pytest.raises(DataError, match=r"several splits: no split \(more.jsonl ...\), train"):
        texts(tmp_path)


def test_one_split_alone_is_what_the_folder_means(tmp_path, file):
    file("train-00000-of-00002.jsonl", "a")
    file("train-00001-of-00002.jsonl", "b")
    assert texts(tmp_path) == ["a", "b"]
    file("trainer-notes.jsonl", "c")  # no split's name
    with pytest.raises(DataError, match="several splits"):
        texts(tmp_path)


def test_patterns_name_files(tmp_path, file):
    file("a-test.jsonl", "a")
    file("b.jsonl", "b")
    file("deep/c.jsonl", "c")
    assert texts(f"{tmp_path}/*.jsonl") == ["a", "b"]
    assert texts(f"{tmp_path}/**/*.jsonl") == ["a", "b", "c"]
    with pytest.raises(DataError, match=r"There is no file that fits the pattern .*\*.csv"):
        texts(f"{tmp_path}/*.csv")
    assert len(external(tmp_path / "*.jsonl", "prompts").files) == 2
    with pytest.raises(DataError, match="There is no file"):
        external(tmp_path / "*.csv", "prompts")


def test_data_sets_as_the_datasets_package_saves_them(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.utils.logging, "enable_progress_bar", lambda: None)
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_dict({"prompt": ["a", "b", "c"], "slices": [{"n": "1"}] * 3})
    rows.save_to_disk(tmp_path / "one", num_shards=2)
    assert texts(tmp_path / "one") == ["a", "b", "c"]
    datasets.DatasetDict({"train": rows.select([2, 0]), "test": rows}).save_to_disk(tmp_path / "two")
    with pytest.raises(DataError, match="holds several splits: test, train"):
        texts(tmp_path / "two")
    assert texts(f"{tmp_path / 'two'}:train") == ["c", "a"]


def test_arrow_files_of_both_kinds_and_damaged_ones(tmp_path):
    table = pyarrow.table({"prompt": ["a", None]})
    for name, write in (("stream", pyarrow.ipc.new_stream), ("file", pyarrow.ipc.new_file)):
        with write(tmp_path / f"{name}.arrow", table.schema) as writer:
            writer.write_table(table)
        loaded = formats.read_prompts(tmp_path / f"{name}.arrow")
        assert ([row.text for row in loaded.records], [bad.line for bad in loaded.bad_rows]) == (["a"], [2])
    (tmp_path / "bad.arrow").write_bytes(b"\xff\xff\xff\xff" + b"x" * 50)
    with pytest.raises(DataError, match="is a damaged Arrow file"):
        formats.read_prompts(tmp_path / "bad.arrow")


def test_only_notes_about_data_are_no_data(tmp_path):
    (tmp_path / "dataset_info.json").write_text('{"citation": "", "description": ""}')
    with pytest.raises(DataError, match="holds no data file"):
        texts(tmp_path)
    (tmp_path / "unknown").mkdir()
    with pytest.raises(DataError, match=r"holds no data file but the folders unknown/. Expected prompts.jsonl"):
        texts(tmp_path)


# ---------------------------------------------------------------------------------------------------- hard JSON and CSV
@pytest.mark.parametrize(
    "content",
    [
        '{"kind": "data", "data": [{"prompt": "a"}]}',
        '{"note": "the \\"data\\": [{", "data": [{"prompt": "a"}]}',
        '{"donn\\u00e9es": [{"prompt": "a"}]}',
        '{"meta": {"data": [1]}, "data": [{"prompt": "a"}], "more": 1}',
    ],
)
def test_wrapped_lists_are_found_by_their_key_wherever_else_it_stands(tmp_path, content):
    (tmp_path / "wrapper.json").write_text(content, encoding="utf-8")
    assert texts(tmp_path / "wrapper.json") == ["a"]


def test_a_quote_that_is_never_closed_costs_its_own_row_only(tmp_path):
    rows = [f"p{number},x" for number in range(1000)]
    (tmp_path / "x.csv").write_text("\n".join(["prompt,id", "first,1", '"open,2', *rows]) + "\n", encoding="utf-8")
    loaded = formats.read_prompts(tmp_path / "x.csv")
    assert (len(loaded.records), loaded.num_rows) == (1001, 1002)
    assert [(bad.line, bad.reason) for bad in loaded.bad_rows] == [(3, "opens a quote that is never closed")]


def test_a_stray_quote_before_a_quoted_cell_costs_its_own_row_only(tmp_path):
    (tmp_path / "x.csv").write_text('prompt,id\n"open,1\nb,2\n"c, d",3\n"two\nlines",4\n', encoding="utf-8")
    loaded = formats.read_prompts(tmp_path / "x.csv")
    assert [row.text for row in loaded.records] == ["b", "c, d", "two\nlines"]
    assert [bad.line for bad in loaded.bad_rows] == [2]
