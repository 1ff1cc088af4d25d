"""The text that the server prints once it serves."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def welcome(
    names: list[str], address: str, http_address: str, *, with_commands: bool, explorer: bool = True
) -> str:
    """Addresses and models; at a terminal also commands to try."""
    lines = [
        f"Latens serves {', '.join(names)} at {address}",
        *([f"Explore the latent space at http://{http_address}/"] if explorer else []),
        f"Metrics and probes at http://{http_address}/metrics, /healthz and /readyz",
    ]
    if with_commands:
        lines += ["", "In a second terminal:", *_commands(names, address), ""]
        lines += ["Ctrl-C stops the server."]
    return "\n".join(lines)


def _commands(names: list[str], address: str) -> list[str]:
    latens = _client()
    reached = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - not bound, but replaced
    at = "" if reached == "127.0.0.1:50051" else f" --address {reached}"
    first, last = names[0], names[-1]
    return [
        f"  {latens} models{at}",
        f"  {latens} sample{at} --model {first} -n 16 --seed 7 -o digits.png",
        f"  {latens} grid{at} --model {last} -o grid.png",
        f"  {latens} interpolate{at} --model {first} --seed 7 -o morph.gif",
    ]


def _client() -> str:
    """The client's command: its path where a shell would not find it, as in a checkout."""
    beside = Path(sys.executable).parent / "latens"
    if shutil.which("latens") or not beside.exists():
        return "latens"
    return os.path.relpath(beside)
