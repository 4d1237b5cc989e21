"""Files as nobody would write them: they are read, or refused in words, and every row is accounted for.

A few hundred cases by default; KLEASH_FUZZ=3000 makes that many of each.
"""

import csv
import io
import json
import os
from contextlib import suppress
from typing import get_args

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from kleash import formats
from kleash.data.inspection import inspect_file, render
from kleash.errors import KleashError
from kleash.formats.shapes import SHAPES

CASES = settings(
    max_examples=int(os.environ.get("KLEASH_FUZZ", "100")),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
KINDS = get_args(formats.Kind)
GROUPED = {shape.name for shape in SHAPES if shape.is_tree or shape.group_by}

COLUMNS = sorted({name for shape in SHAPES for name in (*shape.columns, *shape.optional)} | {"slices", "tags", "other"})
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "judge", "", 3])
WORDS = st.sampled_from(
    ["", " ", "yes", "Say it.", "\n\nHuman: a\n\nAssistant: b", "[{'role': 'user'", "\ud83d", "1.0", '"']
)
TEXTS = WORDS | st.text(max_size=12)
TURNS = st.fixed_dictionaries(
    {},
    optional={"role": ROLES, "from": ROLES, "content": TEXTS | st.none(), "value": TEXTS, "tool_calls": st.just(1)},
)
SCALARS = TEXTS | st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.just(10**400)
TALKS = st.lists(TURNS, max_size=3) | st.tuples(st.just("user"), st.just("assistant")).map(
    lambda roles: [{"role": role, "content": "said"} for role in roles]
)
ANSWERS = st.lists(
    st.fixed_dictionaries({}, optional={"answer": TEXTS, "response": TEXTS, "rank": SCALARS}), max_size=3
)
VALUES = st.recursive(
    SCALARS | TALKS | ANSWERS | TALKS.map(repr) | TALKS.map(json.dumps) | st.just({"messages": [{"role": "user"}]}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "messages", "role"]), inner),
    max_leaves=3,
)
PLAIN = st.sampled_from(["yes", "Say it.", "no", "1"]) | st.integers(0, 2) | st.booleans()


@st.composite
def rows(draw):
    """A file's rows: the columns of a known layout, filled well or badly, some missing and some too many."""
    shape = draw(st.sampled_from(SHAPES))
    names = [*shape.columns, *draw(st.lists(st.sampled_from(COLUMNS), max_size=3))]
    values = draw(st.sampled_from([PLAIN, VALUES, TALKS, TEXTS]))
    return draw(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(names, values)), min_size=1, max_size=5))


def as_csv(content):
    names = list(dict.fromkeys(name for row in content for name in row)) or ["prompt"]
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(content)
    return text.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(content):
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(content), file)
    return file.getvalue()


WRITERS = {
    "x.jsonl": lambda content: "\n".join(map(json.dumps, content)).encode(),
    "x.json": lambda content: json.dumps(content, indent=1).encode(),
    "wrapped.json": lambda content: json.dumps({"data": content, "note": "data"}, indent=1).encode(),
    "x.csv": as_csv,
    "x.parquet": as_parquet,
}


def read_as_everything(source):
    """Read a file as every kind; only KleashError may come of it."""
    console = Console(file=io.StringIO(), width=100)
    for kind in KINDS:
        with suppress(KleashError):
            loaded = formats.read(source, kind)
            assert loaded.records
            if loaded.format not in GROUPED and kind in ("prompts", "demonstrations", "preferences", "labelled"):
                assert len(loaded.records) + len(loaded.bad_rows) + loaded.num_duplicates == loaded.num_rows
            formats.write_jsonl(source.parent / "again.out", loaded.records)
    with suppress(KleashError):
        console.print(render(inspect_file(source)))


@CASES
@given(content=rows(), name=st.sampled_from(sorted(WRITERS)))
def test_rows_of_any_content_are_records_or_bad_rows(tmp_path_factory, content, name):
    folder = tmp_path_factory.mktemp("fuzz")
    try:
        written = WRITERS[name](content)
    except (pyarrow.ArrowException, UnicodeEncodeError, OverflowError, TypeError, ValueError):
        return  # no such file can exist: a table's columns have one type each
    (folder / name).write_bytes(written)
    read_as_everything(folder / name)


GOOD = [{"prompt": f"is {n} big?", "chosen": "yes, it is", "rejected": 'no, "not" so'} for n in range(4)]


@CASES
@given(
    name=st.sampled_from(sorted(WRITERS)),
    cut=st.floats(0, 1),
    noise=st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from([b'"', b"\n", b"\r", b",", b"[", b"}", b"\\", b"\xff", b"\0", b""])),
        max_size=4,
    ),
)
def test_damaged_files_are_read_as_far_as_they_go(tmp_path_factory, name, cut, noise):
    content = bytearray(WRITERS[name](GOOD))
    for where, piece in noise:
        place = int(where * (len(content) - 1))
        content[place : place + 1] = piece
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / name).write_bytes(content[: int(len(content) * (0.5 + cut))])
    read_as_everything(folder / name)


@CASES
@given(
    names=st.lists(
        st.sampled_from(
            ["train.jsonl", "test.jsonl", "a.csv", "data/train-0.json", "state.json", "test/x.txt", "dev/y.arrow"]
        ),
        unique=True,
    ),
    content=st.binary(max_size=20) | st.just(b'{"prompt": "p"}\n'),
    suffix=st.sampled_from(["", ":train", ":test", ":", "/*", "/**/*.jsonl", "/[", "/a.csv", "/none.jsonl"]),
)
def test_folders_of_anything_are_read_or_refused(tmp_path_factory, names, content, suffix):
    folder = tmp_path_factory.mktemp("fuzz")
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    for kind in ("prompts", "preferences"):
        with suppress(KleashError):
            assert formats.read(f"{folder}{suffix}", kind).records


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_layout_survives_a_row_of_nothing_but_wrong_values(shape, tmp_path):
    for wrong in (1, "", [], {}, [[]], [{}], [1], "x", True, 1.5):
        (tmp_path / "x.jsonl").write_text(json.dumps(dict.fromkeys(shape.columns, wrong)) + "\n", encoding="utf-8")
        read_as_everything(tmp_path / "x.jsonl")
