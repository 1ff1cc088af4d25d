"""The settings of each verb: a field is a flag, an environment variable and its help text."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

ENV_PREFIX = "LATENS_BULK_"

Count = Annotated[int, Field(ge=1)]


def processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _config(verb: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        cli_prog_name=f"latens-bulk {verb}",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )


class EncodeSettings(BaseSettings):
    """Encodes a data set. Run the same command again to go on after an interruption.

    Each flag is also an environment variable: --shard-rows is LATENS_BULK_SHARD_ROWS. Flags win.

    Exit codes: 0 ok; 1 failure; 2 usage; 3 not found; 4 unavailable; 5 bad data; 130 interrupted;
    143 terminated.
    """

    model_config = _config("encode")

    input: CliPositionalArg[str]
    """A folder of pictures, Parquet files, WebDataset tar files or npz archives; one such file; a
    pattern ('shards/*.tar'); or a URL that fsspec reads (s3:// needs s3fs, gs:// gcsfs)."""
    output: CliPositionalArg[Path]
    """The folder to write, on a disk that all processes share."""

    bundle: str = ""
    """The model: models/mnist (its newest version) or models/mnist/3."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it runs: cuda never falls back to the CPU."""
    threads: Count = Field(default_factory=processors)
    """Threads of the engine on the CPU; by default all processors."""
    address: str = ""
    """Encode on a running server instead: host:port, or several joined by commas."""
    model: str = ""
    """The model of that server; by default its default model."""
    ca_file: Path | None = None
    """PEM file of the authority that signed the server's certificate."""
    token_file: Path | None = None
    """File with the bearer token for the server."""

    format: Literal[
        "parquet",
        "webdataset",
        "mds",
        "sd-scripts",
        "sd-scripts-sized",
        "sd-scripts-sd",
        "sd-scripts-sdxl",
        "sd-scripts-flux",
    ] = "parquet"
    """What is written."""
    dtype: Literal["float32", "float16"] = "float32"
    """The type of the latents written."""
    mirror: bool = False
    """Also encode the mirrored images."""
    draws: Annotated[int, Field(ge=0, le=1024)] = 0
    """Store so many draws from each posterior instead of its mean and log-variance."""
    seed: Annotated[int, Field(ge=0)] = 0
    """The seed of the draws."""

    fit: Literal["exact", "pad", "crop", "resize"] = "exact"
    """How pictures of another size become the model's: exact refuses them."""
    image_column: str | None = None
    """The column, array or extension of the images; by default a usual name."""
    key_column: str | None = None
    """The column or array of the keys; by default a usual name, else FILE:ROW."""
    keep: tuple[str, ...] = ()
    """Columns, arrays or extensions to keep beside the latents, such as labels."""

    shard_rows: Count = 8192
    """The most rows of one part: what an interruption can lose."""
    shard: str = "0/1"
    """Do only the shards whose number is I modulo N, as I/N, from 0/N to N-1/N."""
    cache: Path | None = None
    """A folder of latents by the content of their images; what is there is not encoded again."""
    on_error: Literal["fail", "skip"] = "fail"
    """What to do with an image that cannot be read: skip records its key and the reason."""
    decoders: Annotated[int, Field(ge=0)] = Field(default_factory=processors)
    """Processes that decode pictures; 0 to decode in this one."""
    json_output: Annotated[bool, Field(alias="json")] = False
    """Print the summary as JSON."""

    @field_validator("shard")
    @classmethod
    def _is_a_part(cls, text: str) -> str:
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not int(match[1]) < int(match[2]):
            raise ValueError(f"expected I/N with I from 0 to N-1, got {text!r}")
        return text

    @model_validator(mode="after")
    def _encodes_in_one_place(self) -> EncodeSettings:
        if bool(self.bundle) == bool(self.address):
            raise ValueError("give either --bundle or --address")
        return self

    @property
    def shard_part(self) -> tuple[int, int]:
        """I and N of `shard`."""
        i, n = self.shard.split("/")
        return int(i), int(n)


class VerifySettings(BaseSettings):
    """Checks that an output is whole: every part is there, unchanged, with all its rows.

    Exit codes: 0 it is; 3 there is no output; 5 it is incomplete or changed.
    """

    model_config = _config("verify")

    output: CliPositionalArg[Path]
    """The folder that latens-bulk encode wrote."""
    json_output: Annotated[bool, Field(alias="json")] = False
    """Print the result as JSON."""


def first_fault(error: ValidationError) -> str:
    """The first invalid setting, in one line."""
    fault: Any = error.errors()[0]
    message = fault["msg"].removeprefix("Value error, ")
    if not fault["loc"]:
        return str(message)
    name = str(fault["loc"][0])
    shown = name.upper() if name in ("input", "output") else "--" + name.replace("_", "-")
    return f"{shown}: {message}"
