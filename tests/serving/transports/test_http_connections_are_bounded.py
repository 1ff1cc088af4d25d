"""Unfinished HTTP connections are closed for new ones; complete requests and probes are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from latens_serving.transports.http.connections import HEAD_SECONDS, Connections
from latens_serving.transports.http.listener import WebServer
from latens_serving.transports.listening import listen

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_BODY = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf"
PATIENCE = 20

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Held:
    """An application that answers when it is told to; probes at once."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/healthz":
            more = True
            while more:
                message = await receive()
                more = message.get("more_body", False)
            self.begun.release()
            await self.go.wait()
        await PlainTextResponse("ok")(scope, receive, send)


class Port:
    """A listening server, and the connections of this test to it."""

    def __init__(self, web: WebServer) -> None:
        self._web = web
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self, content: bytes = b"") -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._web.port)
        self._writers.append(writer)
        writer.write(content)
        await writer.drain()
        return reader, writer

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def listening(
    app: ASGIApp, connections: Connections | None = None, head_seconds: float = HEAD_SECONDS
) -> AsyncIterator[Port]:
    web = WebServer(app, listen("127.0.0.1", 0), connections=connections, head_seconds=head_seconds)
    web.start()
    port = Port(web)
    try:
        yield port
    finally:
        await port.close()
        await web.stop()


async def status_of(streams: Streams) -> int:
    line = await asyncio.wait_for(streams[0].readline(), PATIENCE)
    return int(line.split()[1])


async def is_closed(streams: Streams) -> bool:
    try:
        return await asyncio.wait_for(streams[0].read(), PATIENCE) == b""
    except ConnectionError:
        return True


async def opened(connections: Connections, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while len(connections) < count:
            await asyncio.sleep(0)


@pytest.mark.parametrize("content", [b"", b"GET / HTTP/1.1\r\n", HALF_BODY])
async def test_unfinished_connections_make_room_the_longest_first(content: bytes) -> None:
    connections, app = Connections(max_requests=1, spare=2), Held()
    app.go.set()
    async with listening(app, connections) as port:
        held = []
        for count in (1, 2, 3):
            held.append(await port.connect(content))
            await opened(connections, count)
        new = await port.connect(GET)
        assert await status_of(new) == 200
        assert await is_closed(held[0])
        for streams in held[1:]:
            assert not streams[0].at_eof()


async def test_a_complete_request_is_never_closed_for_another() -> None:
    connections, app = Connections(max_requests=2, spare=0), Held()
    async with listening(app, connections) as port:
        held = [await port.connect(GET) for _ in range(2)]
        for _ in held:
            await asyncio.wait_for(app.begun.acquire(), PATIENCE)
        assert await is_closed(await port.connect(GET))
        app.go.set()
        for streams in held:
            assert await status_of(streams) == 200


async def test_above_the_limit_calls_are_refused_and_probes_are_answered() -> None:
    connections, app = Connections(max_requests=2, spare=2), Held()
    async with listening(app, connections) as port:
        held = [await port.connect(GET) for _ in range(2)]
        for _ in held:
            await asyncio.wait_for(app.begun.acquire(), PATIENCE)
        refused = await port.connect(GET)
        assert await status_of(refused) == 503
        assert b"Retry-After: 1".lower() in (await refused[0].read()).lower()
        for _ in range(3):
            probe = await port.connect(GET.replace(b"/ ", b"/healthz "))
            assert await status_of(probe) == 200
        app.go.set()
        for streams in held:
            assert await status_of(streams) == 200


async def test_a_body_that_is_refused_early_cannot_keep_its_connection() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 400)(scope, receive, send)

    async with listening(refuse, head_seconds=0.05) as port:
        streams = await port.connect(HALF_BODY)
        assert await status_of(streams) == 400
        await asyncio.wait_for(streams[0].read(), PATIENCE)  # until the server closes it


async def test_requests_on_one_connection_follow_each_other() -> None:
    connections = Connections(max_requests=1, spare=1)
    async with listening(PlainTextResponse("ok"), connections) as port:
        reader, _ = await port.connect(GET * 3)
        for _ in range(3):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(2) == b"ok"


def test_the_http_server_is_of_the_minor_version_that_the_connection_class_was_written_for() -> (
    None
):
    (pinned,) = [
        Requirement(line) for line in requires("latens-serving") or () if "uvicorn" in line
    ]
    assert pinned.specifier.contains(version("uvicorn"))
