"""The import arrows of the house: who may know whom, function-level imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    "latens": ROOT / "clients/python/latens",
    "serving": ROOT / "serving",
    "export": ROOT / "export",
    "training": ROOT / "training",
}
OURS = set(SOURCES)
HEAVY = {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime"}

# What each package must never import, at any depth of any function.
NEVER = {
    "latens": {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime"}
    | {"training", "export", "serving"},
    "serving": {"torch", "torchvision", "onnx", "onnxscript", "training", "export"},
    "training": {"export", "serving", "latens", "onnx", "onnxscript", "onnxruntime", "grpc"},
    "export": {"grpc"},
}
# Modules that other rooms build on know the standard library, numpy, pydantic, and each other.
PURE = ("serving.batcher", "serving.latent_math", "serving.errors", "serving.bundle")
PURE_MAY = {"numpy", "pydantic"}
# The parts of our own packages that another one may see; the rest stays inside.
DOORS = {
    ("serving", "latens"): (
        "latens.v1",
        "latens.admin",
        "latens.oip",
        "latens.paths",
        "latens.tensors",
        "latens.wire",
    ),
    ("export", "training"): (
        "training.checkpoint",
        "training.datasets",
        "training.errors",
        "training.models",
    ),
    ("export", "serving"): ("serving.atlas", "serving.bundle", "serving.likelihood"),
}


def module_name(package: str, path: Path) -> str:
    relative = path.relative_to(SOURCES[package].parent).with_suffix("")
    parts = relative.parts[:-1] if relative.name == "__init__" else relative.parts
    return ".".join(parts)


def modules() -> dict[str, Path]:
    return {
        module_name(package, path): path
        for package, folder in SOURCES.items()
        for path in sorted(folder.rglob("*.py"))
    }


def imports(module: str, path: Path) -> set[str]:
    """Every module that the file imports, by its full dotted name."""
    found: set[str] = set()
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            found.update(f"{source}.{alias.name}" for alias in node.names)
    return found


MODULES = modules()
IMPORTS = {module: imports(module, path) for module, path in MODULES.items()}


def top(name: str) -> str:
    return name.partition(".")[0]


def leads_into(name: str, door: str) -> bool:
    return name == door or name.startswith(door + ".")


def importers_of(forbidden: set[str], package: str) -> list[str]:
    return [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if top(module) == package
        for name in sorted(names)
        if top(name) in forbidden
    ]


def test_every_package_is_read() -> None:
    """A moved folder must not turn the tests below into checks of nothing."""
    assert {top(module) for module in MODULES} == OURS
    assert "grpc" in {top(name) for module in MODULES for name in IMPORTS[module]}


@pytest.mark.parametrize("package", sorted(NEVER))
def test_no_package_imports_what_it_must_not_know(package: str) -> None:
    assert importers_of(NEVER[package], package) == []


@pytest.mark.parametrize("pair", sorted(DOORS), ids="->".join)
def test_packages_see_each_other_only_through_their_doors(pair: tuple[str, str]) -> None:
    visitor, host = pair
    doors = DOORS[pair]
    trespasses = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if top(module) == visitor
        for name in sorted(names)
        if top(name) == host and not any(leads_into(name, door) for door in doors)
    ]
    assert trespasses == []


def reachable(module: str) -> set[str]:
    """The module, and those of our own that it imports, however far away."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += [
                name
                for name in MODULES
                if any(leads_into(imported, name) for imported in IMPORTS[current])
                and (name != top(name))
            ]
    return seen


@pytest.mark.parametrize("module", PURE)
def test_the_pure_modules_know_neither_grpc_nor_onnx_runtime(module: str) -> None:
    if module not in MODULES:
        pytest.fail(f"{module} is gone: name its successor here")
    outside = {
        f"{inner} imports {name}"
        for inner in reachable(module)
        for name in IMPORTS[inner]
        if top(name) not in PURE_MAY | OURS | sys.stdlib_module_names
    }
    assert outside == set()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("serving.cli", HEAVY - {"onnxruntime"} | {"training", "export"}),
        ("latens", HEAVY | OURS - {"latens"}),
        ("latens.cli", HEAVY | OURS - {"latens"}),
        ("serving.batcher", HEAVY | {"grpc"}),
    ],
)
def test_importing_loads_nothing_that_it_must_not(module: str, absent: set[str]) -> None:
    """What the imports of the imports bring is seen only by running them."""
    code = f"import {module}, sys; print(*sorted(set(sys.modules) & {absent!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
