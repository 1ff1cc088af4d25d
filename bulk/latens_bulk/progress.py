"""Progress on stderr: a line that is rewritten on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, field

_TERMINAL_SECONDS, _LINES_SECONDS = 0.1, 5.0


@dataclass
class Progress:
    """What has been done, and how fast."""

    total: int | None
    """Rows to do; None where the input does not say."""
    rows: int = 0
    """Rows done, those that were found finished included."""
    encoded: int = 0
    hits: int = 0
    """Rows taken from the cache."""
    skipped: int = 0
    """Images that could not be encoded."""
    size: int = 0
    """Bytes of images read."""
    begun: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def facts(self) -> dict[str, int | float | None]:
        """The figures, for programs."""
        seconds = max(self.seconds, 1e-9)
        new = self.encoded + self.hits
        left = None if self.total is None or not new else (self.total - self.rows) * seconds / new
        return {
            "rows": self.rows,
            "total": self.total,
            "encoded": self.encoded,
            "cached": self.hits,
            "skipped": self.skipped,
            "bytes": self.size,
            "rows_per_second": round(new / seconds, 1),
            "seconds_left": None if left is None else round(max(left, 0.0), 1),
        }

    def show(self) -> None:
        """Prints the figures, if it has been long enough since the last time."""
        on_terminal = sys.stderr.isatty()
        now = time.monotonic()
        if now - self._shown < (_TERMINAL_SECONDS if on_terminal else _LINES_SECONDS):
            return
        self._shown = now
        if on_terminal:
            sys.stderr.write(f"\r\x1b[K{self._line()}")
        else:
            sys.stderr.write(json.dumps({"event": "progress", **self.facts()}) + "\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Removes the line of a terminal."""
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _line(self) -> str:
        facts = self.facts()
        total = f"/{self.total:,}" if self.total is not None else ""
        left = facts["seconds_left"]
        time_left = "" if left is None else f", {_clock(left)} left"
        cached = f", {self.hits:,} cached" if self.hits else ""
        skipped = f", {self.skipped:,} skipped" if self.skipped else ""
        return (
            f"{self.rows:,}{total} rows, {facts['rows_per_second']:,.0f} rows/s, "
            f"{self.size / 1e6:,.0f} MB{cached}{skipped}{time_left}"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
