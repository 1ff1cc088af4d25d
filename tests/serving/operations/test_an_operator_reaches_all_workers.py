"""With several workers the admin service loads, unloads, reloads and drains in all of them."""

from __future__ import annotations

import os
import shutil
import signal
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from test_workers_share_one_address import OWN, lives, workers_of

from bad_bundles import truncated
from latens.admin.v1 import admin_pb2, admin_pb2_grpc
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.workers.admin import merged
from model_folders import add_version
from process_figures import wait_until
from server_process import Server, running_server

TOKENS = "infer infer-token-0123456789\nadmin admin-token-0123456789\n"
INFER = (("authorization", "Bearer infer-token-0123456789"),)
ADMIN = (("authorization", "Bearer admin-token-0123456789"),)
# Fresh connections, each to a worker of the kernel's choice.
CONNECTIONS = 12
READY, FAILED, DRAINING = pb.MODEL_STATE_READY, pb.MODEL_STATE_FAILED, pb.MODEL_STATE_DRAINING


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path) -> Path:
    """A copy with `mnist-2d` alone, in the versions 1 and 2."""
    shutil.copytree(model_repository / "mnist-2d", tmp_path / "models" / "mnist-2d")
    add_version(tmp_path / "models", 2)
    return tmp_path / "models"


@pytest.fixture
def server(repository: Path, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "tokens").write_text(TOKENS)
    flags = ("--workers=2", "--admin-port=0", f"--tokens={tmp_path / 'tokens'}")
    rounds = ("--watch-seconds=0", "--canary-seconds=0", "--drift-seconds=0")
    with running_server(repository, *flags, *rounds) as server:
        yield server


@contextmanager
def admin_of(server: Server) -> Iterator[Any]:
    with grpc.insecure_channel(server.wait_for("serving")["admin_address"]) as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def unload(admin: Any, version: str, model: str = "mnist-2d") -> None:
    request = admin_pb2.UnloadModelRequest(model=model, version=version)
    admin.UnloadModel(request, metadata=ADMIN, timeout=120)


def load(admin: Any, version: str) -> pb.Model:
    request = admin_pb2.LoadModelRequest(model="mnist-2d", version=version)
    model: pb.Model = admin.LoadModel(request, metadata=ADMIN, timeout=120).model
    return model


def reload(admin: Any) -> dict[str, pb.Model]:
    request = admin_pb2.ReloadRepositoryRequest()
    answer = admin.ReloadRepository(request, metadata=ADMIN, timeout=120)
    return {model.version: model for model in answer.models if model.state != DRAINING}


def versions_answering(server: Server) -> set[str]:
    """The versions that answer who asks for none, over many connections."""
    found = set()
    for _ in range(CONNECTIONS):
        with grpc.insecure_channel(server.address, OWN) as channel:
            stub = latens_pb2_grpc.LatentServiceStub(channel)
            request = pb.SampleRequest(count=1, seed=1)
            answer = stub.Sample(request, metadata=INFER, timeout=60, wait_for_ready=True)
            found.add(answer.version)
    return found


def code_of(call: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    code: grpc.StatusCode = caught.value.code()
    return code


def test_an_unload_reaches_all_workers_and_restarted_ones(
    server: Server,
) -> None:
    with admin_of(server) as admin:
        assert versions_answering(server) == {"2"}
        unload(admin, "2")
        assert versions_answering(server) == {"1"}
        assert list(reload(admin)) == ["1"]

        os.kill(min(workers_of(server)), signal.SIGKILL)
        wait_until(lambda: lives(server) == 3, seconds=120)
        assert versions_answering(server) == {"1"}
        assert code_of(lambda: unload(admin, "2")) is grpc.StatusCode.NOT_FOUND

        model = load(admin, "2")
        assert (model.version, model.state) == ("2", READY)
        assert versions_answering(server) == {"2"}


def test_an_unload_waits_for_a_worker_that_is_being_started(server: Server) -> None:
    with admin_of(server) as admin:
        os.kill(min(workers_of(server)), signal.SIGKILL)
        server.wait_for("worker died", exit_code=-signal.SIGKILL)
        unload(admin, "2")
        wait_until(lambda: lives(server) == 3)
        assert versions_answering(server) == {"1"}


def test_a_reload_reports_new_and_refused_versions_of_all_workers(
    server: Server, repository: Path
) -> None:
    add_version(repository, 3)
    add_version(repository, 4, truncated)
    with admin_of(server) as admin:
        models = reload(admin)
        assert list(models) == ["4", "3", "2", "1"]
        assert models["4"].state == FAILED
        assert models["4"].state_reason
        assert versions_answering(server) == {"3"}

        with pytest.raises(grpc.RpcError) as caught:
            load(admin, "4")
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        call: Any = caught.value
        status = rpc_status.from_call(call)
        info = error_details_pb2.ErrorInfo()
        assert status is not None
        assert status.details[0].Unpack(info)
        assert info.reason == "BUNDLE_REFUSED"
        assert code_of(lambda: unload(admin, "1", "nothing")) is grpc.StatusCode.NOT_FOUND
        assert code_of(lambda: unload(admin, "../1")) is grpc.StatusCode.INVALID_ARGUMENT
        assert versions_answering(server) == {"3"}


def test_the_address_needs_the_scope_admin_has_health_and_is_counted_once(
    server: Server,
) -> None:
    address = server.wait_for("serving")["admin_address"]
    request = admin_pb2.ReloadRepositoryRequest()
    with grpc.insecure_channel(address) as channel:
        admin: Any = admin_pb2_grpc.AdminServiceStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        wrong = admin.ReloadRepository
        assert code_of(lambda: wrong(request, timeout=60)) is grpc.StatusCode.UNAUTHENTICATED
        denied = code_of(lambda: wrong(request, metadata=INFER, timeout=60))
        assert denied is grpc.StatusCode.PERMISSION_DENIED
        reload(admin)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with urllib.request.urlopen(f"http://{server.http_address}/metrics", timeout=60) as page:
        lines = [line for line in page.read().decode().splitlines() if "ReloadRepository" in line]
    (handled,) = [
        line for line in lines if line.startswith("grpc_server_handled_total") and '"OK"' in line
    ]
    assert float(handled.split()[-1]) == 1


def test_a_drain_ends_all_workers_and_none_is_restarted(server: Server) -> None:
    workers = workers_of(server)
    with admin_of(server) as admin:
        answer = admin.Drain(admin_pb2.DrainRequest(), metadata=ADMIN, timeout=60)
    assert answer.calls_in_flight == 0
    assert server.wait(120) == 0
    assert lives(server) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert len([line for line in server.lines if line["message"] == "draining"]) == 2


def test_an_error_of_one_worker_is_shown() -> None:
    one = [pb.Model(name="a", version="10", state=READY), pb.Model(name="a", version="9")]
    one[1].state = DRAINING
    two = [pb.Model(name="a", version="9", state=READY), pb.Model(name="a", version="10")]
    two[1].state, two[1].state_reason = FAILED, "no room"
    shown = [(model.version, model.state, model.state_reason) for model in merged([one, two])]
    assert shown == [("10", FAILED, "no room"), ("9", READY, "")]
