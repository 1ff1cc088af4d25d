"""A remote repository is copied, followed, and kept while the source is unreadable."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import grpc
import numpy as np
import pytest

from latens.tensors import to_message
from latens.v1 import latens_pb2 as pb
from latens.v1 import latens_pb2_grpc
from latens_serving.mirror import cli
from latens_serving.mirror.mirror import Mirror, MirrorError
from process_figures import wait_until
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


def add_version(store: Any, version: int) -> None:
    """A further version of `point` at the source."""
    folder = f"/bucket/models/point/{version}"
    store.copy("/bucket/models/point/1/", f"{folder}/", recursive=True)
    manifest = json.loads(store.cat(f"{folder}/bundle.json"))
    store.pipe(f"{folder}/bundle.json", json.dumps(manifest | {"version": version}).encode())


def noted_copies(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list of the files that are copied from now on."""
    copied: list[str] = []
    real = mirror._files.get_file

    def noted(source: str, to: str) -> None:
        copied.append(source)
        real(source, to)

    monkeypatch.setattr(mirror._files, "get_file", noted)
    return copied


def test_complete_versions_are_copied(remote: Any, local: Path, model_repository: Path) -> None:
    Mirror(URL, local).sync()
    for path in (model_repository / "point" / "1").iterdir():
        assert (local / "point" / "1" / path.name).read_bytes() == path.read_bytes()
    assert [path.name for path in local.iterdir()] == ["point"]


def test_changes_are_followed_and_nothing_is_copied_twice(
    remote: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    copied = noted_copies(mirror, monkeypatch)
    mirror.sync()
    assert copied == []
    add_version(remote, 2)
    mirror.sync()
    assert held(local) == {"point/1", "point/2"}
    assert {name.rsplit("/", 2)[1] for name in copied} == {"2"}


def test_a_version_is_removed_after_two_reads_without_it(remote: Any, local: Path) -> None:
    add_version(remote, 2)
    mirror = Mirror(URL, local)
    mirror.sync()
    files = {path: remote.cat(path) for path in remote.find("/bucket/models/point/1")}
    remote.rm("/bucket/models/point/1", recursive=True)
    mirror.sync()
    assert held(local) == {"point/1", "point/2"}
    remote.pipe(files)
    mirror.sync()
    remote.rm("/bucket/models/point/1", recursive=True)
    mirror.sync()
    assert held(local) == {"point/1", "point/2"}
    mirror.sync()
    assert held(local) == {"point/2"}


def test_a_version_stays_while_its_manifest_is_absent_at_the_source(
    remote: Any, local: Path
) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    remote.rm("/bucket/models/point/1/bundle.json")
    for _ in range(3):
        mirror.sync()
    assert held(local) == {"point/1"}


def test_no_more_than_the_newest_versions_are_copied(remote: Any, local: Path) -> None:
    for version in (2, 3, 10):
        add_version(remote, version)
    Mirror(URL, local, max_versions=2).sync()
    assert held(local) == {"point/3", "point/10"}


def test_an_incomplete_version_is_not_copied_until_it_changes(
    remote: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    whole = remote.cat("/bucket/models/point/1/decoder.onnx")
    add_version(remote, 2)
    for version in (1, 2):
        remote.pipe(f"/bucket/models/point/{version}/decoder.onnx", b"half")
    mirror.sync()
    assert held(local) == {"point/1"}
    assert (local / "point" / "1" / "decoder.onnx").read_bytes() == whole
    copied = noted_copies(mirror, monkeypatch)
    mirror.sync()
    assert copied == []
    remote.pipe("/bucket/models/point/2/decoder.onnx", whole)
    mirror.sync()
    assert held(local) == {"point/1", "point/2"}


def test_a_version_that_changes_in_place_is_replaced(remote: Any, local: Path) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    manifest = json.loads(remote.cat("/bucket/models/point/1/bundle.json"))
    changed = json.dumps(manifest | {"version": 1}, indent=7).encode()
    remote.pipe("/bucket/models/point/1/bundle.json", changed)
    mirror.sync()
    assert (local / "point" / "1" / "bundle.json").read_bytes() == changed


def test_versions_put_there_by_hand_stay(remote: Any, local: Path, model_repository: Path) -> None:
    shutil.copytree(model_repository / "mnist-2d", local / "mnist-2d")
    Mirror(URL, local).sync()
    assert held(local) == {"mnist-2d/1", "point/1"}


def test_incomplete_and_misnamed_versions_are_not_copied(remote: Any, local: Path) -> None:
    remote.pipe("/bucket/models/point/2/encoder.onnx", b"half")
    remote.pipe("/bucket/models/UPPER/1/bundle.json", b"{}")
    remote.pipe("/bucket/models/point/1/.hidden", b"x")
    Mirror(URL, local).sync()
    assert held(local) == {"point/1"}
    assert not (local / "point" / "1" / ".hidden").exists()


def test_a_failed_copy_leaves_nothing_incomplete(
    remote: Any, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Mirror(URL, local)
    mirror.sync()
    add_version(remote, 2)
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


def test_leftovers_of_a_killed_process_are_removed(remote: Any, local: Path) -> None:
    for name in (".incoming-0123", ".replaced-4567"):
        (local / name).mkdir(parents=True)
        (local / name / "encoder.onnx").write_bytes(b"half")
    Mirror(URL, local).sync()
    assert [path.name for path in local.iterdir()] == ["point"]
    assert held(local) == {"point/1"}


def test_mirrors_of_the_same_folder_copy_one_at_a_time(
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


def test_an_unknown_kind_of_url_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(MirrorError, match="nowhere"):
        Mirror("nowhere://x/y", tmp_path)
    assert cli.run(["--source=nowhere://x/y", f"--repository={tmp_path}"]) == 1
    assert capsys.readouterr().err.startswith("latens-mirror: nowhere://x/y: ")


def test_once_copies_and_ends_or_reports_an_error(
    model_repository: Path, local: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--repository={local}", "--once"]
    assert cli.run([f"--source=file://{model_repository}", *flags]) == 0
    assert held(local) == {"mnist-2d/1", "point/1"}
    assert cli.run([f"--source=file://{tmp_path}/nowhere", *flags]) == 1
    assert cli.run(flags) == 2
    assert "--source" in capsys.readouterr().err


@contextmanager
def running_mirror(source: Path, local: Path) -> Iterator[subprocess.Popen[bytes]]:
    flags = (f"--source=file://{source}", f"--repository={local}", "--watch-seconds=0.05")
    mirror = subprocess.Popen([sys.executable, "-m", "latens_serving.mirror", *flags])
    try:
        yield mirror
        mirror.send_signal(signal.SIGTERM)
        assert mirror.wait(30) == 0
    finally:
        mirror.kill()
        mirror.wait()


def test_a_server_follows_a_mirrored_folder_and_survives_the_loss_of_the_source(
    model_repository: Path, tmp_path: Path, local: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(model_repository / "point", source / "point")
    with running_mirror(source, local):
        wait_until(lambda: bool(held(local)))
        with (
            running_server(local, "--watch-seconds=0.05") as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub = latens_pb2_grpc.LatentServiceStub(channel)
            latents = to_message(np.zeros((1, 3), np.float32))
            request = pb.DecodeRequest(model="point", latents=latents)
            assert stub.Decode(request, timeout=20).version == "1"
            source.rename(tmp_path / "away")
            assert stub.Decode(request, timeout=20).version == "1"
            shutil.copytree(model_repository / "mnist-2d", tmp_path / "away" / "mnist-2d")
            (tmp_path / "away").rename(source)
            server.wait_for("model ready", model="mnist-2d")
            assert stub.Decode(request, timeout=20).version == "1"
