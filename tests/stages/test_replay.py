"""The refreshed preferences of a later round, as an artifact."""

import pytest

from kleash.artifacts import external, read
from kleash.data.replay import NO_ROOM, VERSION, ReplaySettings
from kleash.errors import ArtifactError
from kleash.formats import read_preferences, write_jsonl
from kleash.records import Pair, Preference, Prompt
from kleash.settings import Settings
from kleash.stages.preferences import import_preferences
from kleash.stages.replay import replay_preferences
from stages.tiny_recipe import tiny_context


def preferences(folder, name, number):
    rows = [Preference(Prompt(f"{name} {row}"), ("yes", "no"), (Pair(0, 1, 1.0),)) for row in range(number)]
    write_jsonl(folder / f"{name}.jsonl", rows)
    return import_preferences(tiny_context(), Settings(), file=folder / f"{name}.jsonl", output_dir=folder / name)


def rows_of(artifact):
    return read_preferences(artifact.path / "preferences.jsonl").records


def test_rounds_add_up_and_every_row_says_which_round_it_is_from(tmp_path):
    first, second, third = (preferences(tmp_path, name, 4) for name in ("first", "second", "third"))
    settings = ReplaySettings(old_share=0.5)
    buffer = replay_preferences(
        tiny_context(), settings, older=first, fresh=second, version=1, output_dir=tmp_path / "buffer-1"
    )
    assert buffer.kind == "preferences"
    assert buffer.summary["replay"] == {"version": 1, "old": 4, "fresh": 4, "left_out": {}}
    buffer = replay_preferences(
        tiny_context(), settings, older=buffer, fresh=third, version=2, output_dir=tmp_path / "buffer-2"
    )
    assert [row.prompt.slices[VERSION] for row in rows_of(buffer)] == ["0"] * 4 + ["1"] * 4 + ["2"] * 4
    assert buffer.summary["replay"]["old"] == 8
    assert buffer.summary["pairs"] == 12


def test_what_finds_no_room_stays_in_the_file_and_says_so(tmp_path):
    first, second = preferences(tmp_path, "first", 2), preferences(tmp_path, "second", 6)
    buffer = replay_preferences(
        tiny_context(), ReplaySettings(), older=first, fresh=second, version=1, output_dir=tmp_path / "buffer"
    )
    assert [row.left_out for row in rows_of(buffer)].count(NO_ROOM) == 4
    assert buffer.summary["replay"]["left_out"] == {NO_ROOM: 4}
    assert len(rows_of(buffer)) == 8


def test_the_same_call_finds_what_it_made(tmp_path):
    first, second = preferences(tmp_path, "first", 2), preferences(tmp_path, "second", 2)
    calls = {"older": first, "fresh": second, "version": 1, "output_dir": tmp_path / "buffer"}
    made = replay_preferences(tiny_context(), ReplaySettings(), **calls)
    assert replay_preferences(tiny_context(), ReplaySettings(), **calls) == made == read(tmp_path / "buffer")


def test_only_preferences_are_replayed(tmp_path):
    first = preferences(tmp_path, "first", 2)
    (tmp_path / "file").write_text("x")
    wrong = external(tmp_path / "file", "something")
    with pytest.raises(ArtifactError, match="is of kind something, but preferences is needed"):
        replay_preferences(
            tiny_context(), ReplaySettings(), older=first, fresh=wrong, version=1, output_dir=tmp_path / "buffer"
        )
