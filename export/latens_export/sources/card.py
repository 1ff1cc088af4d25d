"""The card of a model: a YAML file that says what cannot be inferred, or mends what was.

`--print-card` writes one in the form that `--card` reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, FiniteFloat, ValidationError

from latens_export.errors import UsageError
from latens_serving.bundle.axes import Strict
from latens_serving.bundle.spec import (
    Axis,
    LatentAxis,
    Likelihood,
    Modality,
    ModelSpec,
    Posterior,
    Prior,
    Scaling,
)

if TYPE_CHECKING:
    from pathlib import Path

_UNREADABLE = (OSError, UnicodeDecodeError, yaml.YAMLError)


class FreeAxis(Strict):
    """The sizes of a free axis."""

    multiple: Annotated[int, Field(ge=1)] = 1
    minimum: Annotated[int, Field(ge=1)] | None = None
    maximum: Annotated[int, Field(ge=1)]
    usual: Annotated[int, Field(ge=1)]


class Card(Strict):
    """What a card may say; what it leaves out is inferred, or has a default."""

    modality: Modality | None = None
    data: dict[str, int | FreeAxis] | None = None
    """Axes by name: a size, or the sizes of a free axis."""
    latent: dict[str, int | str] | None = None
    """Axes by name: a size, or a fraction of a data axis, as `height/8`."""
    graph_range: tuple[FiniteFloat, FiniteFloat] | None = None
    """The least and the largest value that the network takes and gives."""
    logits: bool = False
    """Whether decode gives logits, whose sigmoid is the data."""
    posterior: Posterior | None = None
    prior: Prior | None = None
    likelihood: Likelihood = Likelihood.NONE
    sigma: Annotated[FiniteFloat, Field(gt=0)] | None = None
    beta: Annotated[FiniteFloat, Field(ge=0)] | None = None
    scaling: Scaling | None = None
    codebook_size: Annotated[int, Field(ge=1)] | None = None
    """The number of codes, where encode gives int64 codes and decode takes them."""
    label_count: Annotated[int, Field(ge=1)] | None = None
    """Classes of a conditional model: encode(x, labels) and decode(z, labels), int64 [n]."""
    architecture: str = ""
    dataset: str = ""

    @property
    def data_shape(self) -> tuple[int, ...] | None:
        """The size of each axis, the usual one of a free axis."""
        if self.data is None:
            return None
        return tuple(size if isinstance(size, int) else size.usual for size in self.data.values())

    def over(self, other: Card) -> Card:
        """This card, with the other's fields where it says nothing."""
        said = {
            name: getattr(card, name) for card in (other, self) for name in card.model_fields_set
        }
        return Card(**said)

    def data_axes(self) -> tuple[Axis, ...]:
        return tuple(_axis(name, size) for name, size in _required(self.data, "data").items())

    def latent_axes(self) -> tuple[LatentAxis, ...]:
        return tuple(
            _latent_axis(name, size) for name, size in _required(self.latent, "latent").items()
        )


def read_card(path: Path) -> Card:
    """Reads a card.

    Raises:
        UsageError: it is not readable, or a field is unknown or wrong; the text names it.
    """
    try:
        document = yaml.safe_load(path.read_text("utf-8")) or {}
    except _UNREADABLE as error:
        raise UsageError(f"card: {path}: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UsageError(f"card: {path}: expected fields by name, got {type(document).__name__}")
    try:
        return Card.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"card: {where}: {first['msg']}") from error


def spec_of(card: Card, precision: str, tolerance: float, parameter_count: int) -> ModelSpec:
    """The spec that a card describes.

    Raises:
        UsageError: a field is missing, or the fields contradict each other.
    """
    modality = _required(card.modality, "modality")
    fields: dict[str, Any] = {
        "modality": modality,
        "data_axes": card.data_axes(),
        "latent_axes": card.latent_axes(),
        "posterior": _required(card.posterior, "posterior"),
        "prior": card.prior or Prior.NONE,
        "likelihood": card.likelihood,
        "beta": card.beta,
        "scaling": card.scaling,
        "codebook_size": card.codebook_size,
        "label_count": card.label_count,
        "precision": precision,
        "tolerance": tolerance,
        "architecture": card.architecture,
        "dataset": card.dataset,
        "parameter_count": parameter_count,
        "data_range": None,
    }
    if modality is Modality.IMAGE:
        fields["data_range"] = (0, 1)
        found = (0, 1) if card.logits else _required(card.graph_range, "graph_range")
        fields["graph_range"] = None if tuple(found) == (0, 1) else found
    if card.sigma is not None:
        fields["sigma"] = card.sigma
    try:
        return ModelSpec(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"card: {first['msg'].removeprefix('Value error, ')}") from error


def card_text(card: Card) -> str:
    """A card as YAML, with every field that has a value."""
    document = card.model_dump(mode="json", exclude_none=True, exclude_defaults=False)
    for name in ("architecture", "dataset"):
        if not document[name]:
            del document[name]
    text: str = yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=100)
    return text


def _axis(name: str, size: int | FreeAxis) -> Axis:
    try:
        if isinstance(size, int):
            return Axis(name=name, size=size)
        least = size.minimum or size.multiple
        return Axis(
            name=name,
            multiple=size.multiple,
            minimum=least,
            maximum=size.maximum,
            usual=size.usual,
        )
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"card: data.{message}") from error


def _latent_axis(name: str, size: int | str) -> LatentAxis:
    if isinstance(size, int):
        return LatentAxis(name=name, size=size)
    of, _, stride = size.partition("/")
    if not stride.isdigit() and stride:
        raise UsageError(f"card: latent.{name}: expected a size or a fraction as height/8: {size}")
    try:
        return LatentAxis(name=name, of=of.strip(), stride=int(stride or 1))
    except ValidationError as error:
        raise UsageError(f"card: latent.{name}: {error.errors()[0]['msg']}") from error


def _required(value: Any, name: str) -> Any:
    if value is None:
        raise UsageError(f"card: {name}: expected a value: {_WHY[name]}")
    return value


_WHY = {
    "modality": "image, audio, tabular or other",
    "data": "the axes of one row of data, as {channels: 3, height: 64, width: 64}",
    "latent": "the axes of one latent, as {features: 10} or {channels: 4, height: height/8, ...}",
    "posterior": "diagonal-gaussian or deterministic",
    "graph_range": "the values that the network takes and gives, as [0, 1] or [-1, 1]; "
    "it cannot be seen where the decoder ends in neither a sigmoid nor a tanh",
}
