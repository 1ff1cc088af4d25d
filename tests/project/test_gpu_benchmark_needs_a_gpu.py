"""Without a GPU, the GPU benchmark exits with the reason and does not measure the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latens_serving.engine.cuda import availability as cuda

ROOT = Path(__file__).parents[2]


def test_without_a_gpu_it_exits_with_the_reason() -> None:
    if cuda.why_unavailable(0) is None:
        pytest.skip("this machine has a GPU")
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs a GPU: " in done.stderr
    assert str(cuda.why_unavailable(0)) in done.stderr
