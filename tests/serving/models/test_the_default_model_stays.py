"""Requests without a model name have the same model while the repository contains it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from latens_serving.models.repository import Repository
from model_folders import load_bundle
from server_process import Server


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(model_repository, tmp_path / "models"))


def export_as(repository: Path, name: str) -> None:
    """A copy of `point` under another name."""
    directory = Path(shutil.copytree(repository / "point" / "1", repository / name / "1"))
    manifest = json.loads((directory / "bundle.json").read_text())
    (directory / "bundle.json").write_text(json.dumps(manifest | {"name": name}))


async def test_another_model_that_comes_later_does_not_become_the_default(
    repository: Path,
) -> None:
    models = Repository(repository, load_bundle)
    await models.refresh()
    assert models.pick("", "").name == "mnist-2d"
    export_as(repository, "a-first-by-name")
    await models.refresh()
    assert models.default_name == "mnist-2d"
    assert models.pick("", "").name == "mnist-2d"
    models.close()


async def test_the_default_changes_when_its_model_is_removed_and_it_is_logged(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models = Repository(repository, load_bundle)
    with caplog.at_level(logging.INFO, "latens_serving"):
        await models.refresh()
        shutil.rmtree(repository / "mnist-2d")
        await models.refresh()
    assert models.pick("", "").name == "point"
    told = [
        record.__dict__["facts"] for record in caplog.records if "default model" in record.message
    ]
    assert told == [{"model": "mnist-2d"}, {"model": "point", "before": "mnist-2d"}]
    models.close()


async def test_a_configured_default_is_never_replaced(repository: Path) -> None:
    models = Repository(repository, load_bundle, default_model="point")
    await models.refresh()
    shutil.rmtree(repository / "point")
    await models.refresh()
    assert models.default_name == "point"
    models.close()


async def test_a_restarted_worker_has_the_same_default(repository: Path, tmp_path: Path) -> None:
    shared = tmp_path / "default-model"
    first = Repository(repository, load_bundle, shared_default=shared)
    await first.refresh()
    export_as(repository, "a-first-by-name")
    later = Repository(repository, load_bundle, shared_default=shared)
    await later.refresh()
    assert (first.default_name, later.default_name) == ("mnist-2d", "mnist-2d")
    shutil.rmtree(repository / "mnist-2d")
    for models in (later, first):
        await models.refresh()
    assert (first.default_name, later.default_name) == ("a-first-by-name", "a-first-by-name")
    assert [path.name for path in tmp_path.glob("default-model*")] == ["default-model"]
    for models in (first, later):
        models.close()


def test_an_unknown_default_model_is_refused_at_the_start(model_repository: Path) -> None:
    server = Server(model_repository, "--default-model=mnist")
    assert server.wait() == 3
    assert "".join(server.noise) == (
        f"latens-serve: --default-model: no model 'mnist' in {model_repository}; "
        "there is mnist-2d, point\n"
    )
