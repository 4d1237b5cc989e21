"""The experiment's page: what it says of the criteria, what it draws, and that it holds everything it needs."""

import io
import json
import re

import pytest
from rich.console import Console

from experiments.made_curves import curve, good_curves
from kleash.cli.experiment import criteria_table
from kleash.errors import RunError
from kleash.experiments.criteria import judge_all
from kleash.experiments.curves import as_json
from kleash.monitor.pages.overoptimisation_page import FIGURES, PAGE, figure_of


def content_of(curves):
    return {
        "arms": [as_json(made) for made in curves.values()],
        "criteria": [verdict.as_json() for verdict in judge_all(list(curves.values()))],
    }


@pytest.fixture
def content():
    return content_of(good_curves())


def test_the_headline_counts_what_holds_and_names_what_does_not():
    def headline(**passed):
        criteria = [
            {"name": name, "passed": value, "text": "", "figures": {}, "seeds": {}} for name, value in passed.items()
        ]
        return re.search("<h2>(.*?)</h2>", PAGE.render({"arms": [], "criteria": criteria}))[1]

    assert headline(C1=True, C2=True, C5=None) == "All 2 criteria that were measured hold."
    assert headline(C1=True, C2=False, C3=True) == "2 of 3 criteria hold; C2 does not."
    assert headline(C1=False, C2=False, C3=True) == "1 of 3 criteria hold; C1 and C2 do not."
    assert headline(C5=None) == "No criterion could be judged."


def test_the_page_is_whole_and_loads_nothing(content):
    page = PAGE.render(content)
    assert "All 9 criteria that were measured hold." in page
    assert page.count("data-figure=") == len(FIGURES)
    head = page.split("</head>")[0]
    assert "default-src 'none'" in head
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page.split("<script>")[0])


def test_gold_its_peak_the_proxy_and_the_fitted_law_are_drawn(content):
    made = figure_of(FIGURES["biased"], content["arms"])
    gold, ring, proxy, law = made["data"]
    assert gold["y"] == [0.0, 0.3, 0.6, 0.5, 0.2, -0.1, -0.5]
    assert gold["x"] == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert (ring["x"], ring["y"]) == ([1.0], [0.6])
    assert proxy["y"] == gold["x"]
    assert law["x"][0] == 1.0  # the law is not meant for less
    assert "KL 1.00 nats, gold 0.60" in gold["text"][2]


def test_a_direct_method_is_one_mark_and_not_a_path(content):
    made = figure_of(FIGURES["direct"], content["arms"])
    marks = [trace for trace in made["data"] if trace["mode"] == "markers"]
    assert [len(trace["x"]) for trace in marks if trace["marker"].get("symbol") != "circle-open"] == [1, 1, 1]


def test_what_was_not_run_is_left_out_and_not_judged():
    some = {name: good_curves()[name] for name in ("ppo-biased", "ppo-unbiased", "ppo-leashed")}
    page = PAGE.render(content_of(some))
    assert 'data-figure="leash"' in page
    assert 'data-figure="ensembles"' not in page
    assert page.count("not measured") == 5


def test_names_from_the_file_are_shown_as_text():
    hostile = curve("ppo-biased", [0.0] * 7)
    content = content_of({"ppo-biased": hostile})
    content["criteria"][0]["text"] = "<script>alert(1)</script>"
    page = PAGE.render(content)
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_table_for_the_screen_says_which_seeds_agree(content):
    content["criteria"][1]["seeds"] = {"0": {"passed": True}, "1": {"passed": False}, "2": {"passed": True}}
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(criteria_table(content))
    shown = console.export_text()
    assert "2 of 3" in shown
    assert "fall 1.10 SD" in shown


def test_a_folder_without_curves_is_refused(tmp_path):
    with pytest.raises(RunError) as refused:
        PAGE.write(tmp_path)
    assert "curves.json" in str(refused.value)
    assert "Expected the figures that `kleash experiment overoptimisation` writes." in str(refused.value)
    assert "Run it; what it has made before is not made again." in str(refused.value)


def test_the_page_lies_beside_the_curves(tmp_path, content):
    (tmp_path / "curves.json").write_text(json.dumps(content))
    assert PAGE.write(tmp_path) == tmp_path / "overoptimisation.html"
    assert (tmp_path / "overoptimisation.html").stat().st_size > 1_000_000  # plotly is in it
