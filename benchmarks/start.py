"""Measures how long a server takes from its start to its first answer, in turns.

    python benchmarks/start.py --repository models
    python benchmarks/start.py --repository models --source /path/of/another/checkout

The first answer is that to Sample over gRPC, asked every few milliseconds. With --source the server
of another checkout takes turns with this one, in the same environment.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import grpc

import processes
from latens.v1 import latens_pb2 as pb
from latens.v1.latens_pb2_grpc import LatentServiceStub

ROOT = Path(__file__).parents[1]
_PAUSE = 0.005
_RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 10),
    ("grpc.min_reconnect_backoff_ms", 10),
    ("grpc.max_reconnect_backoff_ms", 10),
]


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repository", required=True, type=Path)
    parser.add_argument("--source", type=Path, help="another checkout to take turns with")
    parser.add_argument("--starts", type=int, default=8, help="of each (8)")
    options = parser.parse_args()
    sources = [ROOT, *([options.source] if options.source else [])]
    seconds: dict[Path, list[float]] = {source: [] for source in sources}
    for source in sources:
        first_answer(source, options.repository)  # its modules are compiled, its files are read
    for _ in range(options.starts):
        for source in sources:
            seconds[source].append(first_answer(source, options.repository))
    for source, found in seconds.items():
        print(
            f"{source}: median {statistics.median(found):.2f} s, "
            f"{min(found):.2f} to {max(found):.2f} s to the first answer"
        )


def first_answer(source: Path, repository: Path) -> float:
    """Starts a server, asks until it answers, and ends it; returns seconds."""
    ports = [processes.free_port(), processes.free_port()]
    command = [sys.executable, "-m", "latens_serving", "--repository", str(repository)]
    command += ["--port", str(ports[0]), "--http-port", str(ports[1]), "--drain-delay", "0"]
    paths = [str(source / "serving"), str(source / "clients" / "python")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        with grpc.insecure_channel(f"127.0.0.1:{ports[0]}", options=_RECONNECT) as channel:
            service = LatentServiceStub(channel)
            while not _answers(service):
                if process.poll() is not None:
                    raise SystemExit(f"{source}: the server ended with {process.returncode}")
                time.sleep(_PAUSE)
            return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait()


def _answers(service: LatentServiceStub) -> bool:
    try:
        service.Sample(pb.SampleRequest(count=1), timeout=5)
    except grpc.RpcError:
        return False
    return True


if __name__ == "__main__":
    main()
