"""The short form of `http_cases`: each abuse of the HTTP port, and its effect on other clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from http_cases import CASES, Case, run_case
from server_process import Server, running_server

LARGEST_WAIT = 0.25
# On a machine that is busy otherwise: times the largest wait of the second before.
TIMES_USUAL = 5
# The budget for bodies (64 MiB), the free part of each, and what one message takes to be read.
LARGEST_MEMORY = 128 << 20


@pytest.fixture(scope="module")
def abused(model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, "--log-calls=none") as server:
        yield server


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_other_clients_and_probes_are_answered_and_memory_is_bounded(
    abused: Server, case: Case
) -> None:
    outcome = run_case(abused, case, case.short)
    assert outcome.largest_wait < max(LARGEST_WAIT, TIMES_USUAL * outcome.usual_wait)
    assert outcome.memory < LARGEST_MEMORY
