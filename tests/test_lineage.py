"""Lineage: from a policy back to its preferences, and from preferences on to every model trained on them."""

import json
import shutil

import pytest

from kleash import artifacts
from kleash.errors import ArtifactError
from kleash.lineage import labels_behind, lineage_of, made_with_label, render, verify_run


def make(folder, kind, parents, **summary):
    with artifacts.writing(folder, kind=kind, parents=parents, settings={"folder": folder.name}) as draft:
        if kind == "preferences":
            rows = [{"comparison_id": "c1", "rater": "ada"}, {"comparison_id": "c1", "rater": "bob"}]
            (draft.path / "judgements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (draft.path / "weights.bin").write_text(f"{kind} from {[parent.id for parent in parents.values()]}")
        draft.summary = {"note": "text is not shown", **summary}
    return artifacts.read(folder)


@pytest.fixture
def run(tmp_path):
    """One round: demonstrations -> SFT -> candidates -> preferences -> reward model -> policy."""
    (tmp_path / "demos.jsonl").write_text("{}")
    data = artifacts.external(tmp_path / "demos.jsonl", "demonstrations")
    stages = tmp_path / "runs" / "x" / "round-000"
    sft = make(stages / "sft", "policy", {"data": data}, loss=0.51239)
    candidates = make(stages / "candidates", "candidates", {"policy": sft})
    preferences = make(stages / "preferences", "preferences", {"candidates": candidates}, num_labels=480, num_raters=3)
    reward = make(stages / "reward", "reward", {"start": sft, "preferences": preferences}, accuracy=0.71)
    make(stages / "policy", "policy", {"start": sft, "reward": reward}, kl_nats=5.9)
    return tmp_path / "runs" / "x"


def names(found):
    return [artifact.path.name for artifact in found]


def test_a_policy_leads_back_to_its_preferences_and_data(run):
    lineage = lineage_of(run / "round-000" / "policy")
    (policy,) = lineage.focus
    found = lineage.ancestors_of(policy)
    assert names(found) == ["sft", "reward", "demos.jsonl", "preferences", "candidates"]
    assert found[3].summary["num_labels"] == 480
    assert lineage.descendants_of(policy) == []


def test_preferences_lead_on_to_every_model_trained_on_them(run):
    lineage = lineage_of(run / "round-000" / "preferences")
    assert names(lineage.descendants_of(lineage.focus[0])) == ["reward", "policy"]


def test_a_policy_leads_to_each_label_and_a_label_to_each_model(run):
    lineage = lineage_of(run / "round-000" / "policy")
    labels = list(labels_behind(lineage, lineage.focus[0]))
    assert [(row["comparison_id"], row["rater"]) for row in labels] == [("c1", "ada"), ("c1", "bob")]
    lineage = lineage_of(run)
    assert names(made_with_label(lineage, "bob")) == ["preferences", "reward", "policy"]
    assert names(made_with_label(lineage, "c1")) == ["preferences", "reward", "policy"]
    assert made_with_label(lineage, "eve") == []
    sft = lineage_of(run / "round-000" / "sft").focus[0]
    assert list(labels_behind(lineage, sft)) == []


def test_a_branch_in_another_run_is_found_and_an_unrelated_run_is_not(run):
    preferences = artifacts.read(run / "round-000" / "preferences")
    branch = make(run.parent / "y" / "round-000" / "reward", "reward", {"preferences": preferences})
    unrelated = make(run.parent / "z" / "round-000" / "sft", "policy", {})
    lineage = lineage_of(run)
    assert branch.id in [artifact.id for artifact in lineage.descendants_of(preferences.id)]
    assert unrelated.id not in lineage.artifacts
    whole = lineage_of(run.parent / "y")
    assert [artifact.path.name for artifact in whole.ancestors_of(branch.id)][-1] == "demos.jsonl"


def test_a_copied_run_shows_its_own_folders(run):
    shutil.copytree(run, run.parent / "a-copy")
    lineage = lineage_of(run)
    assert {artifact.path.parts[-3] for artifact in lineage.artifacts.values() if artifact.created} == {"x"}
    assert len(lineage.links) == 7


def test_damage_in_another_run_is_told_and_hides_nothing_here(run, caplog):
    other = run.parent / "damaged" / "round-000" / "sft"
    other.mkdir(parents=True)
    (other / "artifact.json").write_text("{")
    assert len(lineage_of(run).focus) == 5
    assert "Left out of the lineage: Cannot read" in caplog.text
    with pytest.raises(ArtifactError, match="Cannot read"):
        lineage_of(run.parent / "damaged")


def test_a_parent_that_is_gone_is_still_named(run):
    shutil.rmtree(run / "round-000" / "preferences")
    lineage = lineage_of(run / "round-000" / "policy")
    gone = [artifact for artifact in lineage.ancestors_of(lineage.focus[0]) if artifact.kind == "preferences"]
    assert names(gone) == ["preferences"]
    assert not gone[0].created


def test_run_is_drawn_both_ways(run):
    lineage = lineage_of(run)
    ids = {artifact.path.name: artifact.id[:8] for artifact in lineage.artifacts.values()}
    demos = run.parent.parent / "demos.jsonl"
    assert render(lineage) == [
        "Made from:",
        f"  policy {ids['policy']} x/round-000/policy (kl_nats 5.9)",
        f"  ├─ start: policy {ids['sft']} x/round-000/sft (loss 0.512)",
        f"  │  └─ data: demonstrations {ids['demos.jsonl']} {demos}",
        f"  └─ reward {ids['reward']} x/round-000/reward (accuracy 0.71)",
        f"     ├─ start: policy {ids['sft']} x/round-000/sft (loss 0.512) (see above)",
        f"     └─ preferences {ids['preferences']} x/round-000/preferences (num_labels 480, num_raters 3)",
        f"        └─ candidates {ids['candidates']} x/round-000/candidates",
        f"           └─ policy {ids['sft']} x/round-000/sft (loss 0.512) (see above)",
        "Used for:",
        f"  demonstrations {ids['demos.jsonl']} {demos}",
        f"  └─ as data: policy {ids['sft']} x/round-000/sft (loss 0.512)",
        f"     ├─ as policy: candidates {ids['candidates']} x/round-000/candidates",
        f"     │  └─ as candidates: preferences {ids['preferences']} x/round-000/preferences "
        "(num_labels 480, num_raters 3)",
        f"     │     └─ as preferences: reward {ids['reward']} x/round-000/reward (accuracy 0.71)",
        f"     │        └─ as reward: policy {ids['policy']} x/round-000/policy (kl_nats 5.9)",
        f"     ├─ as start: reward {ids['reward']} x/round-000/reward (accuracy 0.71) (see above)",
        f"     └─ as start: policy {ids['policy']} x/round-000/policy (kl_nats 5.9) (see above)",
    ]


def test_a_whole_run_verifies_and_each_fault_is_named(run):
    assert verify_run(run) == []
    (run / "round-000" / "reward" / "weights.bin").write_text("tampered")
    (problem,) = verify_run(run)
    assert "round-000/reward/weights.bin was altered" in problem
    assert verify_run(run / "round-000" / "sft") == []


def test_a_stage_that_others_of_the_run_name_must_be_there(run, tmp_path):
    reward = run / "round-000" / "reward"
    reward.rename(tmp_path / "away")
    [problem] = verify_run(run)
    assert problem == f"{reward} (reward of {run / 'round-000' / 'policy'}) is missing"
    assert verify_run(run / "round-000" / "policy") == [], "one artifact may be kept without the others"


def test_folder_without_artifacts_is_refused(tmp_path):
    for call in (lineage_of, verify_run):
        with pytest.raises(ArtifactError, match=r"No complete artifact in .*Correct the path, or run a stage first"):
            call(tmp_path)
