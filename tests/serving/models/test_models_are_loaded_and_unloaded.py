"""Versions are swapped under load without a failed call; a bad one is refused and named."""

from __future__ import annotations

import shutil
import signal
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from bad_bundles import BAD, tampered, truncated
from latens.admin.v1 import admin_pb2, admin_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.bundle.files import read_manifest
from model_folders import add_version
from server_process import Server, running_server

READY, FAILED = pb.MODEL_STATE_READY, pb.MODEL_STATE_FAILED
DRAINING = pb.MODEL_STATE_DRAINING


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path) -> Path:
    """A copy with `mnist-2d` alone, to be changed."""
    shutil.copytree(model_repository / "mnist-2d", tmp_path / "models" / "mnist-2d")
    return tmp_path / "models"


@pytest.fixture
def server(repository: Path) -> Iterator[Server]:
    # No rounds of its own: they hold a model for a moment, which is then listed as draining.
    rounds = ("--watch-seconds=0", "--canary-seconds=0", "--drift-seconds=0")
    with running_server(repository, "--admin-port=0", *rounds) as server:
        yield server


class Caller:
    """What a caller and an operator see of a server."""

    def __init__(self, server: Server) -> None:
        self._public = grpc.insecure_channel(server.address)
        self._private = grpc.insecure_channel(server.wait_for("serving")["admin_address"])
        self.latents = latens_pb2_grpc.LatentServiceStub(self._public)
        self.admin = admin_pb2_grpc.AdminServiceStub(self._private)
        self._health: Any = health_pb2_grpc.HealthStub(self._public)
        self._metrics = f"http://{server.http_address}/metrics"

    def close(self) -> None:
        self._public.close()
        self._private.close()

    def version(self, version: str = "") -> str:
        request = pb.SampleRequest(model="mnist-2d", version=version, count=1)
        return str(self.latents.Sample(request, timeout=20).version)

    def reload(self) -> dict[str, pb.Model]:
        answer = self.admin.ReloadRepository(admin_pb2.ReloadRepositoryRequest(), timeout=60)
        return {f"{model.name}/{model.version}": model for model in answer.models}

    def health(self, service: str) -> str:
        request = health_pb2.HealthCheckRequest(service=service)
        status = self._health.Check(request, timeout=20).status
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(status))

    def metric(self, line: str) -> float:
        with urllib.request.urlopen(self._metrics, timeout=20) as answer:
            text = answer.read().decode()
        found = [row for row in text.splitlines() if row.startswith(line + " ")]
        return float(found[0].split()[-1]) if found else 0.0


@pytest.fixture
def caller(server: Server) -> Iterator[Caller]:
    caller = Caller(server)
    yield caller
    caller.close()


def test_a_bad_bundle_is_refused_with_its_reason_while_the_old_one_serves(
    server: Server, caller: Caller, repository: Path
) -> None:
    for version, (change, reason) in enumerate(BAD.items(), 2):
        directory = add_version(repository, version, change)
        models = caller.reload()
        refused = models[f"mnist-2d/{version}"]
        assert refused.state == FAILED, change
        assert reason in refused.state_reason, change
        assert reason in server.wait_for("model refused", version=version)["reason"]
        assert models["mnist-2d/1"].state == READY
        assert caller.version() == "1"
        with pytest.raises(grpc.RpcError) as caught:
            caller.version(str(version))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        shutil.rmtree(directory)
    failed = caller.metric('latens_model_loads_total{model="mnist-2d",result="failed"}')
    assert failed == len(BAD)
    assert caller.health("models/mnist-2d") == "SERVING"
    assert list(caller.reload()) == ["mnist-2d/1"]


def test_a_version_is_swapped_and_removed_under_load_without_a_failed_call(
    caller: Caller, repository: Path
) -> None:
    stop = threading.Event()

    def load() -> list[str]:
        versions = []
        while not stop.is_set():
            versions.append(caller.version())
        return versions

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(load) for _ in range(4)]
        try:
            directory = add_version(repository, 2)
            assert caller.reload()["mnist-2d/2"].state == READY
            assert caller.version() == "2"
            shutil.rmtree(directory)
            held = caller.reload()
            assert held["mnist-2d/1"].state == READY
            # Listed only while a call that it had accepted is under way.
            assert {model.state for model in held.values()} <= {READY, DRAINING}
            assert caller.version() == "1"
        finally:
            stop.set()
        served = [version for answer in answers for version in answer.result()]
    assert set(served) == {"1", "2"}
    assert list(caller.reload()) == ["mnist-2d/1"]


def test_a_request_may_pin_a_version(caller: Caller, repository: Path) -> None:
    add_version(repository, 10)
    caller.reload()
    assert (caller.version(), caller.version("1"), caller.version("10")) == ("10", "1", "10")


def test_a_refused_version_is_tried_again_when_its_files_change(
    caller: Caller, repository: Path
) -> None:
    directory = add_version(repository, 2, truncated)
    assert caller.reload()["mnist-2d/2"].state == FAILED
    shutil.copyfile(repository / "mnist-2d" / "1" / "decoder.onnx", directory / "decoder.onnx")
    assert caller.reload()["mnist-2d/2"].state == READY


def test_a_version_that_becomes_invalid_in_place_stays_in_service(
    caller: Caller, repository: Path
) -> None:
    tampered(repository / "mnist-2d" / "1")
    model = caller.reload()["mnist-2d/1"]
    assert model.state == READY
    assert "SHA-256" in model.state_reason
    assert caller.version() == "1"


def test_sighup_starts_a_check_immediately(server: Server, repository: Path) -> None:
    add_version(repository, 2)
    server.signal(signal.SIGHUP)
    server.wait_for("model ready", version=2)


def test_the_folder_is_checked_periodically(repository: Path) -> None:
    with running_server(repository, "--watch-seconds=0.05") as server:
        directory = add_version(repository, 2)
        server.wait_for("model ready", version=2)
        shutil.rmtree(directory)
        server.wait_for("model leaves", version=2)


def test_only_the_newest_versions_are_held(repository: Path) -> None:
    for version in (2, 3):
        add_version(repository, version)
    with running_server(repository, "--max-versions=2", "--admin-port=0") as server:
        caller = Caller(server)
        assert list(caller.reload()) == ["mnist-2d/3", "mnist-2d/2"]
        caller.close()


def test_an_unloaded_version_stays_unloaded_until_it_is_loaded(
    caller: Caller, repository: Path
) -> None:
    add_version(repository, 2)
    caller.reload()
    caller.admin.UnloadModel(admin_pb2.UnloadModelRequest(model="mnist-2d", version="2"))
    assert list(caller.reload()) == ["mnist-2d/1"]
    assert caller.version() == "1"
    request = admin_pb2.LoadModelRequest(model="mnist-2d", version="2")
    assert caller.admin.LoadModel(request).model.state == READY
    assert caller.version() == "2"


NOT_THERE = [
    ("mnist-2d", "9", grpc.StatusCode.NOT_FOUND),
    ("nothing", "1", grpc.StatusCode.NOT_FOUND),
    ("../mnist-2d", "1", grpc.StatusCode.NOT_FOUND),
    ("mnist-2d", "../1", grpc.StatusCode.INVALID_ARGUMENT),
    ("mnist-2d", "", grpc.StatusCode.INVALID_ARGUMENT),
]


def test_unknown_versions_are_neither_loaded_nor_unloaded(caller: Caller) -> None:
    for name, version, code in NOT_THERE:
        load = admin_pb2.LoadModelRequest(model=name, version=version)
        unload = admin_pb2.UnloadModelRequest(model=name, version=version)
        for method, request in ((caller.admin.LoadModel, load), (caller.admin.UnloadModel, unload)):
            with pytest.raises(grpc.RpcError) as caught:
                method(request, timeout=20)
            assert caught.value.code() is code, (name, version)


def test_loading_a_refused_version_reports_the_reason(caller: Caller, repository: Path) -> None:
    add_version(repository, 2, truncated)
    with pytest.raises(grpc.RpcError) as caught:
        caller.admin.LoadModel(admin_pb2.LoadModelRequest(model="mnist-2d", version="2"))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    call: Any = caught.value
    status = rpc_status.from_call(call)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "BUNDLE_REFUSED"


def test_a_removed_model_is_neither_healthy_nor_served(
    caller: Caller, repository: Path, model_repository: Path
) -> None:
    shutil.copytree(model_repository / "point", repository / "point")
    caller.reload()
    assert caller.health("models/point") == "SERVING"
    assert caller.metric('latens_model_ready{model="point",version="1"}') == 1
    shutil.rmtree(repository / "point")
    caller.reload()
    assert caller.health("models/point") == "NOT_SERVING"
    assert caller.metric('latens_model_ready{model="point",version="1"}') == 0
    with pytest.raises(grpc.RpcError) as caught:
        caller.latents.Sample(pb.SampleRequest(model="point", count=1), timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_other_names_are_ignored(caller: Caller, repository: Path) -> None:
    for name in ("UPPER/1", "mnist-2d/latest", "mnist-2d/01", ".hidden/1", "notes.txt/1"):
        shutil.copytree(repository / "mnist-2d" / "1", repository / name)
    assert [name for name in caller.reload() if not name.startswith("notes")] == ["mnist-2d/1"]
    assert read_manifest(repository / "mnist-2d" / "1").name == "mnist-2d"
