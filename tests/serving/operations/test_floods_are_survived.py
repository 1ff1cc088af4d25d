"""Under each flood others are served, and what a case of memory took is given back.

`make chaos` prints the same as a table, for longer and on both front ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from floods import FLOODS, answered_under
from memory_cases import CASES, growth_after
from server_process import Server, running_server

# What a turn of the loop may cost under a flood is counted in `test_http2_shares_the_loop`.
CALLS = 50
MOST_GROWTH = 64 << 20
# Of answers that no one took, the allocator keeps what it may need again: once, not each time.
KEPT_BY_THE_ALLOCATOR = {"answers that are not taken"}


@pytest.fixture(scope="module")
def server(model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, "--log-calls=none", "--frontend=http2") as server:
        yield server


@pytest.mark.parametrize("case", FLOODS)
def test_other_clients_are_served_during_a_flood(server: Server, case: str) -> None:
    assert answered_under(server.address, case, CALLS) == CALLS


@pytest.mark.parametrize("case", CASES)
def test_memory_is_freed(server: Server, case: str) -> None:
    if case in KEPT_BY_THE_ALLOCATOR:
        growth_after(server, case)
    assert growth_after(server, case) < MOST_GROWTH


def test_calls_that_wait_for_grpcio_end_no_call_of_others(model_repository: Path) -> None:
    """Its core ended some, of any caller, once a thousand waited: here 3,200 of no method do."""
    with running_server(model_repository, "--log-calls=none", "--frontend=grpcio") as server:
        for _ in range(8):
            growth_after(server, "100 connections with header lists of 64 KiB")
