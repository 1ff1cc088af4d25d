"""The memory that a model may take is what the machine has and the container's limit leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from latens_serving.bundle import memory

MIB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 1,000 MiB available, without a container."""
    (tmp_path / "meminfo").write_text("MemTotal: 4096000 kB\nMemAvailable:  1024000 kB\n")
    (tmp_path / "cgroup" / "memory").mkdir(parents=True)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "cgroup")
    return tmp_path / "cgroup"


def test_without_a_container_it_is_that_of_the_machine(machine: Path) -> None:
    assert memory.available_bytes() == 1000 * MIB


def test_the_limit_of_a_container_counts_without_what_it_caches(machine: Path) -> None:
    (machine / "memory.max").write_text(f"{600 * MIB}\n")
    (machine / "memory.current").write_text(f"{500 * MIB}\n")
    (machine / "memory.stat").write_text(f"anon 7\ninactive_file {200 * MIB}\n")
    assert memory.available_bytes() == 300 * MIB
    (machine / "memory.stat").unlink()
    assert memory.available_bytes() == 100 * MIB


def test_the_first_version_of_cgroups_is_understood(machine: Path) -> None:
    (machine / "memory" / "memory.limit_in_bytes").write_text(str(800 * MIB))
    (machine / "memory" / "memory.usage_in_bytes").write_text(str(300 * MIB))
    assert memory.available_bytes() == 500 * MIB


def test_a_container_without_a_limit_has_the_machine_s(machine: Path) -> None:
    (machine / "memory.max").write_text("max\n")
    (machine / "memory.current").write_text(f"{500 * MIB}\n")
    assert memory.available_bytes() == 1000 * MIB


def test_a_system_that_says_nothing_refuses_nothing(machine: Path) -> None:
    (machine.parent / "meminfo").unlink()
    assert memory.available_bytes() is None
