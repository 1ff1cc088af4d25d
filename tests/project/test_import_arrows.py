"""The allowed imports between packages, layers and modules, including imports within functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = {
    "latens": ROOT / "clients/python/latens",
    "latens_serving": ROOT / "serving/latens_serving",
    "latens_export": ROOT / "export/latens_export",
    "latens_training": ROOT / "training/latens_training",
    "latens_bulk": ROOT / "bulk/latens_bulk",
}
OURS = set(SOURCES)
HEAVY = {"torch", "torchvision", "onnx", "onnxscript", "onnxruntime"}

# What no module of a package may import.
NEVER = {
    "latens": HEAVY | (OURS - {"latens"}),
    "latens_serving": HEAVY - {"onnxruntime"} | OURS - {"latens", "latens_serving"},
    "latens_training": HEAVY - {"torch", "torchvision"}
    | {"grpc"}
    | OURS - {"latens", "latens_training"},
    "latens_export": {"grpc", "latens_bulk"},
    "latens_bulk": HEAVY | {"grpc", "latens_training", "latens_export"},
}
# The parts of one of our packages that another one may import.
PUBLIC = {
    ("latens_serving", "latens"): (
        "latens.v1",
        "latens.admin",
        "latens.message_reader",
        "latens.oip",
        "latens.paths",
        "latens.pictures",
        "latens.sheets",
        "latens.tensors",
        "latens.wire",
    ),
    ("latens_training", "latens"): ("latens.pictures",),
    ("latens_export", "latens_training"): (
        "latens_training.checkpoint",
        "latens_training.data.datasets",
        "latens_training.data.types",
        "latens_training.errors",
        "latens_training.models.autoencoder",
        "latens_training.runs.data",
    ),
    ("latens_export", "latens_serving"): ("latens_serving.bundle",),
    ("latens_bulk", "latens_serving"): (
        "latens_serving.Encoder",
        "latens_serving.bundle",
        "latens_serving.engine.errors",
        "latens_serving.errors",
    ),
    ("latens_bulk", "latens"): (
        "latens.Client",
        "latens.channel",
        "latens.errors",
        "latens.pictures",
    ),
}
# The layers of serving, the lowest first: a module imports its own layer and those below it.
LAYERS = (
    ("errors", "periodic"),
    ("bundle",),
    ("engine",),
    ("models",),
    ("monitoring",),
    ("calls",),
    ("service",),
    ("settings", "logs"),
    ("transports",),
    ("workers",),
    ("__main__", "cli", "healthcheck", "self_test", "server", "startup", "worker"),
    ("mirror",),
)
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names}
# These know the standard library, numpy, pydantic and each other, so that all may build on them.
PURE = (
    "latens_serving.engine.batcher",
    "latens_serving.service.noise",
    "latens_serving.errors",
    "latens_serving.bundle.schema",
)
PURE_MAY = {"numpy", "pydantic"}


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


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@cache
def own_imports(module: str) -> frozenset[str]:
    """The modules of ours that a module imports; a name in a module counts as the module."""
    found = set()
    for name in IMPORTS[module]:
        parts = name.split(".")
        for length in (len(parts), len(parts) - 1):
            if (candidate := ".".join(parts[:length])) in MODULES:
                found.add(candidate)
                break
    return frozenset(found - {module})


def test_every_package_is_read() -> None:
    """A moved folder must not turn the tests below into checks of nothing."""
    assert {top(module) for module in MODULES} == OURS
    assert "grpc" in {top(name) for module in MODULES for name in IMPORTS[module]}
    assert sum(len(own_imports(module)) for module in MODULES) > len(MODULES)


@pytest.mark.parametrize("package", sorted(NEVER))
def test_no_package_imports_a_forbidden_one(package: str) -> None:
    found = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if top(module) == package
        for name in sorted(names)
        if top(name) in NEVER[package]
    ]
    assert found == []


@pytest.mark.parametrize("pair", sorted(PUBLIC), ids="->".join)
def test_a_package_uses_only_the_public_parts_of_another(pair: tuple[str, str]) -> None:
    user, used = pair
    found = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if top(module) == user
        for name in sorted(names)
        if top(name) == used and not any(is_within(name, part) for part in PUBLIC[pair])
    ]
    assert found == []


def test_one_module_of_export_knows_training() -> None:
    users = [
        module
        for module, names in IMPORTS.items()
        if top(module) == "latens_export" and "latens_training" in map(top, names)
    ]
    assert users == ["latens_export.sources.run"]


def layer(module: str) -> int | None:
    """The level of a module of serving; None where no layer names it."""
    return LEVELS.get(module.split(".")[1])


def serving_modules() -> list[str]:
    return [module for module in MODULES if module.startswith("latens_serving.")]


def test_every_module_of_serving_is_in_a_layer() -> None:
    assert [module for module in serving_modules() if layer(module) is None] == []


def test_imports_of_serving_go_down_only() -> None:
    upward = [
        f"{module} imports {name}"
        for module in serving_modules()
        for name in sorted(own_imports(module))
        if name.startswith("latens_serving.") and layer(name) > layer(module)  # type: ignore[operator]
    ]
    assert upward == []


def test_the_http2_package_could_be_published_by_itself() -> None:
    package = "latens_serving.transports.http2"
    allowed = sys.stdlib_module_names | {"ngh2", "numpy"}
    outside = {
        f"{module} imports {name}"
        for module in MODULES
        if is_within(module, package)
        for name in IMPORTS[module]
        if top(name) not in allowed and not is_within(name, package)
    }
    assert outside == set()


def circles(edges: dict[str, frozenset[str]]) -> list[list[str]]:
    """The sets of modules that import each other, however many steps apart."""
    found = []
    for module in edges:
        ahead = reachable(edges, module)
        circle = sorted(name for name in ahead if module in reachable(edges, name))
        if circle and circle[0] == module:
            found.append(circle)
    return found


def reachable(edges: dict[str, frozenset[str]], module: str) -> set[str]:
    """The modules that a module imports, however many steps away."""
    seen: set[str] = set()
    waiting = list(edges[module])
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += edges[current]
    return seen


def test_a_circle_is_found() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}
    assert circles({name: frozenset(to) for name, to in edges.items()}) == [["b", "c"]]


def test_no_modules_import_each_other() -> None:
    assert circles({module: own_imports(module) for module in MODULES}) == []


@pytest.mark.parametrize("module", PURE)
def test_the_pure_modules_know_neither_grpc_nor_onnx_runtime(module: str) -> None:
    edges = {name: own_imports(name) for name in MODULES}
    outside = {
        f"{inner} imports {name}"
        for inner in {module} | reachable(edges, module)
        for name in IMPORTS[inner]
        if top(name) not in PURE_MAY | OURS | sys.stdlib_module_names
    }
    assert outside == set()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("latens_serving.cli", HEAVY - {"onnxruntime"} | {"latens_training", "latens_export"}),
        ("latens", HEAVY | OURS - {"latens"}),
        ("latens.cli", HEAVY | OURS - {"latens"}),
        ("latens_serving.engine.batcher", HEAVY | {"grpc"}),
    ],
)
def test_importing_loads_no_forbidden_package(module: str, absent: set[str]) -> None:
    """What the imports of the imports load is seen only by running them."""
    code = f"import {module}, sys; print(*sorted(set(sys.modules) & {absent!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
