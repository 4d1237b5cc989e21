"""`kleash experiment`: what it takes, and what it says of a finished experiment."""

import json

import pytest

from experiments.made_curves import good_curves
from kleash.cli import main
from kleash.experiments.overoptimisation import default_arms, seed_folder


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["experiment", "overoptimisation", *arguments])
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


@pytest.mark.parametrize("seeds", ["", "0,", "0,0", "one", "-1"])
def test_seeds_are_different_whole_numbers(capsys, tmp_path, seeds):
    code, _, said = run(capsys, f"--seeds={seeds}", "--into", str(tmp_path / "made"))
    assert code == 2
    assert f"--seeds is {seeds!r}. Expected different whole numbers with commas between, such as 0,1,2." in said
    assert not (tmp_path / "made").exists()


def test_a_finished_experiment_is_judged_again_and_shown(capsys, tmp_path):
    for name in default_arms():
        made = good_curves()[name]
        points = [vars(point) for point in made.points]
        file = seed_folder(tmp_path, 4) / name / "points.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"points": points, "extra": made.extra}))
    code, shown, _ = run(capsys, "--seeds", "4", "--into", str(tmp_path))
    assert code == 0
    assert shown.count("1 of 1") == 4
    assert f"Page: {tmp_path / 'overoptimisation.html'}" in shown
    assert [row["passed"] for row in json.loads((tmp_path / "curves.json").read_text())["criteria"]] == [True] * 4 + [
        None
    ] * 5
