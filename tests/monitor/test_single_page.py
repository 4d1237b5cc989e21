"""A page that is one file: its data ends no script, its policy names its scripts, its texts are only text."""

import json

import pytest
from read_page import HOSTILE, Page

from kleash.monitor.pages.single_page import content_policy, script_json, single_page


@pytest.mark.parametrize("text", [HOSTILE, "<!--<script>", "\u2028\u2029", "a\\u003cb", "half \ud800 pair", "naïve ☃"])
def test_script_json_gives_back_the_text_and_ends_no_script(text):
    made = script_json({"text": text})
    assert not set("<>&") & set(made)
    assert made.isascii()
    assert json.loads(made) == {"text": text}


def test_script_json_turns_what_json_does_not_know_into_null():
    assert script_json({"x": [float("nan"), float("inf"), 1.5, (True, None)]}) == '{"x":[null,null,1.5,[true,null]]}'


def test_the_policy_names_the_hash_of_each_script():
    # The hash of "alert('Hello, world.');" is an example of the CSP specification.
    assert "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='" in content_policy("alert('Hello, world.');")


def test_title_and_samples_are_text_and_half_a_character_can_be_written():
    text = f"{HOSTILE} half \ud800 pair"
    page = single_page(text, ["<p>half \ud800</p>"], kind="test", figures={}, samples=[{"prompt": text}])
    assert "<p>half ?</p>" in page.encode().decode()
    found = Page(page)
    assert [name for name, _ in found.scripts] == ["data", "", ""]
    assert "img" not in {tag for tag, _ in found.elements}
    assert found.data() == {"figures": {}, "samples": [{"prompt": text}]}
    scripts = [script for name, script in found.scripts if name == ""]
    policy = next(attributes["content"] for tag, attributes in found.elements if "http-equiv" in attributes)
    assert policy == content_policy(*scripts)
