"""`benchmarks/gpu.py`, the correctness check for a GPU, at tiny size on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.mark.slow
def test_on_a_cpu_every_figure_is_within_its_bound(tmp_path):
    options = ["--size", "tiny", "--device", "cpu", "--json", str(tmp_path / "figures.json")]
    command = [sys.executable, str(SCRIPT), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads((tmp_path / "figures.json").read_text())["checks"]
    assert {check["dtype"] for check in checks} == {"float32", "bfloat16_autocast"}
    assert len(checks) == 10
    in_float32 = [check for check in checks if check["dtype"] == "float32"]
    exact = [check["figure"] for check in in_float32 if check["name"].startswith(("log-prob", "killed"))]
    assert exact == [0.0] * 3, "the CPU is compared with itself"
