"""The settings of `latens-export`: each field is a flag, an environment variable and its help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from latens_export.graphs.precision import DEFAULT_TOLERANCE, Precision
from latens_serving.bundle.schema import MODEL_NAME
from latens_serving.bundle.spec import LARGEST_TOLERANCE

ENV_PREFIX = "LATENS_EXPORT_"


class ExportSettings(BaseSettings):
    """Splits a trained model into encoder and decoder ONNX graphs, checked and ready to serve."""

    model_config = SettingsConfigDict(
        cli_exit_on_error=False,
        cli_implicit_flags="toggle",
        cli_kebab_case=True,
        cli_prog_name="latens-export",
        cli_show_env_vars=True,
        env_prefix=ENV_PREFIX,
        env_prefix_target="all",
        extra="forbid",
        frozen=True,
    )

    run: CliPositionalArg[
        Annotated[Path, Field(description="run directory of latens-train, as runs/mnist-2d")]
    ]
    repository: Annotated[
        Path, Field(description="model repository to add to; made if it does not exist")
    ] = Path("models")
    name: Annotated[
        str,
        Field(description="name that callers use for the model; default: the run directory's"),
    ] = ""
    precision: Annotated[
        Precision,
        Field(
            description="what the graphs compute in: float32, tf32 (GPU products rounded to 10 "
            "bits), float16 (for GPUs), int8 (large products, for CPUs)"
        ),
    ] = Precision.FLOAT32
    tolerance: Annotated[
        float | None,
        Field(
            gt=0,
            description="largest difference from torch that is accepted, of mean, log_var and "
            "images in [0, 1]; the server checks it again on its own device; by default 1e-4 for "
            "float32, 0.005 for tf32 and float16, 0.05 for int8; at most 0.01, 0.05 and 0.1",
        ),
    ] = None
    data_dir: Annotated[
        Path | None,
        Field(description="folder with the files of the named data set, for the test images"),
    ] = None
    atlas_images: Annotated[
        int,
        Field(
            ge=0,
            le=10_000,
            description="how many test images go into the bundle for the explorer's map; 0 for "
            "none, as where the images are nobody else's business",
        ),
    ] = 2000
    byte_graphs: Annotated[
        bool,
        Field(
            description="both graphs a second time, with pixels as bytes, for calls with uint8 "
            "images; they double the bundle, and the weights in a server's memory; "
            "--no-byte-graphs leaves them out"
        ),
    ] = True
    fit_prior: Annotated[
        bool,
        Field(
            description="sample from a Gaussian fitted to the encoded training images, in place of "
            "N(0, I); plain autoencoders, which were not trained towards N(0, I), always do"
        ),
    ] = False
    json_output: Annotated[bool, Field(alias="json", description="print the result as JSON")] = (
        False
    )
    print_config: Annotated[
        bool, Field(description="print these settings as JSON, and export nothing")
    ] = False

    @model_validator(mode="after")
    def _name_is_servable(self) -> Self:
        if not MODEL_NAME.match(self.model_name):
            raise ValueError(
                f"name: '{self.model_name}' is not a model's name: lower-case letters, digits, "
                "'.', '_' and '-', starting with a letter or digit, 63 at most (set --name)"
            )
        return self

    @model_validator(mode="after")
    def _a_server_accepts_the_tolerance(self) -> Self:
        largest = LARGEST_TOLERANCE[self.precision]
        if self.accepted_tolerance > largest:
            raise ValueError(
                f"tolerance: expected at most {largest:g} for {self.precision}, "
                f"got {self.tolerance:g}"
            )
        return self

    @property
    def accepted_tolerance(self) -> float:
        """The tolerance given, or that of the precision."""
        return self.tolerance or DEFAULT_TOLERANCE[self.precision]

    @property
    def model_name(self) -> str:
        """The model's name: the one given, or the run directory's."""
        return self.name or self.run.resolve().name


def unknown_variables() -> list[str]:
    """Environment variables with our prefix that no setting reads."""
    fields = ExportSettings.model_fields.items()
    known = {f"{ENV_PREFIX}{field.alias or name}".upper() for name, field in fields}
    found = (name.upper() for name in os.environ)
    return sorted(name for name in found if name.startswith(ENV_PREFIX) and name not in known)
