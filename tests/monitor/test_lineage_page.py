"""The lineage drawing: every link runs downwards, none behind a box, and nothing in a name becomes markup."""

import itertools
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from fake_run import make_fake_run

from kleash.artifacts import Artifact, writing
from kleash.lineage import Lineage, Link, lineage_of
from kleash.monitor.pages.lineage import (
    BOX_HEIGHT,
    BOX_WIDTH,
    LANE_WIDTH,
    draw,
    figure_of,
    lay_out,
    live_lineage,
    title_of,
)

HOSTILE = '"><script>alert(1)</script>'


def artifact(name, *, round_number=0, run="r", created="2026-11-23", summary=None, kind="policy"):
    path = Path("/runs") / run / f"round-{round_number:03d}" / name
    return Artifact(
        kind=kind, id=f"id-{name}-{round_number}", files={}, path=path, created=created, summary=summary or {}
    )


def lineage(pairs):
    """A lineage of artifacts called by numbers, from (parent, child) pairs."""
    names = sorted({name for pair in pairs for name in pair})
    made = {name: artifact(str(name)) for name in names}
    links = tuple(Link("role", made[parent].id, made[child].id) for parent, child in pairs)
    return Lineage({found.id: found for found in made.values()}, links, tuple(found.id for found in made.values()))


def random_lineage(seed):
    generator = random.Random(seed)
    pairs = {(generator.randrange(child), child) for child in range(1, 14) for _ in range(3)}
    return lineage(sorted(pairs))


QUICKSTART = [(0, 1), (0, 2), (1, 2), (2, 3), (3, 4), (1, 4), (4, 5), (1, 5), (0, 5), (5, 6), (4, 6), (0, 6), (1, 6)]
LINEAGES = [lineage(QUICKSTART), *map(random_lineage, range(6))]


def points_along(wire):
    """Points of the drawn line: a curve between layers, a straight lane through them."""
    for index, ((x, y), (to_x, to_y)) in enumerate(itertools.pairwise(wire.points)):
        for share in [step / 20 for step in range(21)]:
            # A cubic with its handles half-way down: x swings over by the smoothstep of the way.
            swing = share if index % 2 else 3 * share**2 * (1 - share) + share**3
            down = share if index % 2 else 1.5 * share * (1 - share) + share**3
            yield x + (to_x - x) * swing, y + (to_y - y) * min(down, 1.0)


@pytest.mark.parametrize("found", LINEAGES)
def test_every_link_runs_downwards_and_behind_no_box(found):
    drawing = lay_out(found)
    for wire in drawing.wires:
        assert [y for _, y in wire.points] == sorted(y for _, y in wire.points)
        for x, y in points_along(wire):
            for box in drawing.boxes:
                is_inside = box.x < x < box.x + BOX_WIDTH and box.y + 0.5 < y < box.y + BOX_HEIGHT - 0.5
                assert not is_inside, f"{wire.parent_id} to {wire.child_id} runs through {box.identity}"


@pytest.mark.parametrize("found", LINEAGES)
def test_boxes_do_not_overlap_and_lie_within_the_drawing(found):
    drawing = lay_out(found)
    assert {box.identity for box in drawing.boxes} == set(found.artifacts)
    for one, other in itertools.combinations(drawing.boxes, 2):
        assert one.y != other.y or abs(one.x - other.x) >= BOX_WIDTH
    assert all(0 <= box.x <= drawing.width - BOX_WIDTH for box in drawing.boxes)
    assert all(0 <= box.y <= drawing.height - BOX_HEIGHT for box in drawing.boxes)


def test_a_long_link_keeps_a_lane_of_its_own():
    drawing = lay_out(lineage([(0, 1), (1, 2), (0, 2)]))
    (long,) = [wire for wire in drawing.wires if len(wire.points) == 4]
    (passed,) = [box for box in drawing.boxes if box.identity == "id-1-0"]
    lane = long.points[1][0]
    assert abs(lane - (passed.x + BOX_WIDTH / 2)) >= (BOX_WIDTH + LANE_WIDTH) / 2


def test_links_of_several_roles_between_two_artifacts_are_one_line():
    made = [artifact("a"), artifact("b")]
    links = tuple(Link(role, made[0].id, made[1].id) for role in ("prompts", "evaluation_prompts"))
    (wire,) = lay_out(Lineage({found.id: found for found in made}, links, ())).wires
    assert wire.roles == ("prompts", "evaluation_prompts")


def test_a_source_stands_just_above_what_was_first_made_from_it():
    boxes = {box.identity: box.y for box in lay_out(lineage([(0, 1), (1, 2), (9, 2)])).boxes}
    assert boxes["id-9-0"] == boxes["id-1-0"]


def test_an_artifact_of_a_later_round_or_another_run_says_so():
    assert title_of(artifact("policy"), here="r") == "policy"
    assert title_of(artifact("policy", round_number=2), here="r") == "policy, round 2"
    assert title_of(artifact("policy", run="other"), here="r") == "other: policy"
    assert title_of(Artifact(kind="model", id="x", files={}, path=Path("/models/llama"))) == "llama"


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        ({"win_rate": {"value": 0.811, "n": 2000}, "n": 2000}, "win rate 81\u202f%"),
        ({"heldout_accuracy": {"mean": 0.769}}, "accuracy 77\u202f%"),
        ({"verdict": "fail"}, "verdict: fail"),
        ({"pairs": 9220, "prompts": 4872}, "9\u202f220 pairs"),
        ({"steps": 60}, "60 updates"),
        ({}, "policy"),
    ],
)
def test_a_box_tells_the_figure_that_says_most(summary, said):
    assert figure_of(artifact("x", summary=summary)) == said


def test_hostile_names_stay_inside_their_attributes_and_elements():
    made = [artifact(HOSTILE.replace("/", "_")), artifact("b", summary={"verdict": HOSTILE})]
    found = Lineage({one.id: one for one in made}, (Link(HOSTILE, made[0].id, made[1].id),), (made[0].id,))
    root = ElementTree.fromstring(draw(found, lambda identity: f"/?a={identity}&b={HOSTILE}"))
    assert {element.tag for element in root.iter()} == {"svg", "path", "title", "a", "rect", "text"}
    assert root.find("path/title").text == HOSTILE


def test_the_page_marks_the_chosen_artifact_and_tells_what_it_was_made_from(tmp_path):
    run = make_fake_run(tmp_path)
    reward = next(found for found in lineage_of(run).artifacts.values() if found.path.name == "reward")
    parts = live_lineage(run, "quickstart", chosen=reward.id).html
    assert parts["lineage"].count('aria-current="true"') == 1
    assert parts["lineage"].count('class="chosen"') == 4  # from preferences and sft, into policy and evaluation
    assert "<h2>reward</h2>" in parts["details"]
    assert "heldout_accuracy" in parts["details"]
    assert parts["details"].count("<small>as ") == 4


def test_an_artifact_leads_to_the_page_that_shows_more_of_it(tmp_path):
    run = make_fake_run(tmp_path)
    shown = {
        found.path.name: live_lineage(run, "quickstart", chosen=found.id).html["details"]
        for found in lineage_of(run).artifacts.values()
    }
    assert '<a href="/labellers/quickstart">Its labellers</a>' in shown["preferences"]
    assert '<a href="/run/quickstart">How it was trained</a>' in shown["policy"]
    assert "How it was trained" not in shown["sft"]


def test_reasons_are_told_in_their_words(tmp_path):
    reasons = [
        {"measure": "filler", "level": "fail", "text": "Filler pays."},
        {"level": "warn", "text": "So do lists."},
    ]
    with writing(tmp_path / "r" / "round-000" / "audit", kind="audit", parents={}, settings={}) as draft:
        draft.summary |= {"verdict": "fail", "reasons": reasons}
    assert "<td>Filler pays. So do lists.</td>" in live_lineage(tmp_path / "r", "r").html["details"]


def test_without_a_choice_the_newest_result_is_shown(tmp_path):
    assert "<h2>evaluation</h2>" in live_lineage(make_fake_run(tmp_path), "quickstart").html["details"]


def test_a_run_without_a_finished_stage_says_that_there_is_nothing_yet(tmp_path):
    (tmp_path / "r").mkdir()
    parts = live_lineage(tmp_path / "r", "r").html
    assert "No complete artifact" in parts["lineage"]
    assert parts["details"] == ""
