"""Options of the command line mean the same before and after the verb."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from command_line import GREY, Run, command_line, ok
from latens.cli.placement import placed
from server_process import Server

SHARED = {"--address": True, "-a": True, "--tls": False, "--no-tls": False, "--version": False}
VERBS = {
    "sample": {"--count": True, "-n": True, "--json": False, "--output": True, "-o": True},
    "health": {"--service": True, "--json": False},
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sample -n 3 -a h:1", "-a h:1 sample -n 3"),
        ("-n 3 --json sample -o x.png", "sample -n 3 --json -o x.png"),
        ("-n3 --address=h:1 sample --tls", "--address=h:1 --tls sample -n3"),
        ("--output sample sample", "sample --output sample"),
        ("-o x sample sample", "sample -o x sample"),
        ("sample -1,0.5 --tls -- --address", "--tls sample -1,0.5 -- --address"),
        ("sample -o --tls", "sample -o --tls"),
        ("--nonsense sample -a h:1", "-a h:1 sample --nonsense"),
        ("dream -a h:1", "dream -a h:1"),
        ("--version", "--version"),
        ("", ""),
        ("-a", "-a"),
    ],
)
def test_arguments_are_assigned_to_server_and_verb(given: str, expected: str) -> None:
    assert placed(given.split(), SHARED, VERBS) == expected.split()


@pytest.fixture
def run(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    made = command_line(server.address, tmp_path, monkeypatch, capfd)
    monkeypatch.setenv("LATENS_ADDRESS", "127.0.0.1:1")  # a forgotten option is found out
    return made


def test_a_call_is_the_same_with_its_options_on_either_side(run: Run, server: Server) -> None:
    where, what = ["-a", server.address, "--timeout", "40"], ["-n", 4, "--seed", 1, "--json"]
    for number, arguments in enumerate(
        (
            [*where, "sample", *what, "-o"],
            ["sample", *what, *where, "-o"],
            [*what, *where, "sample", "-o"],
        )
    ):
        facts = json.loads(ok(run(*arguments, f"{number}.npy")).out)
        assert facts["seed"] == 1
    first, *others = (np.load(f"{number}.npy") for number in range(3))
    assert first.shape == (4, 1, 28, 28)
    assert all(np.array_equal(first, other) for other in others)


def test_a_server_option_may_follow_any_verb(run: Run, server: Server) -> None:
    after = ("--address", server.address, "--timeout", "40")
    GREY.save("grey.png")
    for verb in (["health"], ["models"], ["encode", "grey.png"], ["score", "grey.png"]):
        assert ok(run(*verb, *after)).out
    refused = run("health", *after, "--ca-file", "none.pem")
    assert refused.code == 2
    assert "none.pem" in refused.err
    assert run("health", *after, "--timeout", "0").code == 2


def test_the_help_of_each_verb_shows_the_server_options_and_examples(run: Run) -> None:
    for verb in ("encode", "decode", "sample", "interpolate", "reconstruct", "traverse", "grid"):
        said = ok(run(verb, "--help")).out
        assert "--ca-file" in said
        assert "--token-file" in said
        assert f"latens {verb}" in said
