"""An export adds one complete version to a repository, or changes nothing and says why."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from latens_export.cli import main
from latens_export.publish import publish, staging
from latens_serving.bundle.files import manifest_json, read_manifest, verified_bytes
from latens_serving.bundle.schema import BundleManifest

FILES = {"encoder.onnx": b"encoder", "decoder.onnx": b"decoder", "probe.npz": b"probe"}


@pytest.fixture(scope="module")
def manifest(model_repository: Path) -> BundleManifest:
    return read_manifest(model_repository / "point" / "1")


def entries(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def publish_one(repository: Path, name: str, manifest: BundleManifest) -> Path:
    with staging(repository) as staged:
        return publish(
            staged, name, FILES, lambda version: manifest.model_copy(update={"version": version})
        )


def test_an_export_writes_the_whole_bundle_under_the_next_number(
    model_repository: Path, point_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "models"
    shutil.copytree(model_repository, repository)
    (repository / "point" / "7").mkdir()
    assert main([str(point_run), "--repository", str(repository), "--name", "point", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bundle"] == str(repository / "point" / "8")
    assert (result["model"], result["version"]) == ("point", 8)
    assert result["parity"]["batch_sizes"] == [1, 2, 3, 1000]
    written = read_manifest(repository / "point" / "8")
    assert written.test_embeddings is not None
    for record in (*written.graphs.values(), written.probe, written.test_embeddings):
        assert len(verified_bytes(repository / "point" / "8", record)) == record.size
    assert entries(repository / "point" / "8") == [
        "atlas.npz", "bundle.json", "decoder-uint8.onnx", "decoder.onnx",
        "encoder-uint8.onnx", "encoder.onnx", "prior.npz", "probe.npz",
    ]  # fmt: skip
    assert sorted(path.name for path in repository.iterdir()) == ["mnist-2d", "point"]


def test_a_bundle_can_be_read_by_another_user(model_repository: Path) -> None:
    mask = os.umask(0)
    os.umask(mask)
    for path in (model_repository / "point" / "1", *(model_repository / "point" / "1").iterdir()):
        wanted = 0o555 if path.is_dir() else 0o444
        assert path.stat().st_mode & wanted == wanted & ~mask


def test_concurrent_exporters_get_different_numbers(
    tmp_path: Path, manifest: BundleManifest
) -> None:
    exporters = 8
    ready = threading.Barrier(exporters)

    def export(_: int) -> Path:
        with staging(tmp_path / "models") as staged:
            ready.wait()
            return publish(
                staged,
                "point",
                FILES,
                lambda number: manifest.model_copy(update={"version": number}),
            )

    with ThreadPoolExecutor(exporters) as pool:
        bundles = list(pool.map(export, range(exporters)))
    assert sorted(int(bundle.name) for bundle in bundles) == list(range(1, exporters + 1))
    for bundle in bundles:
        assert read_manifest(bundle).version == int(bundle.name)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["point"]


@pytest.mark.parametrize("calls_before", range(6))
def test_a_disk_that_fills_up_leaves_nothing_behind(
    tmp_path: Path, manifest: BundleManifest, monkeypatch: pytest.MonkeyPatch, calls_before: int
) -> None:
    calls = 0

    def fsync(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls > calls_before:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    repository = tmp_path / "deep" / "models"
    with pytest.raises(Exception, match="cannot be written: No space left on device"):
        publish_one(repository, "point", manifest)
    whole = entries(tmp_path)
    if calls_before < 5:  # before the rename, which makes the bundle
        assert whole == []
    else:
        assert "deep/models/point/1/bundle.json" in whole


def test_a_failed_export_leaves_an_earlier_version_alone(
    model_repository: Path, point_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "models"
    shutil.copytree(model_repository, repository)
    before = entries(repository)
    arguments = [str(point_run), "--repository", str(repository), "--name", "point"]
    assert main([*arguments, "--tolerance", "1e-12"]) == 5
    assert "more than the tolerance 1e-12" in capsys.readouterr().err
    assert entries(repository) == before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminate"]
)
def test_a_signal_during_an_export_leaves_nothing_behind(
    point_run: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "latens_export", str(point_run), "--repository", "models"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "writing the encoder" in line:
                assert list((tmp_path / "models").glob(".partial-*"))
                process.send_signal(number)
                break
        process.stderr.read()
        assert process.wait() == code
    assert entries(tmp_path) == []


def environment() -> dict[str, str]:
    return dict(os.environ)


def write_damaged(run: Path, point_run: Path) -> None:
    shutil.copytree(point_run, run)
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 3, "nowhere: no run here"),
        (["damaged"], 5, "not a whole safetensors file"),
        (["sound", "--repository", "a-file/models"], 1, "cannot be written: Not a directory"),
        (["sound", "--name", "Not A Name"], 2, "not a model's name"),
        (["sound", "--tolerance", "-1"], 2, "tolerance: Input should be greater than 0"),
        (["sound", "--tolerance", "0.02"], 2, "tolerance: expected at most 0.01 for float32"),
        (["sound", "--tollerance", "1"], 2, "--tollerance"),
        ([], 2, "required: RUN"),
    ],
)
def test_each_failure_is_one_line_with_its_exit_code(
    point_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    shutil.copytree(point_run, tmp_path / "sound")
    write_damaged(tmp_path / "damaged", point_run)
    (tmp_path / "a-file").touch()
    monkeypatch.chdir(tmp_path)
    before = entries(tmp_path)
    assert main(arguments) == code
    output = capsys.readouterr()
    last = output.err.splitlines()[-1]
    assert last.startswith("latens-export: ")
    assert said in last
    assert output.out == ""
    assert entries(tmp_path) == before


def test_an_unknown_setting_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENS_EXPORT_REPOSITROY", "models")
    assert main(["run"]) == 2
    assert "LATENS_EXPORT_REPOSITROY" in capsys.readouterr().err


def test_each_setting_is_a_flag_and_a_variable_and_can_be_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LATENS_EXPORT_REPOSITORY", "elsewhere")
    monkeypatch.setenv("LATENS_EXPORT_JSON", "1")
    assert main(["runs/mnist-2d", "--name", "two", "--print-config"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["repository"] == "elsewhere"
    assert printed["json"] is True
    assert printed["name"] == "two"


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for flag in ("RUN", "--repository", "--name", "--tolerance", "--data-dir", "--json"):
        assert flag in text


def test_the_manifest_is_readable_json(manifest: BundleManifest) -> None:
    assert BundleManifest.model_validate_json(manifest_json(manifest)) == manifest
