"""What turns images into latents: an engine of this process, or a running server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from latens import Client
from latens.channel import Tls
from latens.errors import LatensError, ModelNotFoundError
from latens.errors import UnavailableError as ServerUnavailableError
from latens_bulk.errors import BadDataError, BulkError, NotFoundError, UnavailableError
from latens_serving import Encoder
from latens_serving.engine.errors import EngineError
from latens_serving.errors import BundleRefusedError, InvalidInputError

Latents: TypeAlias = dict[str, NDArray[np.float32]]
"""`mean` and, unless the model is deterministic, `log_var`: `[n, *latent_shape]`."""

_CALL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What tells two models apart."""

    name: str
    version: str
    encoder_sha256: str
    precision: str
    image_shape: tuple[int, ...]
    latent_shape: tuple[int, ...]
    heads: tuple[str, ...]
    """`mean` and, unless the model is deterministic, `log_var`."""

    def record(self) -> dict[str, Any]:
        return {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}


class RowEncoder(Protocol):
    """Encodes blocks of images."""

    identity: ModelIdentity

    @property
    def provider(self) -> str:
        """What computes the latents."""
        ...

    @property
    def block_rows(self) -> int:
        """Rows of a block that keep it busy."""
        ...

    def __call__(self, images: NDArray[Any]) -> Latents:
        """Encodes images `[n, *image_shape]`.

        Raises:
            BulkError: they could not be encoded.
        """
        ...


def require_latents_of_images(
    model: str, modality: str, *, has_codes: bool, is_conditional: bool
) -> None:
    """Refuses models whose data or latents have no place in the outputs.

    Raises:
        BadDataError: the model's data are no images, its latents are codes, or it needs labels.
    """
    if is_conditional:
        raise BadDataError(f"model {model} needs the class of each image; expected one without")
    if modality.lower() not in ("image", "unspecified"):
        raise BadDataError(f"model {model} is of {modality.lower()} items; expected one of images")
    if has_codes:
        raise BadDataError(f"model {model} encodes to codes; expected latents of real numbers")


class LocalEncoder:
    """The engine of this process."""

    def __init__(self, bundle: str, device: str, threads: int) -> None:
        try:
            self._encoder = Encoder(bundle, device, threads=threads)
            self.provider = self._encoder.provider
        except BundleRefusedError as error:
            kind = NotFoundError if str(error).startswith("no such model") else BadDataError
            raise kind(str(error)) from error
        manifest = self._encoder.manifest
        spec = manifest.spec
        require_latents_of_images(
            manifest.name,
            spec.modality,
            has_codes=spec.has_codes,
            is_conditional=spec.label_count is not None,
        )
        has_variance = manifest.spec.posterior == "diagonal-gaussian"
        heads = ("mean", "log_var") if has_variance else ("mean",)
        self.identity = ModelIdentity(
            manifest.name,
            str(manifest.version),
            manifest.encoder.sha256,
            manifest.spec.precision,
            self._encoder.image_shape,
            self._encoder.latent_shape,
            heads,
        )

    @property
    def block_rows(self) -> int:
        image_bytes = 4 * int(np.prod(self._encoder.image_shape))
        rows = self._encoder.batch_rows
        return rows * max(1, min(16, (8 << 20) // (rows * image_bytes)))

    def __call__(self, images: NDArray[Any]) -> Latents:
        try:
            return self._encoder(images)
        except InvalidInputError as error:
            raise BadDataError(str(error)) from error
        except EngineError as error:
            raise BulkError(f"the engine failed: {error}") from error


class ServedEncoder:
    """A running server, through the client, which splits blocks into several calls at a time."""

    def __init__(self, address: str, model: str, tls: Tls | None, token: str | None) -> None:
        self._client = Client(address, tls=tls, token=token)
        try:
            found = self._client.model(model)
        except LatensError as error:
            raise _failure(error, address) from error
        require_latents_of_images(
            found.name,
            found.modality,
            has_codes=found.has_codes,
            is_conditional=found.label_count > 0,
        )
        self._address = address
        self.provider = found.provider
        is_deterministic = found.posterior in ("POINT", "DETERMINISTIC")
        self.identity = ModelIdentity(
            found.name,
            found.version,
            found.encoder_sha256,
            found.precision,
            found.image_shape,
            found.latent_shape,
            ("mean",) if is_deterministic else ("mean", "log_var"),
        )

    @property
    def block_rows(self) -> int:
        image_bytes = int(np.prod(self.identity.image_shape))
        return max(1, min(8192, _CALL_BYTES // image_bytes))

    def __call__(self, images: NDArray[Any]) -> Latents:
        model = self.identity
        try:
            found = self._client.encode(images, model=model.name, version=model.version)
        except LatensError as error:
            raise _failure(error, self._address) from error
        latents = {"mean": found.mean}
        if found.log_var is not None:
            latents["log_var"] = found.log_var
        return latents


def _failure(error: LatensError, address: str) -> BulkError:
    if isinstance(error, ModelNotFoundError):
        return NotFoundError(str(error))
    if isinstance(error, ServerUnavailableError):
        return UnavailableError(f"no server answers at {address}: {error}")
    return BulkError(str(error))
