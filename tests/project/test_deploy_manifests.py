"""The Kubernetes manifests: each overlay renders, is valid, and keeps what operators rely on."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic_settings import CliApp

from latens_serving.mirror import cli as mirror
from latens_serving.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OVERLAYS = ("gpu", "cpu", "keda", "kserve", "mirror")
KUBERNETES = "1.34"
# Kinds of operators, whose schemas are not Kubernetes' own.
FOREIGN = {"PodMonitor", "ScaledObject", "ServingRuntime", "InferenceService"}
Manifest = dict[str, Any]


def kustomize() -> list[str]:
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            return command
    pytest.skip("neither kubectl nor kustomize is installed: the overlays are NOT rendered here")


def rendered(folder: Path) -> list[Manifest]:
    done = subprocess.run(
        [*kustomize(), str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(DEPLOY / "overlays" / request.param)


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def containers(manifests: list[Manifest]) -> list[Manifest]:
    pods = [item["spec"]["template"]["spec"] for item in of_kind(manifests, "Deployment")]
    pods += [item["spec"] for item in of_kind(manifests, "ServingRuntime")]
    return [
        container
        for pod in pods
        for container in (*pod.get("initContainers", ()), *pod["containers"])
    ]


def test_every_manifest_of_an_overlay_is_valid_kubernetes(overlay: list[Manifest]) -> None:
    for manifest in overlay:
        if manifest["kind"] not in FOREIGN:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "path", sorted((DEPLOY / "base").glob("*.yaml")), ids=lambda path: str(path.name)
)
def test_every_manifest_of_the_base_is_valid_by_itself(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["kind"] != "Kustomization":
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_containers_run_without_root_and_with_a_read_only_root(overlay: list[Manifest]) -> None:
    assert containers(overlay)
    for container in containers(overlay):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_no_service_variables_reach_the_servers_environment(overlay: list[Manifest]) -> None:
    for deployment in of_kind(overlay, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False


def test_every_variable_of_the_server_is_one_of_its_settings(overlay: list[Manifest]) -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    named = {
        entry["name"] for container in containers(overlay) for entry in container.get("env", ())
    }
    assert named
    assert named <= known


def test_every_image_carries_the_version_of_the_package(overlay: list[Manifest]) -> None:
    lines = (ROOT / "serving" / "pyproject.toml").read_text().splitlines()
    version = next(line.split('"')[1] for line in lines if line.startswith("version = "))
    for container in containers(overlay):
        name, _, tag = container["image"].partition(":")
        assert name == "latens-server"
        assert tag in {version, f"{version}-cpu"}


def test_named_ports_exist_and_selectors_meet_the_pods(overlay: list[Manifest]) -> None:
    deployments = of_kind(overlay, "Deployment")
    if not deployments:
        return  # KServe makes its own services
    template = deployments[0]["spec"]["template"]
    ports = {port["name"] for port in template["spec"]["containers"][0]["ports"]}
    for service in of_kind(overlay, "Service"):
        labels = template["metadata"]["labels"].items()
        assert service["spec"]["selector"].items() <= labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for monitor in of_kind(overlay, "PodMonitor"):
        assert {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]} <= ports


def test_every_overlay_applies_to_a_cluster_without_operators_unless_it_is_for_one(
    overlay: list[Manifest], request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["overlay"]
    operators = {"keda": {"ScaledObject"}, "kserve": {"ServingRuntime", "InferenceService"}}
    assert {manifest["kind"] for manifest in overlay} & FOREIGN == operators.get(name, set())


def test_monitoring_can_be_added_to_an_overlay(tmp_path: Path) -> None:
    resources = os.path.relpath(DEPLOY / "overlays" / "cpu", tmp_path)
    components = os.path.relpath(DEPLOY / "components" / "monitoring", tmp_path)
    own = {"resources": [resources], "components": [components]}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(own))
    manifests = rendered(tmp_path)
    (monitor,) = of_kind(manifests, "PodMonitor")
    (deployment,) = of_kind(manifests, "Deployment")
    pod = deployment["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert {end["port"] for end in monitor["spec"]["podMetricsEndpoints"]} <= ports
    assert [item["metadata"]["name"] for item in of_kind(manifests, "ConfigMap")]


def test_the_claim_is_filled_by_a_job_that_the_command_understands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (job,) = rendered(DEPLOY / "overlays" / "fill-models")
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for entry in container["env"]:
        monkeypatch.setenv(entry["name"], entry["value"])
    command, *arguments = container["command"]
    settings = CliApp.run(mirror.MirrorSettings, cli_args=arguments)
    assert (command, settings.once) == ("latens-mirror", True)
    claims = {volume["name"]: volume.get("persistentVolumeClaim") for volume in pod["volumes"]}
    paths = {mount["mountPath"]: claims[mount["name"]] for mount in container["volumeMounts"]}
    assert paths[str(settings.repository)] == {"claimName": "latens-models"}


def test_a_mirrored_repository_is_copied_before_the_server_starts_and_followed_beside_it() -> None:
    manifests = rendered(DEPLOY / "overlays" / "mirror")
    (deployment,) = of_kind(manifests, "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    first, sidecar = pod["initContainers"]
    assert first["command"] == ["latens-mirror", "--once"]
    assert sidecar["command"] == ["latens-mirror"]
    assert (first.get("restartPolicy"), sidecar["restartPolicy"]) == (None, "Always")
    (server,) = pod["containers"]
    assert {mount["name"]: mount.get("readOnly") for mount in server["volumeMounts"]}["models"]
    (models,) = [volume for volume in pod["volumes"] if volume["name"] == "models"]
    assert set(models) == {"name", "emptyDir"}
    assert of_kind(manifests, "PersistentVolumeClaim") == []
    source = sidecar["envFrom"][0]["configMapRef"]["name"]
    (settings,) = [
        item["data"]
        for item in of_kind(manifests, "ConfigMap")
        if item["metadata"]["name"] == source
    ]
    known = {f"{mirror.ENV_PREFIX}{name}".upper() for name in mirror.MirrorSettings.model_fields}
    assert (
        {f"{mirror.ENV_PREFIX}SOURCE", f"{mirror.ENV_PREFIX}REPOSITORY"} <= set(settings) <= known
    )


def test_a_gpu_overlay_asks_for_a_gpu_and_never_falls_back() -> None:
    for name in ("gpu", "keda", "kserve"):
        (container,) = containers(rendered(DEPLOY / "overlays" / name))
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment["LATENS_SERVE_DEVICE"] == "cuda"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 1


def test_the_termination_grace_period_exceeds_the_servers_shutdown() -> None:
    (deployment,) = of_kind(rendered(DEPLOY / "base"), "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    hook = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    defaults = Settings.model_fields
    server = defaults["drain_delay"].default + defaults["grace"].default
    assert pod["terminationGracePeriodSeconds"] > hook + server
