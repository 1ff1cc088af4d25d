"""A torch module of one's own as the source of a bundle: `encode` and `decode` are all it needs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from latens_export.errors import SourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

NOT_FOUND, BAD_DATA = 3, 5
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"}


class EncodeOf(nn.Module):
    """A module's method `encode` as a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, data: Tensor) -> Any:
        return self.module.encode(data)  # type: ignore[operator]  # a method, not a submodule


class DecodeOf(nn.Module):
    """A module's method `decode` as a module."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, latents: Tensor) -> Any:
        return self.module.decode(latents)  # type: ignore[operator]  # a method, not a submodule


def load_module(factory: str, weights: Path) -> nn.Module:
    """Calls a factory and loads weights into the module that it gives, as float32.

    Args:
        factory: `file.py:name` or `package.module:name` of a class or function without arguments.
        weights: a safetensors file with exactly the names of the module's state.

    Raises:
        UsageError: the factory is not found, or what it gives has no `encode` and `decode`.
        SourceError: the weights cannot be read, or do not fit.
    """
    refuse_pickle(weights)
    module = _made(factory)
    if not isinstance(module, nn.Module):
        raise UsageError(f"{factory}: expected a torch.nn.Module, got {type(module).__name__}")
    for name in ("encode", "decode"):
        if not callable(getattr(module, name, None)):
            raise UsageError(
                f"{factory}: {type(module).__name__} has no method {name}; expected "
                "encode(x) -> z or (mean, log_var), and decode(z) -> x"
            )
    load_weights(module, weights)
    return module.float().eval()


def require_arguments(module: nn.Module, *, labels: bool) -> None:
    """Refuses methods that take labels where the card names no classes, and the reverse.

    Raises:
        UsageError: says which method, and what to write.
    """
    for name, data in (("encode", "x"), ("decode", "z")):
        parameters = inspect.signature(getattr(module, name)).parameters.values()
        needed = [
            one
            for one in parameters
            if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
        ]
        if len(needed) > 1 and not labels:
            raise UsageError(
                f"{type(module).__name__}.{name} takes {len(needed)} arguments; of a conditional "
                f"model, {name}({data}, labels), the card says the number of classes: label_count"
            )
        if labels and len(parameters) < 2:
            raise UsageError(
                f"card: label_count: expected {name}({data}, labels), but "
                f"{type(module).__name__}.{name} takes {data} alone"
            )


def load_weights(module: nn.Module, weights: Path) -> None:
    """Loads a safetensors file into a module.

    Raises:
        SourceError: the file cannot be read, or its names or shapes are not the module's.
    """
    try:
        state = load_file(weights)
    except FileNotFoundError as error:
        raise SourceError(f"weights: no such file: {weights}", NOT_FOUND) from error
    except (OSError, SafetensorError) as error:
        raise SourceError(f"weights: {weights}: {error}", BAD_DATA) from error
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        text = " ".join(str(error).split()).partition(": ")[2]
        raise SourceError(f"weights: {weights} do not fit the module: {text}", BAD_DATA) from error


def refuse_pickle(weights: Path) -> None:
    """Refuses files that only unpickling can read, which runs whatever code they hold.

    Raises:
        UsageError: says the line that converts the file.
    """
    if weights.suffix not in PICKLES:
        return
    to = weights.with_suffix(".safetensors")
    raise UsageError(
        f"weights: {weights} is a pickle, which can run any code; convert it where you trust it: "
        'python -c "import torch, safetensors.torch as s; s.save_file({k: v.contiguous() for k, v '
        f"in torch.load('{weights}', weights_only=True).items()}}, '{to}')\""
    )


def _made(factory: str) -> Any:
    where, _, name = factory.rpartition(":")
    if not where or not name:
        raise UsageError(f"{factory}: expected FILE.py:FACTORY or PACKAGE.MODULE:FACTORY")
    folder = Path(where).resolve().parent if where.endswith(".py") else Path.cwd()
    with _importable(folder):
        module = _imported_file(Path(where)) if where.endswith(".py") else _imported(where)
        maker = getattr(module, name, None)
        if not callable(maker):
            raise UsageError(f"{factory}: {where} has no class or function {name}")
        try:
            return maker()
        except Exception as error:
            raise UsageError(f"{factory}: {type(error).__name__}: {error}") from error


def _imported_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from error
    return module


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise UsageError(f"{name}: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Lets a user's packages be imported while the block runs, before any others of their names."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
