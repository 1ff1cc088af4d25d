"""The HTTP port's bodies: one budget, a minimum pace, bounded values, read off the event loop."""

from __future__ import annotations

import asyncio
import base64
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.protobuf.message import Message
from starlette.types import Message as Event
from starlette.types import Receive, Scope, Send

from http_calls import SERVICE, request
from latens.v1 import latens_pb2 as pb
from latens_serving.calls.authorization import Tokens
from latens_serving.calls.boundary import Boundaries
from latens_serving.errors import DeadlineError, LatensError, QueueFullError, TooLargeError
from latens_serving.monitoring.metrics import Metrics
from latens_serving.service.service import LatentService
from latens_serving.settings import Settings
from latens_serving.transports.call_policy import policy_of
from latens_serving.transports.http import transfers
from latens_serving.transports.http.bodies import BoundedTransfers
from latens_serving.transports.http.listener import WebServer
from latens_serving.transports.http.messages import EncodedMessage, Messages
from latens_serving.transports.http.rpc import RpcApplication
from latens_serving.transports.http.transfers import (
    FREE_BYTES,
    Transfer,
    TransferBudget,
    hold_answer,
)
from latens_serving.transports.listening import listen

MIB = 1 << 20


class Upload:
    """A request to an application that reads the body and then waits to answer."""

    def __init__(self, budget: TransferBudget, declared: int = 100 * MIB) -> None:
        self.error: LatensError | None = None
        self.read = 0
        self.sent: list[Event] = []
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._go = asyncio.Event()
        self._took = asyncio.Event()
        app = BoundedTransfers(self._app, budget)
        length = (b"content-length", str(declared).encode())
        scope: Scope = {"type": "http", "path": "/", "headers": [length], "state": {}}
        self.task = asyncio.create_task(app(scope, self._events.get, self._send))

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        more = True
        try:
            while more:
                event = await receive()
                self.read += len(event["body"])
                self._took.set()
                more = event["more_body"]
            await self._go.wait()
        except LatensError as error:
            self.error = error

    async def _send(self, event: Event) -> None:
        self.sent.append(event)

    async def give(self, size: int, *, more: bool = True) -> None:
        """Sends a part of the body; returns when the application has it, or has refused it."""
        self._took.clear()
        self._events.put_nowait({"type": "http.request", "body": bytes(size), "more_body": more})
        took = asyncio.create_task(self._took.wait())
        await asyncio.wait((took, self.task), timeout=20, return_when=asyncio.FIRST_COMPLETED)
        took.cancel()

    async def finish(self) -> None:
        self._go.set()
        if not self.task.done():
            await self.give(0, more=False)
        await asyncio.wait_for(self.task, 20)


async def test_concurrent_bodies_share_one_budget_and_return_it() -> None:
    budget = TransferBudget(4 * MIB)
    uploads = [Upload(budget) for _ in range(6)]
    for upload in uploads:
        await upload.give(MIB)
    assert budget.held <= budget.limit
    refused = [upload.error for upload in uploads if upload.error is not None]
    assert len(refused) == 2
    for error in refused:
        assert isinstance(error, QueueFullError)
        assert error.retry_after == 1
    for upload in uploads:
        await upload.finish()
    assert budget.held == 0


async def test_small_bodies_are_taken_while_large_ones_fill_the_budget() -> None:
    budget = TransferBudget(MIB)
    large, small = Upload(budget), Upload(budget)
    await large.give(MIB)
    await small.give(FREE_BYTES)
    await small.finish()
    await large.finish()
    assert small.error is None
    assert large.error is None


async def test_a_body_that_is_alone_may_exceed_the_budget() -> None:
    budget = TransferBudget(1024)
    upload = Upload(budget)
    await upload.give(MIB)
    await upload.give(MIB)
    await upload.finish()
    assert upload.error is None


async def test_a_slow_body_is_dropped_when_another_needs_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transfers, "_SLACK_SECONDS", 0.0)  # at once slow
    budget = TransferBudget(2 * MIB)
    slow, other = Upload(budget), Upload(budget)
    await slow.give(2 * MIB)
    await other.give(2 * MIB)
    await asyncio.wait_for(slow.task, 20)
    assert isinstance(slow.error, QueueFullError)
    assert other.error is None
    await other.finish()
    assert budget.held == 0


async def test_a_complete_body_is_never_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "_SLACK_SECONDS", 0.0)
    budget = TransferBudget(2 * MIB)
    complete, other = Upload(budget), Upload(budget)
    await complete.give(2 * MIB, more=False)
    await other.give(2 * MIB)
    assert isinstance(other.error, QueueFullError)
    await complete.finish()
    assert complete.error is None


@pytest.mark.parametrize("declared", [100, 100 * MIB])
async def test_a_body_that_stalls_is_dropped(
    monkeypatch: pytest.MonkeyPatch, declared: int
) -> None:
    monkeypatch.setattr(transfers, "_SLACK_SECONDS", 0.0)
    monkeypatch.setattr(transfers, "STALL_SECONDS", 0.05)
    budget = TransferBudget(2 * MIB)
    upload = Upload(budget, declared)
    upload._events.put_nowait({"type": "http.request", "body": b"half", "more_body": True})
    await asyncio.wait_for(upload.task, 20)
    assert isinstance(upload.error, DeadlineError)
    assert budget.held == 0


async def test_a_call_with_a_small_body_begins_when_the_body_is_complete() -> None:
    upload = Upload(TransferBudget(MIB), declared=10)
    upload._events.put_nowait({"type": "http.request", "body": b"12345", "more_body": True})
    for _ in range(10):
        await asyncio.sleep(0)
    assert upload.read == 0
    await upload.give(5, more=False)
    assert upload.read == 10
    await upload.finish()


async def test_a_client_that_disconnects_within_a_small_body_makes_no_call() -> None:
    upload = Upload(TransferBudget(MIB), declared=10)
    upload._events.put_nowait({"type": "http.request", "body": b"12345", "more_body": True})
    upload._events.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(upload.task, 20)
    assert upload.read == 0
    assert not upload.sent


async def test_answers_count_towards_the_same_budget_and_are_sent_in_pieces() -> None:
    budget = TransferBudget(4 * MIB)
    sent: list[Event] = []
    refused: list[LatensError] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        hold_answer(3 * MIB)
        await send({"type": "http.response.body", "body": b"x" * 3 * MIB, "more_body": False})

    async def app_beside(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            hold_answer(3 * MIB)
        except QueueFullError as error:
            refused.append(error)

    scope: Scope = {"type": "http", "path": "/", "headers": [], "state": {}}

    async def receive() -> Event:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(event: Event) -> None:
        if not sent:
            await BoundedTransfers(app_beside, budget)(scope, receive, send)
        sent.append(event)

    await BoundedTransfers(app, budget)(scope, receive, send)
    assert len(refused) == 1
    assert b"".join(event["body"] for event in sent) == b"x" * 3 * MIB
    assert max(len(event["body"]) for event in sent) <= FREE_BYTES
    assert [event["more_body"] for event in sent] == [True] * (len(sent) - 1) + [False]
    assert budget.held == 0


@pytest.mark.parametrize("content_type", ["application/json", "application/grpc-web+proto"])
async def test_a_body_without_room_is_refused_in_the_form_of_its_call(content_type: str) -> None:
    budget = TransferBudget(1024)
    budget.hold(Transfer(), MIB)
    settings, service = Settings(), SimpleNamespace(encode=print)
    boundaries = Boundaries(Metrics(), policy_of(settings, Tokens(None), "infer"))
    rpc = RpcApplication(cast(LatentService, service), settings, boundaries)
    web = WebServer(BoundedTransfers(rpc, budget), listen("127.0.0.1", 0))
    web.start()
    try:
        path, headers = f"{SERVICE}/Encode", {"Content-Type": content_type}
        address = f"127.0.0.1:{web.port}"
        # One message, of which the first bytes may be parsed before the rest is refused.
        body = b"\0" + (MIB - 5).to_bytes(4, "big") + bytes(MIB - 5)
        answer = await asyncio.to_thread(request, address, path, "POST", body=body, headers=headers)
    finally:
        await web.stop()
    assert answer.headers["retry-after"] == "1"
    if content_type == "application/json":
        assert (answer.status, answer.code) == (429, "resource_exhausted")
    else:
        assert answer.status == 200
        assert b"grpc-status: 8" in answer.body.lower()


HOSTILE: dict[str, tuple[type[Message], str, bytes]] = {
    "small objects": (pb.TraverseRequest, "json", b'{"axes":[' + b"{}," * 3_000_000 + b"{}]}"),
    "escapes": (pb.TraverseRequest, "json", b'{"model":"' + b"\\u0041" * 1_500_000 + b'"}'),
    "empty messages": (pb.TraverseRequest, "proto", b"\x22\x00" * 4_000_000),
    "packed shape": (
        pb.EncodeRequest,
        "proto",
        pb.EncodeRequest(images=pb.Tensor(shape=[1] * 1_000_000)).SerializeToString(),
    ),
    "unpacked shape": (pb.Tensor, "proto", b"\x10\x01" * 1_000_000),
    "unknown fields": (pb.EncodeRequest, "proto", b"\xf8\x07\x01" * 1_000_000),
    "groups": (pb.EncodeRequest, "proto", b"\xfb\x07" * 1_000_000),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_body_of_more_values_than_a_request_needs_is_not_parsed(name: str) -> None:
    message_class, form, body = HOSTILE[name]
    with pytest.raises(TooLargeError, match="expected at most 65536"):
        await Messages().read(EncodedMessage(body, form, message_class))


LARGEST: dict[str, tuple[type[Message], str, bytes]] = {
    "image": (
        pb.EncodeRequest,
        "json",
        b'{"images":{"data":"' + base64.b64encode(b"\x01" * 8 * MIB) + b'"}}',
    ),
    "axes": (pb.TraverseRequest, "json", b'{"axes":[' + b'{"coordinate":5},' * 9000 + b"{}]}"),
    "messages": (pb.TraverseRequest, "proto", b"\x22\x00" * 30_000),
}


@pytest.mark.parametrize("name", LARGEST)
async def test_the_event_loop_goes_on_while_a_large_body_is_read(name: str) -> None:
    message_class, form, body = LARGEST[name]
    reading = asyncio.create_task(Messages().read(EncodedMessage(body, form, message_class)))
    turns = 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await reading).ByteSize() > 0
    assert turns > 10


async def test_the_event_loop_goes_on_while_a_large_answer_is_written() -> None:
    answer = pb.DecodeResponse(images=pb.Tensor(data=b"\x01" * 8 * MIB))
    writing = asyncio.create_task(Messages().write(answer, "json"))
    turns = 0
    while not writing.done():
        await asyncio.sleep(0)
        turns += 1
    assert len((await writing).content) > 10 * MIB
    assert turns > 10


@pytest.mark.parametrize(
    "message",
    [
        pb.EncodeRequest(
            model="m",
            images=pb.Tensor(dtype=pb.DATA_TYPE_UINT8, shape=[1, 2, 3], data=b"\x00\xff" * 9000),
        ),
        pb.TraverseRequest(axes=[pb.TraversalAxis(coordinate=5)] * 9000, start=-3.5, steps=2),
        pb.ListModelsRequest(page_size=-1, page_token="x" * 9000),
    ],
)
async def test_large_valid_requests_are_read_as_the_parser_reads_them(message: Any) -> None:
    encoded = EncodedMessage(message.SerializeToString(), "proto", type(message))
    assert await Messages().read(encoded) == message
    as_json = await Messages().write(message, "json")
    assert await Messages().read(as_json) == message
