"""Every command and every program of the README is run here or in another test.

Each code block is preceded by `<!-- run: HOW -->`. A new block without it fails the first test.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from server_process import Server, running_server

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- run: ([\w-]+) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"(?:\]\(|img src=\")([^)#\"]+)")


@dataclass(frozen=True)
class Block:
    how: str
    language: str
    text: str


# A diagram is no command.
BLOCKS = [Block(*found) for found in BLOCK.findall(README) if found[1] != "mermaid"]


def blocks(how: str) -> list[Block]:
    return [block for block in BLOCKS if block.how == how]


@pytest.fixture(scope="module")
def served(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with models of the names that the README uses."""
    from latens_export.cli import main

    repository = tmp_path_factory.mktemp("readme") / "models"
    run = model_repository.parent / "trained-run"
    for name in ("mnist", "mnist-2d"):
        assert main([str(run), "--repository", str(repository), "--name", name]) == 0
    with running_server(repository) as server:
        yield server


def reader(server: Server | None = None) -> dict[str, str]:
    """The environment of someone who follows the README: the programs on the PATH."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("LATENS_")}
    clean["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{clean['PATH']}"
    return clean | ({"LATENS_ADDRESS": server.address} if server else {})


def follow(script: str, cwd: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euxc", script],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_block_says_how_it_is_proved() -> None:
    proofs = {"make-run", "own-vae", "shell", "install", "python", "train", "serve"}
    proofs |= {"container", "kubernetes"}
    assert {block.how for block in BLOCKS} == proofs


def test_every_link_leads_somewhere() -> None:
    links = {link for link in LINK.findall(README) if not link.startswith("https://")}
    assert links
    assert [link for link in sorted(links) if not (ROOT / link).exists()] == []


def test_the_first_command_has_its_own_test() -> None:
    (block,) = blocks("make-run")
    assert block.text == "make run\n"
    assert "make_run" in (ROOT / "tests" / "project" / "test_make_run.py").read_text()


def test_the_shell_commands_work(served: Server, tmp_path: Path) -> None:
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    for block in blocks("shell"):
        script = block.text.replace("127.0.0.1:8080", served.http_address)
        follow(script, tmp_path, reader(served))
    for named in re.findall(r"-o (\S+)", "".join(block.text for block in blocks("shell"))):
        assert (tmp_path / named).exists(), named


def test_the_python_program_works(served: Server, tmp_path: Path) -> None:
    for block in blocks("python"):
        program = block.text.replace("127.0.0.1:50051", served.address)
        assert served.address in program
        (tmp_path / "program.py").write_text(program)
        printed = follow("python program.py", tmp_path, reader())
        assert "(16, 1, 28, 28)" in printed


def test_a_module_of_ones_own_becomes_a_bundle(tmp_path: Path) -> None:
    (block,) = blocks("own-vae")
    follow(block.text, tmp_path, reader())
    assert (tmp_path / "models" / "vae" / "1" / "bundle.json").exists()


def test_the_training_commands_work(tmp_path: Path) -> None:
    """As printed, but for one epoch, of a small data set."""
    (block,) = blocks("train")
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "mnist", images=generator.integers(0, 256, (600, 1, 28, 28), np.uint8))
    small = block.text.replace("--epochs 20", "--epochs 1").replace(
        "--dataset mnist ", "--dataset mnist.npz "
    )
    assert "mnist.npz" in small
    assert "--epochs 1 " in small
    follow(small, tmp_path, reader())
    assert list((tmp_path / "models" / "mnist-beta4").glob("*/bundle.json"))


def test_the_serving_command_is_one_that_the_server_takes() -> None:
    (block,) = blocks("serve")
    settings = follow(f"{block.text.strip()} --print-config", ROOT, reader())
    assert '"port": 50051' in settings


def test_the_installation_commands_name_what_pip_can_install(tmp_path: Path) -> None:
    (block,) = blocks("install")
    dry = block.text.replace("pip install", f"{sys.executable} -m pip install --dry-run --no-deps")
    assert dry.count("--dry-run") == 2
    follow(dry.replace("--no-deps", "--no-deps --no-build-isolation -q"), ROOT, reader())


def test_the_container_commands_name_what_the_image_is_called() -> None:
    (block,) = blocks("container")
    dry = follow("make --dry-run image", ROOT, reader())
    version = re.findall(
        r'^version = "(.*)"', (ROOT / "serving" / "pyproject.toml").read_text(), re.M
    )[0]
    assert 'build-image "latens-server"' in dry
    assert f"latens-server:{version}" in block.text


def test_the_kubernetes_command_names_an_overlay_that_renders() -> None:
    (block,) = blocks("kubernetes")
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed: the overlay is NOT rendered here")
    assert "kind: Deployment" in follow(
        block.text.replace("kubectl apply -k", "kubectl kustomize"), ROOT, reader()
    )
