"""Rows a second of `latens-bulk encode`, beside the bare engine and beside plain Ray Data.

Three inputs: MNIST-sized arrays and PNG files with the article's MLP, and photos of 64 x 64 pixels
with a network of about 20 ms a row. The bare engine takes images that are in memory and writes
nothing. CPU time a row is what to compare on a machine that does other work, too: with both
processors busy, the rates are as its inverse. Ray Data reads Parquet, runs the same encoder on as
many actors as processors, and writes Parquet; it is left out where `ray` is not installed.

    python benchmarks/bulk.py
    python benchmarks/bulk.py --short --json
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import models
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

import bulk_models
from latens_bulk.settings import processors
from latens_serving import Encoder

_RAY = """
import sys, ray
from latens_bulk.ray import encode
source, bundle, target, actors = sys.argv[1:]
ray.init(include_dashboard=False, log_to_driver=False)
dataset = ray.data.read_parquet(source)
encode(dataset, bundle, concurrency=int(actors), num_cpus=0.5).write_parquet(target)
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One input, in rows a second."""

    name: str
    rows: int
    engine: float
    """The bare engine with as many threads as processors."""
    bulk: float
    """`latens-bulk encode`, without the start of the process."""
    bulk_whole: float
    """The same, from start to end."""
    engine_cpu_us: float
    """CPU time a row of the bare engine."""
    bulk_cpu_us: float
    """CPU time a row of `latens-bulk encode`, from start to end, its processes included."""
    ray: float | None
    """Ray Data, from start to end."""

    @property
    def share(self) -> float:
        """Of the CPU time of `latens-bulk encode`: what the engine takes of it."""
        return self.engine_cpu_us / self.bulk_cpu_us


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a fifth of the rows")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    options = parser.parse_args()
    part = 5 if options.short else 1
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (60_000 // part, 1, 28, 28), np.uint8)
    large = generator.integers(0, 256, (1_500 // part, 3, 64, 64), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        mlp, slow = models.repository() / models.NAME, bulk_models.repository() / bulk_models.NAME
        rows = [
            measured("arrays 28 x 28, MLP", small, mlp, root / "a", as_files=False),
            measured("PNG files 28 x 28, MLP", small, mlp, root / "b", as_files=True),
            measured("PNG files 64 x 64, 20 ms a row", large, slow, root / "c", as_files=True),
        ]
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))
        return
    print(f"rows a second, {processors()} processors")
    print(f"{'':70}{'CPU us a row':>20}")
    heads = f"{'engine':>9}{'bulk':>9}{'whole':>9}{'Ray':>9}{'engine':>12}{'bulk':>9}{'share':>7}"
    print(f"{'':32}{heads}")
    for row in rows:
        ray = "-" if row.ray is None else f"{row.ray:.0f}"
        print(
            f"{row.name:32}{row.engine:9.0f}{row.bulk:9.0f}{row.bulk_whole:9.0f}{ray:>9}"
            f"{row.engine_cpu_us:12.0f}{row.bulk_cpu_us:9.0f}{row.share:7.0%}"
        )


def measured(
    name: str, images: NDArray[np.uint8], bundle: Path, root: Path, *, as_files: bool
) -> Row:
    root.mkdir()
    source = root / "images.parquet"
    if as_files:
        column = pa.array([bulk_models.png(image) for image in images], pa.binary())
    else:
        column = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), images[0].size)
    keys = pa.array([str(number) for number in range(len(images))])
    pq.write_table(pa.table({"id": keys, "image": column}), source, row_group_size=4096)
    engine, engine_cpu = engine_rate(images, bundle)
    bulk, whole, bulk_cpu = bulk_rates(source, bundle, root / "out", len(images))
    ray = ray_rate(source, bundle, root / "ray", len(images))
    return Row(name, len(images), engine, bulk, whole, engine_cpu, bulk_cpu, ray)


def engine_rate(images: NDArray[np.uint8], bundle: Path) -> tuple[float, float]:
    encoder = Encoder(bundle, "cpu", threads=processors())
    encoder(images[: encoder.batch_rows])
    begun, cpu = time.perf_counter(), time.process_time()
    encoder(images)
    seconds, cpu_seconds = time.perf_counter() - begun, time.process_time() - cpu
    return len(images) / seconds, 1e6 * cpu_seconds / len(images)


def bulk_rates(source: Path, bundle: Path, target: Path, rows: int) -> tuple[float, float, float]:
    command = [sys.executable, "-m", "latens_bulk", "encode", str(source), str(target)]
    options = ["--bundle", str(bundle), "--device", "cpu", "--json"]
    begun, cpu = time.perf_counter(), children_cpu_seconds()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    whole, used = time.perf_counter() - begun, children_cpu_seconds() - cpu
    return rows / json.loads(done.stdout)["seconds"], rows / whole, 1e6 * used / rows


def children_cpu_seconds() -> float:
    """CPU time of the processes that have ended, and of those that they waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def ray_rate(source: Path, bundle: Path, target: Path, rows: int) -> float | None:
    if importlib.util.find_spec("ray") is None:
        return None
    arguments = [str(source), str(bundle), str(target), str(processors())]
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _RAY, *arguments], capture_output=True, check=True)
    return rows / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
