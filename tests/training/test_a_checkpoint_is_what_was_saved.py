"""A loaded run equals the saved one, its bytes are reproducible, and an invalid one is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from latens_training import checkpoint
from latens_training.config import ModelConfig, RunConfig
from latens_training.errors import CheckpointError, RunNotFoundError
from latens_training.models.autoencoder import Autoencoder
from latens_training.models.build import build
from latens_training.runs.record import LatentDim, RunRecord

SHAPE = (1, 6, 6)


@pytest.fixture
def model() -> Autoencoder:
    torch.manual_seed(1)
    return build(ModelConfig(latent_size=3, hidden=(8, 5)), SHAPE)


@pytest.fixture
def record() -> RunRecord:
    return RunRecord(
        config=RunConfig(model=ModelConfig(latent_size=3, hidden=(8, 5))),
        image_shape=SHAPE,
        epoch=4,
        metrics={"elbo": -12.5, "kl": 2.25},
        latent_dims=tuple(LatentDim(kl=k, mean=0.0, std=1.0) for k in (1, 2, 3)),
        environment={"torch": "2", "threads": 2},
    )


@pytest.fixture
def run(tmp_path: Path, model: Autoencoder, record: RunRecord) -> Path:
    checkpoint.save(tmp_path / "run", model, record)
    return tmp_path / "run"


def test_a_loaded_run_equals_the_saved_one(
    run: Path, model: Autoencoder, record: RunRecord
) -> None:
    loaded = checkpoint.load(run)
    assert loaded.record == record
    images = torch.rand(4, *SHAPE)
    for ours, theirs in zip(loaded.model.encode(images), model.encode(images), strict=True):
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)
    assert not loaded.model.training


def test_the_same_state_is_the_same_bytes(model: Autoencoder, record: RunRecord, run: Path) -> None:
    contents = {checkpoint.model_bytes(model, record) for _ in range(20)}
    assert contents == {(run / "model.safetensors").read_bytes()}


def test_loading_leaves_the_random_generator_alone(run: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    checkpoint.load(run)
    assert torch.equal(before, torch.get_rng_state())


def test_an_amended_run_keeps_its_weights(run: Path, model: Autoencoder) -> None:
    checkpoint.amend(run, attribute_vectors={"bold": (1.0, 0.0, -1.0)})
    loaded = checkpoint.load(run)
    assert loaded.attribute_vectors == {"bold": (1.0, 0.0, -1.0)}
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)


def test_settings_and_metrics_are_in_readable_json(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    assert config["config"]["model"]["latent_size"] == 3
    assert config["image_shape"] == list(SHAPE)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metrics"]["elbo"] == -12.5
    assert [dim["kl"] for dim in metrics["latent_dims"]] == [1, 2, 3]


def test_a_record_with_the_former_name_of_the_latent_dims_is_read(
    run: Path, record: RunRecord
) -> None:
    dims = [dim.model_dump() for dim in record.latent_dims]
    rewritten(run, latent_dims=None, latent_units=dims)
    assert checkpoint.load(run).record == record


def test_a_missing_run_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="no run here"):
        checkpoint.load(tmp_path / "none")


def rewritten(run: Path, **changes: object) -> None:
    """Rewrites the model file with parts of its record changed."""
    path = run / "model.safetensors"
    with safetensors.safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["latens"]) | changes
    document = {name: value for name, value in document.items() if value is not None}
    tensors = safetensors.torch.load_file(path)
    path.write_bytes(safetensors.torch.save(tensors, metadata={"latens": json.dumps(document)}))


def test_a_checkpoint_of_a_future_schema_is_refused(run: Path) -> None:
    rewritten(run, schema_version=2)
    with pytest.raises(CheckpointError, match="schema version 2, this program reads 1"):
        checkpoint.load(run)


def test_a_checkpoint_from_before_the_newest_fields_still_loads(
    run: Path, record: RunRecord
) -> None:
    document = record.model_dump(mode="json")
    del document["class_names"], document["config"]["data"]["image_size"]
    del document["config"]["data"]["fit"]
    path = run / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    path.write_bytes(safetensors.torch.save(tensors, metadata={"latens": json.dumps(document)}))
    (run / "config.json").write_text(json.dumps(document))
    assert checkpoint.load(run).record == record


def test_an_unknown_field_is_refused(run: Path) -> None:
    rewritten(run, colour="red")
    with pytest.raises(CheckpointError, match="colour"):
        checkpoint.load(run)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_model_file_is_refused(run: Path, share: float) -> None:
    path = run / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"model.safetensors"):
        checkpoint.load(run)


def test_a_pickle_is_never_read(run: Path, model: Autoencoder) -> None:
    torch.save(model.state_dict(), run / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        checkpoint.load(run)


def test_a_run_of_another_architecture_is_refused(run: Path) -> None:
    document = json.loads((run / "config.json").read_text())
    document["config"]["model"]["latent_size"] = 5
    (run / "config.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=r"latent size 5.*latent size 3"):
        checkpoint.load(run)


def test_weights_of_other_shapes_are_refused(run: Path, tmp_path: Path) -> None:
    path = run / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors["encoder.mean.weight"] = torch.zeros(3, 9)
    path.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    with pytest.raises(CheckpointError, match=r"encoder.mean.weight is \(3, 9\)"):
        checkpoint.load(run)


def test_weights_that_are_no_numbers_are_refused(run: Path) -> None:
    path = run / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors["decoder.logits.bias"][0] = torch.nan
    path.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    with pytest.raises(CheckpointError, match=r"decoder.logits.bias has values"):
        checkpoint.load(run)


def test_a_missing_config_is_named(run: Path) -> None:
    shutil.move(run / "config.json", run / "elsewhere")
    with pytest.raises(CheckpointError, match=r"config.json: No such file"):
        checkpoint.load(run)
