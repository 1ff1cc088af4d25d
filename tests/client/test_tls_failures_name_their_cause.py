"""The client explains failed TLS connections; the command line adds advice."""

from __future__ import annotations

import http.server
import pickle
import ssl
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest

from certificates import Authority, Signed
from command_line import Run, command_line
from latens import AsyncClient, Client, Tls, errors
from latens.errors import TlsProblem


class Place(NamedTuple):
    """The files of two authorities and of a client, and servers by their error."""

    ca: Path
    other_ca: Path
    client: Signed
    ports: dict[str, int]


@contextmanager
def listening(credentials: grpc.ServerCredentials | None) -> Iterator[int]:
    with futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()


def _credentials(signed: Signed, clients: Path | None = None) -> grpc.ServerCredentials:
    pair = (signed.key.read_bytes(), signed.certificate.read_bytes())
    roots = None if clients is None else clients.read_bytes()
    return grpc.ssl_server_credentials([pair], roots, clients is not None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("authorities")
    authority, other = Authority(folder, "Latens Test CA"), Authority(folder, "Another CA")
    servers = {
        "good": _credentials(authority.sign("server")),
        "expired": _credentials(authority.sign("expired", days=-1)),
        "elsewhere": _credentials(authority.sign("elsewhere", "DNS:gpu.example,DNS:gpu")),
        "mutual": _credentials(authority.sign("mutual"), authority.certificate),
        "plain": None,
    }
    with (
        listening(servers["good"]) as good,
        listening(servers["expired"]) as expired,
        listening(servers["elsewhere"]) as elsewhere,
        listening(servers["mutual"]) as mutual,
        listening(servers["plain"]) as plain,
    ):
        ports = dict(zip(servers, (good, expired, elsewhere, mutual, plain), strict=True))
        client = authority.sign("client")
        yield Place(authority.certificate, other.certificate, client, ports)


CASES: dict[str, tuple[str, str | None, TlsProblem, str, str]] = {
    # what is wrong: the server, the authority trusted, the problem, the message, the advice
    "an authority that is not trusted": (
        *("good", "other", TlsProblem.UNTRUSTED),
        *("its authority 'Latens Test CA' is not among those of", "--ca-file FILE"),
    ),
    "an authority that the system does not know": (
        *("good", "system", TlsProblem.UNTRUSTED),
        *("its authority 'Latens Test CA' is not among the system's", "--ca-file FILE"),
    ),
    "a certificate that has expired": (
        *("expired", "ours", TlsProblem.EXPIRED),
        *("is valid only from", "has to renew it"),
    ),
    "a certificate for another name": (
        *("elsewhere", "ours", TlsProblem.NAME_MISMATCH),
        *("is for gpu.example, gpu, not for 127.0.0.1", "--server-name"),
    ),
    "a client with TLS and a server without": (
        *("plain", "ours", TlsProblem.SERVER_IS_PLAIN),
        *("answers without TLS, and this client expects TLS", "Leave out --tls"),
    ),
    "a server with TLS and a client without": (
        *("good", None, TlsProblem.SERVER_WANTS_TLS),
        *("expects TLS, and this client connects without TLS", "Add --tls, or --ca-file FILE"),
    ),
    "a server that asks for a certificate": (
        *("mutual", "ours", TlsProblem.CLIENT_CERTIFICATE),
        *("asks for a client certificate, and this client has none", "--cert-file"),
    ),
}


def _tls(place: Place, trusted: str | None) -> Tls | None:
    files = {"ours": place.ca, "other": place.other_ca, "system": None}
    return None if trusted is None else Tls(files[trusted])


@pytest.mark.parametrize("case", CASES)
async def test_the_client_names_the_problem(place: Place, case: str) -> None:
    name, trusted, problem, said, _ = CASES[case]
    address, tls = f"127.0.0.1:{place.ports[name]}", _tls(place, trusted)
    with Client(address, tls=tls) as client, pytest.raises(errors.TlsError) as raised:
        client.sample(1)
    assert raised.value.problem is problem
    assert said in raised.value.message
    assert address in raised.value.message
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    twin = pickle.loads(pickle.dumps(raised.value))
    assert (twin.message, twin.problem) == (raised.value.message, problem)
    async with AsyncClient(address, tls=tls) as other:
        with pytest.raises(errors.TlsError, match=r"TLS|certificate") as again:
            await other.sample(1)
    assert again.value.problem is problem


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    return command_line("127.0.0.1:1", tmp_path, monkeypatch, capfd)


def _options(place: Place, trusted: str | None) -> list[str]:
    files = {"ours": place.ca, "other": place.other_ca}
    if trusted is None:
        return []
    return ["--tls"] if trusted == "system" else ["--ca-file", str(files[trusted])]


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_says_what_to_do_and_never_to_start_a_server(
    run: Run, place: Place, case: str
) -> None:
    name, trusted, _, said, advice = CASES[case]
    address = f"127.0.0.1:{place.ports[name]}"
    outcome = run("health", "-a", address, *_options(place, trusted))
    assert outcome.code == 4
    assert said in outcome.err
    assert advice in outcome.err
    assert "latens-serve" not in outcome.err


def test_an_unreachable_server_is_no_tls_error(run: Run, place: Place) -> None:
    outcome = run("health", "--ca-file", place.ca)
    assert outcome.code == 4
    assert "Start one with `latens-serve`" in outcome.err


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        del code, size


@pytest.fixture(scope="module")
def page(place: Place) -> Iterator[int]:
    """An explorer page for the name gpu.example that asks for a client's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(place.ca))
    folder = place.ca.parent
    context.load_cert_chain(folder / "elsewhere.pem", folder / "elsewhere.key")
    context.verify_mode = ssl.CERT_REQUIRED
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_explore_verifies_the_page_with_the_tls_options(
    run: Run, place: Place, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def note(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(sys.modules["webbrowser"], "open", note)
    http_address = ["--http", f"127.0.0.1:{page}"]
    certificate = ["--cert-file", place.client.certificate, "--key-file", place.client.key]
    trusting = ["--ca-file", place.ca, "--server-name", "gpu.example"]
    outcome = run("explore", *http_address, *trusting, *certificate)
    assert (outcome.code, outcome.out) == (0, f"https://127.0.0.1:{page}/\n")
    assert opened == [f"https://127.0.0.1:{page}/"]

    wrong = {
        "not trusted": ["--ca-file", place.other_ca, "--server-name", "gpu.example", *certificate],
        "not for 127.0.0.1": ["--ca-file", place.ca, *certificate],
        "asks for a client certificate": trusting,
    }
    for said, arguments in wrong.items():
        outcome = run("explore", *http_address, *arguments)
        assert (outcome.code, outcome.out) == (4, "")
        assert said in outcome.err
