"""Several processes serve one address; a dead one is restarted; all stop together."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.workers.exposition import summed
from process_figures import metric_sum, wait_until
from server_process import Server, running_server

ONE = pb.SampleRequest(count=1, seed=1)
# A connection of its own for each channel, so that the kernel may choose a worker for each.
OWN = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]


@pytest.fixture
def pair(model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, "--workers=2", "--log-calls=none") as server:
        yield server


def sample(server: Server, calls: int = 1) -> None:
    with grpc.insecure_channel(server.address, OWN) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        for _ in range(calls):
            assert stub.Sample(ONE, timeout=20, wait_for_ready=True).seed == 1


def workers_of(server: Server) -> set[int]:
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    return {int(pid) for pid in children.split()}


def lives(server: Server) -> int:
    """How many workers came up so far, those that died since included."""
    return len([line for line in server.lines if line["message"] == "worker serving"])


def test_calls_are_answered_and_the_metrics_are_their_sum(pair: Server) -> None:
    assert len(workers_of(pair)) == 2
    for _ in range(12):
        sample(pair, calls=2)
    # A client may have its answer before the call is counted as over.
    wait_until(lambda: metric_sum(pair, "latens_calls_in_flight") == 0)
    assert metric_sum(pair, "latens_rows_total") == 24
    assert metric_sum(pair, "latens_ready") == 1
    assert lives(pair) == 2


def test_a_worker_that_dies_is_restarted_while_the_other_serves(pair: Server) -> None:
    victim, other = sorted(workers_of(pair))
    os.kill(victim, signal.SIGKILL)
    pair.wait_for("worker died", exit_code=-signal.SIGKILL)
    wait_until(lambda: len(workers_of(pair)) == 2)
    assert other in workers_of(pair)
    wait_until(
        lambda: len([line for line in pair.lines if line["message"] == "worker serving"]) == 3
    )
    for _ in range(6):
        sample(pair)


def test_all_workers_stop_together(pair: Server) -> None:
    workers = workers_of(pair)
    pair.signal(signal.SIGTERM)
    assert pair.wait() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert len([line for line in pair.lines if line["message"] == "stopped"]) == 3


def test_a_second_signal_ends_them_all_at_once(model_repository: Path) -> None:
    with running_server(model_repository, "--workers=2", "--drain-delay=300") as server:
        workers = workers_of(server)
        server.signal(signal.SIGTERM)
        wait_until(lambda: sum(line["message"] == "draining" for line in server.lines) == 2)
        server.signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM
        wait_until(lambda: not any(_runs(pid) for pid in workers))


def test_workers_do_not_outlive_their_supervisor(pair: Server) -> None:
    workers = workers_of(pair)
    pair.kill()
    wait_until(lambda: not any(_runs(pid) for pid in workers))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_a_worker_that_cannot_start_ends_all(tmp_path: Path) -> None:
    server = Server(tmp_path, "--workers=2")
    assert server.wait(60) == 3
    assert "no model in" in "".join(server.noise)


def test_an_address_that_is_taken_is_not_shared(model_repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(model_repository, "--workers=2", f"--port={port}")
        assert server.wait(60) == 1


def test_counters_add_up_and_facts_do_not() -> None:
    one = """# HELP latens_rows_total Rows.
# TYPE latens_rows_total counter
latens_rows_total{model="a"} 3
# HELP latens_ready Ready.
# TYPE latens_ready gauge
latens_ready 1
# HELP wait_seconds Wait.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.1"} 1
wait_seconds_bucket{le="+Inf"} 2
wait_seconds_sum 0.5
wait_seconds_count 2
"""
    two = one.replace('model="a"} 3', 'model="b"} 4')
    text = summed([one, two, one]).decode()
    for line in (
        'latens_rows_total{model="a"} 6.0',
        'latens_rows_total{model="b"} 4.0',
        "latens_ready 1.0",
        'wait_seconds_bucket{le="+Inf"} 6.0',
        "wait_seconds_sum 1.5",
        "# TYPE wait_seconds histogram",
    ):
        assert line in text.splitlines(), line
