"""NVIDIA's client works unchanged with the Open Inference Protocol's service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from environments import environment
from server_process import Server, running_server

CALLS = Path(__file__).parent / "interop" / "triton_calls.py"


@pytest.fixture(scope="module", params=["grpcio", "http2"])
def either(request: pytest.FixtureRequest, model_repository: Path) -> Iterator[Server]:
    with running_server(model_repository, f"--frontend={request.param}") as server:
        yield server


@pytest.fixture(scope="module")
def seen(either: Server) -> Any:
    """What the client saw of a server; it runs in an environment and a process of its own."""
    python = environment("tritonclient", ["tritonclient[grpc]==2.73.0", "numpy==2.4.6"])
    done = subprocess.run(
        [python, CALLS, either.address, "mnist-2d"],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_client_finds_the_server_and_its_models(seen: Any) -> None:
    assert seen["live"]
    assert seen["ready"]
    assert seen["model_ready"]
    assert not seen["stranger_ready"]
    assert seen["server"]["name"] == "latens"
    indexed = {(model["name"], model["state"]) for model in seen["index"]["models"]}
    assert ("mnist-2d-encoder", "READY") in indexed
    assert ("point-decoder", "READY") in indexed


def test_metadata_and_configuration_describe_the_graphs(seen: Any) -> None:
    assert seen["metadata"]["inputs"] == [
        {"name": "images", "datatype": "FP32", "shape": ["-1", "1", "28", "28"]}
    ]
    assert [output["name"] for output in seen["metadata"]["outputs"]] == ["mean", "log_var"]
    assert seen["config"]["input"][0]["dims"] == ["2"]
    assert seen["config"]["max_batch_size"] > 0


def test_infer_gives_the_posterior_and_images(seen: Any) -> None:
    assert seen["id"] == "first"
    assert seen["log_var_shape"] == [3, 2]
    assert seen["images_shape"] == [3, 1, 28, 28]
    low, high = seen["images_range"]
    assert 0 <= low < high <= 1


def test_uint8_images_and_concurrent_calls_give_the_same_means(seen: Any) -> None:
    assert np.allclose(seen["mean"], seen["mean_of_uint8"], atol=0.02)
    assert len(seen["async_means"]) == 8
    for means in seen["async_means"]:
        assert np.allclose(means, seen["mean"], atol=1e-5)


def test_a_stream_answers_in_order_and_outlives_a_bad_request(seen: Any) -> None:
    expected = [str(number) for number in range(20)]
    bad = seen["stream"][7]
    assert bad.startswith("error: INVALID_ARGUMENT: inputs[0].name")
    assert [*seen["stream"][:7], "7", *seen["stream"][8:]] == expected


@pytest.mark.parametrize(
    ("call", "status"),
    [
        ("unknown model", "NOT_FOUND"),
        ("unknown version", "NOT_FOUND"),
        ("wrong shape", "INVALID_ARGUMENT"),
        ("wrong type", "INVALID_ARGUMENT"),
        ("load", "UNIMPLEMENTED"),
        ("shared memory", "UNIMPLEMENTED"),
    ],
)
def test_refusals_reach_the_client_with_their_status(seen: Any, call: str, status: str) -> None:
    assert seen["errors"][call].startswith(f"StatusCode.{status} ")
