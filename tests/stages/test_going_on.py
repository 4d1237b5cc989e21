"""What a stage notices before it begins or goes on: altered parents, lost rows, files that nobody wrote, threads."""

import json
import shutil

import pytest
import torch

from kleash.artifacts import require
from kleash.durable import partial_path
from kleash.errors import ArtifactError, RunError
from kleash.lineage import require_whole, verify
from kleash.stages.reward import RewardSettings, train_reward
from kleash.stages.sft import SftSettings, train_sft
from kleash.stages.support.scoring import ScorerSource
from kleash.tracking import JsonlTracker
from stages.test_policy import VARIED, settings_of, train
from stages.tiny_recipe import TABLES, scripted_alarms, tiny_context
from timings import without_timings


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", ["model.safetensors", "tokenizer.json", "added.jinja"])
def test_an_altered_parent_is_refused_before_training(made, tmp_path, damage):
    sft = tmp_path / "round-000" / "sft"
    shutil.copytree(made["sft"].path, sft)
    flip_a_bit(sft / damage) if (sft / damage).exists() else (sft / damage).write_text("{{ messages }}")
    with pytest.raises(ArtifactError, match=rf"round-000/sft, a policy to go on from, is damaged: .*{damage} was "):
        train_reward(
            tiny_context(),
            RewardSettings(**TABLES["reward"]),
            base=require(sft, "policy"),
            preferences=made["preferences"],
            output_dir=tmp_path / "reward",
        )
    assert not partial_path(tmp_path / "reward").exists()


def test_a_hidden_file_that_a_desktop_adds_is_nothing(made, tmp_path):
    sft = tmp_path / "sft"
    shutil.copytree(made["sft"].path, sft)
    (sft / ".DS_Store").write_text("x")
    require_whole([require(sft, "policy")])
    assert "was added" in verify(sft)[0]


class Dies:
    """A scorer as `VARIED` that dies when it is asked for the nth time."""

    def __init__(self, on):
        self.on, self.num_asked = on, 0

    def score(self, answers):
        self.num_asked += 1
        if self.num_asked == self.on:
            raise KeyboardInterrupt
        return VARIED.score(answers)


SETTINGS = {"steps": 6, "evaluate_every": 1, "checkpoint_every": 2, "watch": {"min_kl_nats": -1000.0}}


def policy(base, data, output_dir, scorer=VARIED):
    return train(
        base,
        data,
        output_dir,
        settings_of(**SETTINGS),
        scorer_source=ScorerSource(scorer, {}),
        evaluation_prompts=data["evaluation_prompts"],
        alarm_setup=scripted_alarms(output_dir, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, action="none"),
    )


@pytest.fixture(scope="module")
def whole_policy(base, data, tmp_path_factory):
    return policy(base, data, tmp_path_factory.mktemp("whole") / "policy")


@pytest.fixture
def killed(base, data, tmp_path):
    """A policy stage that was killed after five of six updates, with checkpoints of two and four."""
    with pytest.raises(KeyboardInterrupt):
        policy(base, data, tmp_path / "policy", Dies(on=12))
    partial = partial_path(tmp_path / "policy")
    assert sorted(one.name[-1] for one in (partial / "work/checkpoints").iterdir()) == ["2", "4"]
    return partial


def shorten(file, num_rows):
    lines = file.read_text().splitlines(keepends=True)
    assert len(lines) > num_rows
    file.write_text("".join(lines[:num_rows]))


@pytest.mark.parametrize(
    "lose",
    [
        lambda partial: shorten(partial / "metrics.jsonl", 3),
        lambda partial: shorten(partial / "evaluations.jsonl", 4),
        lambda partial: (partial / "answers/step-00000003.jsonl").unlink(),
        lambda partial: shorten(partial / "answers/step-00000004.jsonl", 5),
    ],
    ids=["metrics", "evaluations", "an answer file", "answers"],
)
def test_rows_that_are_gone_lead_back_to_the_checkpoint_before_them(
    base, data, tmp_path, killed, whole_policy, caplog, lose
):
    lose(killed)
    done = policy(base, data, tmp_path / "policy")
    assert "step-00000004 is left: " in caplog.text
    assert "Going back to the one before it" in caplog.text
    assert done.id == whole_policy.id
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        rows, expected = (JsonlTracker(one.path / name).rows() for one in (done, whole_policy))
        assert list(map(without_timings, rows)) == list(map(without_timings, expected))


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluations.jsonl", "answers"])
def test_logs_that_no_checkpoint_finds_are_refused_and_nothing_is_lost(base, data, tmp_path, killed, name):
    (killed / name).rename(tmp_path / name)
    with pytest.raises(RunError, match=r"No checkpoint in .* cut short or removed\. .* Put the file back, or remove "):
        policy(base, data, tmp_path / "policy")
    (tmp_path / name).rename(killed / name)
    assert policy(base, data, tmp_path / "policy").summary["steps"] == 6


def test_sft_notices_lost_rows_too(base, data, tmp_path, monkeypatch, caplog):
    from kleash.training import fit as fitting

    def sft(name):
        settings = SftSettings(**TABLES["sft"])
        return train_sft(
            tiny_context(), settings, base=base, demonstrations=data["demonstrations"], output_dir=tmp_path / name
        )

    whole, take_step, steps = sft("whole"), fitting.take_step, []

    def mortal(*given, **more):
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return take_step(*given, **more)

    monkeypatch.setattr(fitting, "take_step", mortal)
    with pytest.raises(KeyboardInterrupt):
        sft("sft")
    metrics = tmp_path / "sft.partial/metrics.jsonl"
    kept = metrics.read_text()
    metrics.unlink()
    with pytest.raises(RunError, match=r"No checkpoint in .*metrics.jsonl was cut short or removed"):
        sft("sft")
    metrics.write_text(kept)
    assert sft("sft").id == whole.id


def test_what_nobody_wrote_is_set_aside_and_changes_no_id(base, data, tmp_path, killed, whole_policy, caplog):
    (killed / "notes.txt").write_text("mine")
    (killed / "answers" / "notes.jsonl").write_text("{}")
    (killed / "config.json").write_text("half of what a kill left")
    done = policy(base, data, tmp_path / "policy")
    assert done.id == whole_policy.id
    assert verify(done.path) == []
    assert "notes.txt is no file of the artifact; it was moved to " in caplog.text
    assert (tmp_path / "policy.stray" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "policy.stray" / "answers" / "notes.jsonl").is_file()
    assert done.files.keys() == whole_policy.files.keys()


def test_another_number_of_threads_is_said(base, data, tmp_path, killed, caplog):
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        policy(base, data, tmp_path / "policy")
    finally:
        torch.set_num_threads(before)
    assert f"was written with {before} threads, and now there are {before + 1}" in caplog.text
    assert f"OMP_NUM_THREADS={before}" in caplog.text


def test_a_state_of_the_first_format_that_does_not_fit_is_named(base, data, tmp_path, killed, caplog):
    """It has no digest: what is damaged in it shows only when it is put back."""
    for checkpoint in (killed / "work/checkpoints").iterdir():
        content = json.loads((checkpoint / "state.json").read_text())
        for name in ("digest", "format", "kleash", "around"):
            del content[name]
        content["state"]["loop"]["lease"] = content["state"]["loop"].pop("leash")
        (checkpoint / "state.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"step-00000004 is damaged: its state cannot be put back: KeyError: 'leash'"):
        policy(base, data, tmp_path / "policy")
    assert "recorded no digest of state.json; it is trusted" in caplog.text
