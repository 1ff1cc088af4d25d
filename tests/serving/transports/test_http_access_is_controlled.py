"""The HTTP port: tokens, TLS, other origins, security headers, slow clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from certificates import Authority
from http_calls import SERVICE, call, request
from latens_serving.transports.http.listener import WebServer
from latens_serving.transports.listening import listen
from server_process import Server, running_server

INFER, ADMIN = "a-token-to-infer-with", "a-token-to-administrate"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_calls_and_test_embeddings_need_a_token_and_the_rest_does_not(
    model_repository: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"infer {INFER}\nadmin {ADMIN}\n")
    with running_server(model_repository, f"--tokens={tokens}") as server:
        address = server.http_address
        arrays = "/test-embeddings/mnist-2d/1/means.npy"
        assert call(address, "Sample", {"count": 1}).code == "unauthenticated"
        # The token is checked before the body is parsed.
        assert call(address, "Sample", b"{").code == "unauthenticated"
        assert call(address, "Sample", {"count": 1}, headers=bearer("wrong" * 5)).status == 401
        assert call(address, "Sample", {"count": 1}, headers=bearer(ADMIN)).status == 403
        assert call(address, "Sample", {"count": 1}, headers=bearer(INFER)).status == 200
        assert request(address, arrays).status == 401
        assert request(address, arrays, headers=bearer(INFER)).status == 200
        for path in ("/", "/healthz", "/readyz", "/metrics"):
            assert request(address, path).status == 200, path


def test_beside_tls_only_metrics_and_probes_are_in_plain_text(
    model_repository: Path, tmp_path: Path
) -> None:
    flags = tls_flags(Authority(tmp_path), "server")
    with running_server(model_repository, *flags) as server:
        address = server.http_address
        assert request(address, "/readyz").status == 200
        assert request(address, "/metrics").status == 200
        assert call(address, "Sample", {"count": 1}).status == 404
        assert request(address, "/").status == 404
        assert request(address, "/test-embeddings/mnist-2d/1/means.npy").status == 404


def tls_flags(authority: Authority, name: str) -> list[str]:
    signed = authority.sign(name)
    return [f"--tls-certificate={signed.certificate}", f"--tls-key={signed.key}"]


def test_the_http_port_has_tls_when_asked(model_repository: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    flags = tls_flags(authority, "server")
    with running_server(model_repository, *flags, "--http-tls") as server:
        address = server.http_address.replace("127.0.0.1", "localhost")
        trusting = ssl.create_default_context(cafile=authority.certificate)
        assert call(address, "Sample", {"count": 1}, tls=trusting).status == 200
        assert request(address, "/", tls=trusting).status == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            request(address, "/", tls=ssl.create_default_context())


def preflight(server: Server, origin: str) -> dict[str, str]:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,connect-protocol-version",
    }
    path = f"{SERVICE}/Sample"
    return request(server.http_address, path, "OPTIONS", headers=asked).headers


def test_pages_of_other_sites_may_not_call(server: Server) -> None:
    assert "access-control-allow-origin" not in preflight(server, "https://example.org")
    answer = call(
        server.http_address, "Sample", {"count": 1}, headers={"Origin": "https://example.org"}
    )
    assert "access-control-allow-origin" not in answer.headers


def test_pages_of_the_sites_that_were_named_may_call(model_repository: Path) -> None:
    named = '--cors-origins=["https://example.org"]'
    with running_server(model_repository, named) as server:
        allowed = preflight(server, "https://example.org")
        assert allowed["access-control-allow-origin"] == "https://example.org"
        assert "access-control-allow-origin" not in preflight(server, "https://example.com")


@pytest.mark.parametrize("path", ["/", "/js/main.js", "/metrics", "/nothing", f"{SERVICE}/Sample"])
def test_every_answer_has_the_security_headers(server: Server, path: str) -> None:
    headers = request(server.http_address, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "/js/../../x", "//etc/passwd", "/js"],
)
def test_no_path_leads_out_of_the_page(server: Server, path: str) -> None:
    assert request(server.http_address, path).status == 404


def test_the_page_can_be_turned_off(model_repository: Path) -> None:
    with running_server(model_repository, "--no-explorer") as server:
        assert request(server.http_address, "/").status == 404
        assert call(server.http_address, "Sample", {"count": 1}).status == 200


@pytest.mark.parametrize("head", [b"", b"GET /healthz HTT", b"GET / HTTP/1.1\r\nHost: a\r\n"])
async def test_a_head_that_is_not_finished_in_time_closes_the_connection(
    head: bytes,
) -> None:
    web = WebServer(PlainTextResponse("ok"), listen("127.0.0.1", 0), head_seconds=0.05)
    web.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    try:
        writer.write(head)
        assert await asyncio.wait_for(reader.read(), 20) == b""
    finally:
        writer.close()
        await web.stop()


async def test_a_connection_stays_open_between_requests() -> None:
    web = WebServer(PlainTextResponse("ok"), listen("127.0.0.1", 0), head_seconds=0.05)
    web.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    try:
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == b"ok"
            with pytest.raises(TimeoutError):  # longer than a head may take, and still open
                await asyncio.wait_for(reader.read(1), 0.2)
    finally:
        writer.close()
        await web.stop()


def test_a_port_that_is_taken_is_known_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])
