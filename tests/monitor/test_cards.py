"""Cards: figures, raters and licences of the lineage, nothing that is not there, and no place on anybody's disk."""

import json

import pytest

from kleash.artifacts import external, read, writing
from kleash.lineage import lineage_of, run_around
from kleash.monitor.cards import model_card, preferences_card
from kleash.records import Pair, Preference, Prompt

RATE = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 90}


def make(folder, kind, *, parents=None, settings=None, files=None, **summary):
    with writing(folder, kind=kind, parents=parents or {}, settings=settings or {}, seed=5) as draft:
        for name, rows in (files or {}).items():
            (draft.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        draft.summary |= summary
    return read(folder)


@pytest.fixture
def run(tmp_path):
    """A round of a run with every kind of measurement, from an imported base; returns the policy."""
    (tmp_path / "secret place").mkdir()
    (tmp_path / "secret place" / "prompts.jsonl").write_text('{"prompt": "why"}\n')
    stages = tmp_path / "runs" / "one" / "round-000"
    stages.mkdir(parents=True)
    theirs = {"origin": "hub:someone/base", "licence": "cc-by-4.0"}
    (tmp_path / "secret place" / "weights").write_text("1 2 3")
    weights = external(tmp_path / "secret place" / "weights", "model")
    base = make(stages / "base", "policy", parents={"source": weights}, settings=theirs, stage="import")
    sft = make(stages / "sft", "policy", parents={"base": base}, stage="sft", rows_trained=1200, steps=40)
    judged = [{"comparison_id": "c", "rater": name, "rater_kind": kind} for name, kind in RATERS]
    preferences = make(
        stages / "preferences",
        "preferences",
        files={"judgements.jsonl": judged},
        pairs=1000,
        judgements=4,
        agreement_interval=RATE,
    )
    reward = make(
        stages / "reward",
        "reward",
        parents={"preferences": preferences, "reference": sft},
        rows_trained=900,
        heldout_accuracy=RATE,
        longer_wins=0.45,
    )
    reasons = [{"measure": "length", "value": 0.3, "threshold": 0.2, "level": "warn", "text": "Length alone gains."}]
    make(stages / "audit", "audit", parents={"reward": reward}, verdict="warn", reasons=reasons)
    prompts = external(tmp_path / "secret place" / "prompts.jsonl", "prompts")
    policy = make(
        stages / "policy",
        "policy",
        parents={"reference": sft, "reward": reward, "prompts": prompts},
        settings={"leash": {"kind": "adaptive", "target_nats": 4.0}, "audit": "fail, accepted: for a test"},
        stage="policy",
        algorithm="grpo",
        steps=60,
        beta_final=0.0512,
    )
    kl = {"value": 3.5, "low": 3.1, "high": 3.9, "n": 90}
    slices = {"topic=sums": {"win_rate": {**RATE, "value": 0.65}}}
    figures = {"judge": "proxy", "win_rate": RATE, "kl_nats_per_sequence": kl, "slices": slices}
    make(stages / "evaluation", "evaluation", parents={"policy": policy, "reference": sft}, **figures)
    make(
        stages / "suites",
        "suites",
        parents={"policy": policy},
        buckets={"safety": {"ours/refuses": RATE, "ours/helps": RATE}},
        differences={"safety": {"ours/refuses": {**RATE, "value": 0.25}}},
    )
    rows = [{"step": step, "rater_kind": kind, "win_rate": RATE} for kind in ("ai", "person") for step in (20, 60)]
    make(stages / "people", "campaign", parents={"policy": policy}, checkpoints=rows)
    return policy


RATERS = [("ann", "person"), ("bob", "person"), ("ann", "person"), ("gpt", "ai")]


@pytest.mark.parametrize(
    "line",
    [
        'license: "apache-2.0"',
        'tags: ["kleash", "rlhf", "grpo"]',
        "# our assistant",
        "GRPO. It rests on 1,000 preference pairs.",
        "- made elsewhere and imported, from hub:someone/base",
        "- supervised fine-tuning (1,200 rows, 40 updates)",
        "- GRPO (60 updates)",
        "- reward model (900 rows): right on 70 % (60 % to 80 %, n 90) held-out pairs; always the shorter answer: 55 %",
        "- preferences: 1,000 pairs from 4 judgements; raters agree on 70 % (60 % to 80 %, n 90) comparisons",
        "- raters: 1 AI judges, 2 people",
        "- prompts: `prompts.jsonl`, content ",
        "- leash: adaptive, target 4 nats per answer; beta ended at 0.0512",
        "- KL to the reference (k1, summed over an answer): 3.50 (3.10 to 3.90, n 90) nats",
        "- wins against its reference, judged by proxy: 70 % (60 % to 80 %, n 90)",
        "  - topic=sums: 65 % (60 % to 80 %, n 90)",
        "- safety, ours/refuses: 70 % (60 % to 80 %, n 90); reference −25 points\n",
        "- safety, ours/helps: 70 % (60 % to 80 %, n 90)\n",
        "training began, judged blind by people at update 60: 70 % (60 % to 80 %, n 90)",
        "- before training: fail, accepted: for a test\n- verdict: **warn**\n  - Length alone gains.",
        "- this model: apache-2.0",
        "- policy from hub:someone/base: cc-by-4.0",
        "- prompts `prompts.jsonl`: not recorded",
        "with seed 5",
    ],
)
def test_a_card_says_what_the_lineage_knows(run, line):
    card = model_card(lineage_of(run_around(run.path)), run.id, name="our assistant", licence="apache-2.0")
    assert line in card.replace("\u202f", " ")


def test_a_card_names_every_ancestor_by_content_and_no_place(run, tmp_path):
    lineage = lineage_of(run_around(run.path))
    card = model_card(lineage, run.id, name="x")
    for ancestor in lineage.ancestors_of(run.id):
        assert f"`{ancestor.id}`" in card
    assert str(tmp_path) not in card
    assert "secret place" not in card


def test_an_import_speaks_for_the_licence_of_what_was_copied(run):
    card = model_card(lineage_of(run_around(run.path)), run.id, name="x")
    licences = card.partition("## Licences")[2].partition("##")[0]
    assert "weights" not in licences


def test_what_is_not_known_is_said(tmp_path):
    alone = make(tmp_path / "runs" / "policy", "policy", stage="sft")
    card = model_card(lineage_of(alone.path), alone.id, name="x")
    for title in ("Data", "Distance from the reference", "Evaluation", "Audit of the reward model"):
        assert f"## {title}\n\nNot recorded." in card
    assert "this model: not stated by whoever exported it" in card
    assert "license" not in card.split("---")[1]


def test_a_measurement_of_another_policy_does_not_enter_the_card(run):
    stages = run.path.parent
    other = make(stages / "direct", "policy", parents={"reference": read(stages / "sft")}, stage="direct")
    figures = {"judge": "somebody else", "win_rate": RATE, "slices": {}}
    make(stages / "other", "evaluation", parents={"policy": other, "reference": run}, **figures)
    assert "somebody else" not in model_card(lineage_of(run_around(run.path)), run.id, name="x")


def test_a_card_of_preferences_counts_its_rows_and_names_its_raters(run):
    rows = [
        Preference(Prompt("a"), ("x", "y"), (Pair(0, 1, 1.0),)),
        Preference(Prompt("a"), ("x", "z"), (), left_out="both_bad"),
    ]
    lineage = lineage_of(run.path.parent / "preferences")
    card = preferences_card(lineage, rows, name="pairs", licence="mit").replace("\u202f", " ")
    assert 'license: "mit"' in card
    assert "1 preference pairs over 1 prompts, from 2 rows of which 1 are not for training." in card
    assert "- raters: 1 AI judges, 2 people" in card
    assert "- these preferences: mit" in card
    assert "Lineage" not in preferences_card(None, rows, name="pairs")


def test_a_replay_is_named_and_its_pairs_are_not_counted_twice_and_rounds_stand_in_order(run):
    first, stages = run.path.parent, run.path.parent.parent / "round-001"
    stages.mkdir()
    fresh = make(stages / "preferences", "preferences", pairs=300)
    mixed = {"older": read(first / "preferences"), "fresh": fresh}
    replay = make(stages / "replay", "preferences", parents=mixed, pairs=600, replay={"old": 300, "fresh": 300})
    reward = make(stages / "reward", "reward", parents={"preferences": replay}, rows_trained=500)
    parents = {"start": run, "reference": read(first / "sft"), "reward": reward}
    later = make(stages / "policy", "policy", parents=parents, stage="policy", algorithm="rloo", steps=7)
    card = model_card(lineage_of(run_around(later.path)), later.id, name="x").replace("\u202f", " ")
    assert "RLOO. It rests on 1,300 preference pairs." in card
    assert "- replay of old and fresh preferences: 600 pairs" in card
    places = [card.index(part) for part in ("supervised fine-tuning (", "GRPO (60", "RLOO (7")]
    assert places == sorted(places)
