"""Killed at any moment, started again, or run several at a time: each row once, and the same."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from bulk_cases import array_of, digits, rows_of, run, write_folder, write_npz
from command_line import ok
from latens_serving import Encoder

ROWS = 160
IMAGES = digits(ROWS)
KILLED_RUNS = Path(__file__).parent / "killed_runs.py"


@pytest.fixture(scope="module")
def bundle(model_repository: Path) -> Path:
    return model_repository / "mnist-2d"


def killed_run(kill_at: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(KILLED_RUNS), str(kill_at), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def check_whole(output: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = rows_of(output)
    assert table.num_rows == len(set(table.column("key").to_pylist())) == ROWS
    direct = Encoder(bundle, device="cpu")(IMAGES)
    np.testing.assert_array_equal(array_of(table, "mean"), direct["mean"])
    np.testing.assert_array_equal(array_of(table, "log_var"), direct["log_var"])
    ok(run(capsys, "verify", output))
    assert list((output / "unfinished").iterdir()) == []
    assert list((output / "claims").iterdir()) == []


def test_killed_at_any_moment_and_started_again(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)

    def arguments(output: Path) -> list[object]:
        return ["encode", source, output, "--bundle", bundle, "--shard-rows", 64, "--threads", 1]

    whole = killed_run(0, *arguments(tmp_path / "whole"))
    moments = int(whole.stdout.split()[-1])
    assert moments > 30
    check_whole(tmp_path / "whole", bundle, capsys)
    for kill_at in np.linspace(1, moments, 9, dtype=int):
        output = tmp_path / f"killed-{kill_at}"
        killed = killed_run(int(kill_at), *arguments(output))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        finished = list(output.glob("part-*")) if output.exists() else []
        before = {path.name: path.stat().st_mtime_ns for path in finished}
        again = ok(run(capsys, *arguments(output), "--json"))
        kept = sum(64 if "-0-64" in name or "-64-128" in name else 32 for name in before)
        assert json.loads(again.out)["encoded"] == ROWS - kept, kill_at
        assert all((output / name).stat().st_mtime_ns == time for name, time in before.items())
        check_whole(output, bundle, capsys)


def test_a_second_run_encodes_nothing(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)
    arguments = ["encode", source, tmp_path / "out", "--bundle", bundle, "--json"]
    first, second = (json.loads(ok(run(capsys, *arguments)).out) for _ in range(2))
    assert (first["encoded"], second["encoded"]) == (ROWS, 0)
    assert first["rows"] == second["rows"] == ROWS


def test_processes_that_decode_pictures_end_with_a_killed_run(bundle: Path, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", IMAGES)
    output = tmp_path / "out"
    options = ["--bundle", bundle, "--shard-rows", 64, "--decoders", 2]
    whole = killed_run(0, "encode", source, tmp_path / "whole", *options)
    moments = int(whole.stdout.split()[-1])
    killed = killed_run(moments - 10, "encode", source, output, *options)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    children = json.loads(killed.stdout.splitlines()[-1])
    assert children
    alive = [psutil.Process(pid) for pid in children if psutil.pid_exists(pid)]
    assert psutil.wait_procs(alive, timeout=30)[1] == []


def test_two_processes_share_the_work(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)
    options = ["--bundle", str(bundle), "--shard-rows", "16", "--json"]
    command = [sys.executable, "-m", "latens_bulk", "encode", str(source), str(tmp_path / "out")]
    runs = [
        subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    facts = [json.loads(process.communicate(timeout=120)[0]) for process in runs]
    assert sum(fact["encoded"] for fact in facts) >= ROWS
    assert [fact["rows"] for fact in facts] == [ROWS, ROWS]
    check_whole(tmp_path / "out", bundle, capsys)


def test_parts_given_to_several_machines_make_one_whole(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)
    arguments = ["encode", source, tmp_path / "out", "--bundle", bundle, "--shard-rows", 64]
    first = ok(run(capsys, *arguments, "--shard", "0/2", "--json"))
    assert json.loads(first.out)["encoded"] == 64 + 32
    assert json.loads(first.out)["complete"] is False
    incomplete = run(capsys, "verify", tmp_path / "out")
    assert incomplete.code == 5
    assert "1 of 3 shards are missing" in incomplete.err
    second = ok(run(capsys, *arguments, "--shard", "1/2", "--json"))
    assert json.loads(second.out)["complete"] is True
    check_whole(tmp_path / "out", bundle, capsys)


def test_what_differs_is_refused_and_never_mixed(
    model_repository: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)
    output = tmp_path / "out"
    arguments = ["encode", source, output, "--shard-rows", 64]
    ok(run(capsys, *arguments, "--bundle", bundle))
    copied = tmp_path / "models" / "mnist-2d"
    shutil.copytree(bundle / "1", copied / "2")
    manifest = json.loads((copied / "2" / "bundle.json").read_text())
    (copied / "2" / "bundle.json").write_text(json.dumps(manifest | {"version": 2}))
    cases = {
        "model.name is 'mnist-2d' there, and 'point' now": ["--bundle", model_repository / "point"],
        "model.version is '1' there, and '2' now": ["--bundle", copied],
        "preprocessing.fit is 'exact' there, and 'pad' now": ["--bundle", bundle, "--fit", "pad"],
        "dtype is 'float32' there": ["--bundle", bundle, "--dtype", "float16"],
        "preprocessing.mirror": ["--bundle", bundle, "--mirror"],
    }
    for message, options in cases.items():
        refused = run(capsys, *arguments, *options)
        assert refused.code == 5
        assert message.split(" is ")[0] in refused.err
        assert "Choose another OUTPUT" in refused.err
    changed = IMAGES.copy()
    changed[3, 0, 0, 0] ^= 1
    write_npz(tmp_path / "in", changed)
    refused = run(capsys, *arguments, "--bundle", bundle)
    assert (refused.code, refused.err.count("\n")) == (5, 1)
    assert "set.npz rows 0..64 has changed since it was encoded" in refused.err
    check_whole(output, bundle, capsys)


def test_verify_finds_what_is_missing_changed_or_left_over(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "in", IMAGES)
    output = tmp_path / "out"
    ok(run(capsys, "encode", source, output, "--bundle", bundle, "--shard-rows", 64))
    part = min(output.glob("part-*"))
    content = part.read_bytes()
    for harm, message in (
        (lambda: part.write_bytes(content[:-20] + b"x" + content[-19:]), "changed since"),
        (part.unlink, f"{part.name}: missing"),
        (lambda: (output / "part-9.parquet").write_bytes(b""), "not in the manifest"),
    ):
        harm()
        found = run(capsys, "verify", output)
        assert found.code == 5
        assert message in found.err
        part.write_bytes(content)
    (output / "part-9.parquet").unlink()
    ok(run(capsys, "verify", output))
