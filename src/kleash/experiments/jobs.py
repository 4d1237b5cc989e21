"""Run a table of jobs on several cores: each as soon as what it needs is done, each in a process of its own.

A job must leave its result on the disk and find it there when it is run again, as every stage does. So a table that was
stopped, by kill -9 too, goes on where it was.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """A piece of work. make: picklable; needs: names of the jobs before it; seconds: what it costs, about.

    log: the file that what it prints goes to.
    """

    name: str
    make: Callable[[], object]
    needs: tuple[str, ...]
    seconds: float
    log: Path


@dataclass(frozen=True)
class Progress:
    """A job has ended: its name, the seconds it took, how many of all are done, and about what is left."""

    name: str
    seconds: float
    num_done: int
    num_jobs: int
    seconds_left: float


def run_jobs(
    jobs: Sequence[Job],
    *,
    num_workers: int,
    announce: Callable[[Progress], None],
    has_fresh_workers: bool = False,
) -> None:
    """Run every job once, those earlier in the table first where several could go.

    has_fresh_workers: a new process for each job, so that its memory can be told from that of the job before it.
    What a job raises stops the table: jobs under way end, the others are not begun.
    """
    waiting = {job.name: job for job in jobs}
    running: dict[Future[float], Job] = {}
    done: set[str] = set()
    began = time.monotonic()
    with _pool(num_workers, has_fresh_workers=has_fresh_workers) as pool:
        while waiting or running:
            for job in [job for job in waiting.values() if done.issuperset(job.needs)][: num_workers - len(running)]:
                running[pool.submit(_run, job)] = waiting.pop(job.name)
            assert running, f"jobs {sorted(waiting)} wait for jobs that are not in the table"
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                seconds = future.result()
                done.add(job.name)
                left = seconds_left(jobs, done, time.monotonic() - began)
                announce(Progress(job.name, seconds, len(done), len(jobs), left))


def seconds_left(jobs: Sequence[Job], done: set[str], seconds_so_far: float) -> float:
    """Guess the time left: what the jobs left were said to cost, at the pace of those that are done."""
    cost_done = sum(job.seconds for job in jobs if job.name in done)
    cost_left = sum(job.seconds for job in jobs if job.name not in done)
    return cost_left * seconds_so_far / cost_done


def _pool(num_workers: int, *, has_fresh_workers: bool) -> ProcessPoolExecutor:
    # Threads that share a core wait for each other by spinning.
    num_threads = max(1, (os.cpu_count() or 1) // num_workers)
    # Forked children of a process that has used torch's threads hang; spawned ones start afresh.
    return ProcessPoolExecutor(
        num_workers,
        mp_context=get_context("spawn"),
        initializer=_begin_worker,
        initargs=(num_threads,),
        max_tasks_per_child=1 if has_fresh_workers else None,
    )


def _begin_worker(num_threads: int) -> None:
    import torch

    torch.set_num_threads(min(num_threads, torch.get_num_threads()))
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent has died, by kill -9 too: the next parent does its work again."""
    parent = parent_process()
    assert parent is not None, "a worker has a parent"
    parent.join()
    os._exit(1)


def _run(job: Job) -> float:
    began = time.monotonic()
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with open(job.log, "a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        job.make()
    return time.monotonic() - began
