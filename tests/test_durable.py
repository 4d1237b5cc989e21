"""Safe writing: what a full disk, an unwritable folder or a second process gets told, and what survives."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kleash.durable import (
    clear_write_errors,
    discard,
    file_digest,
    lock_run,
    publish,
    read_object,
    read_rows,
    remembered_digest,
    write_rows,
    write_text,
)
from kleash.errors import ArtifactError, RunError


def test_full_disk_is_named_with_place_and_remedy():
    expected = (
        r"Cannot write the metrics at /dev/full: the disk is full\. What was saved before is whole\. Free some space"
    )
    with (
        pytest.raises(RunError, match=expected),
        clear_write_errors("metrics", Path("/dev/full")),
        open("/dev/full", "w") as file,
    ):
        file.write("x")


def test_unwritable_folder_is_named(unprivileged, tmp_path):
    with unprivileged(tmp_path), pytest.raises(RunError, match="permission is denied"), lock_run(tmp_path / "run"):
        pass


def test_file_in_the_way_is_named(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(RunError, match="a file stands where a folder is needed"), lock_run(tmp_path / "runs" / "x"):
        pass


def test_unrelated_errors_pass_through(tmp_path):
    with pytest.raises(OSError, match="Too many open files"), clear_write_errors("x", tmp_path):
        raise OSError(errno.EMFILE, "Too many open files")
    # A data file that may not be read is no trouble with writing.
    with pytest.raises(PermissionError), clear_write_errors("x", tmp_path / "a"):
        raise PermissionError(errno.EACCES, "denied", str(tmp_path / "b"))


def test_refused_write_leaves_the_old_text(tmp_path, file_size_limit):
    path = tmp_path / "a.json"
    write_text(path, "old")
    with file_size_limit(1000), pytest.raises(RunError, match="largest size allowed"), clear_write_errors("a", path):
        write_text(path, "new" * 1000)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.json"]


def test_publish_and_discard_move_whole_folders(tmp_path):
    (tmp_path / "a.partial" / "deep").mkdir(parents=True)
    (tmp_path / "a.partial" / "deep" / "x").write_text("1")
    (tmp_path / "a.partial" / "dangling").symlink_to("nowhere")
    publish(tmp_path / "a.partial", tmp_path / "a")
    assert (tmp_path / "a" / "deep" / "x").read_text() == "1"
    discard(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_second_process_is_refused_and_kill_frees_the_lock(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom kleash.durable import lock_run\n"
        "with lock_run(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            expected = rf"{tmp_path} is in use by process {holder.pid} on .* --branch NAME"
            with pytest.raises(RunError, match=expected), lock_run(tmp_path):
                pass
        finally:
            holder.kill()
    with lock_run(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / ".lock").read_text()


# -------------------------------------------------------------------------------------------------- remembered digests
@pytest.fixture
def memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kleash" / "digests.json"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "weights").write_text("12345678")
    return tmp_path / "weights"


def at_once(path):
    return remembered_digest(path, min_bytes=1, settled_seconds=-1.0)


def forge(memory):
    """Write another digest into the memory, to see whether it is asked."""
    [(index, mark)] = json.loads(memory.read_text()).items()
    memory.write_text(json.dumps({index: [*mark[:-1], "remembered"]}))


def test_a_large_file_is_read_once(memory, weights):
    assert at_once(weights) == file_digest(weights)
    forge(memory)
    assert at_once(weights) == "remembered"


@pytest.mark.parametrize("sets_back_time", [False, True])
def test_a_file_that_was_touched_is_read_again_even_if_its_time_was_set_back(memory, weights, sets_back_time):
    before = weights.stat()
    at_once(weights)
    forge(memory)
    while weights.stat().st_ctime_ns == before.st_ctime_ns:  # the file system's clock ticks some hundred times a second
        weights.write_text("87654321")
    if sets_back_time:
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert at_once(weights) == file_digest(weights)


def test_another_file_in_its_place_is_read(memory, weights):
    at_once(weights)
    forge(memory)
    (weights.parent / "other").write_text("abcdefgh")
    (weights.parent / "other").replace(weights)
    assert at_once(weights) == file_digest(weights)


def test_small_files_and_files_touched_just_now_are_not_remembered(memory, weights):
    assert remembered_digest(weights) == file_digest(weights)
    assert remembered_digest(weights, min_bytes=1, settled_seconds=3600.0) == file_digest(weights)
    assert not memory.exists()


def test_a_memory_that_is_damaged_or_cannot_be_written_does_no_harm(memory, weights):
    memory.parent.mkdir(parents=True)
    memory.write_text("{")
    assert at_once(weights) == file_digest(weights)
    assert len(json.loads(memory.read_text())) == 1
    memory.unlink()
    memory.parent.rmdir()
    memory.parent.write_text("a file where the folder should be")
    assert at_once(weights) == file_digest(weights)


@pytest.mark.parametrize("text", ["plain", "naïve ☃", "a\u2028b\u2029c\x85d\r\ne", "half \ud800 pair", "\x00"])
def test_rows_come_back_as_they_were(tmp_path, text):
    path = tmp_path / "rows.jsonl"
    rows = [{"text": text, "number": 0.1}, {"text": [text], "nothing": None}]
    write_rows(path, rows)
    assert read_rows(path) == rows
    assert path.read_bytes().count(b"\n") == 2


def test_rows_can_be_read_by_eye(tmp_path):
    write_rows(tmp_path / "rows.jsonl", [{"text": "naïve ☃"}])
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == '{"text": "naïve ☃"}\n'


def test_what_a_kill_tore_is_no_row_and_a_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert read_rows(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n{"a"\n{"a": 3}\n')
    with pytest.raises(RunError, match=r"rows\.jsonl:2 is not a row of JSON: .* Remove that line\."):
        read_rows(path)


@pytest.mark.parametrize("text", ["{", "[1]", None])
def test_a_file_without_an_object_is_named_with_its_remedy(tmp_path, text):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ArtifactError, match=r"Cannot read .*a\.json: .*\. An object is needed\. Make it again\."):
        read_object(path, remedy="An object is needed. Make it again.", error=ArtifactError)
    path.write_text('{"a": 1}')
    assert read_object(path, remedy="") == {"a": 1}
