"""Runs Prometheus, and Grafana where it is installed, against a running server: `make observe`.

Prometheus gets the shipped rules, Grafana the shipped dashboard. Both keep their files in one
folder and end with Ctrl-C. The standard library is enough.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "deploy" / "monitoring" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "components" / "monitoring" / "dashboard.json"
GRAFANA_HOME = "/usr/share/grafana"


def prometheus_config(server: str) -> dict[str, object]:
    """What to scrape, and the rules. JSON is YAML."""
    target = {"targets": [server], "labels": {"namespace": "local"}}
    return {
        "global": {"scrape_interval": "2s", "evaluation_interval": "5s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "latens", "static_configs": [target]}],
    }


def start_prometheus(folder: Path, server: str, address: str) -> subprocess.Popen[bytes]:
    config = folder / "prometheus.yml"
    config.write_text(json.dumps(prometheus_config(server), indent=2))
    log = (folder / "prometheus.log").open("wb")
    return subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address={address}",
        ],
        stdout=log,
        stderr=log,
    )


def provision_grafana(folder: Path, prometheus: str) -> Path:
    """Writes the data source and the dashboard; returns the folder of Grafana's provisioning."""
    provisioning, dashboards = folder / "provisioning", folder / "dashboards"
    source = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "isDefault": True}
    source["url"] = f"http://{prometheus}"
    provider = {"name": "latens", "type": "file", "options": {"path": str(dashboards)}}
    for kind, content in (
        ("datasources", {"apiVersion": 1, "datasources": [source]}),
        ("dashboards", {"apiVersion": 1, "providers": [provider]}),
    ):
        (provisioning / kind).mkdir(parents=True, exist_ok=True)
        (provisioning / kind / "latens.yaml").write_text(json.dumps(content))
    dashboards.mkdir(exist_ok=True)
    shutil.copy(DASHBOARD, dashboards / "latens.json")
    return provisioning


def start_grafana(folder: Path, prometheus: str, port: int) -> subprocess.Popen[bytes] | None:
    """Grafana for visitors without a password, on the loopback address; None if not installed."""
    program = shutil.which("grafana-server")
    if program is None:
        return None
    log = (folder / "grafana.log").open("wb")
    settings = {
        "GF_PATHS_DATA": str(folder / "grafana"),
        "GF_PATHS_LOGS": str(folder / "grafana"),
        "GF_PATHS_PROVISIONING": str(provision_grafana(folder, prometheus)),
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_AUTH_ANONYMOUS_ENABLED": "true",
        "GF_AUTH_ANONYMOUS_ORG_ROLE": "Admin",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
    }
    home = os.environ.get("GF_PATHS_HOME", GRAFANA_HOME)
    return subprocess.Popen(
        [program, f"-homepath={home}"], env=os.environ | settings, stdout=log, stderr=log
    )


def main() -> int:
    """Runs both until Ctrl-C, or until one of them ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--server", default="127.0.0.1:8080", help="the server's HTTP address")
    parser.add_argument("--prometheus", default="127.0.0.1:9090", help="Prometheus's address")
    parser.add_argument("--grafana-port", type=int, default=3000)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "observe")
    chosen = parser.parse_args()
    if shutil.which("prometheus") is None:
        print("make observe: prometheus is not installed (Debian: prometheus)", file=sys.stderr)
        return 1
    folder = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    running = [start_prometheus(folder, chosen.server, chosen.prometheus)]
    print(f"Prometheus scrapes http://{chosen.server}/metrics; its alerts: ", end="")
    print(f"http://{chosen.prometheus}/alerts")
    grafana = start_grafana(folder, chosen.prometheus, chosen.grafana_port)
    if grafana is None:
        print(f"Grafana is not installed; import {DASHBOARD.relative_to(ROOT)} into one that is")
    else:
        running.append(grafana)
        print(f"Dashboard: http://127.0.0.1:{chosen.grafana_port}/d/latens-overview")
    print(f"Logs are in {folder}. Ctrl-C ends it.", flush=True)
    return wait_for(running, folder)


def wait_for(running: list[subprocess.Popen[bytes]], folder: Path) -> int:
    """Waits for a signal or for the first process that ends, then ends the others."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        os.wait()
    except KeyboardInterrupt:
        return 0
    else:
        print(f"make observe: a program ended by itself; see {folder}", file=sys.stderr)
        return 1
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
