"""Every JSON we write is JSON: no Infinity, no NaN, no half of a surrogate pair that UTF-8 cannot hold."""

import json
import math

import pytest

from kleash.artifacts import find, read, writing
from kleash.durable import json_line, json_text
from kleash.lineage import verify

ODD = {"low": -math.inf, "rows": [{"sd": math.nan, "n": 1}, (math.inf, "\ud83d")], "é": 0.5}
PLAIN = {"low": None, "rows": [{"sd": None, "n": 1}, [None, "\ud83d"]], "é": 0.5}


def strict(text):
    """Read JSON as everybody else does."""
    text.encode("utf-8")
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("write", [json_text, json_line, lambda content: json_text(content, indent=1)])
def test_a_number_that_is_not_finite_is_null(write):
    assert strict(write(ODD)) == PLAIN
    assert write({"a": "é"}).strip().replace("\n", "").replace(" ", "") == '{"a":"é"}'


def test_a_manifest_is_json_and_is_found_again(tmp_path):
    with writing(tmp_path / "it", kind="policy", parents={}, settings={"most": math.inf}) as draft:
        draft.summary |= ODD
    assert strict((tmp_path / "it" / "artifact.json").read_text(encoding="utf-8"))["artifact"]["summary"] == PLAIN
    assert verify(tmp_path / "it") == []
    assert find(tmp_path / "it", kind="policy", parents={}, settings={"most": math.inf}) == read(tmp_path / "it")
