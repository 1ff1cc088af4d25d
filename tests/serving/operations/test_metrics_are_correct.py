"""The metrics are well formed and correct, show drift, and contain no text of callers."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving import server as lifecycle
from latens_serving.monitoring.drift import DriftWatch
from latens_serving.monitoring.loop_lag import LoopLag
from latens_serving.monitoring.metrics import Metrics
from latens_serving.settings import Settings
from latens_training.data import datasets
from process_figures import metric_sum, wait_until
from server_process import Server, running_server

CALLED = {
    "grpc_server_started_total": {"grpc_method": "Sample"},
    "grpc_server_handled_total": {"grpc_method": "Sample", "grpc_code": "OK"},
    "grpc_server_handling_seconds_count": {"grpc_method": "Sample"},
    "latens_rows_total": {"model": "mnist-2d", "grpc_method": "Sample"},
    "latens_refused_calls_total": {"reason": "INVALID_INPUT"},
    "latens_batch_rows_count": {"model": "mnist-2d", "graph": "decoder"},
    "latens_queue_wait_seconds_count": {"model": "mnist-2d", "graph": "decoder"},
    "latens_inference_seconds_count": {"model": "mnist-2d", "provider": "CPUExecutionProvider"},
    "latens_model_info": {"model": "mnist-2d", "precision": "float32"},
    "latens_model_ready": {"model": "point", "version": "1"},
    "latens_model_loads_total": {"model": "point", "result": "ok"},
    "latens_queue_capacity_rows": {"model": "point", "graph": "encoder"},
    "latens_ready": {},
    "latens_reference_nats": {"model": "mnist-2d", "quantity": "kl"},
    "latens_reference_quantile_nats": {"model": "point", "level": "0.95"},
    "process_resident_memory_bytes": {},
}


@pytest.fixture(scope="module")
def own(model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, "--canary-seconds=0", "--drift-seconds=0") as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = latens_pb2_grpc.LatentServiceStub(channel)
            for count in (3, 2):
                stub.Sample(pb.SampleRequest(count=count), timeout=20)
            for request in (pb.SampleRequest(), pb.SampleRequest(model="x" * 50, count=1)):
                with pytest.raises(grpc.RpcError):
                    stub.Sample(request, timeout=20)
            unknown: Any = channel.unary_unary("/my.own/TextHere")
            with pytest.raises(grpc.RpcError):
                unknown(b"", timeout=20)
        # A client may have its answer before the call is counted as over.
        wait_until(lambda: metric_sum(server, "latens_calls_in_flight") == 0)
        yield server


def exposition(server: Server) -> str:
    with urllib.request.urlopen(f"http://{server.http_address}/metrics", timeout=20) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_each_metric_counts_what_happened(own: Server) -> None:
    found = samples(exposition(own))
    for name, labels in CALLED.items():
        values = [value for got, value in found.get(name, []) if labels.items() <= got.items()]
        assert sum(values) > 0, name
    (rows,) = [
        value
        for labels, value in found["latens_rows_total"]
        if labels["model"] == "mnist-2d" and labels["grpc_method"] == "Sample"
    ]
    assert rows == 5
    for gauge in ("latens_calls_in_flight", "latens_queue_rows", "latens_queue_bytes"):
        assert sum(value for _, value in found[gauge]) == 0


def test_no_label_takes_a_callers_text(own: Server) -> None:
    text = exposition(own)
    assert "x" * 50 not in text
    assert "TextHere" not in text
    assert "my.own" not in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (apt: prometheus)")
def test_promtool_accepts_the_metrics(own: Server) -> None:
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=exposition(own), text=True, capture_output=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_unusual_images_are_measured_as_drift(model_repository: Path) -> None:
    latens = lifecycle.Server(
        Settings(repository=model_repository, port=0, http_port=0, drain_delay=0)
    )
    await latens.start()
    model = latens.models.pick("mnist-2d", "1")
    watch = DriftWatch(latens.models, latens.metrics)
    digits = datasets.load("mnist").test.images[:16].numpy().astype(np.float32) / 255
    noise = np.random.default_rng(0).random((16, 1, 28, 28)).astype(np.float32)

    async def mean_error(images: np.ndarray) -> float:
        before = _sum_and_count(latens)
        model.take_sample()
        await model.encode(images, None)
        sample = model.take_sample()
        assert sample is not None
        await watch.measure(model, sample)
        after = _sum_and_count(latens)
        assert after[1] - before[1] == 16
        return (after[0] - before[0]) / 16

    usual, strange = await mean_error(digits), await mean_error(noise)
    assert 50 < usual < 250
    assert strange > 2 * usual
    assert _total(latens, "latens_posterior_kl_nats_count") == 32
    await latens.stop()


def _sum_and_count(latens: lifecycle.Server) -> tuple[float, float]:
    name = "latens_reconstruction_error_nats"
    return _total(latens, f"{name}_sum"), _total(latens, f"{name}_count")


def _total(latens: lifecycle.Server, name: str) -> float:
    found = samples(latens.metrics.exposition().decode())
    return sum(value for _, value in found.get(name, []))


async def test_encoded_images_are_sampled(model_repository: Path) -> None:
    settings = Settings(
        repository=model_repository, port=0, http_port=0, drain_delay=0, drift_seconds=0.01
    )
    latens = lifecycle.Server(settings)
    await latens.start()
    images = to_message(np.zeros((3, 1, 28, 28), np.float32))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{latens.port}") as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        while not _total(latens, "latens_reconstruction_error_nats_count"):
            await stub.Encode(pb.EncodeRequest(images=images), timeout=20)
    await latens.stop()


async def test_a_late_event_loop_is_measured() -> None:
    metrics = Metrics()
    lag = LoopLag(metrics.loop_lag, 0.001)
    await lag.measure()
    time.sleep(0.1)  # what no handler should do
    await lag.measure()
    assert _value(metrics, "latens_event_loop_lag_seconds_count") == 1
    assert _value(metrics, "latens_event_loop_lag_seconds_sum") > 0.09


def _value(metrics: Metrics, name: str) -> float:
    return sum(value for _, value in samples(metrics.exposition().decode())[name])
