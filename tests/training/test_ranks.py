"""Many processes: figures and gradients add up, and two ranks train as one does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kleash.artifacts import read
from kleash.lineage import verify
from kleash.tracking import JsonlTracker
from kleash.training.ranks import Ranks, join_ranks
from stages.tiny_recipe import STAGES, run_round, write_data
from timings import without_timings
from training.tiny_engine import engine_of, state_of, train

TESTS = Path(__file__).parents[1]


def test_one_process_is_all_there_is(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = join_ranks()
    assert (ranks.rank, ranks.num_ranks, ranks.is_first) == (0, 1, True)
    assert ranks.sum_across_ranks({"loss:sum": 2.0, "ratio:max": 1.5}) == {"loss:sum": 2.0, "ratio:max": 1.5}
    weight = torch.ones(2)
    weight.grad = torch.tensor([1.0, 2.0])
    ranks.sum_gradients([weight])
    assert weight.grad.tolist() == [1.0, 2.0]
    ranks.barrier()


def test_only_rank_0_is_the_first():
    assert not Ranks(1, 2).is_first


@pytest.fixture(scope="module")
def left_by_two_ranks(policy_folder, tmp_path_factory):
    """Run two processes as torchrun does; return the folder they wrote into."""
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "training" / "one_of_two_ranks.py"), str(policy_folder), str(out)],
            env={**os.environ, **shared, "RANK": str(rank), "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank in ranks:
        _, error = rank.communicate(timeout=300)
        assert rank.returncode == 0, error
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("name", "critic"), [("ppo", "separate"), ("grpo", None)])
def test_two_ranks_train_as_one(policy_folder, left_by_two_ranks, name, critic):
    """PPO with two epochs of two minibatches, whitening and a critic; GRPO with its KL in the loss."""
    engine = engine_of(policy_folder, critic=critic, eps=1e-2)
    final, rows = train(engine, name=name, steps=3)
    alone = state_of(engine)
    first, second = (load_file(left_by_two_ranks / f"{name}-{rank}.safetensors") for rank in range(2))
    assert alone.keys() == first.keys() == second.keys()
    for key in alone:
        assert torch.equal(first[key], second[key])  # ranks never drift apart
        torch.testing.assert_close(first[key], alone[key], rtol=1e-4, atol=1e-5)  # sums in another order
    for rank in range(2):
        told = json.loads((left_by_two_ranks / f"{name}-{rank}.json").read_text())
        assert told["beta"] == pytest.approx(final.leash.beta)
        for row, expected in zip(told["rows"], rows, strict=True):
            assert row.keys() == expected.keys()
            assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_two_ranks_make_one_round(policy_folder, left_by_two_ranks, tmp_path):
    """Every artifact once and whole, and both ranks go on from the same ones; SFT learns what one rank learns."""
    ids = [json.loads((left_by_two_ranks / f"round-{rank}.json").read_text()) for rank in range(2)]
    folder = left_by_two_ranks / "round"
    assert ids[0] == ids[1] == {stage: read(folder / stage).id for stage in STAGES}
    assert all(verify(folder / stage) == [] for stage in STAGES)
    assert {path.name for path in folder.iterdir()} == {*STAGES, "labels.sqlite"}
    run_round(policy_folder, write_data(tmp_path / "data"), tmp_path / "round", stages=("sft",))
    alone, together = (JsonlTracker(path / "sft" / "metrics.jsonl").rows() for path in (tmp_path / "round", folder))
    for row, expected in zip(map(without_timings, together), map(without_timings, alone), strict=True):
        assert row == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert [row["step"] for row in JsonlTracker(folder / "policy" / "metrics.jsonl").rows()] == [0, 1, 2, 3]
