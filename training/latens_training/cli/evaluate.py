"""The command `evaluate`: measures a run on its whole test set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from latens_training.cli.settings import RunCommandSettings

if TYPE_CHECKING:
    from latens_training.checkpoint import Checkpoint
    from latens_training.models.autoencoder import Autoencoder

Classifier = Literal["boosted-trees", "random-forest"]


class EvaluateSettings(RunCommandSettings):
    """Measures a trained run on its whole test set, in nats per image; changes nothing."""

    bound_samples: Annotated[
        int, Field(ge=0, description="draws per image for the importance-weighted bound; 0: none")
    ] = 5000
    bound_images: Annotated[
        int,
        Field(ge=2, description="images to draw for; the ELBO of all images reduces the error"),
    ] = 500
    draws: Annotated[int, Field(ge=1, description="draws per image for the ELBO")] = 5
    factors: Annotated[
        str | None,
        Field(
            description="also score disentanglement on these images, with known factors: an .npz "
            "file with images and attribute_NAME arrays, or a data set such as sprites-small"
        ),
    ] = None
    dci_classifier: Annotated[
        Classifier,
        Field(description="of --factors: boosted-trees, as published, or random-forest, quicker"),
    ] = "boosted-trees"
    device: Annotated[
        str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?|mps)$", description="auto, cpu, cuda or mps")
    ] = "auto"
    json_lines: Annotated[bool, Field(description="one JSON document on standard output")] = False


def run(settings: EvaluateSettings) -> int:
    """Evaluates as the settings say; returns the exit code.

    Raises:
        TrainingError: the run or its data set cannot be read.
    """
    result = measure(settings)
    print(json.dumps(result) if settings.json_lines else _table(result))
    return 0


def measure(settings: EvaluateSettings) -> dict[str, Any]:
    """The metrics of a run by name, and the KL of each latent coordinate over the test set."""
    from latens_training import checkpoint
    from latens_training.devices import choose_device
    from latens_training.metrics.evaluation import evaluate
    from latens_training.metrics.iwae_bound import iwae_bound

    loaded = checkpoint.load(settings.run)
    device = choose_device(settings.device)
    model = loaded.model.to(device)
    test = settings.load_dataset(loaded).test
    images = test.images.to(device)
    terms = evaluate(model, images, test.labels, draws=settings.draws)
    metrics = terms.metrics(model.posterior)
    if settings.bound_samples and model.posterior != "deterministic":
        metrics |= iwae_bound(
            model,
            images,
            terms,
            test.labels,
            samples=settings.bound_samples,
            subset=settings.bound_images,
        ).metrics()
    result: dict[str, Any] = {
        "run": str(settings.run),
        "images": len(images),
        "metrics": metrics,
        "kl_by_dim": terms.kl_by_dim.tolist(),
    }
    if settings.factors is not None:
        result["scores"] = _scores(settings, loaded, model)
    return result


def _scores(settings: EvaluateSettings, loaded: Checkpoint, model: Autoencoder) -> dict[str, float]:
    """The disentanglement scores on the images with factors."""
    from latens_training.checkpoint import require_shape
    from latens_training.data import datasets
    from latens_training.metrics.disentanglement.labelled import scores_on
    from latens_training.metrics.disentanglement.protocol import Protocol

    assert settings.factors is not None
    labelled = datasets.load(settings.factors)
    require_shape(loaded, labelled.image_shape)
    return scores_on(model, labelled, Protocol(dci_classifier=settings.dci_classifier))


def _table(result: dict[str, Any]) -> str:
    lines = [f"{result['run']}: {result['images']:,} test images, nats per image"]
    lines += [f"  {name:<30} {value:10.3f}" for name, value in result["metrics"].items()]
    if "scores" in result:
        lines.append("  disentanglement, more is better")
        lines += [f"    {name:<28} {value:10.3f}" for name, value in result["scores"].items()]
    if result["kl_by_dim"]:
        lines.append("  KL by latent coordinate, largest first")
        ranked = sorted(enumerate(result["kl_by_dim"]), key=lambda pair: -pair[1])
        lines += [f"    {f'z{dim + 1}':<28} {kl:10.3f}" for dim, kl in ranked]
    return "\n".join(lines)
