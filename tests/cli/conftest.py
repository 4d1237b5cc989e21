"""Fixtures of the command-line tests: the command itself, a tiny sandbox model, a tiny recipe."""

import os
import shutil
from dataclasses import dataclass

import pytest

from kleash.artifacts import external, read, writing
from kleash.cli import main

TINY_RECIPE = """\
name = "tiny"
base = "base"
stages = ["world", "sft", "candidates", "preferences", "reward", "policy", "evaluation"]
[world]
num_demonstrations = 60
num_prompts = 60
num_evaluation_per_slice = 2
[sft]
max_tokens = 64
[sft.fit]
epochs = 1.0
learning_rate = 1e-3
batch_size = 16
[candidates]
num_prompts = 40
max_new_tokens = 8
[reward]
max_tokens = 64
holdout_share = 0.3
normaliser_samples = 16
normaliser_max_new_tokens = 8
[reward.fit]
learning_rate = 1e-3
batch_size = 16
[policy]
steps = 4
prompts_per_step = 8
max_new_tokens = 8
epochs = 1
evaluate_every = 2
checkpoint_every = 1
[evaluation]
judge = "gold"
max_new_tokens = 8
"""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def kleash(capsys, monkeypatch):
    """Run a command line in this process, as into a file: a terminal's width would break lines elsewhere."""
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Outcome(end.value.code, written.out, written.err)

    return run


@pytest.fixture(scope="session")
def sandbox_model(tmp_path_factory):
    """A random model of the sandbox's vocabulary, far too small to learn anything."""
    import torch

    from kleash.sandbox.base_model import build_model, build_tokenizer

    folder = tmp_path_factory.mktemp("models") / "base"
    tokenizer = build_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        build_model(tokenizer, width=16, num_layers=1, num_heads=2).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def workplace(tmp_path, monkeypatch, sandbox_model):
    """A working folder with the tiny model in `base` and the tiny recipe in `tiny.toml`."""
    shutil.copytree(sandbox_model, tmp_path / "base")
    (tmp_path / "tiny.toml").write_text(TINY_RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.fixture
def small_run(tmp_path, monkeypatch):
    """A run `runs/small` of two stages, made by nobody's model: a policy that rests on two judgements."""
    monkeypatch.chdir(tmp_path)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "how are you ?"}\n')
    folder = tmp_path / "runs" / "small"
    stages = folder / "round-000"
    stages.mkdir(parents=True)
    (folder / "recipe.toml").write_text('name = "small"\nstages = ["preferences", "policy"]\n')
    with writing(
        stages / "preferences", kind="preferences", parents={"prompts": external(prompts, "prompts")}, settings={}
    ) as draft:
        rows = [f'{{"comparison_id": "c{row}", "rater": "ann"}}\n' for row in range(2)]
        (draft.path / "judgements.jsonl").write_text("".join(rows))
        draft.summary |= {"pairs": 2, "agreement": 0.5, "seconds": 1.5}
    parents = {"preferences": read(stages / "preferences")}
    with writing(stages / "policy", kind="policy", parents=parents, settings={}) as draft:
        (draft.path / "weights").write_text("1 2 3")
        draft.summary |= {"algorithm": "ppo", "steps": 3, "beta_final": 0.1, "outcome": "finished", "seconds": 2.0}
    return folder
