"""`make observe` shows a running server in Prometheus, with the shipped rules."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from server_process import Server

SCRIPT = Path(__file__).parents[2] / "scripts" / "observe.py"
PATIENCE_SECONDS = 60


def asked(address: str, path: str) -> Any:
    with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as response:
        return json.load(response)["data"]


def until(address: str, path: str, holds: Any) -> Any:
    """The answer of Prometheus, once it is there and the condition holds of it."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = asked(address, path)
        except (urllib.error.URLError, ConnectionError):
            answer = None
        if answer is not None and holds(answer):
            return answer
        assert time.monotonic() < ends, f"{path}: {answer}"
        time.sleep(0.1)


def test_prometheus_shows_the_server_and_knows_the_alerts(server: Server, tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: make observe is NOT proved here")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, str(SCRIPT), f"--server={server.http_address}"]
    observing = subprocess.Popen(
        [*command, f"--prometheus={address}", f"--folder={tmp_path}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        query = urllib.parse.urlencode({"query": 'latens_ready{namespace="local"}'})
        found = until(address, f"query?{query}", lambda data: data["result"])
        assert [sample["value"][1] for sample in found["result"]] == ["1"]
        rules = [
            rule["name"] for group in asked(address, "rules")["groups"] for rule in group["rules"]
        ]
        assert "LatensNotReady" in rules
    finally:
        observing.send_signal(signal.SIGINT)
        printed, _ = observing.communicate(timeout=PATIENCE_SECONDS)
    assert observing.returncode == 0
    assert f"http://{address}/alerts" in printed
