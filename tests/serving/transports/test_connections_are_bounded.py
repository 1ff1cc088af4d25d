"""What a client may do with a connection is bounded; who keeps to the bounds loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

import http2_frames as frames
from certificates import Authority
from http2_frames import ErrorCode
from latens_serving.settings import Settings, TlsFiles
from latens_serving.transports.frontends import (
    ConnectionLimits,
    FrontEnd,
    GrpcioFrontEnd,
    make_front_end,
)
from latens_serving.transports.http2.limits import Limits
from latens_serving.transports.servicer_routes import Http2FrontEnd
from latens_serving.transports.tls import ssl_context
from raw_http2 import SECONDS, Echo, Frame, Peer, prefixed, say

WAIT = "/test.Echo/Wait"
RESOURCE_EXHAUSTED = "8"

both = pytest.mark.parametrize("name", ["grpcio", "http2"])


@dataclass
class Place:
    """A server of Echo in this event loop, and the connections to it."""

    port: int
    echo: Echo
    peers: list[Peer] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def socket(self) -> Peer:
        """A connection on which nothing was said."""
        self.peers.append(Peer(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.peers[-1]

    async def connect(self) -> Peer:
        """A connection that has begun as it should."""
        peer = await self.socket()
        peer.send(frames.PREFACE + frames.settings({}))
        await until(peer, lambda frame: frame.kind == frames.SETTINGS)
        return peer

    async def waiting(self, calls: int) -> None:
        """Until so many calls are in the handler that waits."""
        async with asyncio.timeout(SECONDS):
            while self.echo.waiting != calls:
                await asyncio.sleep(0)


def front_end(name: str, tls: TlsFiles | None = None, **limits: Any) -> FrontEnd:
    """One with limits of its own: what the settings leave alone would take minutes to see."""
    if name == "http2":
        return Http2FrontEnd(Limits(**limits), tls=None if tls is None else ssl_context(tls))
    files: dict[str, Any] = {}
    if tls is not None:
        files = {"tls_certificate": tls.certificate, "tls_key": tls.key}
    return GrpcioFrontEnd(Settings(**files), ConnectionLimits(**limits))


@asynccontextmanager
async def serving(server: FrontEnd) -> AsyncIterator[Place]:
    echo = Echo()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say),
        "Wait": grpc.unary_unary_rpc_method_handler(echo.wait),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    place = Place(server.bind("127.0.0.1", 0), echo)
    await server.start()
    try:
        yield place
    finally:
        echo.open.set()
        await server.stop(None)
        for peer in place.peers:
            peer.writer.close()
            with contextlib.suppress(ConnectionError):
                await peer.writer.wait_closed()


async def until(peer: Peer, wanted: Callable[[Frame], bool]) -> Frame:
    """The first frame that is wanted; what must be acknowledged on the way, is."""
    while True:
        frame = await peer.frame()
        if frame.kind in (frames.PING, frames.SETTINGS) and not frame.flags & frames.ACK:
            payload = frame.payload if frame.kind == frames.PING else b""
            peer.send(frames.frame(frame.kind, frames.ACK, 0, payload))
        if wanted(frame):
            return frame


async def asked_to_go(peer: Peer) -> ErrorCode:
    """Why, once the server does."""
    frame = await until(peer, lambda frame: frame.kind == frames.GOAWAY)
    return ErrorCode(frames.PAIR.unpack_from(frame.payload)[1])


async def closed(peer: Peer) -> None:
    """Until the server has closed the connection."""
    with contextlib.suppress(EOFError, ConnectionError):
        await until(peer, lambda _: False)


def is_answer(frame: Frame) -> bool:
    return frame.kind == frames.DATA and bool(frame.payload)


@both
async def test_calls_beyond_the_streams_of_a_connection_wait_their_turn(name: str) -> None:
    async with (
        serving(front_end(name, streams=2)) as place,
        grpc.aio.insecure_channel(place.address) as channel,
    ):
        method: Any = channel.unary_unary(WAIT)
        calls = [method(b"%d" % number, timeout=SECONDS) for number in range(3)]
        await place.waiting(2)
        other = await place.connect()
        other.call(1, b"another connection")
        assert (await other.answer(1)).data == prefixed(b"another connection")
        assert place.echo.waiting == 2
        place.echo.open.set()
        assert await asyncio.gather(*calls) == [b"0", b"1", b"2"]


@both
async def test_a_call_sent_beyond_the_streams_is_refused_and_the_others_are_not(name: str) -> None:
    async with serving(front_end(name, streams=2)) as place:
        peer = await place.connect()
        for stream in (1, 3):
            peer.call(stream, b"x", WAIT)
        await place.waiting(2)
        peer.call(5, b"one too many", WAIT)
        assert (await peer.answer(5)).reset == ErrorCode.REFUSED_STREAM
        assert place.echo.waiting == 2


@both
async def test_headers_beyond_the_limit_are_refused_and_the_connection_goes_on(name: str) -> None:
    async with serving(front_end(name)) as place:
        peer = await place.connect()
        peer.call(1, b"much to say", x_large="e" * 12_000)
        assert (await peer.answer(1)).data == prefixed(b"much to say")
        peer.begin(3, x_large="e" * 20_000)
        assert (await peer.answer(3)).headers["grpc-status"] == RESOURCE_EXHAUSTED
        peer.call(5, b"and on")
        assert (await peer.answer(5)).data == prefixed(b"and on")


@both
@pytest.mark.parametrize("said", [b"", frames.PREFACE[:10]], ids=["nothing", "half a word"])
async def test_a_connection_without_a_preface_is_closed(name: str, said: bytes) -> None:
    async with serving(front_end(name, handshake_seconds=0.3)) as place:
        peer = await place.socket()
        peer.send(said)
        await peer.closed()
        assert await say(place.address, b"others are served") == b"others are served"


@both
async def test_an_unfinished_tls_handshake_is_closed(name: str, tmp_path: Path) -> None:
    signed = Authority(tmp_path).sign("server")
    tls = TlsFiles(signed.certificate, signed.key, None)
    async with serving(front_end(name, tls, handshake_seconds=0.3)) as place:
        await (await place.socket()).closed()


@both
async def test_an_idle_connection_is_closed_and_one_with_a_call_is_not(
    name: str,
) -> None:
    async with serving(front_end(name, idle_seconds=0.3)) as place:
        busy = await place.connect()
        busy.call(1, b"patience", WAIT)
        idle = await place.connect()
        await asked_to_go(idle)  # the C core gives INTERNAL_ERROR as its code
        await closed(idle)
        place.echo.open.set()
        assert (await until(busy, is_answer)).payload == prefixed(b"patience")


@both
async def test_an_old_connection_is_closed_after_its_call(name: str) -> None:
    async with serving(front_end(name, age_seconds=0.3)) as place:
        peer = await place.connect()
        peer.call(1, b"patience", WAIT)
        assert await asked_to_go(peer) is ErrorCode.NO_ERROR
        assert await say(place.address, b"a new one is served") == b"a new one is served"
        place.echo.open.set()
        assert (await until(peer, is_answer)).payload == prefixed(b"patience")
        await closed(peer)


@both
async def test_a_call_that_outlives_an_old_connections_grace_is_cut(name: str) -> None:
    async with serving(front_end(name, age_seconds=0.3, age_grace_seconds=0.3)) as place:
        peer = await place.connect()
        peer.call(1, b"for ever", WAIT)
        await place.waiting(1)
        await closed(peer)
        await place.waiting(0)
        assert place.echo.cancelled == 1


@both
async def test_the_age_is_the_settings(name: str) -> None:
    settings = Settings(frontend=name, connection_age=0.3)
    async with serving(make_front_end(settings)) as place:
        assert await asked_to_go(await place.connect()) is ErrorCode.NO_ERROR


@pytest.mark.parametrize(
    ("name", "limits"),
    [("grpcio", {"ping_seconds": 0.2, "pong_seconds": 0.2}), ("http2", {"ping_seconds": 0.2})],
)
async def test_a_client_that_answers_no_ping_counts_as_gone(
    name: str, limits: dict[str, Any]
) -> None:
    async with serving(front_end(name, **limits)) as place:
        peer = await place.connect()
        peer.call(1, b"the cable was pulled", WAIT)
        await place.waiting(1)
        await peer.closed()
        await place.waiting(0)
        assert place.echo.cancelled == 1


async def test_a_client_that_pings_too_often_is_disconnected() -> None:
    async with serving(front_end("grpcio")) as place:
        peer = await place.connect()
        peer.send(frames.frame(frames.PING, 0, 0, b"8 bytes!") * 10)
        assert await asked_to_go(peer) is ErrorCode.ENHANCE_YOUR_CALM
        await closed(peer)


async def test_a_client_that_pings_within_the_limit_is_answered() -> None:
    async with serving(front_end("grpcio", client_ping_seconds=0)) as place:
        peer = await place.connect()
        for _ in range(10):
            peer.send(frames.frame(frames.PING, 0, 0, b"8 bytes!"))
            echo = await until(peer, lambda frame: frame.kind == frames.PING)
            assert echo.flags & frames.ACK
            assert echo.payload == b"8 bytes!"
