"""Abuse of the HTTP port, case by case, and its effect on other clients.

`python tests/http_cases.py --repository models` runs every case against a server of its own
and prints a table: the case, the neighbours' largest wait, the server's memory above the start.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import clients_beside_abuse
from process_figures import memory_of
from server_process import Server, running_server

_SERVICE = "/latens.v1.LatentService"
_PACE_SECONDS = 0.001  # what is held is to hurt, not how fast it is opened
_ANSWER_SECONDS = 60.0
_LARGE = 10 << 20


@dataclass(frozen=True)
class Outcome:
    """The effect of a case on the server and its other clients."""

    case: str
    largest_wait: float
    """Seconds that a neighbour waited at most, over gRPC, over HTTP and for a probe."""
    usual_wait: float
    """The same in the second before the case began: what this machine does at other work."""
    memory: int
    """Resident bytes above the start, measured while the case still holds its connections."""
    statuses: dict[int, int]
    """The statuses that the case's own requests were answered with."""


@dataclass(frozen=True)
class Case:
    """One abuse."""

    run: Callable[[Attacker], Awaitable[None]]
    short: float
    """The scale of the short form that the suite runs."""

    @property
    def name(self) -> str:
        return self.run.__name__


class Attacker:
    """Connections to the HTTP port of a server, and what it answered on them."""

    def __init__(self, address: str, scale: float, stack: AsyncExitStack) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._scale = scale
        self._stack = stack
        self.statuses: dict[int, int] = {}

    def scaled(self, count: int) -> int:
        return max(1, round(count * self._scale))

    async def connect(
        self, receive_buffer: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        own = socket.socket()
        if receive_buffer is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        own.setblocking(False)
        await asyncio.get_running_loop().sock_connect(own, (self._host, self._port))
        reader, writer = await asyncio.open_connection(sock=own)
        self._stack.callback(_abort, writer)
        return reader, writer

    async def send(
        self, *contents: bytes, receive_buffer: int | None = None
    ) -> asyncio.StreamReader:
        """Sends each content on one new connection; stops early if the server closes it."""
        reader, writer = await self.connect(receive_buffer)
        try:
            for content in contents:
                writer.write(content)
                await writer.drain()
        except ConnectionError:
            self._count(0)
        return reader

    async def post(self, method: str, body: bytes, form: str = "json") -> None:
        """Sends a whole request and reads the status of the answer."""
        reader = await self.send(_head(method, len(body), form), body)
        await self.read_status(reader)

    async def read_status(self, reader: asyncio.StreamReader) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), _ANSWER_SECONDS)
        except ConnectionError:
            line = b""
        self._count(int(line.split()[1]) if line else 0)

    def _count(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1


def _abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def _head(method: str, size: int, form: str = "json") -> bytes:
    return (
        f"POST {_SERVICE}/{method} HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/{form}\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


async def half_sent_bodies(attacker: Attacker) -> None:
    """Large bodies whose last bytes do not come."""
    body = b'{"images":{"data":"' + b"A" * _LARGE
    for _ in range(attacker.scaled(60)):
        await attacker.send(_head("Encode", len(body) + 100), body)


async def one_byte_bodies(attacker: Attacker) -> None:
    """More connections than the port has, each with one byte of a body."""
    for _ in range(attacker.scaled(1000)):
        await attacker.send(_head("Encode", 100), b"{")
        await asyncio.sleep(_PACE_SECONDS)


async def idle_connections(attacker: Attacker) -> None:
    """More connections than the port has, without a byte."""
    for _ in range(attacker.scaled(1000)):
        await attacker.connect()
        await asyncio.sleep(_PACE_SECONDS)


async def half_heads(attacker: Attacker) -> None:
    """More connections than the port has, each with half a head."""
    for _ in range(attacker.scaled(1000)):
        await attacker.send(b"GET /healthz HTTP/1.1\r\nHost: ")
        await asyncio.sleep(_PACE_SECONDS)


async def small_objects(attacker: Attacker) -> None:
    """JSON of as many small objects as fit a body."""
    body = b'{"axes":[' + b"{}," * (_LARGE // 3) + b"{}]}"
    for _ in range(attacker.scaled(6)):
        await attacker.post("Traverse", body)


async def nested_objects(attacker: Attacker) -> None:
    """JSON of small objects that are nested."""
    body = b'{"a":[' + (b'{"a":' * 20 + b"1" + b"}" * 20 + b",") * (_LARGE // 122) + b"1]}"
    for _ in range(attacker.scaled(6)):
        await attacker.post("Traverse", body)


async def nested_arrays(attacker: Attacker) -> None:
    """JSON that opens arrays and nothing else."""
    for _ in range(attacker.scaled(6)):
        await attacker.post("Traverse", b"[" * _LARGE)


async def escaped_characters(attacker: Attacker) -> None:
    """JSON of one string of escapes."""
    body = b'{"model":"' + b"\\u0041" * (_LARGE // 6) + b'"}'
    for _ in range(attacker.scaled(6)):
        await attacker.post("Traverse", body)


async def most_axes(attacker: Attacker) -> None:
    """JSON of as many objects as a request may have."""
    body = b'{"steps":2,"axes":[' + b'{"coordinate":"0"},' * 9000 + b'{"coordinate":"0"}]}'
    for _ in range(attacker.scaled(6)):
        await attacker.post("Traverse", body)


async def large_images(attacker: Attacker) -> None:
    """JSON as large as it may be, and of the right form."""
    body = b'{"images":{"dtype":2,"shape":[1],"data":"' + b"AAAA" * (_LARGE // 4) + b'"}}'
    for _ in range(attacker.scaled(6)):
        await attacker.post("Encode", body)


async def empty_messages(attacker: Attacker) -> None:
    """A binary message of embedded empty messages."""
    for _ in range(attacker.scaled(6)):
        await attacker.post("Traverse", b"\x22\x00" * (_LARGE // 2), "proto")


async def unread_answers(attacker: Attacker) -> None:
    """Large answers of which clients read the first bytes."""
    body = json.dumps({"count": 1000, "seed": 1}).encode()
    for _ in range(attacker.scaled(60)):
        reader = await attacker.send(_head("Sample", len(body)), body, receive_buffer=4096)
        await attacker.read_status(reader)


CASES = (
    Case(half_sent_bodies, 0.2),
    Case(one_byte_bodies, 0.7),
    Case(idle_connections, 0.7),
    Case(half_heads, 0.7),
    Case(small_objects, 0.2),
    Case(nested_objects, 0.2),
    Case(nested_arrays, 0.2),
    Case(escaped_characters, 0.2),
    Case(most_axes, 0.2),
    Case(large_images, 0.2),
    Case(empty_messages, 0.2),
    Case(unread_answers, 0.4),
)


def run_case(server: Server, case: Case, scale: float = 1.0) -> Outcome:
    """Runs a case against a server while valid clients in another process measure their waits."""
    before = memory_of(server.pid)
    neighbours = subprocess.Popen(
        [sys.executable, clients_beside_abuse.__file__, server.address, server.http_address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert neighbours.stdout is not None
    assert neighbours.stdin is not None
    usual_wait = float(neighbours.stdout.readline())

    def stop() -> float:
        printed, _ = neighbours.communicate("")
        assert neighbours.returncode == 0, f"a neighbour failed during {case.name}"
        return float(printed)

    async def attack() -> Outcome:
        async with AsyncExitStack() as stack:
            attacker = Attacker(server.http_address, scale, stack)
            await case.run(attacker)
            memory = memory_of(server.pid) - before
            largest_wait = await asyncio.to_thread(stop)
            return Outcome(case.name, largest_wait, usual_wait, memory, attacker.statuses)

    try:
        return asyncio.run(attack())
    finally:
        neighbours.kill()
        neighbours.wait()


def main() -> None:
    """Runs the cases as a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--case", action="append", help="only these")
    chosen = parser.parse_args()
    print(f"{'case':20} {'largest wait':>14} {'usual':>9} {'memory':>10}  answers")
    for case in CASES:
        if chosen.case and case.name not in chosen.case:
            continue
        with running_server(chosen.repository, "--log-calls=none") as server:
            outcome = run_case(server, case)
        print(
            f"{outcome.case:20} {outcome.largest_wait * 1e3:11.0f} ms "
            f"{outcome.usual_wait * 1e3:6.0f} ms "
            f"{outcome.memory / 2**20:6.0f} MiB  {outcome.statuses}"
        )


if __name__ == "__main__":
    main()
