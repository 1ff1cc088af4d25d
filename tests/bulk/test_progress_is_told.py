"""Progress: JSON lines for programs, one rewritten line on a terminal."""

from __future__ import annotations

import json
import sys
import time

import pytest

from latens_bulk.progress import Progress


def half_done() -> Progress:
    """400 of 1000 rows done in the last 10 seconds, 100 of them from the cache."""
    progress = Progress(1000, rows=400, encoded=300, hits=100, skipped=2, size=5_000_000)
    progress.begun -= 10
    return progress


def test_lines_of_json_say_rate_bytes_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    progress = half_done()
    progress.show()  # too soon after the last one
    assert capsys.readouterr().err == ""
    progress._shown = time.monotonic() - 60
    progress.show()
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["rows"], line["total"], line["bytes"]) == (
        *("progress", 400, 1000),
        5_000_000,
    )
    assert (line["encoded"], line["cached"], line["skipped"]) == (300, 100, 2)
    assert line["rows_per_second"] == pytest.approx(40, rel=0.1)
    assert line["seconds_left"] == pytest.approx(15, rel=0.1)


def test_a_terminal_sees_one_line_that_is_rewritten(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = half_done()
    progress._shown = time.monotonic() - 60
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress.show()
    progress.end()
    shown = capsys.readouterr().err
    assert shown.startswith("\r\x1b[K400/1,000 rows, ")
    assert "5 MB, 100 cached, 2 skipped, 0:15 left" in shown
    assert shown.endswith("\r\x1b[K")


def test_an_input_that_does_not_say_its_rows_has_no_time_left() -> None:
    assert Progress(None, rows=4, encoded=4).facts()["seconds_left"] is None
