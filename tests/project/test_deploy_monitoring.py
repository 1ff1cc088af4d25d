"""Dashboard and alerts read metrics that the server has, and the alerts fire when they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import latens
from server_process import Server

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = ROOT / "deploy" / "components" / "monitoring" / "dashboard.json"
SCALER = ROOT / "deploy" / "overlays" / "keda" / "scaledobject.yaml"
OURS = re.compile(r"\b(?:latens|grpc_server|process|python)_[a-z0-9_]+")
SELECTED = re.compile(r"\b((?:latens|grpc_server)_[a-z0-9_]+)(?:\{([^}]*)\})?")


def promtool(*arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed: the alerts are NOT proved here")
    return subprocess.run(
        ["promtool", *arguments],
        cwd=MONITORING,
        input=stdin,
        capture_output=True,
        check=False,
        timeout=120,
    )


def dashboard_queries() -> dict[str, str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels
        for target in panel.get("targets", [])
    }


def alert_rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> dict[str, str]:
    rules = {rule.get("alert") or rule["record"]: rule["expr"] for rule in alert_rules()}
    triggers = yaml.safe_load(SCALER.read_text())["spec"]["triggers"]
    scaling = {"KEDA": triggers[0]["metadata"]["query"]}
    return {**dashboard_queries(), **rules, **scaling}


@pytest.fixture(scope="module")
def exposition(server: Server) -> str:
    """What the server's /metrics says once it has answered calls, and refused one."""
    with latens.Client(server.address) as client:
        client.sample(2, model="mnist-2d", seed=1)
        client.encode(np.zeros((2, 1, 28, 28), np.float32), model="mnist-2d")
        with pytest.raises(latens.LatensError):
            client.model("no-such-model")
    with urllib.request.urlopen(f"http://{server.http_address}/metrics") as response:
        return str(response.read().decode())


@pytest.fixture(scope="module")
def served(exposition: str) -> dict[str, set[str]]:
    """The names of the samples that may be scraped, each with the labels seen on it."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(exposition):
        for suffix in suffixes.get(family.type, ("",)):
            labels[family.name + suffix] = set()
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.mark.parametrize(("name", "query"), queries().items(), ids=queries())
def test_every_queried_metric_exists(name: str, query: str, served: dict[str, set[str]]) -> None:
    wanted = set(OURS.findall(query.replace("latens:failed", "")))
    assert wanted - set(served) == set(), name
    for metric, selector in SELECTED.findall(query):
        chosen = set(re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", selector))
        if served[metric]:
            assert chosen <= served[metric] | {"namespace", "instance"}, f"{name}: {metric}"


def test_every_recording_that_an_alert_reads_is_made() -> None:
    made = {rule["record"] for rule in alert_rules() if "record" in rule}
    read = {name for rule in alert_rules() for name in re.findall(r"latens:\w+:\w+", rule["expr"])}
    assert read == made


def test_every_alert_says_what_to_do_and_has_a_test() -> None:
    cases = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    fired = {
        re.sub(r'.*alertname="(\w+)".*', r"\1", sample["labels"])
        for case in cases
        for check in case["promql_expr_test"]
        for sample in check["exp_samples"]
    }
    alerts = [rule for rule in alert_rules() if "alert" in rule]
    assert {rule["alert"] for rule in alerts} == fired
    for rule in alerts:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_the_rules_are_sound() -> None:
    done = promtool("check", "rules", "alerts.yaml")
    assert done.returncode == 0, done.stderr


def test_the_alerts_fire_when_they_should_and_not_before() -> None:
    done = promtool("test", "rules", "alerts.test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_metrics_follow_the_conventions(exposition: str) -> None:
    done = promtool("check", "metrics", stdin=exposition.encode())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr == b""


def test_the_dashboard_stands_on_the_grid_and_reads_the_chosen_data_source() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    identities = [panel["id"] for panel in panels]
    assert len(set(identities)) == len(identities)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == "${datasource}"
