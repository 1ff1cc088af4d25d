"""The command `presets`: lists the named sets of settings."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field

from latens_training.cli.settings import CommandSettings
from latens_training.presets import PRESETS


class PresetsSettings(CommandSettings):
    """Lists the presets; latens-train --preset NAME trains one."""

    json_lines: Annotated[bool, Field(description="one JSON document on standard output")] = False


def run(settings: PresetsSettings) -> int:
    """Lists the presets; the exit code."""
    if settings.json_lines:
        print(json.dumps({name: preset._asdict() for name, preset in PRESETS.items()}))
        return 0
    for name, preset in PRESETS.items():
        print(f"{name:<18} {preset.summary}")
        print(f"{'':<18} {_flags(preset.values)}")
    return 0


def _flags(values: dict[str, object]) -> str:
    """The values written as flags."""
    words = []
    for name, value in values.items():
        if isinstance(value, dict):
            words.append(_flags(value))
            continue
        if isinstance(value, bool):
            words.append(f"--{name.replace('_', '-')}")
            continue
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        words.append(f"--{name.replace('_', '-')} {text}")
    return " ".join(words)
