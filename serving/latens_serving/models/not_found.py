"""What a request for an unknown model or version is told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from latens_serving.errors import ModelNotFoundError
from latens_serving.models.entry import Entry

_NAMES_SHOWN: Final = 20


def unknown_model(name: str, entries: Iterable[Entry]) -> ModelNotFoundError:
    names = sorted({entry.name for entry in entries})
    return ModelNotFoundError(f"no model {name[:63]!r}; there is {_enumerated(names)}")


def unknown_version(name: str, version: str, entries: Iterable[Entry]) -> ModelNotFoundError:
    held = sorted(entry.version for entry in entries if entry.name == name)
    shown = _enumerated([str(number) for number in held])
    return ModelNotFoundError(
        f"model {name[:63]!r} has no version {version[:20]!r}; there is {shown}"
    )


def _enumerated(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
    left = len(names) - _NAMES_SHOWN
    return f"{shown} and {left} more" if left > 0 else shown
