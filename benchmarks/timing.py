"""Times functions in turns, so that noise affects all of them equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Cost:
    """The time of one call in seconds, medians over the rounds."""

    wall: float
    cpu: float


def take_turns(calls: Mapping[str, Call], rounds: int, seconds: float) -> dict[str, Cost]:
    """Times each call in several rounds, for about `seconds` seconds per call and round."""
    repeats = {name: _repeats(call, seconds) for name, call in calls.items()}
    walls: dict[str, list[float]] = {name: [] for name in calls}
    cpus: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                call()
            cpus[name].append((time.process_time() - cpu) / repeats[name])
            walls[name].append((time.perf_counter() - wall) / repeats[name])
    median = statistics.median
    return {name: Cost(median(walls[name]), median(cpus[name])) for name in calls}


def _repeats(call: Call, seconds: float) -> int:
    call()
    begun = time.perf_counter()
    call()
    return max(1, int(seconds / max(time.perf_counter() - begun, 1e-7)))


def markdown(corner: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """A table in Markdown; the cells are formatted text."""
    lines = [f"| {corner} | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in rows.items()]
    return "\n".join(lines)
