"""What the server tells a person once it is up."""

from __future__ import annotations


def welcome(names: list[str], address: str, http_address: str, *, with_commands: bool) -> str:
    """Where it listens and what it serves; for a person at a terminal, also what to type next."""
    lines = [
        f"Latens serves {', '.join(names)} at {address}",
        f"Metrics and probes at http://{http_address}/metrics, /healthz and /readyz",
    ]
    if with_commands:
        at = "" if address == "127.0.0.1:50051" else f" --address {address}"
        model = names[0]
        lines += [
            "",
            "In another terminal:",
            f"  latens models{at}",
            f"  latens sample{at} --model {model} -n 16 --seed 7 -o digits.png",
            f"  latens grid{at} --model {names[-1]} -o grid.png",
            f"  latens interpolate{at} --model {model} --help",
            "",
            "Ctrl-C stops the server.",
        ]
    return "\n".join(lines)
