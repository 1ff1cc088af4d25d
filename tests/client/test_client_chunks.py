"""A batch of any size is split into calls within the limits, with the same result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import latens
from latens import errors, operations, wire
from latens.calls import Call, Plan
from latens.chunks import ModelRef
from latens.plans import Plans
from latens.v1 import latens_pb2 as pb
from server_process import Server

ROW = 4 * 2
MAX_BYTES = 4096 + 100 * ROW


def description(max_rows: int, max_message_bytes: int = 2**20) -> pb.GetModelResponse:
    return pb.GetModelResponse(
        model=pb.Model(
            name="m",
            version="4",
            image_shape=[1, 2, 1],
            latent_shape=[2],
            limits=pb.ModelLimits(max_rows=max_rows, max_message_bytes=max_message_bytes),
        )
    )


def drive(plan: Plan[Any], answer: Callable[[Call], Any]) -> Any:
    """Performs a plan with a function for a server, each call alone."""
    try:
        group = next(plan)
        while True:
            try:
                for call in group.calls:
                    group.take(call.answer(answer(call)))
            except latens.LatensError as error:
                group = plan.throw(error)
            else:
                group = next(plan)
    except StopIteration as end:
        return end.value


class Decoder:
    """Decodes by the identity; counts what it got, and can refuse."""

    def __init__(self, max_rows: int, max_message_bytes: int = 2**20) -> None:
        self.max_rows = max_rows
        self.max_message_bytes = max_message_bytes
        self.calls: list[tuple[str, int]] = []

    def __call__(self, call: Call) -> bytes:
        if call.method.name == "GetModel":
            self.calls.append(("GetModel", 0))
            return description(self.max_rows, self.max_message_bytes).SerializeToString()
        latents = call.arrays["latents"]
        request: Any = call.request
        self.calls.append((request.version, len(latents)))
        if len(latents) > self.max_rows:
            raise errors.TooLargeError("too many rows")
        images = latents.reshape(-1, 1, 2, 1)
        return wire.serialize(pb.DecodeResponse(version="4"), {"images": images})


def decode(plans: Plans, server: Decoder, latents: np.ndarray) -> latens.Decoding:
    operation = operations.Decode(latents, None, np.float32)
    found: latens.Decoding = drive(plans.run(operation, ModelRef(), None), server)
    return found


def test_the_parts_are_joined_in_order_and_pinned_to_the_version_of_the_first() -> None:
    server = Decoder(max_rows=3)
    latents = np.arange(16, dtype=np.float32).reshape(8, 2)
    done = decode(Plans(2**20, None), server, latents)
    assert np.array_equal(done.images.reshape(8, 2), latents)
    assert server.calls == [("GetModel", 0), ("", 3), ("4", 3), ("4", 2)]
    assert not done.images.flags.writeable


def test_the_limits_are_requested_once() -> None:
    server = Decoder(max_rows=8)
    plans = Plans(2**20, None)
    for _ in range(3):
        decode(plans, server, np.zeros((2, 2), np.float32))
    assert server.calls == [("GetModel", 0), ("", 2), ("", 2), ("", 2)]


def test_reduced_limits_are_requested_again_after_a_refusal() -> None:
    server = Decoder(max_rows=8)
    plans = Plans(2**20, None)
    decode(plans, server, np.zeros((8, 2), np.float32))
    server.max_rows, server.calls = 4, []
    assert len(decode(plans, server, np.zeros((8, 2), np.float32)).images) == 8
    assert server.calls == [("", 8), ("GetModel", 0), ("", 4), ("4", 4)]


def test_no_message_exceeds_the_bytes_that_the_server_or_the_client_allows() -> None:
    server = Decoder(max_rows=10**6, max_message_bytes=MAX_BYTES)
    latents = np.zeros((250, 2), np.float32)
    decode(Plans(2**30, None), server, latents)
    assert server.calls == [("GetModel", 0), ("", 100), ("4", 100), ("4", 50)]

    server = Decoder(max_rows=10**6)
    decode(Plans(MAX_BYTES, None), server, latents)
    assert [rows for _, rows in server.calls] == [0, 100, 100, 50]


def test_no_call_sends_more_rows_through_the_graphs_than_it_may() -> None:
    rows: list[int] = []

    def answer(call: Call) -> bytes:
        if call.method.name == "GetModel":
            known = description(1000)
            known.model.limits.max_row_passes = 1000
            return known.SerializeToString()
        rows.append(len(call.arrays["images"]))
        bound = np.zeros(rows[-1], np.float32)
        parts = {"bound": bound, "effective_samples": bound}
        return wire.serialize(pb.ScoreResponse(version="4"), parts)

    images = np.zeros((9, 1, 2, 1), np.float32)
    for samples, expected in ((250, [4, 4, 1]), (3000, [1] * 9), (100, [9])):
        rows.clear()
        drive(
            Plans(2**20, None).run(operations.Score(images, samples, 0), ModelRef(), None), answer
        )
        assert rows == expected


def test_the_callers_limit_applies_if_it_is_below_the_servers() -> None:
    server = Decoder(max_rows=100)
    decode(Plans(2**20, 40), server, np.zeros((100, 2), np.float32))
    assert [rows for _, rows in server.calls] == [0, 40, 40, 20]


def test_one_item_too_large_for_any_message_is_refused_before_it_is_sent() -> None:
    server = Decoder(max_rows=10, max_message_bytes=4096 + 4)
    with pytest.raises(errors.TooLargeError, match="one item takes 8 bytes"):
        decode(Plans(2**20, None), server, np.zeros((1, 2), np.float32))
    assert server.calls == [("GetModel", 0)]


def test_an_answer_that_has_fewer_rows_than_were_sent_is_an_error() -> None:
    def answer(call: Call) -> bytes:
        if call.method.name == "GetModel":
            return description(10).SerializeToString()
        images = np.zeros((3, 1, 2, 1), np.float32)
        return wire.serialize(pb.DecodeResponse(version="4"), {"images": images})

    operation = operations.Decode(np.zeros((4, 2), np.float32), None, np.float32)
    with pytest.raises(errors.ResponseError, match="3 rows of 4"):
        drive(Plans(2**20, None).run(operation, ModelRef(), None), answer)


def test_one_call_is_returned_as_views_and_several_are_copied_once() -> None:
    server = Decoder(max_rows=3)
    whole = decode(Plans(2**20, None), server, np.ones((3, 2), np.float32))
    assert isinstance(whole.images.base, np.ndarray | bytes)
    assert whole.images.flags.owndata is False
    parts = decode(Plans(2**20, None), server, np.ones((4, 2), np.float32))
    assert parts.images.flags.owndata


@pytest.mark.parametrize("rows_per_call", [1, 7, 16])
def test_the_same_seed_gives_the_same_rows_however_the_call_was_split(
    server: Server, rows_per_call: int
) -> None:
    images = np.random.default_rng(0).random((20, 1, 28, 28), np.float32)
    with (
        latens.Client(server.address) as whole,
        latens.Client(server.address, rows_per_call=rows_per_call) as split,
    ):
        tolerance = whole.model().tolerance
        one, many = (client.sample(20, seed=2**63 + 5) for client in (whole, split))
        assert np.array_equal(one.latents, many.latents)
        np.testing.assert_allclose(one.images, many.images, atol=tolerance)
        drawn, parts = (client.encode(images, seed=11) for client in (whole, split))
        assert drawn.latents is not None
        assert parts.latents is not None
        np.testing.assert_allclose(drawn.latents, parts.latents, atol=10 * tolerance)
        starts, ends = one.latents[:6], one.latents[6:12]
        path, paths = (client.interpolate(starts, ends, 5) for client in (whole, split))
        assert np.array_equal(path.latents, paths.latents)
        np.testing.assert_allclose(path.images, paths.images, atol=tolerance)


def test_without_a_seed_one_is_chosen_and_returned(
    server: Server,
) -> None:
    with latens.Client(server.address, rows_per_call=3) as client:
        first = client.sample(8)
        assert np.array_equal(first.latents, client.sample(8, seed=first.seed).latents)
        assert not np.array_equal(first.latents, client.sample(8).latents)


def test_progress_ends_at_the_total(server: Server) -> None:
    said: list[tuple[int, int]] = []
    with latens.Client(server.address, rows_per_call=3) as client:
        client.sample(8, progress=lambda done, total: said.append((done, total)))
    assert said == [(3, 8), (6, 8), (8, 8)]
