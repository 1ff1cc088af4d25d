"""A repository that lies elsewhere is copied, followed, and done without while it is away."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import grpc
import pytest

from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.mirror import Mirror, MirrorError
from server_process import running_server

URL = "memory://bucket/models"


@pytest.fixture
def remote(model_repository: Path) -> Iterator[Any]:
    """A store in memory, with `point` version 1 in it."""
    store = fsspec.filesystem("memory")
    store.put(
        str(model_repository / "point" / "1") + "/", "/bucket/models/point/1/", recursive=True
    )
    yield store
    store.rm("/bucket", recursive=True)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def held(local: Path) -> set[str]:
    return {str(path.relative_to(local).parent) for path in local.glob("*/*/bundle.json")}


def test_what_is_there_is_copied_whole(remote: Any, local: Path, model_repository: Path) -> None:
    Mirror(URL, local).sync()
    for path in (model_repository / "point" / "1").iterdir():
        assert (local / "point" / "1" / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in local.iterdir()] == ["point"]


def test_it_is_followed_and_nothing_is_copied_twice(
    remote: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    copied: list[str] = []
    real = mirror._files.get_file

    def noted(source: str, to: str) -> None:
        copied.append(source)
        real(source, to)

    monkeypatch.setattr(mirror._files, "get_file", noted)
    mirror.sync()
    assert copied == []
    remote.copy("/bucket/models/point/1/", "/bucket/models/point/2/", recursive=True)
    mirror.sync()
    assert held(local) == {"point/1", "point/2"}
    assert {name.rsplit("/", 2)[1] for name in copied} == {"2"}
    remote.rm("/bucket/models/point/1", recursive=True)
    mirror.sync()
    assert held(local) == {"point/2"}


def test_a_version_that_changes_in_place_is_replaced(remote: Any, local: Path) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    manifest = json.loads(remote.cat("/bucket/models/point/1/bundle.json"))
    changed = json.dumps(manifest | {"version": 1}, indent=7).encode()
    remote.pipe("/bucket/models/point/1/bundle.json", changed)
    mirror.sync()
    assert (local / "point" / "1" / "bundle.json").read_bytes() == changed


def test_what_was_put_here_by_hand_stays(remote: Any, local: Path, model_repository: Path) -> None:
    shutil.copytree(model_repository / "mnist-2d", local / "mnist-2d")
    Mirror(URL, local).sync()
    assert held(local) == {"mnist-2d/1", "point/1"}


def test_what_is_half_written_or_misnamed_there_is_left_there(remote: Any, local: Path) -> None:
    remote.pipe("/bucket/models/point/2/encoder.onnx", b"half")
    remote.pipe("/bucket/models/UPPER/1/bundle.json", b"{}")
    remote.pipe("/bucket/models/point/1/.hidden", b"x")
    Mirror(URL, local).sync()
    assert held(local) == {"point/1"}
    assert not (local / "point" / "1" / ".hidden").exists()


def test_a_copy_that_fails_leaves_nothing_half(
    remote: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    remote.copy("/bucket/models/point/1/", "/bucket/models/point/2/", recursive=True)
    real = mirror._files.get_file

    def full(source: str, to: str) -> None:
        if source.endswith("decoder.onnx"):
            raise OSError(28, "No space left on device")
        real(source, to)

    monkeypatch.setattr(mirror._files, "get_file", full)
    mirror.sync()
    assert held(local) == {"point/1"}
    assert [path.name for path in local.iterdir()] == ["point"]
    monkeypatch.undo()
    mirror.sync()
    assert held(local) == {"point/1", "point/2"}


def test_what_a_killed_process_left_is_removed(remote: Any, local: Path) -> None:
    for name in (".incoming-0123", ".replaced-4567"):
        (local / name).mkdir(parents=True)
        (local / name / "encoder.onnx").write_bytes(b"half")
    Mirror(URL, local).sync()
    assert [path.name for path in local.iterdir()] == ["point"]
    assert held(local) == {"point/1"}


def test_of_several_that_mirror_into_one_folder_each_waits_and_one_copies(
    remote: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrors = [Mirror(URL, local) for _ in range(4)]
    copied: list[str] = []
    inside = threading.Semaphore()
    real = mirrors[0]._files.get_file  # of the one store that they all read

    def counted(source: str, to: str) -> None:
        assert inside.acquire(blocking=False), "two copy at a time"
        copied.append(source)
        real(source, to)
        inside.release()

    monkeypatch.setattr(mirrors[0]._files, "get_file", counted)
    with ThreadPoolExecutor(len(mirrors)) as pool:
        for done in [pool.submit(mirror.sync) for mirror in mirrors]:
            done.result(60)
    assert held(local) == {"point/1"}
    assert len(copied) == len(set(copied))


def test_workers_serve_one_source(model_repository: Path, tmp_path: Path, local: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(model_repository / "point", source / "point")
    with running_server(local, f"--source=file://{source}", "--workers=2") as server:
        server.wait_for("copied", model="point", version="1")
        assert len([line for line in server.lines if line["message"] == "copied"]) == 1
        assert len([line for line in server.lines if line["message"] == "model ready"]) == 2


def test_an_unknown_kind_of_url_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match="nowhere"):
        Mirror("nowhere://x/y", tmp_path)


def test_a_server_serves_a_source_and_goes_on_without_it(
    model_repository: Path, tmp_path: Path, local: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(model_repository / "point", source / "point")
    flags = (f"--source=file://{source}", "--watch-seconds=0.05")
    with running_server(local, *flags) as server, grpc.insecure_channel(server.address) as channel:
        stub = latens_pb2_grpc.LatentServiceStub(channel)
        request = pb.SampleRequest(model="point", count=1, seed=1)
        assert stub.Sample(request, timeout=20).version == "1"
        source.rename(tmp_path / "away")
        server.wait_for("source not read")
        assert stub.Sample(request, timeout=20).version == "1"
        shutil.copytree(model_repository / "mnist-2d", tmp_path / "away" / "mnist-2d")
        (tmp_path / "away").rename(source)
        server.wait_for("model ready", model="mnist-2d")
