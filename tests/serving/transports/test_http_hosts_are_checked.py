"""The HTTP port accepts only its own host names, against DNS rebinding."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Scope

from http_calls import SERVICE, call, request
from latens_serving.settings import Settings
from latens_serving.transports.http.hosts import OwnHosts, own_hosts
from server_process import Server

FOREIGN = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example"]
LOOPBACK = ["localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1:8080", "[::1]:8080", "10.0.0.7"]


async def status_for(settings: Settings, host: str, path: str = "/") -> int:
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    app = OwnHosts(PlainTextResponse("ok"), own_hosts(settings))
    scope: Scope = {"type": "http", "path": path, "headers": [(b"host", host.encode())]}
    await app(scope, receive, send)
    (status,) = statuses
    return status


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_refused_on_a_loopback_server(server: Server, host: str) -> None:
    headers = {"Host": host}
    address = server.http_address
    answer = call(address, "Sample", {"count": 1}, headers=headers)
    assert answer.status == 421
    assert b"--http-hosts" in answer.body
    for path in ("/", "/metrics", "/test-embeddings/mnist-2d/1/means.npy", f"{SERVICE}/Sample"):
        assert request(address, path, headers=headers).status == 421, path
    for path in ("/healthz", "/readyz"):
        assert request(address, path, headers=headers).status == 200, path


@pytest.mark.parametrize("host", LOOPBACK)
def test_loopback_names_and_addresses_are_answered(server: Server, host: str) -> None:
    answer = call(server.http_address, "Sample", {"count": 1}, headers={"Host": host})
    assert answer.status == 200


@pytest.mark.parametrize("host", ["latens.default.svc.cluster.local:8080", "pod-7", "10.0.0.7"])
async def test_other_addresses_accept_any_host_by_default(host: str) -> None:
    assert await status_for(Settings(host="0.0.0.0"), host) == 200


async def test_listed_hosts_loopback_names_and_addresses_are_accepted() -> None:
    named = Settings(host="0.0.0.0", http_hosts=("latens.example", "*.svc.cluster.local"))
    for host in ("latens.example", "Latens.Example:80", "a.svc.cluster.local", "localhost", "::1"):
        assert await status_for(named, host) == 200, host
    for host in ("evil.example", "svc.cluster.local", "not-latens.example"):
        assert await status_for(named, host) == 421, host
    assert await status_for(Settings(http_hosts=("*",)), "evil.example") == 200


async def test_a_server_bound_to_a_name_accepts_it() -> None:
    assert await status_for(Settings(host="localhost"), "evil.example") == 421
    named = Settings(host="box.example", http_hosts=("latens.example",))
    assert await status_for(named, "box.example") == 200
