"""Each of the five distributions builds, and installs in an empty environment without the others.

Wheels are built twice: from the checkout, and from the source archive in a folder of its own.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.utils import canonicalize_name

from environments import (
    REPOSITORY,
    build,
    environment,
    kept,
    metadata_of,
    renew,
    require_network,
)

PROJECTS = {
    "latens": "clients/python",
    "latens_serving": "serving",
    "latens_training": "training",
    "latens_export": "export",
    "latens_bulk": "bulk",
}
COMMANDS = {
    "latens": {"latens"},
    "latens_serving": {"latens-serve", "latens-healthcheck", "latens-mirror"},
    "latens_training": {"latens-train"},
    "latens_export": {"latens-export"},
    "latens_bulk": {"latens-bulk"},
}
PAGE = "latens_serving/transports/http/page"
PLUGINS = {"latens_export": {"latens_training.exporters"}}
"""Groups of entry points by which one distribution finds another that is installed beside it."""
TORCH_AND_OURS = {"torch", "torchvision", "onnx", "latens-training", "latens-export"}


class Built(NamedTuple):
    """The distributions of one project."""

    sdist: Path
    wheel: Path
    wheel_of_sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Built]:
    return {
        name: built_from(REPOSITORY / folder, tmp_path_factory.mktemp(name))
        for name, folder in PROJECTS.items()
    }


def built_from(project: Path, folder: Path) -> Built:
    sdist = build(project, folder / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return Built(
        sdist,
        build(project, folder / "wheel", "wheel"),
        build(source, folder / "wheel-of-sdist", "wheel"),
    )


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel, without the list of their digests, whose order may differ."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith(".dist-info/RECORD")]
        return {name: archive.read(name) for name in names}


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_of_the_source_archive_is_the_wheel_of_the_checkout(
    name: str, built: dict[str, Built]
) -> None:
    assert contents(built[name].wheel) == contents(built[name].wheel_of_sdist)


@pytest.mark.parametrize("name", PROJECTS)
def test_a_wheel_holds_its_package_and_its_commands_and_nothing_else(
    name: str, built: dict[str, Built]
) -> None:
    files = contents(built[name].wheel)
    assert {path.split("/")[0] for path in files} == {name, f"{name}-0.1.0.dist-info"}
    declared = ConfigParser()
    declared.read_string(files[f"{name}-0.1.0.dist-info/entry_points.txt"].decode())
    assert set(declared["console_scripts"]) == COMMANDS[name]
    assert set(declared.sections()) - {"console_scripts"} == PLUGINS.get(name, set())
    source = REPOSITORY / PROJECTS[name] / name
    expected = {f"{name}/{path.relative_to(source)}" for path in source.rglob("*.py")}
    assert {path for path in files if path.endswith(".py")} == expected


@pytest.mark.parametrize("name", PROJECTS)
def test_the_license_travels_with_every_distribution(name: str, built: dict[str, Built]) -> None:
    text = (REPOSITORY / "LICENSE").read_bytes()
    assert contents(built[name].wheel)[f"{name}-0.1.0.dist-info/licenses/LICENSE"] == text
    metadata = Parser().parsestr(metadata_of(built[name].wheel))
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["License-Expression"] == "Apache-2.0"
    with tarfile.open(built[name].sdist) as archive:
        stored = archive.extractfile(f"{name}-0.1.0/LICENSE")
        assert stored is not None
        assert stored.read() == text


def test_the_explorer_page_is_in_both_wheels_of_serving(built: dict[str, Built]) -> None:
    web = REPOSITORY / "clients" / "web"
    page = {f"{PAGE}/{path.relative_to(web)}": path.read_bytes()
            for path in web.rglob("*") if path.is_file()}  # fmt: skip
    assert f"{PAGE}/index.html" in page
    for wheel in (built["latens_serving"].wheel, built["latens_serving"].wheel_of_sdist):
        found = contents(wheel)
        assert {path: found.get(path) for path in page} == page


def test_mnist_is_in_the_wheel_of_training(built: dict[str, Built]) -> None:
    folder = REPOSITORY / "training/latens_training/data/files/mnist"
    files = contents(built["latens_training"].wheel_of_sdist)
    for path in folder.iterdir():
        assert files[f"latens_training/data/files/mnist/{path.name}"] == path.read_bytes()


@pytest.fixture(scope="module")
def server_python(built: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that `pip install latens-serving` made, of source archives."""
    wheels = [kept(built[name].wheel_of_sdist) for name in ("latens", "latens_serving")]
    python = environment("serving-alone", [str(wheel) for wheel in wheels])
    renew(python, *wheels)
    return python


def run_in(python: Path, *command: str, folder: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python.parent / command[0]), *command[1:]],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_server_has_neither_torch_nor_the_commands_of_training(
    server_python: Path, tmp_path: Path
) -> None:
    listed = run_in(server_python, "python", "-m", "pip", "list", "--format=json", folder=tmp_path)
    installed = {canonicalize_name(entry["name"]) for entry in json.loads(listed)}
    assert {"latens", "latens-serving", "grpcio"} <= installed
    assert installed & TORCH_AND_OURS == set()
    commands = {path.name for path in server_python.parent.iterdir() if "latens" in path.name}
    assert commands == COMMANDS["latens"] | COMMANDS["latens_serving"]


def test_an_installed_server_starts_its_commands_and_finds_its_page(
    server_python: Path, tmp_path: Path
) -> None:
    assert "--repository" in run_in(server_python, "latens-serve", "--help", folder=tmp_path)
    run_in(server_python, "latens-healthcheck", "--help", folder=tmp_path)
    code = """
import latens_serving, pathlib
from latens_serving.transports.http import page
package = pathlib.Path(latens_serving.__file__).parent
assert package.is_relative_to(__import__("sys").prefix), package
print((package / "transports/http/page/index.html").read_text())
"""
    index = run_in(server_python, "python", "-c", code, folder=tmp_path)
    assert index.strip() == (REPOSITORY / "clients/web/index.html").read_text().strip()


@pytest.mark.parametrize("name", ["latens_training", "latens_export", "latens_bulk"])
def test_training_export_and_bulk_install_without_what_they_need(
    name: str, built: dict[str, Built], tmp_path: Path
) -> None:
    """Without dependencies, since torch alone has gigabytes; the next test resolves them."""
    python = environment("builder", ["hatchling"])
    target = tmp_path / "installed"
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(target)]
    wheel = str(built[name].wheel_of_sdist)
    run_in(python, "python", "-m", "pip", "install", *options, wheel, folder=tmp_path)
    assert {path.name for path in (target / "bin").iterdir()} == COMMANDS[name]
    assert (target / name / "__init__.py").exists()


def test_the_requirements_of_all_can_be_met_together(built: dict[str, Built]) -> None:
    """uv resolves the exporter, which needs three others, without downloading their wheels."""
    require_network()
    uv = Path(sys.executable).parent / "uv"
    wheels = "\n".join(str(found.wheel_of_sdist) for found in built.values())
    command = [str(uv), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "-"]
    done = subprocess.run(
        command, input=wheels, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    names = {canonicalize_name(re.split(r"[ @=<]", line)[0]) for line in lines}
    wanted = {canonicalize_name(name) for name in PROJECTS}
    resolved = names | {canonicalize_name(Path(line).name.split("-")[0]) for line in lines}
    assert wanted | {"torch", "onnx"} <= resolved


def test_user_packages_named_as_our_folders_do_not_collide(
    tmp_path: Path,
) -> None:
    for name in ("training", "export", "serving", "bulk", "client", "clients"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'user'\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    clean = {"PYTHONPATH": path, "PATH": os.environ["PATH"]}
    for module in ("latens_training", "latens_export", "latens_serving", "latens_bulk"):
        command = [sys.executable, "-m", module, "--help"]
        done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "usage: latens-" in done.stdout
    code = (
        "import latens, latens_serving.cli, latens_training.cli.main, latens_export.cli\n"
        "import training, export, serving\n"
        "print(training.OWNER, export.OWNER, serving.OWNER)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert done.stdout.split() == ["user"] * 3, done.stderr
