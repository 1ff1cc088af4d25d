"""The metrics of several workers: no counter falls when a worker dies, restarts or is silent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from test_workers_share_one_address import lives, sample, workers_of

from latens_serving.workers.exposition import Exposition
from latens_serving.workers.metrics import TotalMetrics, WorkerMetrics
from process_figures import metric_sum, wait_until
from server_process import Server, running_server


class Worker:
    """The metrics of a worker process, and its socket."""

    def __init__(self, folder: Path, name: str) -> None:
        registry = CollectorRegistry()
        self.rows = Counter("rows", "Rows.", registry=registry)
        self.wait = Histogram("wait_seconds", "Wait.", buckets=(0.1, 1), registry=registry)
        self.depth = Gauge("depth", "Rows that wait.", registry=registry)
        self.socket = WorkerMetrics(folder, name, lambda: generate_latest(registry))

    def counts(self, rows: int) -> None:
        self.rows.inc(rows)
        self.depth.set(rows)
        for _ in range(rows):
            self.wait.observe(0.5)


def figures(text: bytes) -> dict[str, float]:
    """The samples of an exposition by name and bucket."""
    lines = (line.rsplit(" ", 1) for line in text.decode().splitlines() if line[0] != "#")
    return {name: float(value) for name, value in lines}


async def pool(folder: Path) -> tuple[TotalMetrics, Worker, Worker]:
    total = TotalMetrics(folder, ["worker-0", "worker-1"], answer_seconds=0.2)
    await total.start()
    workers = Worker(folder, "worker-0"), Worker(folder, "worker-1")
    for rows, worker in zip((10, 5), workers, strict=True):
        await worker.socket.start()
        worker.counts(rows)
    return total, *workers


async def test_what_a_dead_worker_counted_stays_in_the_sums(tmp_path: Path) -> None:
    total, first, second = await pool(tmp_path)
    before = figures(await second.socket.exposition())
    assert (before["rows_total"], before["wait_seconds_count"], before["depth"]) == (15, 15, 15)

    await first.socket.stop()
    silent = figures(await second.socket.exposition())
    assert silent == before  # nobody knows yet that it died

    total.worker_died("worker-0")
    dead = figures(await second.socket.exposition())
    assert (dead["rows_total"], dead["wait_seconds_count"]) == (15, 15)
    assert dead['wait_seconds_bucket{le="1.0"}'] == 15
    assert dead["depth"] == 5  # a gauge dies with its process

    successor = Worker(tmp_path, "worker-0")
    await successor.socket.start()
    successor.counts(2)
    after = figures(await successor.socket.exposition())
    assert (after["rows_total"], after["wait_seconds_count"], after["depth"]) == (17, 17, 7)
    assert after["wait_seconds_sum"] == 8.5
    for worker in (second, successor, total):
        await (worker.socket if isinstance(worker, Worker) else worker).stop()


async def test_a_worker_that_does_not_answer_keeps_its_last_values(tmp_path: Path) -> None:
    total, first, second = await pool(tmp_path)
    before = figures(await total.text())
    await first.socket.stop()
    asked: list[asyncio.StreamWriter] = []

    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer)

    deaf = await asyncio.start_unix_server(never, str(tmp_path / "worker-0.sock"))
    second.counts(1)
    after = figures(await total.text())
    assert after["rows_total"] == before["rows_total"] + 1
    (writer,) = asked
    writer.close()
    await writer.wait_closed()
    deaf.close()
    await second.socket.stop()
    await total.stop()


async def test_an_answer_from_a_life_before_is_not_counted_twice(tmp_path: Path) -> None:
    """The worker dies while its answer is under way; what it counted is kept already."""
    total, first, second = await pool(tmp_path)
    await total.text()
    await first.socket.stop()
    answer = generate_latest(CollectorRegistry()) + b"# TYPE rows_total counter\nrows_total 10\n"

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        total.worker_died("worker-0")
        writer.write(answer)
        writer.close()

    dying = await asyncio.start_unix_server(slow, str(tmp_path / "worker-0.sock"))
    assert figures(await total.text())["rows_total"] == 15
    dying.close()
    await second.socket.stop()
    await total.stop()


async def test_without_the_supervisor_a_worker_gives_no_sum_rather_than_a_smaller_one(
    tmp_path: Path,
) -> None:
    worker = Worker(tmp_path, "worker-0")
    await worker.socket.start()
    with pytest.raises(OSError, match="No such file"):
        await worker.socket.exposition()
    await worker.socket.stop()


def test_facts_are_not_added_to_the_sums_of_the_dead() -> None:
    text = "# TYPE latens_ready gauge\nlatens_ready 1\n# TYPE rows_total counter\nrows_total 3\n"
    assert figures(Exposition.parse(text).cumulative().text()) == {"rows_total": 3}


@pytest.fixture
def pair(model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, "--workers=2", "--log-calls=none") as server:
        yield server


def test_rows_counted_by_a_killed_worker_are_still_exposed(pair: Server) -> None:
    for _ in range(12):
        sample(pair, calls=2)
    wait_until(lambda: metric_sum(pair, "latens_calls_in_flight") == 0)
    assert metric_sum(pair, "latens_rows_total") == 24
    os.kill(min(workers_of(pair)), signal.SIGKILL)
    pair.wait_for("worker died", exit_code=-signal.SIGKILL)
    wait_until(lambda: lives(pair) == 3)
    assert metric_sum(pair, "latens_rows_total") == 24
    sample(pair, calls=3)
    wait_until(lambda: metric_sum(pair, "latens_rows_total") == 27)
