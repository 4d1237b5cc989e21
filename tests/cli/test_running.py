"""kleash run: resumed after an interruption, shown again when finished, refused when changed, branched."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kleash.artifacts import read
from kleash.durable import lock_run
from kleash.errors import SettingsError
from kleash.runs import run_folder

STAGES = ["world", "sft", "candidates", "preferences", "reward", "policy", "evaluation"]


def stage_of(run, stage):
    return read(Path("runs") / run / "round-000" / stage)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_to_the_same_policy(kleash, workplace):
    # More steps than the interruption needs, so that a busy machine cannot end the run before it.
    settings = ["--set", "policy.steps=24"]
    command = [sys.executable, "-m", "kleash", "run", "tiny.toml", *settings]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interruptions)
    checkpoints = Path("runs/tiny/round-000/policy.partial/work/checkpoints")
    wait_for(lambda: len(list(checkpoints.glob("step-*"))) > 1 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.endswith("Interrupted. What was saved is whole: run the same command again to go on from there.\n")
    assert "Traceback" not in err

    resumed = kleash("run", "tiny.toml", *settings)
    assert resumed.code == 0, resumed.err
    assert "✓ sft: 4 steps" in resumed.err
    assert resumed.err.count("(done before)") == 5

    straight = kleash("run", "tiny.toml", "--name", "straight", *settings)
    assert "(done before)" not in straight.err
    assert [stage_of("tiny", stage).id for stage in STAGES] == [stage_of("straight", stage).id for stage in STAGES]


def heed_interruptions():
    """A shell's background job ignores Ctrl-C and passes that on; a run that a person started does not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for(is_so, *, seconds=90):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.slow
def test_a_run_shows_its_result_and_the_same_again(kleash, workplace):
    first = kleash("run", "tiny.toml")
    assert first.code == 0, first.err
    for words in ("win rate against SFT", "gold, policy", "KL to SFT", "worst win rate first", "peak memory"):
        assert words in first.out
    assert first.out.endswith("Report: runs/tiny/report.html\n")
    assert Path("runs/tiny/report.html").is_file()
    summary = Path("runs/tiny/summary.json").read_bytes()
    again = kleash("run", "tiny.toml")
    assert again.out == first.out
    assert again.err.count("(done before)") == len(STAGES)
    assert Path("runs/tiny/summary.json").read_bytes() == summary

    changed = kleash("run", "tiny.toml", "--set", "policy.leash.target_nats=3", "--set", "sft.max_tokens=63")
    assert changed.code == 2
    assert "policy.leash.target_nats: 2.0 -> 3.0; sft.max_tokens: 64 -> 63" in changed.err
    assert "add --branch NAME" in changed.err
    retold = kleash("run", "tiny.toml", "--set", "about=what it is for")
    assert retold.code == 0, "what changes no result may change"

    branch = kleash("run", "tiny.toml", "--branch", "firm", "--set", "policy.leash.target_nats=3")
    assert branch.code == 0, branch.err
    taken = [line.split(": ")[1] for line in branch.err.splitlines() if line.startswith("Taken over from tiny")]
    assert taken == ["world", "sft", "candidates", "preferences", "reward"]
    assert stage_of("firm", "reward").id == stage_of("tiny", "reward").id
    assert stage_of("firm", "policy").id != stage_of("tiny", "policy").id
    assert stage_of("firm", "policy").settings["leash"]["target_nats"] == 3
    assert kleash("verify", "firm").code == 0
    weights = "round-000/sft/model.safetensors"
    assert Path("runs/firm", weights).samefile(Path("runs/tiny", weights)), "a branch shares its origin's bytes"
    lineage = kleash("lineage", "tiny/reward").out
    assert lineage.count(": policy ") + lineage.count("policy ") >= 2, "both policies were made with it"


def test_a_misspelt_setting_names_the_nearest(kleash, workplace):
    shown = kleash("run", "tiny.toml", "--set", "policy.leash.target_nat=3")
    assert shown.code == 2
    assert shown.err.startswith(
        "--set policy.leash.target_nat=3: unknown setting policy.leash.target_nat; did you mean target_nats?"
    )
    Path("tiny.toml").write_text("sede = 3\n")
    assert kleash("run", "tiny.toml").err.startswith("tiny.toml:1: unknown setting sede; did you mean seed?")
    assert not Path("runs").exists()


def test_a_fault_of_the_last_stage_is_found_before_the_first(kleash, workplace):
    shown = kleash("run", "tiny.toml", "--set", "evaluation.judge=no_such_module:score")
    assert shown.code == 2
    assert shown.err.startswith("tiny.toml cannot run yet. evaluation.judge: Cannot load scorer 'no_such_module")
    assert not Path("runs/tiny/round-000").exists()


def test_a_run_that_another_process_writes_is_left_alone(kleash, workplace):
    with lock_run(Path("runs/tiny")):
        shown = kleash("run", "tiny.toml")
    assert shown.code == 2
    assert "Run folder runs/tiny is in use by process" in shown.err


def test_a_branch_needs_another_run_to_branch_from(kleash, workplace):
    shown = kleash("run", "tiny.toml", "--branch", "other")
    assert shown.code == 2
    assert shown.err.startswith("There is no run runs/tiny to branch from.")
    same = kleash("run", "tiny.toml", "--branch", "tiny")
    assert same.err.startswith("--branch tiny names the run itself.")


def test_a_stranger_s_code_is_asked_about_where_somebody_can_answer(kleash, workplace, monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", declined)
    shown = kleash("run", "tiny.toml", "--set", "model.trust_remote_code=true")
    assert shown.code == 2
    assert "Nothing was answered, so nothing was done." in shown.err
    assert not Path("runs").exists()
    agreed = ["--yes", "--set", "model.trust_remote_code=true", "--set", "policy.algorithm=pqo"]
    assert "policy.algorithm: Unknown algorithm" in kleash("run", "tiny.toml", *agreed).err, "it is not asked"


def declined(question, *, abort, err):
    import typer

    assert question == "Run the Python code that comes with the model base?"
    raise typer.Abort


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a"])
def test_a_run_s_name_is_a_plain_folder_name(name):
    with pytest.raises(SettingsError, match=r"A run cannot be named .* Expected a plain folder name"):
        run_folder(Path("runs"), name)


@pytest.mark.parametrize("name", ["two\nlines", "a\x1bb", "é" * 150])
def test_a_name_that_makes_no_folder_is_refused_at_once(kleash, workplace, name):
    shown = kleash("run", "tiny.toml", "--name", name)
    assert shown.code == 2
    assert "A run cannot be named" in shown.err
    assert not (workplace / "runs").exists()
