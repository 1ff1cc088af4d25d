"""The verb `models`: the models of the server."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from latens.axes import Axes, ModelAxis
from latens.cli import console
from latens.cli.coordinates import name_of
from latens.cli.options import JsonOption
from latens.cli.session import connect, named
from latens.models import Model


def models(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME[/VERSION]]", help="Describe this one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Lists the server's models, or describes one.

    Examples:
      latens models
      latens models mnist-2d
    """
    with connect(context) as client:
        if name is not None:
            model = client.model(**named(name))
            console.print_json(asdict(model)) if as_json else _describe(model)
            return
        found = client.models()
    if as_json:
        described = [asdict(model) for model in found.models]
        console.print_json({"default": found.default, "models": described})
    else:
        _list(found.models, found.default)


def _list(models: tuple[Model, ...], default: str) -> None:
    rows = [
        (
            f"{model.name}{' *' if model.name == default else ''}",
            model.version,
            model.state + (f": {model.state_reason}" if model.state_reason else ""),
            model.architecture,
            _shape(model.image_axes),
            _shape(model.latent_axes),
            f"{model.beta:g}",
            model.dataset,
        )
        for model in models
    ]
    columns = ("model", "version", "state", "architecture", "data", "latent", "beta", "data set")
    console.print_table("", columns, rows)
    if default:
        console.note("* the default model")


def _describe(model: Model) -> None:
    limits = model.limits
    shown = {
        "model": f"{model.name}/{model.version}",
        "state": model.state + (f": {model.state_reason}" if model.state_reason else ""),
        "architecture": f"{model.architecture}, {model.parameter_count:,} parameters",
        _words(model.modality): f"{_shape(model.image_axes)} ({_names(model.image_axes)})",
        "latent": f"{_shape(model.latent_axes)}, {_latent(model)}",
        **{axis.name: _sizes(axis) for axis in model.image_axes if axis.is_free},
        "prior": _words(model.prior),
        "trained on": f"{model.dataset}, beta {model.beta:g}, {_likelihood(model)}",
        "runs on": f"{model.provider}, {model.precision}, within {model.tolerance:g}",
        "one call takes": f"{limits.max_rows:,} rows, {limits.max_message_bytes:,} bytes",
        "noise": model.noise_generator,
        "encoder": f"sha256 {model.encoder_sha256}",
        "decoder": f"sha256 {model.decoder_sha256}",
    }
    if model.attributes:
        shown["attributes"] = ", ".join(sorted(model.attributes))
    for name, value in sorted(model.metrics.items()):
        shown[f"test {name}"] = f"{value:g}" if _is_count(name) else f"{value:.2f} nats per image"
    console.print_table("", ("", ""), list(shown.items()))
    if model.latent_dims:
        dims = [
            (name_of(index), f"{dim.kl:.3f}", f"{dim.mean:.3f}", f"{dim.std:.3f}")
            for index in model.coordinates_by_activity()
            for dim in (model.latent_dims[index],)
        ]
        console.print_table("", ("coordinate", "KL (nats)", "mean", "std"), dims)


def _names(described: Axes) -> str:
    return ", ".join(axis.name for axis in described)


def _latent(model: Model) -> str:
    if model.has_codes:
        return f"codes from 0 to {model.codebook_size - 1}"
    conditional = f", conditional on {model.label_count} classes" if model.label_count else ""
    return f"posterior {_words(model.posterior)}{conditional}"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")


def _is_count(metric: str) -> bool:
    return metric.endswith(("_units", "_samples"))


def _likelihood(model: Model) -> str:
    return "no likelihood" if model.likelihood == "NONE" else f"{model.likelihood.lower()} pixels"


def _sizes(axis: ModelAxis) -> str:
    return (
        f"a multiple of {axis.multiple} from {axis.minimum} to {axis.maximum}, usually {axis.usual}"
    )


def _shape(described: Axes) -> str:
    """The sizes; the name where it is the caller's choice, and what follows from it."""
    return " x ".join(_size(axis) for axis in described)


def _size(axis: ModelAxis) -> str:
    if axis.size:
        return str(axis.size)
    return f"{axis.of}/{axis.stride}" if axis.of else axis.name
