"""Dependencies: serving has neither torch nor onnx, and the pins are complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
TRAINING_ONLY = {"torch", "torchvision", "onnx", "onnxscript", "matplotlib", "safetensors"}
SERVING_FILES = ("serve.txt", "serve-cpu.txt", "serve-cuda.txt")
ALL_FILES = (*SERVING_FILES, "bulk.txt", "train.txt", "dev.txt", "proto.txt")
PYTHONS = ("3.11", "3.12", "3.13")


def pins(name: str) -> list[Requirement]:
    lines = (REQUIREMENTS / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def names(name: str, environment: dict[str, str] | None = None) -> set[str]:
    return {
        canonicalize_name(pin.name)
        for pin in pins(name)
        if pin.marker is None or environment is None or pin.marker.evaluate(environment)
    }


def platform(python: str, system: str, machine: str) -> dict[str, str]:
    return {
        "python_version": python,
        "python_full_version": f"{python}.4",
        "sys_platform": system,
        "platform_machine": machine,
    }


@pytest.mark.parametrize("name", ALL_FILES)
def test_every_requirement_is_pinned_to_one_version_and_names_no_address(name: str) -> None:
    text = (REQUIREMENTS / name).read_text()
    assert "://" not in text
    assert "--" not in text
    for pin in pins(name):
        assert re.fullmatch(r"==[0-9][^*,]*", str(pin.specifier)), pin
        assert pin.url is None


@pytest.mark.parametrize("name", [*SERVING_FILES, "bulk.txt"])
def test_the_serving_pins_hold_neither_torch_nor_onnx(name: str) -> None:
    assert names(name) & TRAINING_ONLY == set()
    assert "grpcio" in names(name)
    assert ("pyarrow" in names(name)) == (name == "bulk.txt")


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(
    ("system", "machine", "runtime"),
    [
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
        ("win32", "AMD64", "onnxruntime"),
    ],
)
def test_each_platform_gets_exactly_one_runtime(
    python: str, system: str, machine: str, runtime: str
) -> None:
    for name in ("serve.txt", "train.txt", "dev.txt"):
        chosen = names(name, platform(python, system, machine))
        assert chosen & {"onnxruntime", "onnxruntime-gpu"} == {runtime}, name


def test_only_the_cuda_file_brings_the_cuda_libraries() -> None:
    assert {"nvidia-cudnn-cu13", "nvidia-cublas"} <= names("serve-cuda.txt")
    for name in ("serve.txt", "serve-cpu.txt"):
        assert not [pin for pin in names(name) if pin.startswith("nvidia-")]


def needed_by(distribution: str, extras: frozenset[str]) -> set[str]:
    """Every distribution that this one needs here, however far away, by the installed metadata."""
    seen: set[tuple[str, str]] = set()
    waiting = [(distribution, extra) for extra in ("", *extras)]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        for line in metadata.requires(current[0]) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": current[1]}):
                waiting += [(requirement.name, extra) for extra in ("", *requirement.extras)]
    return {canonicalize_name(name) for name, _ in seen}


def test_the_serving_pins_name_everything_that_serving_needs() -> None:
    needed = needed_by("latens-serving", frozenset()) - {"latens", "latens-serving"}
    assert needed - names("serve.txt") == set()


def test_an_installed_server_pulls_neither_torch_nor_onnx(tmp_path: Path) -> None:
    """The package index's own answer: what pip would put into an empty environment."""
    report = tmp_path / "report.json"
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    pins_file = ["--constraint", str(REQUIREMENTS / "serve.txt"), "--no-build-isolation"]
    done = subprocess.run(
        [*pip, *pins_file, "--report", str(report), "./clients/python", "./serving"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    installed = {
        canonicalize_name(entry["metadata"]["name"])
        for entry in json.loads(report.read_text())["install"]
    }
    assert {"latens", "latens-serving", "grpcio"} <= installed
    assert installed & TRAINING_ONLY == set()
