"""After invalid calls of all kinds at once, the server answers and holds nothing of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chaos import run_chaos

# A longer form: LATENS_TEST_CHAOS_CALLS=10000, or `make chaos`.
CALLS = int(os.environ.get("LATENS_TEST_CHAOS_CALLS", "400"))
MOST_GROWTH = 192 << 20


@pytest.mark.parametrize("frontend", ["grpcio", "http2"])
def test_the_server_answers_and_is_at_rest_after_chaos(
    model_repository: Path, frontend: str
) -> None:
    report = run_chaos(model_repository, CALLS, 2026, f"--frontend={frontend}", killed=2)
    assert report.calls == CALLS
    assert len(report.kinds) == 11
    assert set(report.gauges.values()) == {0}
    assert report.memory_after - report.memory_before < MOST_GROWTH
    assert report.files_after - report.files_before < 20
