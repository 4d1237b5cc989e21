"""The page as a whole: complete, whatever is missing, escaped, and inert in a real browser."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from fake_run import ALL_STAGES, make_fake_run
from read_page import HOSTILE, Page

from kleash.errors import RunError
from kleash.estimates import Estimate
from kleash.monitor.pages.rendering import fragment, piece, templates
from kleash.monitor.pages.report import render, write_report
from kleash.monitor.read.findings import Contrast, findings_of
from kleash.monitor.read.reader import read_run


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_the_win_rate_stands_beside_the_one_at_equal_length(tmp_path):
    text = write_report(make_fake_run(tmp_path)).read_text(encoding="utf-8")
    assert re.search(r"71\W%</p>.*?; at equal length 66\W% \(\d+ to \d+\W%\)</p>", text, re.DOTALL)


def test_before_the_evaluation_the_tile_has_the_panels_newest_win_rate(tmp_path):
    text = write_report(make_fake_run(tmp_path, stages=("sft", "policy"))).read_text(encoding="utf-8")
    assert "alarms&#39; panel, update 60: 64 to 75" in text


def test_the_page_is_one_file_with_every_section(tmp_path):
    folder = make_fake_run(tmp_path)
    assert write_report(folder) == folder / "report.html"
    page = page_of(folder)
    assert {"training", "slices", "reward-model", "samples", "lineage", "settings"} <= page.ids()
    assert len(page.data()["samples"]) == 500
    assert {"training", "small-0", "margins", "reward-slices"} <= set(page.data()["figures"])


def test_nothing_is_loaded_from_anywhere(tmp_path):
    page = page_of(make_fake_run(tmp_path))
    loading = [attributes for _, attributes in page.elements if {"src", "srcset", "data"} & set(attributes)]
    assert loading == []
    assert not [attributes for tag, attributes in page.elements if tag in ("link", "iframe", "object", "embed", "base")]


@pytest.mark.parametrize("left_out", [(), *((stage,) for stage in ALL_STAGES), ("policy", "evaluation"), ALL_STAGES])
def test_a_run_with_missing_stages_has_a_page(tmp_path, left_out):
    stages = tuple(stage for stage in ALL_STAGES if stage not in left_out)
    page = page_of(make_fake_run(tmp_path, stages=stages))
    assert ("slices" in page.ids()) == ("evaluation" in stages)
    assert ("training" in page.ids()) == ("policy" in stages)
    assert ("reward-model" in page.ids()) == ("reward" in stages)


def test_a_run_with_only_reward_and_direct_has_a_page(tmp_path):
    page = page_of(make_fake_run(tmp_path, stages=("reward", "direct")))
    assert "small-0" in page.data()["figures"]
    assert "training" not in page.data()["figures"]


def test_a_run_without_gold_has_a_page(tmp_path):
    folder = make_fake_run(tmp_path, story="real")
    text = write_report(folder).read_text(encoding="utf-8")
    assert "Judge: my_judge:helpfulness" in text
    assert ">Correct<" not in text


def test_several_rounds_are_listed(tmp_path):
    folder = make_fake_run(tmp_path)
    other = make_fake_run(tmp_path, name="other", seed=8)
    (other / "round-000").rename(folder / "round-001")
    text = write_report(folder).read_text(encoding="utf-8")
    assert "<h2>Rounds</h2>" in text
    assert "round 1, the newest of 2" in text


def test_the_old_page_survives_a_failed_write(tmp_path, file_size_limit):
    folder = make_fake_run(tmp_path, stages=("sft",))
    path = write_report(folder)
    before = path.read_bytes()
    with file_size_limit(1000), pytest.raises(RunError, match="Cannot write the report"):
        write_report(folder)
    assert path.read_bytes() == before


# ---------------------------------------------------------------------------------------------------------- escaping
def test_escape_leaves_nothing_that_html_reads():
    shown = templates().from_string("{{ text|seen }}").render(text="<a href='x' id=\"y\">&\u202e")
    assert shown == "&lt;a href=&#39;x&#39; id=&#34;y&#34;&gt;&amp;‹U+202E›"


def test_hostile_text_adds_no_element_anywhere(tmp_path):
    clean, hostile = (
        page_of(make_fake_run(tmp_path, name=name, hostile_text=text))
        for name, text in (("clean", "words"), ("hostile", HOSTILE))
    )
    # Only sorting by name can differ: the elements must be the same ones.
    assert sorted(tag for tag, _ in hostile.elements) == sorted(tag for tag, _ in clean.elements)
    assert hostile.data()["samples"][0]["prompt"] == HOSTILE


def test_half_a_surrogate_pair_does_not_stop_the_page(tmp_path):
    folder = make_fake_run(tmp_path, hostile_text="half \\ud800 pair")
    path = folder / "round-000" / "evaluation" / "samples.jsonl"
    path.write_text(path.read_text().replace("half \\\\ud800 pair", "half \\ud800 pair"))
    assert page_of(folder).data()["samples"][0]["after"]["text"] == "half \ud800 pair"


# ------------------------------------------------------------------------------------------------------------ pieces
def test_the_slice_table_keeps_its_order_and_leaves_out_what_was_not_measured(tmp_path):
    slices = [
        Contrast(
            name="topic=a_b",
            n=10,
            correct_before=0.5,
            correct_after=0.25,
            correct_difference=Estimate(-0.25, -0.4, -0.1),
        ),
        Contrast(name="topic=c", correct_before=0.5, correct_after=0.75, correct_difference=Estimate(0.25)),
    ]
    findings = findings_of(read_run(make_fake_run(tmp_path)))

    def table(slices):
        return fragment("parts/slices.html", findings=replace(findings, slices=slices))

    text = table(slices)
    assert re.findall(r"<button[^>]*>(\w+)", text) == ["Slice", "Correct", "Change"]
    assert re.findall(r'<td data-key="([^"]*)">', text) == ["0.25", "-0.25", "0.75", "0.25"]
    assert text.count("<mark>fell</mark>") == 1
    assert "a b" in text
    assert table([]).strip() == ""


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (Estimate(0.6, 0.55, 0.65), "range good"),
        (Estimate(0.4, 0.35, 0.45), "range bad"),
        (Estimate(0.6, 0.45, 0.75), "range"),
    ],
)
def test_an_interval_is_coloured_only_if_it_excludes_even(found, kind):
    assert f'class="{kind}"' in piece("interval_bar", found)


def test_bars_stay_on_their_track():
    assert piece("box", "x", -5.0, 5.0, 0.0, 1.0) == '<span class="x" style="left:0.00%;width:100.00%"></span>'
    assert piece("box", "x", 0.25, 0.5, 0.0, 2.0) == '<span class="x" style="left:12.50%;width:12.50%"></span>'
    assert "left:0.00%" in piece("box", "x", 0.0, 0.0, 0.0, 0.0)


def test_writing_a_report_needs_no_torch(tmp_path):
    folder = make_fake_run(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom kleash.monitor.pages.report import write_report\n"
        f"write_report(Path({str(folder)!r}))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_where_the_time_went_is_told_by_stage_and_part(tmp_path):
    run = make_fake_run(tmp_path)
    assert "Where the time went" not in render(read_run(run)), "runs of earlier versions did not measure it"
    for stage, parts in (("sft", {"updating": 0.3}), ("policy", {"sampling": 0.5, "updating": 1.5})):
        file = run / "round-000" / stage / "metrics.jsonl"
        rows = [
            json.loads(line) | {f"seconds/{part}": s for part, s in parts.items()}
            for line in file.read_text().splitlines()
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = " ".join(re.sub(r"<[^>]*>", " ", render(read_run(run)).partition('id="times"')[2]).split())
    cells = "Stage Steps updating sampling sft 220 1 min 6 s 100 % – policy 60 1 min 30 s 75 % 30 s 25 %"
    assert cells in text.replace("\u202f", " ").replace("\xa0", " ")
