"""Validation, averaging, early stopping, clipping and configs; each resumes exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch

from latens_training import Dataset, LossConfig, Run, RunConfig, Split, TrainConfig, train
from latens_training.cli.main import main
from latens_training.cli.options import with_options
from latens_training.cli.parser import parse
from latens_training.cli.settings import TrainSettings
from latens_training.config import DataConfig, ModelConfig
from latens_training.data.augmentation import AUGMENTATIONS, augmented, transforms_of
from latens_training.devices import Placement
from latens_training.errors import TrainingError
from latens_training.metrics.evaluation import evaluate
from latens_training.models.build import build
from latens_training.optimization.averaging import WeightAverage
from latens_training.optimization.schedules import warmup_factor
from latens_training.runs.selection import choose, is_best, is_exhausted, split_off, weights_of
from latens_training.trainer import Trainer

SIDE = 8


@pytest.fixture(scope="module")
def images() -> Dataset:
    """Images of one white bar: an autoencoder learns them at once."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.zeros(300, 1, SIDE, SIDE, dtype=torch.uint8)
    rows = torch.randint(0, SIDE, (300,), generator=generator)
    pixels[torch.arange(300), 0, rows] = 255
    return Dataset("bars", Split(pixels[:250], rows[:250]), Split(pixels[250:], rows[250:]))


def settings(**train_settings: object) -> RunConfig:
    values = {"epochs": 4, "batch_size": 32} | train_settings
    return RunConfig(
        data=DataConfig(validation=0.2),
        model=ModelConfig(hidden=(16,)),
        train=TrainConfig.model_validate(values),
    )


def test_held_out_images_are_not_trained_on() -> None:
    images = torch.arange(100).view(100, 1, 1, 1)
    labels = torch.arange(100)
    train_part, held_out = split_off(Split(images, labels), 0.25)
    assert held_out is not None
    assert held_out.labels is not None
    assert len(held_out) == 25
    together = torch.cat([train_part.images, held_out.images]).flatten().sort().values
    assert torch.equal(together, torch.arange(100))
    assert torch.equal(held_out.images.flatten(), held_out.labels), "labels stay with their images"
    assert split_off(Split(images), 0.0).held_out is None


def test_the_run_keeps_the_weights_of_the_best_epoch(images: Dataset, tmp_path: Path) -> None:
    # With so large a step the last epochs are not the best.
    config = settings(learning_rate=0.2, epochs=6)
    run = train(config, dataset=images, out=tmp_path / "run", quiet=True)
    scores = [record["validation_score"] for record in run.history]
    best = max(range(6), key=scores.__getitem__)
    assert run.checkpoint.record.best_epoch == best + 1
    assert run.checkpoint.record.epoch == 6
    train_part, held_out = split_off(images.train, 0.2)
    assert held_out is not None
    again = Run(run.checkpoint, Dataset("x", train_part, held_out))
    assert again.evaluate(draws=1)["elbo"] == pytest.approx(scores[best], rel=1e-5)


def test_patience_ends_a_run_that_no_longer_improves(images: Dataset, tmp_path: Path) -> None:
    config = settings(learning_rate=0.5, epochs=60, patience=2)
    run = train(config, dataset=images, out=tmp_path / "run", quiet=True)
    scores = [record["validation_score"] for record in run.history]
    assert len(scores) < 60
    assert len(scores) - 1 - max(range(len(scores)), key=scores.__getitem__) == 2


@pytest.mark.parametrize(
    ("scores", "best", "exhausted"),
    [([1.0], True, False), ([1, 2], True, False), ([2, 1], False, False), ([2, 1, 1], False, True)],
)
def test_the_best_epoch_and_the_end_of_patience(
    scores: list[float], best: bool, exhausted: bool
) -> None:
    history = [{"validation_score": score} for score in scores]
    assert is_best(history) is best
    assert is_exhausted(history, 2) is exhausted
    assert not is_exhausted(history, 0)


def test_the_better_of_weights_and_average_is_chosen(images: Dataset) -> None:
    config = settings(ema=0.9)
    model = build(config.model, images.image_shape)
    trainer = Trainer(model, images.train.images, config, Placement(torch.device("cpu")))
    trainer.run_epoch(lambda: False, lambda: None)
    assert trainer.average is not None
    assert not choose(trainer, images.test.images).average, "early on, the average lags behind"
    for weight, average in zip(model.parameters(), trainer.average.values, strict=True):
        average.copy_(weight.detach())
        weight.data.add_(torch.ones_like(weight))
    choice = choose(trainer, images.test.images)
    assert choice.average
    with weights_of(trainer, choice):
        metrics = evaluate(model, images.test.images, draws=1).metrics(model.posterior)
    assert metrics["elbo"] == choice.score


def test_the_average_follows_the_recurrence() -> None:
    module = torch.nn.Linear(1, 1, bias=False).requires_grad_(False)
    average = WeightAverage(module, 0.5)
    expected = float(module.weight)
    for value in (1.0, 3.0, -2.0):
        module.weight.fill_(value)
        average.update()
        decay = min(0.5, (1 + average.steps) / (10 + average.steps))
        expected = decay * expected + (1 - decay) * value
    assert float(average.values[0]) == pytest.approx(expected)
    with average.in_place():
        assert float(module.weight) == pytest.approx(expected)
    assert float(module.weight) == -2.0


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_keeps_shape_and_type_and_follows_the_seed(name: str) -> None:
    images = torch.randint(0, 256, (6, 3, 20, 16), dtype=torch.uint8)
    transforms = transforms_of([name], (3, 20, 16))

    def drawn(seed: int) -> torch.Tensor:
        return augmented(images, transforms, torch.Generator().manual_seed(seed))

    before = torch.random.get_rng_state()
    changed = drawn(1)
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is left alone"
    assert changed.shape == images.shape
    assert changed.dtype == torch.uint8
    assert torch.equal(changed, drawn(1))
    assert not torch.equal(changed, drawn(2))
    assert not torch.equal(changed, images)


RESUMED = {
    "augmented": RunConfig(data=DataConfig(augment=("flip", "shift"))),
    "ema": RunConfig(data=DataConfig(validation=0.2), train=TrainConfig(ema=0.9)),
    "factor-vae": RunConfig(
        loss=LossConfig(objective="factor-vae", objective_options={"discriminator_width": 8})
    ),
    "annealed": RunConfig(
        loss=LossConfig(objective_options={"kl_warmup": 3.0}),
        train=TrainConfig(warmup=2.5, weight_decay=0.1, clip_norm=1.0),
    ),
    "learnt": RunConfig(loss=LossConfig(likelihood="gaussian-learnt")),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_equals_one_that_ran_through(
    name: str, images: Dataset, tmp_path: Path
) -> None:
    def config(epochs: int) -> RunConfig:
        base = RESUMED[name]
        values = base.train.model_dump() | {"epochs": epochs, "batch_size": 32}
        return base.model_copy(
            update={"model": ModelConfig(hidden=(16,)), "train": TrainConfig(**values)}
        )

    whole = train(config(4), dataset=images, out=tmp_path / "whole", quiet=True)
    train(config(2), dataset=images, out=tmp_path / "parts", quiet=True)
    parts = train(config(4), dataset=images, out=tmp_path / "parts", resume=True, quiet=True)
    for file in ("model", "training_state"):
        tensors = [
            safetensors.torch.load_file(run.path / f"{file}.safetensors") for run in (whole, parts)
        ]
        assert tensors[0].keys() == tensors[1].keys()
        for key in tensors[0]:
            assert torch.equal(tensors[0][key], tensors[1][key]), (file, key)
    kept = {"seconds", "images_per_second"}
    for one, other in zip(whole.history, parts.history, strict=True):
        assert {k: v for k, v in one.items() if k not in kept} == {
            k: v for k, v in other.items() if k not in kept
        }


def test_factor_vae_trains_its_discriminator_by_its_own_loss(
    images: Dataset, tmp_path: Path
) -> None:
    run = train(
        RunConfig(
            model=ModelConfig(hidden=(16,), latent_size=4),
            loss=LossConfig(objective="factor-vae", objective_options={"discriminator_width": 32}),
            train=TrainConfig(epochs=30, batch_size=25),
        ),
        dataset=images, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    first, last = run.history[0], run.history[-1]
    assert first["train_auxiliary"] == pytest.approx(math.log(2), abs=0.1)
    assert last["train_auxiliary"] < first["train_auxiliary"]
    assert last["test_elbo"] > first["test_elbo"]


def test_clipping_bounds_the_norm_of_a_step(images: Dataset) -> None:
    config = RunConfig(model=ModelConfig(hidden=(8,)), train=TrainConfig(clip_norm=0.5))
    model = build(config.model, images.image_shape)
    trainer = Trainer(model, images.train.images, config, Placement(torch.device("cpu")))
    trainer.run_epoch(lambda: trainer.progress.step == 1, lambda: None)
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert float(norm) == pytest.approx(0.5, rel=1e-4)


def test_the_learning_rate_warms_up_by_the_step(images: Dataset) -> None:
    assert [warmup_factor(TrainConfig(warmup=2), e) for e in (0.5, 1.0, 2.0, 3.0)] == [
        0.25, 0.5, 1, 1,
    ]  # fmt: skip
    config = RunConfig(train=TrainConfig(warmup=1, learning_rate=1.0, batch_size=50))
    model = build(config.model, images.image_shape)
    trainer = Trainer(model, images.train.images, config, Placement(torch.device("cpu")))
    rates: list[float] = []
    trainer.run_epoch(lambda: False, lambda: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([1e-3, 0.2, 0.4, 0.6, 0.8])


def test_a_config_file_gives_the_same_run_as_the_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--objective", "beta-tc", "--tc-weight", "3", "--hidden", "20,10", "--image-size", "8"]
    assert main([*flags, "--print-config"]) == 0
    path = tmp_path / "run.toml"
    path.write_text(capsys.readouterr().out)
    assert main(["--config", str(path), "--print-config"]) == 0
    assert capsys.readouterr().out == path.read_text()
    arguments = ["--config", str(path), "--tc-weight", "5"]
    config = parse(with_options(TrainSettings, arguments), arguments, "latens-train").run_config()
    assert config.loss.objective_options["tc_weight"] == 5
    assert config.model.hidden == (20, 10)
    arguments = ["--config", str(path), "--objective", "elbo"]
    config = parse(with_options(TrainSettings, arguments), arguments, "latens-train").run_config()
    assert config.loss.objective_options == {}, "the options of the replaced objective"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepochs = 0\n", "train.epochs: Input should be greater than or equal to 1"),
        ("[train]\nepoch = 3\n", "train.epoch: Extra inputs are not permitted"),
        ("[train\n", "Expected ']'"),
        ("[loss.objective_options]\ngamma = 3\n", "gamma: has no effect here: objective elbo has"),
    ],
)
def test_a_mistake_in_a_config_file_is_one_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    assert main(["--config", str(path), "--out", str(tmp_path / "run")]) in {2, 5}
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_old_records_are_read(tmp_path: Path, trained_run: Path) -> None:
    """A record from before entries had options, as an older version wrote it."""
    document = json.loads((trained_run / "config.json").read_text())
    for section in ("model", "loss", "data"):
        for name in [name for name in document["config"][section] if name.endswith("_options")]:
            del document["config"][section][name]
    assert RunConfig.model_validate(document["config"]).model.hidden == (400,)


def test_the_api_refuses_what_has_no_effect(images: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="patience: has no effect here"):
        train(RunConfig(train=TrainConfig(patience=3)), dataset=images, out=tmp_path / "run")
    with pytest.raises(TrainingError, match="expected a class or function of a module"):
        train(model=lambda shape: None, dataset=images, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
