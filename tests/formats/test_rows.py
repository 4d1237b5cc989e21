"""Files, folders and hub sets to rows: encodings, places, damage."""

import gzip
import json
import os
import sys
import types

import pyarrow
import pyarrow.parquet
import pytest

from kleash import formats
from kleash.errors import DataError


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return write


def texts(loaded):
    return [row.text for row in loaded.records]


def places(loaded):
    return [(bad.line, bad.reason) for bad in loaded.bad_rows]


def test_byte_order_mark_windows_line_ends_and_blank_lines_do_no_harm(file):
    lines = '\ufeff{"prompt": "a"}\r\n\r\n{"prompt": "b"}\r\n'
    assert texts(formats.read_prompts(file("x.jsonl", lines))) == ["a", "b"]
    assert texts(formats.read_prompts(file("x.csv", "\ufeffprompt,id\r\na,1\r\n\r\nb,2\r\n"))) == ["a", "b"]
    assert texts(formats.read_prompts(file("x.json", '\ufeff[{"prompt": "a"}, {"prompt": "b"}]'))) == ["a", "b"]


def test_unicode_line_separators_do_not_end_a_line(file):
    text = "one\u2028two\u0085three\x0bfour"
    assert texts(formats.read_prompts(file("x.jsonl", json.dumps({"prompt": text}, ensure_ascii=False)))) == [text]


def test_null_bytes_and_control_characters_are_text(file):
    assert texts(formats.read_prompts(file("x.jsonl", '{"prompt": "a\x00b\tc"}\n'))) == ["a\0b\tc"]
    assert texts(formats.read_prompts(file("y.jsonl", '{"prompt": "a\\u0000b"}\n'))) == ["a\0b"]
    assert texts(formats.read_prompts(file("x.csv", "prompt\na\x00b\n"))) == ["a\0b"]


def test_a_line_of_megabytes_is_a_row(file):
    long = "word " * 400_000
    assert texts(formats.read_prompts(file("x.jsonl", json.dumps({"prompt": long})))) == [long]
    assert texts(formats.read_prompts(file("x.csv", f"prompt\n{long}\n"))) == [long]


def test_damaged_lines_are_reported_by_place_and_the_rest_is_kept(file):
    lines = [
        b'{"prompt": "good"}',
        b'{"prompt": "caf\xe9"}',
        b'{"prompt": "cut off',
        b'["prompt"]',
        b'{"prompt": "half \\ud83d"}',
        b"[" * 100_000,
        b'{"prompt": "good too"}',
    ]
    loaded = formats.read_prompts(file("x.jsonl", b"\n".join(lines)))
    assert texts(loaded) == ["good", "good too"]
    assert [bad.line for bad in loaded.bad_rows] == [2, 3, 4, 5, 6]
    reasons = [bad.reason for bad in loaded.bad_rows]
    assert reasons[0] == "is not UTF-8: byte 0xe9 at position 15"
    assert reasons[1] == "is not JSON at character 12: Unterminated string starting at"
    assert reasons[2] == "is a JSON list, not an object"
    assert reasons[3] == "holds \\ud83d, half of a surrogate pair"
    assert reasons[4].startswith("is not JSON")
    assert loaded.bad_rows[0].fix == "save the file as UTF-8"


def test_json_list_rows_have_the_line_they_begin_on(file):
    content = '[\n  {"prompt": "a"},\n  {"prompt":\n     3},\n  "text",\n  {"prompt": "b"}\n]\n'
    loaded = formats.read_prompts(file("x.json", content))
    assert texts(loaded) == ["a", "b"]
    assert places(loaded) == [
        (3, "'prompt' is 3, neither text nor messages"),
        (5, "is a JSON string, not an object"),
    ]


def test_a_json_list_that_breaks_off_keeps_what_came_before(file):
    loaded = formats.read_prompts(file("x.json", '[{"prompt": "a"},\n{"prompt": "b"'))
    assert texts(loaded) == ["a"]
    assert loaded.bad_rows[0].line == 2
    assert "the JSON list breaks off here" in loaded.bad_rows[0].reason
    assert "rows after it are lost" in loaded.bad_rows[0].fix


def test_what_follows_a_json_list_is_not_lost_in_silence(file):
    loaded = formats.read_prompts(file("x.jsonl", '[{"prompt": "a"}]\n\n{"prompt": "b"}\n'))
    assert texts(loaded) == ["a"]
    assert places(loaded) == [(3, "follows the end of the JSON list")]


def test_bad_byte_in_a_json_list_spoils_its_row_only(file):
    loaded = formats.read_prompts(file("x.json", b'[{"prompt": "caf\xe9"},\n {"prompt": "b"}]'))
    assert texts(loaded) == ["b"]
    assert places(loaded) == [(1, "is not UTF-8: it holds byte 0xe9")]


@pytest.mark.parametrize(
    "content",
    [
        '{"prompt": "a"}\n{"prompt": "b"}\n',
        '{\n "version": 1,\n "data": [\n  {"prompt": "a"},\n  {"prompt": "b"}\n ]\n}',
        '{"data": [{"prompt": "a"}, {"prompt": "b"}]}',
    ],
)
def test_json_files_of_lines_and_wrapped_lists(file, content):
    assert texts(formats.read_prompts(file("x.json", content))) == ["a", "b"]


def test_one_pretty_printed_row(file):
    assert texts(formats.read_prompts(file("x.json", '{\n "prompt": "a"\n}\n'))) == ["a"]


def test_a_json_file_that_is_no_json(file):
    with pytest.raises(DataError, match=r"is not JSON: .* Expected a list of objects, or one object per line"):
        formats.read_prompts(file("x.json", '{\n "prompt": \n'))
    with pytest.raises(DataError, match=r"is a JSON number, not an object"):
        formats.read_prompts(file("y.json", "3"))


def test_csv_rows_have_the_line_they_begin_on(file):
    content = 'prompt,id\n"two\nlines",1\na,b,c\nplain,2\n'
    loaded = formats.read_prompts(file("x.csv", content))
    assert texts(loaded) == ["two\nlines", "plain"]
    assert places(loaded) == [(4, "has 3 cells, the header has 2")]


@pytest.mark.parametrize(("name", "mark"), [("x.csv", ";"), ("x.csv", "\t"), ("x.tsv", "\t")])
def test_csv_with_other_separators(file, name, mark):
    content = f"prompt{mark}id\na, b{mark}1\n"
    assert texts(formats.read_prompts(file(name, content))) == ["a, b"]


def test_csv_with_a_bad_byte_or_a_stray_return(file):
    loaded = formats.read_prompts(file("x.csv", b"prompt\ncaf\xe9\nfine\nodd\rone\n"))
    assert texts(loaded)[0] == "fine"
    assert (2, "is not UTF-8: it holds byte 0xe9") in places(loaded)


def test_csv_cells_hold_json_where_a_column_wants_it(file):
    content = 'prompt,completions,ranks\n"[x] is a list","[""a"", ""b""]","[1, 2]"\n'
    [row] = formats.read_preferences(file("x.csv", content)).records
    assert (row.prompt.text, row.completions) == ("[x] is a list", ("a", "b"))
    messages = '"[{""role"": ""user"", ""content"": ""q""}]"'
    [prompt] = formats.read_prompts(file("y.csv", f"prompt\n{messages}\n")).records
    assert prompt.content[0].content == "q"
    loaded = formats.read_preferences(
        file("z.csv", 'prompt,completions,ranks\np,"[""a"", ""b""]","[1, 2]"\np,[broken,"[1, 2]"\n')
    )
    assert places(loaded) == [(3, "'completions' is '[broken', not a list of texts")]


def test_parquet_rows_and_nulls(tmp_path):
    table = pyarrow.table({"prompt": ["a", None, "c"], "slices": [{"x": "1"}, None, {"x": None}]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    loaded = formats.read_prompts(tmp_path / "x.parquet")
    assert texts(loaded) == ["a", "c"]
    assert [row.slices for row in loaded.records] == [{"x": "1"}, {}]
    assert [bad.line for bad in loaded.bad_rows] == [2]


def test_damaged_and_empty_parquet(tmp_path, file):
    with pytest.raises(DataError, match=r"x.parquet is a damaged Parquet file \(after row 0\)"):
        formats.read_prompts(file("x.parquet", b"PAR1" + b"x" * 100))
    pyarrow.parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), tmp_path / "y.parquet")
    with pytest.raises(DataError, match=r"y.parquet is empty. Expected at least one row"):
        formats.read_prompts(tmp_path / "y.parquet")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_empty_files(file, content):
    with pytest.raises(DataError, match=r"is empty. Expected at least one row"):
        formats.read_prompts(file("x.jsonl", content))


def test_files_without_any_readable_row(file):
    with pytest.raises(DataError, match=r"has no readable row: .*:1: is not JSON .*Repair the file or its export"):
        formats.read_prompts(file("x.jsonl", "hello\n"))
    with pytest.raises(DataError, match=r"is empty"):
        formats.read_prompts(file("x.json", "[]"))


def test_csv_of_a_header_alone(file):
    with pytest.raises(DataError, match=r"is empty. Expected at least one row"):
        formats.read_prompts(file("x.csv", "prompt,id\n"))


def test_missing_files_and_folders_without_data(tmp_path, file):
    with pytest.raises(DataError, match=r"There is no file .*nowhere.jsonl. Expected a data file"):
        formats.read_prompts(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match=r"holds no data file. Expected prompts.jsonl, or"):
        formats.read_prompts(tmp_path)
    file("a.csv", "prompt\np\n")
    file("b.jsonl", '{"prompt": "p"}\n')
    with pytest.raises(DataError, match=r"holds a.csv, b.jsonl. Expected prompts.jsonl, or data files of one kind"):
        formats.read_prompts(tmp_path)


def test_a_file_that_may_not_be_read(unprivileged, file, tmp_path):
    path = file("closed/x.jsonl", '{"prompt": "p"}\n')
    path.chmod(0o000)
    with unprivileged(path.parent), pytest.raises(DataError, match=r"cannot be read: Permission denied"):
        formats.read_prompts(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b'{"prompt": "p"}', mtime=0), "it is gzip data. Expected UTF-8 text; unpack it first"),
        ('{"prompt": "p"}'.encode("utf-16"), "it is UTF-16 text. Expected UTF-8 text; save it as UTF-8"),
        (bytes(range(1, 256)) * 16 + bytes(500), "looks like binary data: .* Expected UTF-8 text or Parquet"),
    ],
)
def test_binary_files(file, content, message):
    with pytest.raises(DataError, match=message):
        formats.read_prompts(file("x.jsonl", content))


def test_an_artifact_folder_gives_its_own_file(file, tmp_path):
    file("demonstrations.jsonl", '{"prompt": "a", "completion": "b"}\n')
    file("notes.jsonl", "not meant\n")
    file("artifact.json", "{}")
    assert len(formats.read_demonstrations(tmp_path).records) == 1
    assert texts(formats.read_prompts(tmp_path)) == ["a"]
    with pytest.raises(DataError, match=r"Expected preferences.jsonl"):
        formats.read_preferences(tmp_path)


def test_shards_are_read_in_order_with_their_own_names(file, tmp_path):
    file("part-1.jsonl", '{"prompt": "b"}\n{"prompt": 3}\n')
    file("part-0.jsonl", '{"prompt": "a"}\n')
    loaded = formats.read_prompts(tmp_path)
    assert texts(loaded) == ["a", "b"]
    assert loaded.bad_rows[0].file.endswith("part-1.jsonl")


def test_text_files_are_documents_or_lines_of_prompts(file):
    path = file("x.txt", b"First.\r\n\r\nStill first.\n")
    assert [row.completion for row in formats.read_demonstrations(path).records] == ["First.\n\nStill first."]
    assert texts(formats.read_prompts(path)) == ["First.", "Still first."]


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the `datasets` package: sets by (name, split)."""

    def serve(sets):
        def load_dataset(name, *, split, streaming):
            assert streaming
            return sets[name, split]

        monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))

    return serve


def test_hub_sets_by_name_and_split(hub):
    hub({("me/set", "train"): [{"prompt": "a", "other": None}], ("me/set", "test"): [{"prompt": "b"}]})
    assert texts(formats.read_prompts("hub:me/set")) == ["a"]
    assert texts(formats.read_prompts("hub:me/set:test")) == ["b"]


def test_hub_failures_say_what_to_do(hub, monkeypatch):
    def breaks_off():
        yield {"prompt": "a"}
        raise ConnectionError("lost")

    hub({("me/set", "train"): breaks_off()})
    with pytest.raises(DataError, match=r"hub:me/set could not be read from .* hub after row 1: ConnectionError: lost"):
        formats.read_prompts("hub:me/set")
    with pytest.raises(DataError, match=r"could not be read from the Hugging Face hub: KeyError.* name a local file"):
        formats.read_prompts("hub:me/none")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"the package `datasets` is not installed. .*Install kleash\[hub\]"):
        formats.read_prompts("hub:me/set")


def test_a_csv_may_not_have_two_columns_of_one_name(file):
    with pytest.raises(DataError, match=r"x\.csv has several columns named completion\. Expected one of each name"):
        formats.read_demonstrations(file("x.csv", "prompt,completion, completion\na,b,c\n"))
    assert texts(formats.read_prompts(file("x.csv", "prompt,,\na,,\n"))) == ["a"]


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "x.jsonl")
    with pytest.raises(DataError, match=r"x\.jsonl.*it is a pipe or a device, not a file"):
        formats.read_prompts(tmp_path / "x.jsonl")
    with pytest.raises(DataError, match=r"pipe or a device|no data file"):
        formats.read_prompts(tmp_path)
