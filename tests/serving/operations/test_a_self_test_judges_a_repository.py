"""`latens-serve --self-test` says whether a server would serve a repository, before one does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from latens_serving.cli import run
from toy_bundles import write_spatial


def self_test(repository: Path, *flags: str) -> int:
    return run([f"--repository={repository}", "--self-test", "--log-level=error", *flags])


def test_every_graph_is_run_at_several_batch_sizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spatial(tmp_path)
    assert self_test(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.startswith("spatial/1")]
    assert {row[1] for row in rows} >= {"encoder", "decoder"}
    assert {row[2] for row in rows} == {"CPUExecutionProvider"}
    assert [row[3] for row in rows if row[1] == "encoder"] == ["1", "8", "64", "1024"]
    assert all(float(row[4]) > 0 and float(row[5].replace(",", "")) > 0 for row in rows)
    assert lines[-1] == "self-test: passed, 1 version"
    assert any(line.startswith("resident memory: ") for line in lines)


def test_one_refused_version_fails_it_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spatial(tmp_path)
    damaged = tmp_path / "damaged" / "1"
    shutil.copytree(write_spatial(tmp_path, "other"), damaged)
    (damaged / "decoder.onnx").write_bytes(b"nothing")
    assert self_test(tmp_path) == 1
    out = capsys.readouterr().out
    assert "self-test: FAILED\n  damaged/1 was refused: " in out
    assert "spatial/1" in out


def test_it_fails_as_a_server_would_that_cannot_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert self_test(tmp_path) == 3
    write_spatial(tmp_path)
    assert self_test(tmp_path, "--default-model=none") == 3
    assert self_test(tmp_path, "--device=cuda") == 5
    assert "device cuda was asked for" in capsys.readouterr().err
