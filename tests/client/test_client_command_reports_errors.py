"""The command `latens` reports a failure in one line with an exit code and no partial files."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from command_line import GREY, Run, command_line, ok
from server_process import Server


@pytest.fixture
def run(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    return command_line(server.address, tmp_path, monkeypatch, capfd)


REFUSED = {
    "another kind of file": (2, ["sample", "-o", "x.jpeg"], "expected .png"),
    "no such folder": (2, ["sample", "-o", "none/x.png"], "no such folder"),
    "a folder for a file": (2, ["grid", "-o", "folder.png"], "is a folder"),
    "no output": (2, ["sample"], "--output"),
    "an unknown verb": (2, ["dream"], "dream"),
    "a count of none": (2, ["sample", "-n", "0", "-o", "x.png"], "count"),
    "an address that is none": (2, ["health", "-a", "nowhere:port"], "expected host:port"),
    "one end": (2, ["interpolate", "0,0", "-o", "x.png"], "both START and END"),
    "both a file and points": (2, ["decode", "a.npy", "--at", "0,0", "-o", "x.png"], "either"),
    "a key without certificate": (2, ["--key-file", "bad.png", "health"], "certificate"),
    "a picture that is not there": (3, ["encode", "none.png"], "no such file"),
    "an unknown model": (3, ["sample", "-m", "nobody", "-o", "x.png"], "mnist-2d"),
    "an unknown service": (3, ["health", "--service", "nobody"], "nobody"),
    "no server": (4, ["sample", "-a", "127.0.0.1:1", "-o", "x.png"], "no server answers"),
    "a picture that is none": (5, ["encode", "bad.png"], "not a readable picture"),
    "an array that is none": (5, ["encode", "bad.npy"], "not a readable array"),
    "a pickled array": (5, ["decode", "pickled.npy", "-o", "x.png"], "not a readable array"),
    "images of another shape": (5, ["encode", "wide.npy"], "expected images [n, 1, 28, 28]"),
    "latents of another shape": (5, ["decode", "wide.npy", "-o", "x.png"], "latents"),
    "pixels out of range": (5, ["encode", "bright.npy"], "[0, 1]"),
    "a folder without pictures": (5, ["encode", "empty"], "no pictures"),
    "too few coordinates": (5, ["decode", "--at", "1", "-o", "x.png"], "2 coordinates"),
    "no mask": (2, ["inpaint", "bad.png", "-o", "x.png"], "--mask or --hide"),
    "a bare attribute": (
        2,
        ["decode", "a.npy", "--attribute", "b", "-o", "x.png"],
        "NAME=STRENGTH",
    ),
    "an unknown attribute": (5, ["traverse", "--attribute", "b", "-o", "x.png"], "attribute"),
    "a point's probability": (5, ["score", "-m", "point", "grey.png"], "point"),
    "a coordinate too far": (
        5,
        ["traverse", "--coordinates", "9", "-o", "x.png"],
        "expected z1 to z2",
    ),
    "a coordinate before the first": (
        2,
        ["grid", "--coordinates", "0,1", "-o", "x.png"],
        "coordinates from 1",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_each_failure_is_one_line_with_its_exit_code(run: Run, what: str) -> None:
    Path("folder.png").mkdir()
    Path("empty").mkdir()
    Path("bad.png").write_bytes(b"no picture")
    Path("bad.npy").write_bytes(b"no array")
    GREY.save("grey.png")
    np.save("pickled.npy", np.array([{}], object), allow_pickle=True)
    np.save("wide.npy", np.zeros((2, 1, 28, 29), np.float32))
    np.save("bright.npy", np.full((1, 1, 28, 28), 255, np.float32))
    before = sorted(Path().iterdir())

    code, arguments, said = REFUSED[what]
    outcome = run(*arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err
    assert sorted(Path().iterdir()) == before


def test_the_http_port_is_distinguished_from_an_unreachable_server(
    run: Run, server: Server
) -> None:
    outcome = run("models", "-a", server.http_address)
    assert outcome.code == 4
    assert "is it the server's HTTP port?" in outcome.err


def test_an_invalid_output_is_refused_before_a_call(run: Run) -> None:
    outcome = run("sample", "-a", "127.0.0.1:1", "-o", "none/x.png")
    assert outcome.code == 2


def test_a_write_that_fails_leaves_the_old_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    ok(run("sample", "-n", 1, "-o", "kept.png"))
    kept = Path("kept.png").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        outcome = run("sample", "-n", 1, "-o", "kept.png")
    assert outcome.code == 1
    assert "No space left" in outcome.err
    assert Path("kept.png").read_bytes() == kept
    assert [path.name for path in Path().iterdir()] == ["kept.png"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_its_code_and_no_traceback(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """The port accepts connections and never answers, so that the command waits."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "{}:{}".format(*silent.getsockname())
        command = [sys.executable, "-m", "latens", "-a", address, "sample", "-o", "x.png"]
        with subprocess.Popen(
            command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as process:
            silent.settimeout(180)
            connection, _ = silent.accept()  # it has begun to connect
            with connection:
                process.send_signal(number)
                _, said = process.communicate(timeout=180)
    assert process.returncode == code
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom latens.cli import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    assert done.returncode == 1
    assert "pip install 'latens[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
