"""Artifacts: complete or resumable whatever happens, refused when changed, and honest when altered."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kleash import artifacts
from kleash.durable import write_text
from kleash.errors import ArtifactError, RunError, SettingsError
from kleash.lineage import verify

FORMAT = {"tokenizer": "aaaa1111aaaa", "chat_template": "bbbb2222bbbb"}


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "demos.jsonl"
    path.write_text('{"prompt": "a"}\n')
    return artifacts.external(path, "demonstrations")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs" / "x" / "round-000" / "sft"


def make(folder, data, *, text="weights", summary=None, **changed):
    plan = {"kind": "policy", "parents": {"data": data}, "settings": {"steps": 4, "leash": {"gain": 0.1}}} | changed
    with artifacts.writing(folder, seed=7, text_format=FORMAT, **plan) as draft:
        (draft.path / "model").mkdir(exist_ok=True)
        (draft.path / "model" / "a.bin").write_text(text)
        (draft.path / "metrics.jsonl").write_text(f'{{"step": 0, "step_seconds": {os.times().elapsed}}}')
        (draft.work / "checkpoint").write_text("gone at the end")
        draft.summary = summary or {"loss": 1.5}
    return artifacts.read(folder)


def test_complete_artifact_says_what_it_is_and_verifies(folder, data):
    artifact = make(folder, data)
    assert artifact.kind == "policy"
    assert artifact.parents == {"data": data.id}
    assert artifact.settings == {"steps": 4, "leash": {"gain": 0.1}}
    assert artifact.seed == 7
    assert artifact.text_format == FORMAT
    assert artifact.summary == {"loss": 1.5}
    assert sorted(artifact.files) == ["metrics.jsonl", "model/a.bin"]
    assert artifact.packages["torch"]
    assert artifacts.parent_path(artifact, "data") == data.path
    assert sorted(os.listdir(folder)) == ["artifact.json", "metrics.jsonl", "model"]
    assert os.listdir(folder.parent) == ["sft"]
    assert verify(folder) == []
    assert artifacts.find(folder) == artifact


def test_code_commit_is_the_one_checked_out(folder, data):
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert make(folder, data).code_commit.rstrip("+") == git.stdout.strip()


def test_same_work_has_the_same_id_and_other_work_another(folder, data, tmp_path):
    same = make(folder, data).id
    assert make(tmp_path / "again", data, summary={"took_seconds": 3}).id == same
    assert make(tmp_path / "weights", data, text="others").id != same
    assert make(tmp_path / "settings", data, settings={"steps": 5}).id != same
    assert make(tmp_path / "kind", data, kind="reward").id != same
    (tmp_path / "more.jsonl").write_text("{}")
    other_data = artifacts.external(tmp_path / "more.jsonl", "demonstrations")
    assert make(tmp_path / "parents", other_data).id != same


def test_killed_at_any_write_the_same_command_ends_in_the_same_artifact(folder, data, tmp_path, kill_at_every_write):
    plan = {"kind": "policy", "parents": {"data": data}, "settings": {"steps": 3}}

    def stage(folder=folder):
        if found := artifacts.find(folder, **plan):
            return found
        with artifacts.writing(folder, **plan) as draft:
            done = draft.work / "done.json"
            steps = json.loads(done.read_text()) if done.exists() else []
            for step in range(len(steps), 3):
                steps.append(step)
                write_text(done, json.dumps(steps))
            (draft.path / "weights.json").write_text(json.dumps(steps))
        return artifacts.read(folder)

    uninterrupted = stage(tmp_path / "uninterrupted")

    def check():
        assert not folder.exists() or verify(folder) == []
        assert stage().id == uninterrupted.id
        assert verify(folder) == []
        assert os.listdir(folder.parent) == ["sft"]
        shutil.rmtree(folder)

    assert kill_at_every_write(stage, check) > 12


def test_error_or_interrupt_leaves_the_draft_to_be_resumed(folder, data):
    plan = {"kind": "policy", "parents": {"data": data}, "settings": {}}

    def interrupted():
        with artifacts.writing(folder, **plan) as draft:
            assert not draft.is_resumed
            (draft.work / "checkpoint").write_text("40")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert artifacts.find(folder, **plan) is None
    with pytest.raises(ArtifactError, match=r"is unfinished: only sft.partial is there.*Run the command that makes it"):
        artifacts.read(folder)
    with artifacts.writing(folder, **plan) as draft:
        assert draft.is_resumed
        assert (draft.work / "checkpoint").read_text() == "40"
    assert verify(folder) == []


def test_changed_setting_or_parent_is_refused_by_name_whether_begun_or_complete(folder, data, tmp_path):
    plan = {"kind": "policy", "parents": {"data": data}, "settings": {"steps": 4, "leash": {"gain": 0.1}}}
    changed = plan | {"settings": {"steps": 5, "leash": {"gain": 0.1}}}
    with pytest.raises(KeyboardInterrupt), artifacts.writing(folder, **plan):
        raise KeyboardInterrupt
    expected = r"sft.partial was begun with other settings: settings.steps: 4 -> 5\. .*--branch NAME, or remove"
    with pytest.raises(SettingsError, match=expected), artifacts.writing(folder, **changed):
        pass
    with pytest.raises(SettingsError, match=expected):
        artifacts.find(folder, **changed)
    make(folder, data)
    with pytest.raises(SettingsError, match=r"sft was begun with other settings: settings.steps: 4 -> 5\."):
        artifacts.find(folder, **changed)
    (tmp_path / "more.jsonl").write_text("{}")
    others = {"data": artifacts.external(tmp_path / "more.jsonl", "demonstrations")}
    with pytest.raises(SettingsError, match=rf'parents.data: "{data.id}" -> "{others["data"].id}"'):
        artifacts.find(folder, **(plan | {"parents": others}))
    assert artifacts.find(folder, **plan) is not None


def test_complete_artifact_is_never_written_again_and_foreign_debris_never_adopted(folder, data, tmp_path):
    make(folder, data)
    with pytest.raises(ArtifactError, match="is a complete artifact already"):
        make(folder, data)
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="holds files but no record of how they were begun"):
        make(tmp_path / "other", data)


def test_refused_write_is_a_clear_error_and_the_draft_goes_on_later(folder, data, file_size_limit):
    plan = {"kind": "policy", "parents": {"data": data}, "settings": {}}

    def too_much():
        with artifacts.writing(folder, **plan) as draft:
            (draft.work / "checkpoint").write_text("40")
            (draft.path / "model.bin").write_text("x" * 3000)

    expected = r"Cannot write the policy artifact at .*: the file would pass the largest size"
    with file_size_limit(2000), pytest.raises(RunError, match=expected):
        too_much()
    with artifacts.writing(folder, **plan) as draft:
        assert (draft.work / "checkpoint").read_text() == "40"


def test_unwritable_folder_is_a_clear_error(tmp_path, data, unprivileged):
    with unprivileged(tmp_path), pytest.raises(RunError, match=r"policy artifact .*: permission is denied"):
        make(tmp_path / "run" / "sft", data)


def test_verify_names_each_file_altered_missing_or_added(folder, data):
    make(folder, data)
    (folder / "model" / "a.bin").write_text("tampered")
    (folder / "metrics.jsonl").unlink()
    (folder / "extra").write_text("")
    altered, missing, added = sorted(verify(folder), key=lambda problem: "added" in problem)[0:3]
    problems = "\n".join([altered, missing, added])
    assert "model/a.bin was altered: sha256" in problems
    assert "metrics.jsonl is missing" in problems
    assert "extra was added" in problems
    assert len(verify(folder)) == 3


def test_verify_notices_a_manifest_with_prettier_figures_or_other_settings(folder, data):
    make(folder, data)
    path = folder / "artifact.json"
    honest = path.read_text()
    path.write_text(honest.replace('"loss": 1.5', '"loss": 0.5'))
    assert verify(folder) == [f"{path} was altered: its seal does not fit what it says"]
    path.write_text(honest.replace('"steps": 4', '"steps": 9'))
    assert any("is not what its id" in problem for problem in verify(folder))


def test_verify_notices_a_parent_that_changed_but_not_one_that_went(folder, data):
    make(folder, data)
    data.path.write_text("other")
    (problem,) = verify(folder)
    assert f"{data.path} (data of {folder}) has id" in problem
    assert f"{data.id} was used" in problem
    data.path.unlink()
    assert verify(folder) == []


def test_run_moved_as_a_whole_still_knows_its_parents(folder, data, tmp_path):
    policy = make(folder, data)
    make(folder.with_name("reward"), policy, kind="reward")
    shutil.move(tmp_path / "runs" / "x", tmp_path / "y")
    moved = artifacts.read(tmp_path / "y" / "round-000" / "reward")
    assert artifacts.parent_path(moved, "data") == tmp_path / "y" / "round-000" / "sft"
    assert verify(moved.path) == []


def test_require_refuses_the_wrong_kind_or_folder(folder, data, tmp_path):
    artifact = make(folder, data)
    assert artifacts.require(folder, "policy") == artifact
    assert artifacts.require(artifact, ("reward", "policy")) is artifact
    with pytest.raises(
        ArtifactError, match=r"sft is of kind policy, but reward is needed here\. Give the folder of a rew"
    ):
        artifacts.require(folder, "reward")
    with pytest.raises(ArtifactError, match=r"No artifact at .*none: no such folder\. .*correct the path"):
        artifacts.require(tmp_path / "none", "policy")
    (tmp_path / "bare").mkdir()
    with pytest.raises(ArtifactError, match=r"it has no artifact\.json"):
        artifacts.require(tmp_path / "bare", "policy")


def test_unreadable_manifests_are_named(folder, data):
    make(folder, data)
    path = folder / "artifact.json"
    honest = json.loads(path.read_text())
    for text, message in [
        ("{", r"Cannot read .*artifact\.json"),
        ("[]", "holds no JSON object"),
        (json.dumps(honest | {"format": 99}), "has manifest format 99, this version of kleash reads 1"),
        (json.dumps(honest | {"artifact": {"kind": "policy"}}), r"artifact\.json is damaged: id: Field required"),
        (json.dumps(honest | {"artifact": [1]}), r"artifact\.json is damaged: "),
        (json.dumps(honest | {"artifact": honest["artifact"] | {"origins": []}}), "damaged: origins: Input should be"),
        (json.dumps(honest | {"artifact": honest["artifact"] | {"origins": {"a": 3}}}), r"damaged: origins\.a: "),
        (json.dumps(honest | {"artifact": honest["artifact"] | {"summary": "fine"}}), "damaged: summary: "),
        (json.dumps(honest | {"artifact": honest["artifact"] | {"parents": {"a": None}}}), r"damaged: parents\.a: "),
        ("[" * 100_000, r"Cannot read .*artifact\.json"),
        ('{"artifact": ' * 100_000, r"Cannot read .*artifact\.json"),
    ]:
        path.write_text(text)
        with pytest.raises(ArtifactError, match=message):
            artifacts.read(folder)
        assert len(verify(folder)) == 1


def test_external_parents_are_known_by_content(tmp_path, folder, data):
    (tmp_path / "copy.jsonl").write_text(data.path.read_text())
    assert artifacts.external(tmp_path / "copy.jsonl", "demonstrations").id == data.id
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    before = artifacts.external(model, "model", text_format=FORMAT)
    (model / ".cache").write_text("hidden files do not count")
    assert artifacts.external(model, "model").id == before.id
    (model / "config.json").write_text("{ }")
    assert artifacts.external(model, "model").id != before.id
    made = make(folder, data)
    assert artifacts.external(folder, "model") == made
    with pytest.raises(ArtifactError, match=r"No demonstrations at .*gone: no such file or folder\. Give the path"):
        artifacts.external(tmp_path / "gone", "demonstrations")
