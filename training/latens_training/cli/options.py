"""The flags of the chosen model, objective, likelihood and data set."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, create_model
from pydantic_settings import NoDecode

from latens_training.cli.settings import ENV_PREFIX, RunSettings, merged
from latens_training.effects import KINDS, entries
from latens_training.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from latens_training.config import RunConfig

S = TypeVar("S", bound=RunSettings)

_START = ("preset", "config", "out")


def with_options(settings: type[S], arguments: Sequence[str]) -> type[S]:
    """The settings of a command, with the options of the entries that the arguments choose.

    Raises:
        UsageError: an option has the name of a setting, or two entries have one of a name.
    """
    fields: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for kind, entry in _chosen(arguments):
        for name, (annotation, field) in entry.options.items():
            if name in settings.model_fields or name in owners:
                other = owners.get(name, "latens-train")
                raise UsageError(
                    f"{kind.flag}: {entry.name} has an option {name}, which {other} has too; "
                    "give it another name"
                )
            owners[name] = f"{kind.flag} {entry.name}"
            field.description = f"{field.description or 'option'} (of --{kind.flag} {entry.name})"
            fields[name] = (_from_text(annotation), field)
    amended = create_model(settings.__name__, __base__=settings, __doc__=settings.__doc__, **fields)
    amended.option_names = frozenset(fields)
    return amended


def _chosen(arguments: Sequence[str]) -> list[Any]:
    """The entries that the arguments, the environment, a preset or a file choose.

    What is wrong with any of these is left to the parser, which says it better.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in (*_START, *(kind.flag for kind in KINDS), "architecture"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--resume", action="store_true")
    try:
        given, _ = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError:
        return []
    named = {kind.name: getattr(given, kind.flag) or _variable(kind.name) for kind in KINDS}
    named["architecture"] = named["architecture"] or given.architecture
    try:
        start = RunSettings.model_construct(
            preset=given.preset or _variable("preset"), config=_path(given.config)
        ).start()
        if given.resume and given.out and (begun := _begun(given.out)):
            start = begun
        names = {name: value for name, value in named.items() if value}
        return list(entries(merged(start, names)))
    except TrainingError as error:
        if isinstance(error, UsageError):
            raise
        return []


def _begun(out: str) -> RunConfig | None:
    """The settings of the run to resume."""
    import json
    from pathlib import Path

    from latens_training.config import RunConfig

    path = Path(out) / "config.json"
    try:
        return RunConfig.model_validate(json.loads(path.read_text())["config"])
    except (OSError, ValueError, KeyError):
        return None


def _path(value: str | None) -> Any:
    from pathlib import Path

    found = value or _variable("config")
    return Path(found) if found else None


def _variable(name: str) -> str | None:
    return os.environ.get(ENV_PREFIX + name.upper()) or None


def _from_text(annotation: Any) -> Any:
    """The same type; a list may be written as 1,2,3."""
    origin = getattr(getattr(annotation, "__origin__", annotation), "__origin__", None)
    if origin not in (tuple, list):
        return annotation
    return Annotated[annotation, NoDecode, BeforeValidator(_split)]


def _split(value: Any) -> Any:
    return value.split(",") if isinstance(value, str) else value
