"""The settings of `latens-export`: each field is a flag, an environment variable and its help."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, CliPositionalArg, SettingsConfigDict

from latens_export.graphs.precision import DEFAULT_TOLERANCE, Precision
from latens_serving.bundle.schema import MODEL_NAME
from latens_serving.bundle.spec import LARGEST_TOLERANCE

ENV_PREFIX = "LATENS_EXPORT_"


class CommonSettings(BaseSettings):
    """What every source has."""

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

    repository: Annotated[
        Path, Field(description="model repository to add to; made if it does not exist")
    ] = Path("models")
    name: Annotated[
        str,
        Field(description="name that callers use for the model; default: that of the source"),
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
    opset: Annotated[
        Literal["auto", "18", "20", "21", "23"],
        Field(
            description="version of ONNX's operators: auto measures, where a newer one may run "
            "quicker; a number gives the same bytes each time"
        ),
    ] = "auto"
    byte_graphs: Annotated[
        bool,
        Field(
            description="both graphs a second time, with pixels as bytes, for calls with uint8 "
            "images; they double the bundle, and the weights in a server's memory, so graphs above "
            "64 MiB have none; --no-byte-graphs leaves them out"
        ),
    ] = True
    atlas_images: Annotated[
        int | None,
        Field(
            ge=0,
            le=10_000,
            description="how many test images go into the bundle for the explorer's map; 0 for "
            "none, as where the images are nobody else's business; default: 2000 of a training "
            "run, and none of other models, whose --images may be put there",
        ),
    ] = None
    umap: Annotated[
        bool,
        Field(
            description="UMAP coordinates of these test images' latents as well, which the "
            "explorer saves beside the latents; needs the extra: pip install 'latens-export[umap]'"
        ),
    ] = False
    keep_float32: Annotated[
        bool,
        Field(
            description="with --precision float16, both graphs in float32 as well: a server "
            "computes rows again with them that float16 cannot hold"
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
    def accepted_opset(self) -> int | None:
        """The opset given; None for the quickest."""
        return None if self.opset == "auto" else int(self.opset)

    @property
    def model_name(self) -> str:
        """The model's name: the one given, or that of the source."""
        return self.name or self.source_name

    @property
    def source_name(self) -> str:
        """The name that a source gives to its model."""
        raise NotImplementedError


class ExportSettings(CommonSettings):
    """Splits a trained model into encoder and decoder ONNX graphs, checked and ready to serve.

    Other sources: latens-export diffusers DIR, latens-export module FILE:FACTORY --weights W,
    latens-export onnx ENCODER DECODER --card CARD. Each has its own --help.
    """

    run: CliPositionalArg[
        Annotated[Path, Field(description="run directory of latens-train, as runs/mnist-2d")]
    ]
    data_dir: Annotated[
        Path | None,
        Field(description="folder with the files of the named data set, for the test images"),
    ] = None
    fit_prior: Annotated[
        bool,
        Field(
            description="sample from a Gaussian fitted to the encoded training images, in place of "
            "N(0, I); plain autoencoders, which were not trained towards N(0, I), always do"
        ),
    ] = False

    @property
    def source_name(self) -> str:
        return self.run.resolve().name


class ExternalSettings(CommonSettings):
    """What the sources have that Latens did not train."""

    images: Annotated[
        Path | None,
        Field(
            description="folder of pictures that the model was not trained on, to prove the graphs "
            "with and to measure drift from; default: pictures that are drawn"
        ),
    ] = None
    fit_prior: Annotated[
        Path | None,
        Field(
            description="folder of training pictures; Sample draws from a Gaussian fitted to their "
            "encoded means"
        ),
    ] = None
    card: Annotated[
        Path | None,
        Field(description="YAML file that says what cannot be inferred, or mends what was"),
    ] = None
    print_card: Annotated[
        bool, Field(description="print what is inferred in the form of --card, and export nothing")
    ] = False


class ModuleSettings(ExternalSettings):
    """Exports a torch module with encode(x) -> z or (mean, log_var), and decode(z) -> x."""

    factory: CliPositionalArg[
        Annotated[
            str,
            Field(
                description="FILE.py:FACTORY or PACKAGE.MODULE:FACTORY, a class or a function "
                "without arguments that makes the module"
            ),
        ]
    ]
    weights: Annotated[Path, Field(description="safetensors file of the module's state")]

    @property
    def source_name(self) -> str:
        return as_name(self.factory.rpartition(":")[2])


class DiffusersSettings(ExternalSettings):
    """Exports AutoencoderKL, -Tiny, -DC, -Oobleck or VQModel of diffusers."""

    folder: CliPositionalArg[
        Annotated[Path, Field(description="folder with config.json and safetensors, or a pipeline")]
    ]
    raw_latents: Annotated[
        bool,
        Field(description="leave the config's scaling and shift of latents out of the graphs"),
    ] = False
    codes: Annotated[
        bool,
        Field(
            description="of a VQModel: encode to the numbers of codes, and decode from them, in "
            "place of the latents before quantization"
        ),
    ] = False

    @property
    def source_name(self) -> str:
        return as_name(self.folder.resolve().name)


class OnnxSettings(ExternalSettings):
    """Exports two ONNX files, or a folder of optimum with vae_encoder/ and vae_decoder/."""

    paths: CliPositionalArg[
        Annotated[
            list[Path],
            Field(min_length=1, max_length=2, description="ENCODER.onnx DECODER.onnx, or a folder"),
        ]
    ]

    @property
    def source_name(self) -> str:
        first = self.paths[0].resolve()
        return as_name(first.name if len(self.paths) == 1 else first.parent.name)


SOURCES: dict[str, type[CommonSettings]] = {
    "run": ExportSettings,
    "module": ModuleSettings,
    "diffusers": DiffusersSettings,
    "onnx": OnnxSettings,
}


def as_name(text: str) -> str:
    """A name for a model, in the characters that names have."""
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:63]


def unknown_variables() -> list[str]:
    """Environment variables with our prefix that no setting reads."""
    known = {
        f"{ENV_PREFIX}{field.alias or name}".upper()
        for settings in SOURCES.values()
        for name, field in settings.model_fields.items()
    }
    found = (name.upper() for name in os.environ)
    return sorted(name for name in found if name.startswith(ENV_PREFIX) and name not in known)
