"""Checkpoints: every bit comes back, training goes on as if nothing had happened, no death or full disk costs one."""

import json
import os
import shutil

import pytest
import torch
from torch import nn

from kleash import artifacts
from kleash.errors import RunError
from kleash.lineage import verify
from kleash.tracking import JsonlTracker
from kleash.training import checkpoints
from timings import without_timings


def bits(tensors):
    return {
        name: (tensor.dtype, tuple(tensor.shape), tensor.flatten().view(torch.uint8).tolist())
        for name, tensor in tensors.items()
    }


def test_tensors_and_state_come_back_bit_for_bit(tmp_path):
    tensors = {
        "float": torch.tensor([0.1, float("nan"), -0.0, float("inf")]),
        "half": torch.randn(3, 2).to(torch.bfloat16),
        "count": torch.tensor(7),
        "random": torch.get_rng_state(),
        "empty": torch.zeros(0, 4),
    }
    state = {"beta": 0.1 + 0.2, "best": None, "steps": [1, 2], "worst": float("-inf")}
    path = checkpoints.save(tmp_path, 40, tensors, state)
    assert path == tmp_path / "step-00000040"
    checkpoint = checkpoints.load(path)
    assert checkpoint.step == 40
    assert checkpoint.state == state
    assert bits(checkpoint.tensors) == bits(tensors)


def test_tied_and_sliced_tensors_are_saved_as_what_they_show(tmp_path):
    weight = torch.arange(12.0).reshape(3, 4)
    tensors = {"embedding": weight, "head": weight, "row": weight[1], "column": weight[:, 1], "flipped": weight.T}
    loaded = checkpoints.load(checkpoints.save(tmp_path, 0, tensors, {})).tensors
    assert bits(loaded) == bits({name: tensor.contiguous() for name, tensor in tensors.items()})
    size = (tmp_path / "step-00000000" / "tensors.safetensors").stat().st_size
    checkpoints.save(tmp_path, 1, {"row": torch.zeros(1000, 100)[1]}, {})
    assert (tmp_path / "step-00000001" / "tensors.safetensors").stat().st_size < size + 400


def test_only_the_newest_are_kept_and_the_newest_whole_one_is_found(tmp_path):
    assert checkpoints.latest(tmp_path / "none") is None
    for step in (2, 9, 10, 100):
        checkpoints.save(tmp_path, step, {"x": torch.tensor(step)}, {}, keep=3)
    (tmp_path / "step-00000200.partial").mkdir()
    assert sorted(os.listdir(tmp_path)) == ["step-00000009", "step-00000010", "step-00000100", "step-00000200.partial"]
    assert checkpoints.latest(tmp_path) == tmp_path / "step-00000100"


@pytest.mark.parametrize("damage", ["tensors.safetensors", "state.json"])
def test_damaged_checkpoint_is_passed_over_and_refused_by_name(tmp_path, damage, caplog):
    for step in (1, 2):
        checkpoints.save(tmp_path, step, {"x": torch.tensor(step)}, {})
    path = tmp_path / "step-00000002" / damage
    path.write_bytes(path.read_bytes()[:-3])
    assert checkpoints.latest(tmp_path) == tmp_path / "step-00000001"
    assert "step-00000002 is damaged" in caplog.text
    with pytest.raises(
        RunError, match=r"step-00000002 is damaged: .*Remove that folder and run the same command again"
    ):
        checkpoints.load(tmp_path / "step-00000002")


@pytest.mark.parametrize(("was", "now"), [('"beta": 0.1', '"beta": 0.2'), ('"step": 2', '"step": 3')])
def test_an_altered_state_is_passed_over(tmp_path, was, now):
    for step in (1, 2):
        checkpoints.save(tmp_path, step, {}, {"leash": {"beta": 0.1}})
    file = tmp_path / "step-00000002" / "state.json"
    file.write_text(file.read_text().replace(was, now))
    assert checkpoints.latest(tmp_path) == tmp_path / "step-00000001"
    with pytest.raises(RunError, match=r"step-00000002 is damaged: state.json was altered"):
        checkpoints.load(tmp_path / "step-00000002")


def test_going_back_forgets_the_future(tmp_path):
    for step in (1, 2, 3):
        checkpoints.save(tmp_path, step, {}, {"from": "old"}, keep=3)
    checkpoints.save(tmp_path, 2, {}, {"from": "new"}, keep=3)
    assert sorted(os.listdir(tmp_path)) == ["step-00000001", "step-00000002"]
    assert checkpoints.load(checkpoints.latest(tmp_path)).state == {"from": "new"}


def test_full_disk_is_a_clear_error_and_leaves_the_last_checkpoint_whole(tmp_path, file_size_limit):
    checkpoints.save(tmp_path, 1, {"x": torch.ones(10)}, {})
    with (
        file_size_limit(1000),
        pytest.raises(RunError, match=r"Cannot write the checkpoint at .*step-00000002.partial"),
    ):
        checkpoints.save(tmp_path, 2, {"x": torch.ones(1000)}, {})
    with file_size_limit(1000), pytest.raises(RunError, match="largest size allowed"):
        checkpoints.save(tmp_path, 2, {"x": torch.ones(10)}, {"long": "x" * 2000})
    assert os.listdir(tmp_path) == ["step-00000001"]
    assert checkpoints.load(checkpoints.latest(tmp_path)).step == 1


def test_unwritable_folder_is_a_clear_error(tmp_path, unprivileged):
    with unprivileged(tmp_path), pytest.raises(RunError, match=r"checkpoint .*permission is denied"):
        checkpoints.save(tmp_path, 1, {}, {})


# ---------------------------------------------------------------------------------------------- going on exactly
class Run:
    """A small training run with everything that must be restored: weights, optimiser, rate, two kinds of randomness."""

    def __init__(self, optimizer_class, seed=0):
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1, dtype=torch.float32))
        groups = [{"params": self.model[0].parameters()}, {"params": self.model[2].parameters(), "lr": 3e-3}]
        self.optimizer = optimizer_class(groups, lr=1e-2)
        self.generator = torch.Generator().manual_seed(seed + 1)

    def step(self, step):
        for group in self.optimizer.param_groups:
            group["lr"] *= 0.9
        x = torch.randn(16, 4, generator=self.generator)
        loss = (self.model(x) - x.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, folder, step):
        optimizer = checkpoints.flatten_optimizer(self.optimizer)
        tensors = {
            **self.model.state_dict(),
            **optimizer.tensors,
            "random": self.generator.get_state(),
            "random of dropout": torch.get_rng_state(),
        }
        checkpoints.save(folder, step, tensors, {"optimizer": optimizer.state})

    def restore(self, path):
        saved = checkpoints.load(path)
        self.model.load_state_dict({name: saved.tensors[name] for name in self.model.state_dict()})
        checkpoints.restore_optimizer(self.optimizer, saved.tensors, saved.state["optimizer"])
        self.generator.set_state(saved.tensors["random"])
        torch.set_rng_state(saved.tensors["random of dropout"])
        return saved.step


def sgd(groups, lr):
    return torch.optim.SGD(groups, lr=lr, momentum=0.9)


def adam(groups, lr):
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-5, amsgrad=True)


@pytest.mark.parametrize("optimizer_class", [torch.optim.Adam, adam, sgd])
def test_resumed_training_is_bit_identical(tmp_path, optimizer_class):
    whole = Run(optimizer_class)
    losses = [whole.step(step) for step in range(6)]
    first = Run(optimizer_class)
    for step in range(3):
        first.step(step)
    first.save(tmp_path, 3)
    resumed = Run(optimizer_class, seed=9)
    resumed.step(0)
    start = resumed.restore(checkpoints.latest(tmp_path))
    assert [resumed.step(step) for step in range(start, 6)] == losses[3:]
    assert bits(resumed.model.state_dict()) == bits(whole.model.state_dict())
    ours, theirs = (checkpoints.flatten_optimizer(run.optimizer) for run in (resumed, whole))
    assert bits(ours.tensors) == bits(theirs.tensors)
    assert ours.state == theirs.state
    assert resumed.optimizer.param_groups[0].get("betas") == whole.optimizer.param_groups[0].get("betas")


def test_restoring_twice_from_the_same_tensors_is_the_same(tmp_path):
    run = Run(adam)
    run.step(0)
    saved = checkpoints.flatten_optimizer(run.optimizer)
    tensors = {name: tensor.clone() for name, tensor in saved.tensors.items()}
    before = bits(tensors)
    checkpoints.restore_optimizer(run.optimizer, tensors, saved.state)
    run.step(1)
    assert bits(tensors) == before


def test_optimiser_of_another_model_is_refused():
    run = Run(adam)
    run.step(0)
    saved = checkpoints.flatten_optimizer(run.optimizer)
    other = torch.optim.AdamW(nn.Linear(4, 8).parameters())
    expected = r"groups of \[2, 2\] parameters were saved, the optimiser has \[2\]\. .*Resume with the model"
    with pytest.raises(RunError, match=expected):
        checkpoints.restore_optimizer(other, saved.tensors, saved.state)
    wider = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 1))
    other = torch.optim.AdamW([{"params": wider[0].parameters()}, {"params": wider[1].parameters()}])
    with pytest.raises(RunError, match=r"optimizer/0/exp_avg has shape \(8, 4\), its parameter \(9, 4\)"):
        checkpoints.restore_optimizer(other, saved.tensors, saved.state)


@pytest.mark.slow
def test_killed_at_any_write_the_resumed_stage_ends_in_the_same_bits(tmp_path, kill_at_every_write):
    plan = {"kind": "policy", "parents": {}, "settings": {"steps": 3}}

    def stage(folder):
        if found := artifacts.find(folder, **plan):
            return found
        with artifacts.writing(folder, **plan) as draft:
            run, tracker = Run(adam), JsonlTracker(draft.path / "metrics.jsonl")
            newest = checkpoints.latest(draft.work / "checkpoints")
            start = run.restore(newest) if newest else 0
            tracker.cut(start)
            for step in range(start, 3):
                tracker.log(step, {"loss": run.step(step), "step_seconds": os.times().elapsed})
                run.save(draft.work / "checkpoints", step + 1)
            run.save(draft.path / "model", 3)
        return artifacts.read(folder)

    def metrics(folder):
        return [without_timings(row) for row in JsonlTracker(folder / "metrics.jsonl").rows()]

    whole, folder = stage(tmp_path / "whole"), tmp_path / "run" / "policy"

    def check():
        assert stage(folder).id == whole.id
        assert metrics(folder) == metrics(whole.path)
        assert verify(folder) == []
        shutil.rmtree(folder)

    assert kill_at_every_write(lambda: stage(folder), check) > 50
    assert json.dumps(metrics(folder)) == json.dumps(metrics(whole.path))
