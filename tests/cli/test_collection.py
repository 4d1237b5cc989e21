"""`kleash collect` and `kleash judge`, as a newcomer types them."""

import json
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from kleash.artifacts import read
from kleash.collection.store import campaigns as stored
from kleash.collection.store.database import Database
from kleash.collection.store.judgements import judgements_in_force
from raters.replay_server import replaying, verdict

REAL = str(Path(__file__).parents[1] / "fixtures" / "formats" / "pandalm.json")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_campaign_is_made_looked_at_and_frozen(kleash):
    made = kleash("collect", "new", "panda", "--from", REAL, "--set", "overlap=3")
    assert made.code == 0, made.err
    assert "panda: 4 items added, 12 judgements" in made.err
    assert "kleash collect serve --store labels.sqlite" in made.err
    assert re.search(r"panda +open +4 of 4 +12", kleash("collect", "status").out)
    assert "Only 3 to go by" in kleash("collect", "status", "panda").out
    frozen = kleash("collect", "export", "panda", "--into", "preferences", "--set", "method=majority")
    assert frozen.code == 0, frozen.err
    assert read(Path("preferences")).settings["labels"]["method"] == "majority"
    again = kleash("collect", "new", "again", "--export", "preferences")
    assert "again: 4 items added, 12 judgements" in again.err
    assert kleash("verify", "preferences").code == 0


def test_one_source_of_items_is_needed(kleash):
    for arguments in ([], ["--from", REAL, "--export", "x"]):
        refused = kleash("collect", "new", "panda", *arguments)
        assert refused.code == 2
        assert "Expected one of --from FILE, --candidates FOLDER and --export FOLDER" in refused.err


def test_a_campaign_keeps_its_settings_when_items_are_added(kleash):
    kleash("collect", "new", "panda", "--from", REAL)
    assert "panda: 0 items added, 4 were there" in kleash("collect", "new", "panda", "--from", REAL).err
    refused = kleash("collect", "new", "panda", "--from", REAL, "--set", "overlap=5")
    assert refused.code == 2
    assert "a campaign keeps the settings it was made with" in refused.err


def test_unknown_settings_and_campaigns_are_named(kleash):
    assert "overlap" in kleash("collect", "new", "panda", "--from", REAL, "--set", "overlapp=3").err
    assert kleash("collect", "export", "nobody", "--into", "x").err.startswith("There is no campaign 'nobody'")
    kleash("collect", "new", "panda", "--from", REAL)
    assert "There is no state 'shut'. Expected open, paused, closed" in kleash("collect", "state", "panda", "shut").err


def test_states_priorities_and_demotions(kleash):
    kleash("collect", "new", "panda", "--from", REAL)
    assert "panda: open -> closed" in kleash("collect", "state", "panda", "closed").out
    with Database("labels.sqlite").read() as connection:
        items = stored.items(connection, stored.campaign_named(connection, "panda"))
    line = {"comparison_id": next(iter(items.values())).comparison.id, "first_better": 0.5}
    Path("scores.jsonl").write_text(json.dumps(line) + "\n")
    assert "1 of 4 items have a priority" in kleash("collect", "prioritise", "panda", "--scores", "scores.jsonl").out
    assert kleash("collect", "demote", "annotator1", "--reason", "asleep").code == 0
    assert re.search(r"judgements +8", kleash("collect", "export", "panda", "--into", "preferences").out)


def test_accounts_are_added_listed_and_invited(kleash):
    assert kleash("collect", "user", "add", "anna", "--password", "correct horse").code == 0
    assert kleash("collect", "user", "invite", "--role", "king").code == 2
    assert re.search(r"anna +labeller +yes", kleash("collect", "user", "list").out)
    link = kleash("collect", "user", "invite", "--role", "admin").out.strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:8321/invite/[\w-]{20,}", link)
    assert kleash("collect", "user", "password", "anna", "--password", "another horse").code == 0


def test_a_backup_comes_back(kleash):
    kleash("collect", "new", "panda", "--from", REAL)
    assert kleash("collect", "backup", "monday.sqlite").code == 0
    kleash("collect", "new", "second", "--from", REAL)
    assert kleash("collect", "restore", "monday.sqlite").code == 0
    assert "second" not in kleash("collect", "status").out
    assert kleash("collect", "backup", "monday.sqlite").code == 2


def test_judges_work_through_a_campaign(kleash):
    kleash("collect", "new", "panda", "--from", REAL, "--set", "overlap=4")
    with replaying(lambda request: verdict("tie")) as replay:
        Path("judges.toml").write_text(f'[[judges]]\nbase_url = "{replay.base_url}"\nmodel = "m"\n')
        done = kleash("judge", "panda", "--judges", "judges.toml")
    assert done.code == 0, done.err
    assert "4 judgements added" in done.out
    assert "8 ok" in done.out
    with Database("labels.sqlite").read() as connection:
        given = judgements_in_force(connection, stored.campaign_named(connection, "panda"))
    assert [b.judgement.ranks for b in given if b.judgement.rater_kind == "ai"] == [(1, 1)] * 4
    assert re.search(r"m@\w+: 8 calls, 800 \+ 160 tokens in this run", done.out)


def test_a_budget_on_the_command_line_is_of_the_run(kleash):
    kleash("collect", "new", "panda", "--from", REAL, "--set", "overlap=4")
    with replaying(lambda request: verdict("tie")) as replay:
        prices = "price_per_million_prompt_tokens = 1000.0\nmax_concurrency = 1\n"
        Path("judges.toml").write_text(f'[[judges]]\nbase_url = "{replay.base_url}"\nmodel = "m"\n{prices}')
        stopped = kleash("judge", "panda", "--judges", "judges.toml", "--budget", "0.5")
    assert stopped.code == 2
    assert "budget = 0.5 of all judges" in " ".join(stopped.err.split())
    assert replay.requests == []


@pytest.mark.slow
def test_the_pages_are_served_and_tell_how_to_begin(tmp_path):
    command = [sys.executable, "-m", "kleash", "collect", "serve", "--port", "0"]
    port = _free_port()
    command[-1] = str(port)
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as served:
        try:
            told = served.stderr.readline()
            [link] = re.findall(r"http://\S+/invite/\S+", told)
            page = _wait_for(link)
            assert "administrator" in told
            assert "password" in page
        finally:
            served.terminate()
        served.wait(timeout=20)


def _free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(link):
    for _ in range(200):
        try:
            return urllib.request.urlopen(link, timeout=5).read().decode()
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no page at {link}")
