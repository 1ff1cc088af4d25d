"""A dead engine or device is detected, its callers fail, and the server ends with an error."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving import cli
from latens_serving import server as lifecycle
from latens_serving.engine.batcher import Batcher, BatchLimits
from latens_serving.errors import (
    DeadlineError,
    DrainingError,
    EngineFailedError,
    LatensError,
    QueueFullError,
)
from latens_serving.monitoring.canary import Canary
from server_in_process import NOT_SERVING, SERVING, called, settings


async def test_a_lost_engine_ends_the_server_with_not_serving_and_a_failure(
    model_repository: Path,
) -> None:
    latens = lifecycle.Server(settings(model_repository))
    await latens.start()
    async with called(latens) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        ending = asyncio.ensure_future(latens.run_until_stopped())
        await asyncio.to_thread(latens.lost, "mnist-2d", "encoder", RuntimeError("gone"))
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
    await ending
    assert isinstance(latens.failed, RuntimeError)


async def test_the_canary_detects_wrong_outputs(model_repository: Path) -> None:
    latens = lifecycle.Server(settings(model_repository))
    await latens.start()
    lost: list[tuple[str, str, str]] = []
    canary = Canary(latens.models, lambda *told: lost.append((*told[:2], str(told[2]))))
    model = latens.models.pick("mnist-2d", "1")
    await canary.check(model)
    assert lost == []
    real = model.decoder._run
    model.decoder._run = lambda rows: tuple(np.full_like(out, 0.5) for out in real(rows))
    await canary.check(model)
    assert [told[:2] for told in lost] == [("mnist-2d", "decoder")]

    def broken(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        raise RuntimeError("gone")

    model.encoder._run = broken
    await canary.check(model)
    assert ("mnist-2d", "encoder", "the engine failed") in lost
    await latens.stop()


async def test_a_canary_whose_row_never_ran_reports_no_lost_engine(model_repository: Path) -> None:
    latens = lifecycle.Server(settings(model_repository))
    await latens.start()
    lost: list[str] = []
    canary = Canary(latens.models, lambda _, graph, error: lost.append(graph))
    model = latens.models.pick("mnist-2d", "1")
    for error in (DeadlineError("late"), QueueFullError("full"), DrainingError("bye")):

        async def refuse(rows: Any, deadline: Any, error: Exception = error) -> Any:
            raise error

        graphs: Any = model.batchers
        for batcher in graphs.values():
            batcher.submit = refuse
        await canary.check(model)
    assert lost == []
    await latens.stop()


async def test_the_canary_checks_idle_models_only(model_repository: Path) -> None:
    latens = lifecycle.Server(settings(model_repository, canary_seconds=0.02))
    await latens.start()
    model = latens.models.pick("point", "1")
    async with asyncio.timeout(20):
        while not model.statistics["decoder"].runs:
            await asyncio.sleep(0.01)
    await latens.stop()
    assert latens.failed is None


class Dead(BaseException):
    """What ends a thread: no failure of a run."""


async def test_a_dead_engine_thread_fails_its_callers_and_ends_the_server(
    model_repository: Path,
) -> None:
    latens = lifecycle.Server(settings(model_repository, inline_seconds=0))
    await latens.start()
    ending = asyncio.ensure_future(latens.run_until_stopped())

    def dead(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        raise Dead

    latens.models.pick("mnist-2d", "1").decoder._run = dead
    async with called(latens) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Sample(pb.SampleRequest(model="mnist-2d", count=1), timeout=60)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
    await ending
    assert isinstance(latens.failed, Dead)
    assert not latens.health.serving


async def test_the_failure_of_an_idle_device_is_detected_with_exit_code_1(
    model_repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[lifecycle.Server] = []

    class Remembered(lifecycle.Server):
        async def run_until_stopped(self) -> None:
            made.append(self)
            self.models.pick("point", "1").decoder._run = broken
            await super().run_until_stopped()

    def broken(rows: np.ndarray) -> tuple[np.ndarray, ...]:
        raise RuntimeError("gone")

    monkeypatch.setattr(cli, "Server", Remembered)
    assert await cli._live(settings(model_repository, canary_seconds=0.02)) == 1
    assert isinstance(made[0].failed, LatensError)
    assert not made[0].health.serving


async def test_a_run_that_does_not_end_is_abandoned() -> None:
    deaths: list[BaseException] = []
    end = threading.Event()

    def stuck(rows: np.ndarray) -> tuple[np.ndarray]:
        end.wait(30)
        return (rows,)

    batcher = Batcher(stuck, BatchLimits(stuck_seconds=0.05), died=deaths.append)
    with pytest.raises(EngineFailedError):
        await batcher.submit(np.zeros((1, 1)))
    assert [type(death) for death in deaths] == [TimeoutError]
    end.set()
