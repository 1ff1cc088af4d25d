"""What the sections of a run's settings share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1)]
Options = dict[str, Any]
"""Values of an entry's own options, by name."""


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def split_list(value: Any) -> Any:
    """Splits `200,200`, as written in flags and environment variables."""
    return value.split(",") if isinstance(value, str) else value
