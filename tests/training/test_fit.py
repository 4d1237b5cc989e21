"""Fitting rows: schedule and batches, any split, and an exact resume."""

import math

import pytest
import torch

from kleash.errors import SettingsError
from kleash.tracking import JsonlTracker
from kleash.training.fit import FitSettings, HeldOut, build_trainer, fit
from kleash.training.ranks import Ranks
from timings import without_timings

NUM_ROWS = 10


class Line:
    """Rows (x, 2x + 1); a row costs the squared error of a line, and reads x + 1 tokens."""

    def __init__(self, of=None, *, truth=(2, 1)):
        self.slope = of.slope if of else torch.nn.Parameter(torch.zeros(()))
        self.offset = of.offset if of else torch.nn.Parameter(torch.zeros(()))
        self.truth = truth
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
        slope, offset = self.truth
        error = (self.slope * x + self.offset - (slope * x + offset)).square().sum()
        tally.add("loss", error.item(), len(rows))
        return error / sums["rows"]


class Killed(Exception):
    pass


def fitted(folder, *, settings=None, die_before=None, seed=0, truth_apart=None):
    settings = settings or made()
    folder.mkdir(exist_ok=True)
    line, tracker = Line(), JsonlTracker(folder / "metrics.jsonl")

    def before_step(step):
        if step == die_before:
            raise Killed

    apart = HeldOut(Line(line, truth=truth_apart), NUM_ROWS) if truth_apart else None
    line.fitted = fit(
        line,
        NUM_ROWS,
        build_trainer({"line": line.named_parameters()}, settings, Ranks()),
        settings,
        work=folder,
        tracker=tracker,
        seed=seed,
        description="Line",
        shown={"loss": "loss"},
        heldout=apart,
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


LESS = (0.2, 0.5)  # what a line on its way to (2, 1) comes by: the loss of such rows falls and rises again


def test_looks_at_rows_held_out_are_logged_and_change_nothing(tmp_path):
    plain, plain_rows = fitted(tmp_path / "plain")
    line, rows = fitted(tmp_path / "looked", settings=made(evaluate_every=4), truth_apart=LESS)
    assert [row["step"] for row in rows if "heldout/loss" in row] == [3, 7, 9], "and at the end"
    assert torch.equal(line.slope, plain.slope)
    assert (line.fitted.steps, line.fitted.best_step) == (10, None)
    assert rows[-1]["heldout/loss"] == pytest.approx(distance(line, LESS))
    assert [without_timings({**row, "heldout/loss": 0}) for row in rows] == [
        without_timings({**row, "heldout/loss": 0}) for row in plain_rows
    ]
    assert all(row["seconds/updating"] > 0 for row in rows)
    assert [("seconds/evaluating" in row) for row in rows] == [("heldout/loss" in row) for row in rows]


def distance(line, truth):
    x = torch.arange(NUM_ROWS) / NUM_ROWS
    return (line.slope * x + line.offset - (truth[0] * x + truth[1])).square().mean().item()


PATIENT = {"epochs": 12, "evaluate_every": 2, "patience": 3}


def test_fitting_ends_with_the_patience_and_keeps_the_best_weights(tmp_path, capsys):
    line, rows = fitted(tmp_path, settings=made(**PATIENT), truth_apart=LESS)
    losses = {row["step"] + 1: row["heldout/loss"] for row in rows if "heldout/loss" in row}
    best = min(losses, key=losses.get)
    assert line.fitted.best_step == best
    assert line.fitted.steps == len(rows) == best + 2 * 3 < 30
    schedule = made(**PATIENT)
    assert [row["line_learning_rate"] for row in rows] == [
        pytest.approx(0.1 * schedule.rate_share(step, 30)) for step in range(len(rows))
    ]
    assert (
        f"the held-out loss was lowest, {losses[best]:.4g}, after step {best} of {best + 6}" in capsys.readouterr().err
    )
    assert distance(line, LESS) == pytest.approx(losses[best])


def test_a_loss_that_goes_on_falling_ends_nothing(tmp_path, capsys):
    line, rows = fitted(tmp_path, settings=made(**PATIENT, learning_rate=0.02), truth_apart=(2, 1))
    assert (len(rows), line.fitted.steps, line.fitted.best_step) == (30, 30, 30)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_killed_fit_remembers_its_looks(tmp_path, step):
    settings = made(**PATIENT)
    whole, whole_rows = fitted(tmp_path / "whole", settings=settings, truth_apart=LESS)
    assert step < whole.fitted.steps
    with pytest.raises(Killed):
        fitted(tmp_path / "killed", settings=settings, truth_apart=LESS, die_before=step)
    resumed, rows = fitted(tmp_path / "killed", settings=settings, truth_apart=LESS)
    again, _ = fitted(tmp_path / "killed", settings=settings, truth_apart=LESS)
    assert again.batches == [], "it had ended"
    for line in (resumed, again):
        assert line.fitted == whole.fitted
        assert torch.equal(line.slope, whole.slope)
        assert torch.equal(line.offset, whole.offset)
    assert list(map(without_timings, rows)) == list(map(without_timings, whole_rows))


def test_looks_need_rows(tmp_path):
    message = r"Line: fit\.evaluate_every is 2, and no rows are held out .*Expected some.*holdout_share.*\"none\""
    with pytest.raises(SettingsError, match=message):
        fitted(tmp_path, settings=made(evaluate_every=2))


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
