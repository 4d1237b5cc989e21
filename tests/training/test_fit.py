"""Fitting rows: schedule and batches, any split, and an exact resume."""

import math

import pytest
import torch

from kleash.tracking import JsonlTracker, without_timings
from kleash.training.fit import FitSettings, build_trainer, fit
from kleash.training.ranks import Ranks

NUM_ROWS = 10


class Line:
    """Rows (x, 2x + 1); a row costs the squared error of a line, and reads x + 1 tokens."""

    def __init__(self):
        self.slope = torch.nn.Parameter(torch.zeros(()))
        self.offset = torch.nn.Parameter(torch.zeros(()))
        self.batches, self.micro_batches = [], []

    def named_parameters(self):
        return [("slope", self.slope), ("offset", self.offset)]

    def num_tokens(self, row):
        return row + 1

    def begin_batch(self, rows):
        self.batches.append(list(rows))
        return {"rows": float(len(rows))}

    def loss(self, rows, sums, tally):
        self.micro_batches.append(list(rows))
        x = torch.tensor([float(row) for row in rows]) / NUM_ROWS
        error = (self.slope * x + self.offset - (2 * x + 1)).square().sum()
        tally.add("loss", error.item(), len(rows))
        return error / sums["rows"]


class Killed(Exception):
    pass


def fitted(folder, *, settings=None, die_before=None, seed=0):
    settings = settings or made()
    folder.mkdir(exist_ok=True)
    line, tracker = Line(), JsonlTracker(folder / "metrics.jsonl")

    def before_step(step):
        if step == die_before:
            raise Killed

    fit(
        line,
        NUM_ROWS,
        build_trainer({"line": line.named_parameters()}, settings, Ranks()),
        settings,
        work=folder,
        tracker=tracker,
        seed=seed,
        description="Line",
        shown={"loss": "loss"},
        before_step=before_step,
    )
    return line, tracker.rows()


def made(**given):
    plain = {"epochs": 4, "batch_size": 4, "learning_rate": 0.1, "checkpoint_every": 3, "max_batch_tokens": 12}
    return FitSettings(**plain | given)


def test_rows_are_fitted(tmp_path):
    line, rows = fitted(tmp_path, settings=made(epochs=40))
    assert rows[-1]["loss"] < 3e-2 < rows[0]["loss"]
    assert (line.slope.item(), line.offset.item()) == (pytest.approx(2, abs=0.2), pytest.approx(1, abs=0.1))


def test_each_epoch_sees_every_row_in_batches_of_the_set_size(tmp_path):
    line, rows = fitted(tmp_path)
    assert [row["step"] for row in rows] == list(range(10))
    assert {len(batch) for batch in line.batches} == {4}
    seen = [row for batch in line.batches for row in batch]
    assert sorted(seen) == sorted(list(range(NUM_ROWS)) * 4)
    assert all(sum(map(line.num_tokens, micro)) <= 12 or len(micro) == 1 for micro in line.micro_batches)


def test_micro_batches_change_nothing_but_rounding(tmp_path):
    small, _ = fitted(tmp_path / "small", settings=made(max_batch_tokens=1))
    large, _ = fitted(tmp_path / "large", settings=made(max_batch_tokens=1000))
    torch.testing.assert_close(small.slope, large.slope)
    assert len(small.micro_batches) == 40
    assert len(large.micro_batches) == 10


@pytest.mark.parametrize("step", [0, 2, 3, 4, 9])
def test_a_killed_fit_goes_on_to_the_very_same_end(tmp_path, step):
    whole, whole_rows = fitted(tmp_path / "whole")
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", die_before=step)
    resumed, rows = fitted(tmp_path / "killed")
    assert torch.equal(resumed.slope, whole.slope)
    assert torch.equal(resumed.offset, whole.offset)
    assert list(map(without_timings, rows)) == list(map(without_timings, whole_rows))


def test_a_finished_fit_trains_no_further(tmp_path):
    first, rows = fitted(tmp_path)
    again, rows_again = fitted(tmp_path)
    assert again.batches == []
    assert torch.equal(again.slope, first.slope)
    assert rows_again == rows


def test_another_seed_draws_other_batches(tmp_path):
    first, _ = fitted(tmp_path / "0")
    second, _ = fitted(tmp_path / "1", seed=1)
    assert first.batches != second.batches


def test_the_rate_warms_up_and_decays():
    settings = made(schedule="linear", warmup_share=0.2, final_share=0.1)
    shares = [settings.rate_share(step, 10) for step in range(10)]
    assert shares == pytest.approx([1 / 3, 2 / 3, *(0.1 + 0.9 * (1 - k / 8) for k in range(8))])
    cosine = made(schedule="cosine", warmup_share=0.0)
    assert cosine.rate_share(5, 10) == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
    assert made(schedule="constant", warmup_share=0.0).rate_share(9, 10) == 1.0


def test_steps_come_from_epochs_or_a_limit():
    assert made(epochs=1).num_steps(9) == 3
    assert made(epochs=0.1).num_steps(4) == 1
    assert made(epochs=3).num_steps(8) == 6
    assert made(epochs=3, max_steps=2).num_steps(8) == 2
