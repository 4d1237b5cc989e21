"""The table of jobs: order, results on the disk, errors, and what happens when the parent is killed."""

import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import pytest

from kleash.errors import RunError
from kleash.experiments.jobs import Job, run_jobs, seconds_left


def note(file, line):
    """Add a line to a file; a job must be importable by a worker."""
    with open(file, "a", encoding="utf-8") as out:
        out.write(line + "\n")
    print(f"noted {line}")


def refuse():
    raise RunError("The rate is -1. Expected more. Raise it.")


def job(folder, name, *, needs=(), make=None, seconds=1.0):
    return Job(name, make or partial(note, str(folder / "order"), name), tuple(needs), seconds, folder / f"{name}.log")


def test_the_time_left_goes_by_the_pace_so_far():
    jobs = [job(Path(), "a", seconds=10), job(Path(), "b", seconds=30), job(Path(), "c", seconds=60)]
    assert seconds_left(jobs, {"a"}, 20.0) == pytest.approx(180.0)
    assert seconds_left(jobs, {"a", "b"}, 40.0) == pytest.approx(60.0)
    assert seconds_left(jobs, {"a", "b", "c"}, 100.0) == 0.0


@pytest.mark.slow
def test_jobs_run_after_what_they_need_and_keep_what_they_print_in_their_logs(tmp_path):
    said = []
    jobs = [job(tmp_path, "last", needs=["first", "second"]), job(tmp_path, "second"), job(tmp_path, "first")]
    run_jobs(jobs, num_workers=1, announce=said.append)
    assert (tmp_path / "order").read_text().split() == ["second", "first", "last"]
    assert (tmp_path / "last.log").read_text() == "noted last\n"
    assert [(one.name, one.num_done, one.num_jobs) for one in said] == [
        ("second", 1, 3),
        ("first", 2, 3),
        ("last", 3, 3),
    ]
    assert said[-1].seconds_left == 0.0


@pytest.mark.slow
def test_what_a_job_raises_stops_the_table(tmp_path):
    jobs = [job(tmp_path, "bad", make=refuse), job(tmp_path, "after", needs=["bad"])]
    with pytest.raises(RunError, match=r"The rate is -1\. Expected more\. Raise it\."):
        run_jobs(jobs, num_workers=1, announce=lambda progress: None)
    assert not (tmp_path / "order").exists()


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    """A worker that outlived its parent would write into the folders of the next one."""
    life_line = tmp_path / "life"
    os.mkfifo(life_line)
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
            import time
            from pathlib import Path
            from kleash.experiments.jobs import Job, run_jobs

            def stay():
                with open({str(life_line)!r}, "w") as line:
                    print("begun", file=line, flush=True)
                    time.sleep(3600)

            if __name__ == "__main__":
                job = Job("stay", stay, (), 1.0, Path({str(tmp_path / "log")!r}))
                run_jobs([job], num_workers=1, announce=print)
        """)
    )
    parent = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    with open(life_line, encoding="utf-8") as line:
        assert line.readline() == "begun\n"
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert line.read() == ""  # the line ends when the worker does
