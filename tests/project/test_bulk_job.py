"""The Kubernetes Job that encodes a data set: valid, and in step with the command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from latens_bulk.errors import BAD_DATA, NOT_FOUND, USAGE
from latens_bulk.settings import ENV_PREFIX, EncodeSettings

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "deploy" / "overlays" / "bulk"
KUBERNETES = "1.34"


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load((OVERLAY / "job.yaml").read_text())


def test_the_manifests_are_valid_kubernetes() -> None:
    for name in ("job.yaml", "data-claim.yaml"):
        manifest = yaml.safe_load((OVERLAY / name).read_text())
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_overlay_renders() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed: the overlay is NOT rendered here")
    command = ["kubectl", "kustomize", str(OVERLAY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    manifests = [document for document in yaml.safe_load_all(done.stdout) if document]
    assert {manifest["kind"] for manifest in manifests} == {"Job", "PersistentVolumeClaim"}
    for manifest in manifests:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_the_shards_are_as_many_as_the_pods_and_the_arguments_are_settings(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert container["command"] == ["latens-bulk", "encode"]
    assert list(environment) == ["INDEX", f"{ENV_PREFIX}SHARD"]  # one may use those before it
    from pydantic_settings import CliApp

    for index in range(job["spec"]["completions"]):
        shard = environment[f"{ENV_PREFIX}SHARD"].replace("$(INDEX)", str(index))
        monkeypatch.setenv(f"{ENV_PREFIX}SHARD", shard)
        settings = CliApp.run(EncodeSettings, cli_args=container["args"])
        assert settings.shard_part == (index, job["spec"]["completions"])


def test_what_cannot_succeed_is_not_tried_again(job: dict[str, Any]) -> None:
    assert job["spec"]["completionMode"] == "Indexed"
    codes = job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"]
    assert codes == [USAGE, NOT_FOUND, BAD_DATA]


def test_the_image_carries_the_version_of_the_package() -> None:
    lines = (ROOT / "bulk" / "pyproject.toml").read_text().splitlines()
    version = next(line.split('"')[1] for line in lines if line.startswith("version = "))
    kustomization = yaml.safe_load((OVERLAY / "kustomization.yaml").read_text())
    assert kustomization["images"] == [{"name": "latens-bulk", "newTag": f"{version}-cpu"}]


def test_the_container_runs_without_root_and_with_a_read_only_root(job: dict[str, Any]) -> None:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
