"""Safe writing: what a full disk, an unwritable folder or a second process gets told, and what survives."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kleash.durable import clear_write_errors, discard, lock_run, publish, write_text
from kleash.errors import RunError


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
