"""`latens_bulk.ray.encode`: row-exact, even where an actor dies in mid-run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bulk_cases import digits, write_npz
from environments import REPOSITORY, environment
from latens_serving import Encoder

OURS = os.pathsep.join(str(REPOSITORY / name) for name in ("clients/python", "serving", "bulk"))
PINS = [f"-r{REPOSITORY / 'requirements' / name}" for name in ("serve-cpu.txt", "bulk.txt")]


@pytest.mark.timeout(600)
def test_an_actor_killed_in_mid_run_changes_no_row(model_repository: Path, tmp_path: Path) -> None:
    python = environment("ray", ["ray[data]", *PINS])
    images = digits(1000)
    source = write_npz(tmp_path / "in", images)
    bundle, output, marker = (
        model_repository / "mnist-2d",
        tmp_path / "out.npz",
        tmp_path / "killed",
    )
    script = Path(__file__).parent / "ray_run.py"
    done = subprocess.run(
        [python, script, source, bundle, output, marker],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "PYTHONPATH": OURS,
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert marker.exists()
    direct = Encoder(bundle, device="cpu")(images)
    with np.load(output) as encoded:
        assert set(encoded.files) == {"id", "mean", "log_var"}
        order = encoded["id"]
        assert sorted(order.tolist()) == list(range(1000))
        for head in ("mean", "log_var"):
            np.testing.assert_array_equal(encoded[head], direct[head][order])
