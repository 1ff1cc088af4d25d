"""`latens_bulk.ray.encode`: row-exact, even where an actor dies in mid-run."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from bulk_cases import digits, write_npz
from environments import REPOSITORY, environment
from latens_serving import Encoder

OURS = os.pathsep.join(str(REPOSITORY / name) for name in ("clients/python", "serving", "bulk"))
PINS = [f"-r{REPOSITORY / 'requirements' / name}" for name in ("serve-cpu.txt", "bulk.txt")]


def on_ray(python: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a script in the environment that has Ray, with our packages from the checkout."""
    return subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": OURS,
            "RAY_USAGE_STATS_ENABLED": "0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


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
    done = on_ray(python, tmp_path, script, source, bundle, output, marker)
    assert done.returncode == 0, done.stderr
    assert marker.exists()
    direct = Encoder(bundle, device="cpu")(images)
    with np.load(output) as encoded:
        assert set(encoded.files) == {"id", "mean", "log_var"}
        order = encoded["id"]
        assert sorted(order.tolist()) == list(range(1000))
        for head in ("mean", "log_var"):
            np.testing.assert_array_equal(encoded[head], direct[head][order])


PENDING = ".pending."
"""In the name of a note of a file that is being written."""


def png(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return content.getvalue()


@pytest.mark.timeout(600)
def test_a_driver_killed_in_mid_run_is_started_again_and_every_row_is_there_once(
    model_repository: Path, tmp_path: Path
) -> None:
    python = environment("ray", ["ray[data]", *PINS])
    images, bundle = digits(2000), model_repository / "mnist-2d"
    source, target, notes = tmp_path / "in", tmp_path / "out", tmp_path / "checkpoints"
    source.mkdir()
    for part in range(20):
        rows = range(100 * part, 100 * part + 100)
        pictures = [png(images[row, 0]) for row in rows]
        pq.write_table(
            pa.table({"id": list(rows), "image": pictures}), source / f"{part:02}.parquet"
        )
    script = Path(__file__).parent / "ray_resumed.py"

    def start(how: str) -> subprocess.CompletedProcess[str]:
        return on_ray(python, tmp_path, script, source, bundle, target, notes, how)

    assert start("die").returncode == -9
    # Ray notes a file as pending before it is written. What is still pending at the death, whole or
    # cut short, the next start removes.
    noted = tuple(path.stem for path in notes.rglob("*.parquet") if PENDING not in path.name)
    first = {
        path.name: path.stat().st_mtime_ns
        for path in target.glob("*.parquet")
        if path.name.startswith(noted)
    }
    assert 0 < sum(pq.read_metadata(target / name).num_rows for name in first) < 2000
    done = start("live")
    assert done.returncode == 0, done.stderr
    assert {name: (target / name).stat().st_mtime_ns for name in first} == first
    table = pq.read_table(target)
    order = table["id"].to_numpy()
    assert sorted(order.tolist()) == list(range(2000))
    direct = Encoder(bundle, device="cpu")(images)
    for head in ("mean", "log_var"):
        stored = np.stack(table[head].to_numpy())
        np.testing.assert_array_equal(stored, direct[head][order])
