"""Floods and memory cases against the gRPC port of each front end, as a table.

`python tests/grpc_cases.py --repository models` starts a server for each front end and prints, case
by case, the largest wait of a neighbour and the server's memory above the start when the case's
clients are gone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from floods import FLOODS, largest_wait, wait_under
from memory_cases import CASES, growth_after
from process_figures import memory_of
from server_process import running_server

FRONT_ENDS = ("grpcio", "http2")


@dataclass(frozen=True)
class Outcome:
    """The effect of a case on the server and its other clients.

    Attributes:
        front_end: which one.
        case: the name of the flood or the memory case.
        largest_wait: seconds; None for a memory case.
        memory: resident bytes above the start.
    """

    front_end: str
    case: str
    largest_wait: float | None
    memory: int


def outcomes(repository: Path, front_end: str, seconds: float) -> Iterator[Outcome]:
    """Runs every case against one server."""
    with running_server(repository, "--log-calls=none", f"--frontend={front_end}") as server:
        alone = largest_wait(server.address, seconds)
        start = memory_of(server.pid)
        yield Outcome(front_end, "(no flood)", alone, 0)
        for case in FLOODS:
            longest = wait_under(server.address, case, seconds)
            yield Outcome(front_end, case, longest, memory_of(server.pid) - start)
        for case in CASES:
            growth_after(server, case)
            yield Outcome(front_end, case, None, memory_of(server.pid) - start)


def main() -> None:
    """Runs as a command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repository", type=Path, default=Path("models"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each flood (5)")
    parser.add_argument("--frontend", action="append", choices=FRONT_ENDS, help="only this one")
    options = parser.parse_args()
    print("| front end | case | neighbour's largest wait | memory above the start |")
    print("|---|---|---|---|")
    for front_end in options.frontend or FRONT_ENDS:
        for outcome in outcomes(options.repository, front_end, options.seconds):
            wait = outcome.largest_wait
            shown = "" if wait is None else f"{wait * 1e3:.0f} ms"
            memory = f"{outcome.memory / 2**20:.0f} MiB"
            print(f"| {front_end} | {outcome.case} | {shown} | {memory} |", flush=True)


if __name__ == "__main__":
    main()
