"""Ctrl-C, SIGTERM, kill -9 and a full disk leave the last checkpoint, and are reported."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from latens_training import checkpoint
from latens_training.cli.main import main
from latens_training.runs import directory as run_directory
from latens_training.runs.resume import STATE_FILE, load_state

SETTINGS = ["--latent-size", "2", "--hidden", "16", "--batch-size", "500", "--no-figures"]


@contextmanager
def training_process(mnist_subset: Path, out: Path) -> Iterator[subprocess.Popen[str]]:
    """A run in its own process, too long to end by itself."""
    flags = [*SETTINGS, "--data-dir", str(mnist_subset), "--epochs", "1000000", "--threads", "1"]
    command = [sys.executable, "-m", "latens_training", *flags, "--json", "--out", str(out)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_epochs(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for _ in range(count):
        line = process.stdout.readline()
        assert line.startswith('{"epoch"'), line


@pytest.fixture
def train(mnist_subset: Path) -> Callable[[Path, int], int]:
    def run(out: Path, epochs: int) -> int:
        flags = ["--data-dir", str(mnist_subset), "--out", str(out), "--epochs", str(epochs)]
        resume = ["--resume"] if (out / STATE_FILE).exists() else SETTINGS
        return main([*flags, *resume, "--no-figures"])

    return run


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_run_and_the_exit_code_tells_which(
    mnist_subset: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with training_process(mnist_subset, tmp_path / "run") as process:
        wait_for_epochs(process, 2)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    last = errors.strip().splitlines()[-1]
    assert "and saved; continue with --resume" in last
    assert "Traceback" not in errors
    state = load_state(tmp_path / "run")
    assert f"stopped in epoch {state.progress.epoch + 1} after {state.progress.step} of 12" in last
    assert checkpoint.load(tmp_path / "run").record.epoch == state.progress.epoch


def test_kill_9_leaves_the_last_checkpoint_and_the_run_continues(
    mnist_subset: Path, tmp_path: Path, train: Callable[[Path, int], int]
) -> None:
    out = tmp_path / "run"
    for attempt in (1, 2):
        if attempt > 1:
            (out / STATE_FILE).unlink()  # begin anew, over what was killed
            (out / checkpoint.MODEL_FILE).unlink()
        with training_process(mnist_subset, out) as process:
            wait_for_epochs(process, attempt)
            process.kill()
        epoch = checkpoint.load(out).record.epoch
        assert epoch >= attempt
        assert load_state(out).progress.epoch in (epoch, epoch + 1)
    epoch = load_state(out).progress.epoch
    assert train(out, epoch + 1) == 0
    assert checkpoint.load(out).record.epoch == epoch + 1
    assert not list(out.glob(".*")), "what the killed writer left is gone"


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Every write beyond `size` bytes fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir()}


def test_a_failed_write_is_one_line_and_keeps_the_saved_files(
    tmp_path: Path, train: Callable[[Path, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(out, 1) == 0
    before = contents(out)
    capsys.readouterr()
    with files_limited_to(50_000):
        assert train(out, 2) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("latens")]
    assert errors == [f"latens-train: {out / STATE_FILE}: not saved: File too large"]
    assert contents(out) == before
    assert train(out, 2) == 0


def test_a_full_disk_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    train: Callable[[Path, int], int],
) -> None:  # fmt: skip
    def no_space(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    out = tmp_path / "run"
    assert train(out, 1) == 0
    before = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr(run_directory.os, "fsync", no_space)
        assert train(out, 2) == 1
    assert "not saved: No space left on device" in capsys.readouterr().err
    assert contents(out) == before


def test_two_processes_never_write_the_same_run(
    mnist_subset: Path,
    tmp_path: Path,
    train: Callable[[Path, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    with training_process(mnist_subset, out) as process:
        wait_for_epochs(process, 1)
        assert train(out, 2_000_000) == 1
        assert f"out: another process is training in {out}" in capsys.readouterr().err
        assert process.poll() is None


@pytest.mark.parametrize("place", ["/proc/latens-run", "/sys/latens-run"])
def test_a_directory_that_cannot_be_written_is_one_line(
    place: str, train: Callable[[Path, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path(place).parent.is_dir():
        pytest.skip("only where the system has such a directory")
    assert train(Path(place), 1) == 1
    assert capsys.readouterr().err.startswith(f"latens-train: {place}: cannot be created: ")


def test_a_file_in_the_way_of_the_directory_is_named(
    tmp_path: Path, train: Callable[[Path, int], int], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert train(tmp_path / "file", 1) == 1
    assert "cannot be created: File exists" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"
