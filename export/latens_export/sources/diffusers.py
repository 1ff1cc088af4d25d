"""An autoencoder in the form of diffusers: a folder with `config.json` and safetensors weights.

diffusers is an extra of this package: it is imported here only, and never needed to serve.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from latens_export.errors import SourceError, UsageError
from latens_export.sources.card import Card
from latens_serving.bundle.spec import Scaling

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG_FILE = "config.json"
WEIGHTS = "diffusion_pytorch_model"
RANGE = (-1.0, 1.0)

_NOT_FOUND, _BAD_DATA = 3, 5


class DiffusersModel(NamedTuple):
    """What a folder holds."""

    encoder: nn.Module
    decoder: nn.Module
    card: Card
    """What the config says."""
    usual: tuple[int, int, int] | None
    """The shape of the images that it was trained on, by the config."""
    parameter_count: int


class _Encoder(nn.Module):
    """The encoder of an autoencoder: `(mean, log_var)`, or `(z,)`."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        (encoded,) = self.autoencoder.encode(images, return_dict=False)
        if isinstance(encoded, Tensor):
            return (encoded,)
        return encoded.mean, encoded.logvar


class _Decoder(nn.Module):
    """The decoder of an autoencoder."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        images: Tensor = self.autoencoder.decode(latents, return_dict=False)[0]
        return images


class _Codebook(nn.Module):
    """A VQModel with its codebook: latents to the nearest codes, and back.

    As `VQModel.quantize` does, but with products, since ONNX has no operator for torch.cdist.
    """

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.codebook_size = int(autoencoder.quantize.embedding.weight.shape[0])

    def codes_of(self, latents: Tensor) -> Tensor:
        """Latents `[n, channels, height, width]` to codes `[n, height, width]`."""
        table = self.autoencoder.quantize.embedding.weight
        places = latents.permute(0, 2, 3, 1)
        codes: Tensor = (table.square().sum(1) - 2 * places @ table.T).argmin(-1)
        return codes

    def images_of(self, codes: Tensor) -> Tensor:
        table = self.autoencoder.quantize.embedding.weight
        nearest = nn.functional.embedding(codes, table).permute(0, 3, 1, 2)
        images: Tensor = self.autoencoder.decode(
            nearest, force_not_quantize=True, return_dict=False
        )[0]
        return images


class _VqDecoder(_Codebook):
    """The decoder of a VQModel, which takes latents to the nearest codes first."""

    def forward(self, latents: Tensor) -> Tensor:
        return self.images_of(self.codes_of(latents))


class _CodeEncoder(_Codebook):
    """The encoder of a VQModel with its quantizer: images to codes."""

    def forward(self, images: Tensor) -> Tensor:
        (latents,) = self.autoencoder.encode(images, return_dict=False)
        return self.codes_of(latents)


class _CodeDecoder(_Codebook):
    """The decoder of a VQModel for codes."""

    def forward(self, codes: Tensor) -> Tensor:
        return self.images_of(codes)


CLASSES = ("AutoencoderKL", "AutoencoderTiny", "AutoencoderDC", "VQModel", "AutoencoderOobleck")


def load_diffusers(folder: Path, *, raw_latents: bool, codes: bool = False) -> DiffusersModel:
    """Loads the autoencoder of a folder, or of a pipeline's `vae` or `vqvae`, as float32.

    Args:
        folder: has `config.json`, or a folder `vae` or `vqvae` that has.
        raw_latents: whether the config's scaling and shift are left out.
        codes: whether a VQModel encodes to the numbers of codes, which are not scaled.

    Raises:
        SourceError: the folder cannot be read.
        UsageError: its class is none of `CLASSES`, its weights are a pickle, or diffusers is not
            installed.
    """
    folder = _folder_with_config(folder)
    config = _read_config(folder)
    _require_safetensors(folder)
    name = config.get("_class_name")
    if name not in CLASSES:
        raise UsageError(
            f"{folder}: class {name!r} is unknown; expected one of {', '.join(CLASSES)}; other "
            "classes can be exported as a module: latens-export module"
        )
    if codes and name != "VQModel":
        raise UsageError(f"codes: expected a VQModel, {name} has no codebook")
    autoencoder = _loaded(folder, name)
    encoder, decoder = (part(autoencoder).eval() for part in _parts(name, codes=codes))
    count = sum(parameter.numel() for parameter in autoencoder.parameters())
    scaling = None if raw_latents or codes else _scaling(config, autoencoder)
    return DiffusersModel(encoder, decoder, _card(config, scaling), _usual(config), count)


def _parts(name: str, *, codes: bool) -> tuple[type[nn.Module], type[nn.Module]]:
    """The encoder and the decoder of a class."""
    if name != "VQModel":
        return _Encoder, _Decoder
    return (_CodeEncoder, _CodeDecoder) if codes else (_Encoder, _VqDecoder)


def _folder_with_config(folder: Path) -> Path:
    if not folder.is_dir():
        raise SourceError(f"no such folder: {folder}", _NOT_FOUND)
    for found in (folder, folder / "vae", folder / "vqvae"):
        if (found / CONFIG_FILE).is_file():
            return found
    raise SourceError(f"{folder}: expected {CONFIG_FILE}, there or in vae/", _NOT_FOUND)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder / CONFIG_FILE}: {error}", _BAD_DATA) from error
    if not isinstance(config, dict):
        raise SourceError(f"{folder / CONFIG_FILE}: expected fields by name", _BAD_DATA)
    return config


def _require_safetensors(folder: Path) -> None:
    if any(folder.glob(f"{WEIGHTS}*.safetensors*")):
        return
    from latens_export.sources.modules import refuse_pickle

    for path in sorted(folder.glob(f"{WEIGHTS}*.bin")):
        refuse_pickle(path)
    raise SourceError(f"{folder}: expected {WEIGHTS}.safetensors", _NOT_FOUND)


def _loaded(folder: Path, name: str) -> Any:
    os.environ.setdefault("DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import diffusers
        except ImportError as error:
            raise UsageError(
                f"diffusers: {error}; install it with: pip install 'latens-export[diffusers]'"
            ) from error
        logging.getLogger("diffusers").setLevel(logging.ERROR)
        load: Callable[..., Any] = getattr(diffusers, name).from_pretrained
        try:
            return load(
                folder,
                use_safetensors=True,
                local_files_only=True,
                low_cpu_mem_usage=False,
                torch_dtype=torch.float32,
                variant=_variant(folder),
            )
        except Exception as error:
            reason = " ".join(str(error).split())
            raise SourceError(f"{folder}: {name} cannot be loaded: {reason}", _BAD_DATA) from error


def _variant(folder: Path) -> str | None:
    """`fp16` where there are only such weights, as `diffusion_pytorch_model.fp16.safetensors`."""
    if any(folder.glob(f"{WEIGHTS}.safetensors*")):
        return None
    found = next(iter(sorted(folder.glob(f"{WEIGHTS}.*.safetensors"))), None)
    return None if found is None else found.name.split(".")[1]


def _scaling(config: dict[str, Any], autoencoder: Any) -> Scaling | None:
    """The scaling and shift that pipelines apply to the latents of this model."""
    if config.get("latents_mean") or config.get("latents_std"):
        raise UsageError(
            "latents_mean and latents_std of the config scale each channel, which is not offered; "
            "export with --raw-latents and scale in the caller"
        )
    # A config may leave its defaults out; the object has them.
    scale = getattr(autoencoder.config, "scaling_factor", None)
    shift = getattr(autoencoder.config, "shift_factor", None)
    found = Scaling(scale=1 if scale is None else scale, shift=shift or 0)
    return None if found == Scaling() else found


def _card(config: dict[str, Any], scaling: Scaling | None) -> Card:
    name = config["_class_name"]
    said: dict[str, Any] = {"architecture": name}
    if name != "AutoencoderOobleck":  # of sound, whose values are taken as they are
        said["graph_range"] = RANGE
    if scaling is not None:
        said["scaling"] = scaling
    return Card(**said)


def _usual(config: dict[str, Any]) -> tuple[int, int, int] | None:
    channels, size = config.get("in_channels", 3), config.get("sample_size")
    if isinstance(channels, int) and isinstance(size, int) and channels > 0 and size > 0:
        return channels, size, size
    return None
