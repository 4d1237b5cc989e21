"""An AI judge against a real model server: `transformers serve` with a tiny random model, whose replies say nothing."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from kleash.raters.ai_feedback import AIJudge, MemoryCallLog
from kleash.raters.configuration import JudgeSettings
from kleash.records import Comparison, Prompt
from tiny import CHAT_TEMPLATE, tiny_language_model_folder

START_SECONDS = 300


@contextmanager
def served(folder):
    """Serve a model folder on this machine while the block runs; give the server's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    log = (folder / "serve.log").open("wb")
    process = subprocess.Popen([program, "serve", folder, *where], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_up(f"http://127.0.0.1:{port}/health"):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "serve.log").read_text()[-2000:])
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def is_up(address):
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


@pytest.mark.slow
def test_a_served_model_that_babbles_is_heard_and_never_votes(tmp_path):
    model = tiny_language_model_folder(tmp_path / "model", chat_template=CHAT_TEMPLATE)
    cases = [Comparison(Prompt("the cat is on"), ("the mat", "a tree")), Comparison(Prompt("one"), ("two", "six"))]
    log = MemoryCallLog()
    with served(model) as base_url:
        settings = JudgeSettings(
            base_url=base_url, model=str(model), max_reply_tokens=8, max_concurrency=2, timeout_seconds=120.0
        )
        found = list(AIJudge(settings, log=log).compare(cases))
    assert [(judgement.outcome, judgement.flags) for judgement in found] == [("skipped", ("unparsed",))] * 2
    calls = list(log.calls.values())
    assert [call.status for call in calls] == ["unparsed"] * 4
    # The server counted real tokens, and the prompt held rubric and answers.
    assert all(call.prompt_tokens > 100 and call.reply_tokens == 8 and call.reply for call in calls)
