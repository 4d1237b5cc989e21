"""The list of runs: which folders are runs, what state each is in, and its figures."""

import json
import shutil
from contextlib import nullcontext

import pytest
from fake_run import alarm_rows, make_fake_run, write_rows

from kleash.durable import lock_run
from kleash.monitor.pages.run_list import list_state, run_row, run_rows, runs_table
from kleash.monitor.read.catalogue import Catalogue, is_being_written
from kleash.monitor.read.live import Shelf


def row_of(folder):
    return run_row(folder.name, folder, Shelf())


def begun(folder):
    """Put a run back to where its policy was still training."""
    policy = folder / "round-000" / "policy"
    (policy / "artifact.json").unlink()
    policy.rename(policy.with_name("policy.partial"))
    return folder


def test_runs_are_found_at_any_depth_and_nothing_else_is(tmp_path):
    make_fake_run(tmp_path, name="b", stages=("sft",))
    make_fake_run(tmp_path / "experiment" / "seed-0", name="a", stages=("sft",))
    (tmp_path / "no run" / "round-000").mkdir(parents=True)
    make_fake_run(tmp_path / ".hidden", stages=("sft",))
    assert list(Catalogue(tmp_path).runs()) == ["b", "experiment/seed-0/a"]
    assert list(Catalogue(tmp_path / "b").runs()) == ["b"]
    assert Catalogue(tmp_path / "nowhere").runs() == {}


@pytest.mark.parametrize("is_locked", [True, False])
def test_a_run_is_running_while_its_lock_is_held(tmp_path, is_locked):
    folder = begun(make_fake_run(tmp_path, stages=("sft", "policy")))
    with lock_run(folder) if is_locked else nullcontext():
        assert row_of(folder).state == ("running" if is_locked else "unfinished")
    assert row_of(folder).state == "unfinished"


def test_where_the_system_lists_no_locks_a_run_is_running_while_its_files_change(tmp_path, monkeypatch):
    folder = begun(make_fake_run(tmp_path, stages=("sft", "policy")))
    with lock_run(folder):
        monkeypatch.setattr("kleash.monitor.read.catalogue.LOCKS", tmp_path / "no such file")
        assert is_being_written(folder) is None
        assert row_of(folder).state == "running"
        monkeypatch.setattr("kleash.monitor.pages.run_list.FRESH_SECONDS", -1)
        assert row_of(folder).state == "unfinished"


def test_looking_at_a_lock_does_not_take_it(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft",))
    with lock_run(folder):
        is_being_written(folder)
    with lock_run(folder):
        pass


def test_a_finished_run_has_all_its_stages(tmp_path):
    assert row_of(make_fake_run(tmp_path)).state == "finished"
    folder = make_fake_run(tmp_path, name="other", stages=("sft", "policy"))
    recipe = folder / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('"policy"]', '"policy", "evaluation"]'))
    assert row_of(folder).state == "unfinished"
    # Stages that were run one by one have no recipe that could ask for more.
    recipe.unlink()
    assert row_of(folder).state == "finished"
    assert row_of(begun(folder)).state == "unfinished"


def test_a_run_that_an_alarm_ended_says_so(tmp_path):
    folder = make_fake_run(tmp_path, story="hacked")
    *others, last = alarm_rows()
    write_rows(folder / "round-000" / "policy" / "alarms.jsonl", [*others, last | {"action": "roll_back"}])
    assert row_of(folder).state == "stopped by alarm"


def test_a_run_that_the_watch_ended_without_an_alarm_stopped_early(tmp_path):
    folder = make_fake_run(tmp_path)
    path = folder / "round-000" / "policy" / "artifact.json"
    manifest = json.loads(path.read_text())
    manifest["artifact"]["summary"]["outcome"] = "roll_back"
    path.write_text(json.dumps(manifest))
    assert row_of(folder).state == "stopped early"


def test_a_run_whose_reward_model_failed_its_audit_waits_for_somebody(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "reward", "audit", "policy"))
    path = folder / "round-000" / "audit" / "artifact.json"
    manifest = json.loads(path.read_text())
    states = []
    for verdict in ("fail", "pass"):
        manifest["artifact"]["summary"]["verdict"] = verdict
        path.write_text(json.dumps(manifest))
        states.append(row_of(folder).state)
        if (folder / "round-000" / "policy").exists():
            shutil.rmtree(folder / "round-000" / "policy")
            states.append(row_of(folder).state)
    assert states == ["finished", "stopped by audit", "unfinished"]  # the first was accepted by somebody


def test_the_figures_are_the_newest_and_the_win_rate_is_never_the_proxys(tmp_path):
    row = row_of(make_fake_run(tmp_path, name="hacked", story="hacked"))
    assert (row.stage, row.step, row.steps, row.kl_target_nats) == ("evaluation", 60, 60, 1.5)
    assert (row.num_stops, row.num_warnings) == (1, 0)
    assert (row.win_rate.value, row.win_rate_by) == (0.391, "gold")
    proxy = row_of(make_fake_run(tmp_path, name="proxy", story="proxy"))
    assert proxy.win_rate_by == "alarms' panel"
    assert proxy.win_rate.value < 0.8
    pending = row_of(begun(make_fake_run(tmp_path, name="pending", stages=("sft", "policy"))))
    assert (pending.stage, pending.win_rate_by) == ("policy", "alarms' panel")
    early = row_of(make_fake_run(tmp_path, name="early", stages=("sft", "reward")))
    assert (early.stage, early.step, early.reward, early.win_rate) == ("reward", None, None, None)


def test_people_have_the_last_word(tmp_path):
    folder = make_fake_run(tmp_path)
    (folder / "round-000" / "people").mkdir()
    write_rows(folder / "round-000" / "people" / "checkpoints.jsonl", [{"step": 60, "win_rate": {"value": 0.58}}])
    row = row_of(folder)
    assert (row.win_rate.value, row.win_rate_by) == (0.58, "people")


def test_the_table_has_a_row_per_run_and_the_running_one_is_first(tmp_path):
    folder = make_fake_run(tmp_path, name="older & <b>bold</b>", stages=("sft", "policy"))
    make_fake_run(tmp_path, name="newer", stages=("sft",))
    catalogue, shelf = Catalogue(tmp_path), Shelf()
    with lock_run(folder):
        rows = run_rows(catalogue, shelf)
    table = runs_table(rows)
    assert table.count("<tr>") == 3
    assert 'href="/run/older%20%26%20%3Cb%3Ebold%3C/b%3E"' in table
    assert "<b>bold" not in table
    assert [row.name for row in rows] == ["older & <b>bold</b>", "newer"]
    assert "starts one" in runs_table(())


def test_the_lists_state_changes_when_a_run_comes_grows_or_ends(tmp_path):
    folder = make_fake_run(tmp_path, stages=("sft", "policy"))
    catalogue = Catalogue(tmp_path)
    seen = [list_state(catalogue)]
    with open(folder / "round-000" / "policy" / "alarms.jsonl", "a") as file:
        file.write("{}\n")
    seen.append(list_state(catalogue))
    make_fake_run(tmp_path, name="another", stages=("sft",))
    seen.append(list_state(catalogue))
    assert len({str(state) for state in seen}) == 3
