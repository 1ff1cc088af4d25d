"""Data that does not fit into memory is refused before it is loaded, with the numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from latens import pictures
from latens_training import memory
from latens_training.cli.main import main

GIGABYTE = 10**9


def photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index in range(count):
        Image.new("RGB", (800, 600), (index, 0, 0)).save(folder / f"{index}.png")
    return folder


def error_of(folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    out = folder.with_name("run")
    assert main(["--dataset", str(folder), "--out", str(out), "--no-figures", *more]) == 1
    assert not out.exists()
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_folder_is_refused_by_its_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory, "available", lambda: 30_000_000)
    monkeypatch.setattr(pictures, "read", lambda _path: pytest.fail("a picture was decoded"))
    line = error_of(photos(tmp_path / "photos", 12), capsys)
    assert "photos: 12 images of 600 x 800 pixels need about 0.0346 GB of memory" in line
    assert "but 0.03 GB are free" in line
    assert "--image-size" in line


def test_twelve_photos_are_refused_before_a_network_of_a_billion_weights_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As such a folder took 21 GB and the process was killed."""
    monkeypatch.setattr(memory, "available", lambda: 32 * GIGABYTE)
    line = error_of(photos(tmp_path / "photos", 12), capsys)
    assert "with 1,153,443,204 weights, for images of 3 x 600 x 800, need about 46.1 GB" in line
    assert "but 32 GB are free; use smaller images (--image-size" in line


def test_smaller_images_of_the_same_folder_are_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda: GIGABYTE)
    folder, out = photos(tmp_path / "photos", 12), tmp_path / "run"
    flags = ["--dataset", str(folder), "--image-size", "12x16", "--epochs", "1", "--no-figures"]
    assert main([*flags, "--out", str(out)]) == 0


def test_the_memory_limit_of_a_container_applies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.current").write_text("2000\n")
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       4 kB\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert memory.available() == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() == 4096
