"""Settings of a run as a TOML file, with one table per section."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import tomlkit
from pydantic import ValidationError

from latens_training.config import RunConfig
from latens_training.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from pathlib import Path


def read_config(path: Path) -> RunConfig:
    """The settings in a file; what it leaves out has its default.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is not TOML, or a setting is unknown or invalid.
    """
    try:
        return RunConfig.model_validate(tomllib.loads(path.read_text()))
    except FileNotFoundError as error:
        raise NotFoundError(f"config: {path}: no such file") from error
    except OSError as error:
        raise DataError(f"config: {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"config: {path}: {place}: {first['msg']}") from error
    except ValueError as error:  # of TOML and of UTF-8
        raise DataError(f"config: {path}: {error}") from error


def as_toml(config: RunConfig) -> str:
    """The settings as such a file; settings without a value are left out."""
    document: dict[str, Any] = config.model_dump(mode="json", exclude_none=True)
    return tomlkit.dumps(document)
