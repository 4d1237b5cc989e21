"""What every stage is given: here, which trackers it opens."""

import pytest

from kleash.artifacts import Draft
from kleash.stages.context import StageContext
from kleash.tracking import JsonlTracker
from kleash.training.ranks import Ranks

opened_names = []


class Elsewhere(JsonlTracker):
    """A tracker plug-in that remembers under which name it was opened."""

    def __init__(self, folder, run_name):
        super().__init__(folder / "elsewhere.jsonl")
        opened_names.append(run_name)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_of_many_processes_is_one_run_in_the_trackers_elsewhere(tmp_path, rank):
    opened_names.clear()
    folder = tmp_path / "runs" / "quickstart" / "round-000" / "policy.partial"
    folder.mkdir(parents=True)
    context = StageContext(trackers=(f"{__name__}:Elsewhere",), ranks=Ranks(rank, 2))
    context.open_tracker(Draft(folder, is_resumed=False)).log(0, {"loss": 1.0})
    assert opened_names == ["quickstart/round-000/policy"][rank:]
    assert (folder / "elsewhere.jsonl").exists() == (rank == 0)
    assert (folder / "metrics.jsonl").exists()


def test_a_stage_outside_of_a_run_is_named_after_its_folder(tmp_path):
    opened_names.clear()
    (tmp_path / "my-sft.partial").mkdir()
    StageContext(trackers=(f"{__name__}:Elsewhere",)).open_tracker(Draft(tmp_path / "my-sft.partial", is_resumed=False))
    assert opened_names == ["my-sft"]
