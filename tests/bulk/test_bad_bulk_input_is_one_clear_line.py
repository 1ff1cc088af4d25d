"""What cannot be encoded ends in one line that says why, and in the exit code of its kind."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bulk_cases import digits, rows_of, run, write_folder, write_npz, write_parquet, write_tars
from command_line import Outcome, ok
from latens_bulk.encoders import require_latents_of_images
from latens_bulk.errors import BadDataError

IMAGES = digits(40)


@pytest.fixture(scope="module")
def bundle(model_repository: Path) -> Path:
    return model_repository / "mnist-2d"


def refused(outcome: Outcome, code: int, *parts: str) -> None:
    assert outcome.code == code, outcome
    assert outcome.err.startswith("latens-bulk: ")
    assert outcome.err.count("\n") == 1
    for part in parts:
        assert part in outcome.err


def empty(root: Path) -> Path:
    root.mkdir()
    return root


def empty_npz(root: Path) -> Path:
    return write_npz(root, IMAGES[:0])


def two_kinds(root: Path) -> Path:
    write_npz(root, IMAGES)
    write_parquet(root, IMAGES, as_lists=True)
    return root


def other_sizes(root: Path) -> Path:
    return write_folder(root, np.concatenate([IMAGES, IMAGES], axis=2))


def other_arrays(root: Path) -> Path:
    return write_npz(root, IMAGES[:, :, :14])


def damaged_picture(root: Path) -> Path:
    write_folder(root, IMAGES)
    (root / "1" / "0004.png").write_bytes(b"no picture")
    return root


def cut_tar(root: Path) -> Path:
    write_tars(root, IMAGES)
    path = root / "000000.tar"
    path.write_bytes(path.read_bytes()[: 512 * 40])
    return root


def cut_parquet(root: Path) -> Path:
    path = write_parquet(root, IMAGES, as_lists=False)
    path.write_bytes(path.read_bytes()[:-100])
    return root


def cut_npz(root: Path) -> Path:
    path = write_npz(root, IMAGES)
    path.write_bytes(path.read_bytes()[:-100])
    return root


CASES = [
    (lambda root: root, 3, "no such file or folder"),
    (empty, 5, "no images in"),
    (empty_npz, 5, "the files have no rows"),
    (two_kinds, 5, "several kinds (npz, parquet)"),
    (other_sizes, 5, "expected 28 x 28 pixels, got 56 x 28 (--fit pad"),
    (other_arrays, 5, "expected images of [1, 28, 28], got rows of [1, 14, 28]"),
    (damaged_picture, 5, "1/0004.png: not a readable picture"),
    (cut_tar, 5, "000000.tar: the tar file is cut short"),
    (cut_parquet, 5, "set.parquet: not a readable Parquet file"),
    (cut_npz, 5, "set.npz: not a readable npz archive"),
]


@pytest.mark.parametrize(("make", "code", "message"), CASES, ids=[case[2] for case in CASES])
def test_bad_input(
    make: Callable[[Path], Path],
    code: int,
    message: str,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = make(tmp_path / "in")
    outcome = run(capsys, "encode", source, tmp_path / "out", "--bundle", bundle)
    refused(outcome, code, message)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_folder(tmp_path / "in", IMAGES)
    source.chmod(0)
    outcome = run(capsys, "encode", source, tmp_path / "out", "--bundle", bundle)
    source.chmod(0o700)
    refused(outcome, 3, "Permission denied")


@pytest.mark.parametrize("decoders", [0, 1])
def test_damaged_images_can_be_left_out_and_are_recorded(
    decoders: int, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = damaged_picture(tmp_path / "in"), tmp_path / "out"
    options = ["--bundle", bundle, "--on-error", "skip", "--decoders", decoders]
    outcome = ok(run(capsys, "encode", source, output, *options))
    assert "39 encoded, 1 images skipped" in outcome.out
    assert "1/0004.png" not in rows_of(output).column("key").to_pylist()
    manifest = json.loads((output / "manifest.json").read_text())
    assert (manifest["rows"], manifest["skipped"]) == (39, 1)
    (skipped,) = manifest["shards"][0]["skipped"]
    assert skipped == {"key": "1/0004.png", "reason": "not a readable picture"}
    assert "39 rows in 1 shards, 1 images skipped" in ok(run(capsys, "verify", output)).out


def test_floats_outside_the_range_are_rows_at_fault(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = IMAGES / np.float32(255)
    images[5, 0, 0, 0], images[7, 0, 0, 0] = 1.5, np.nan
    source, output = write_npz(tmp_path / "in", images), tmp_path / "out"
    outcome = run(capsys, "encode", source, output, "--bundle", bundle)
    refused(outcome, 5, "set.npz:5: expected floats in 0..1")
    ok(run(capsys, "encode", source, output, "--bundle", bundle, "--on-error", "skip"))
    assert rows_of(output).num_rows == 38


def test_models_and_servers_that_are_not_there(
    tmp_path: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["encode", write_npz(tmp_path / "in", IMAGES), tmp_path / "out"]
    refused(run(capsys, *arguments, "--bundle", tmp_path / "none"), 3, "no such model")
    refused(run(capsys, *arguments, "--address", "127.0.0.1:1"), 4, "127.0.0.1:1")
    refused(run(capsys, *arguments), 2, "give either --bundle or --address")
    both = ["--bundle", bundle, "--address", "127.0.0.1:1"]
    refused(run(capsys, *arguments, *both), 2, "give either --bundle or --address")
    refused(run(capsys, *arguments, "--bundle", bundle, "--shard", "2/2"), 2, "--shard", "'2/2'")
    refused(run(capsys, "verify", tmp_path / "none"), 3, "no latents in")


def test_options_that_do_not_suit_the_model(
    model_repository: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["encode", write_npz(tmp_path / "in", IMAGES), tmp_path / "out"]
    point = ["--bundle", model_repository / "point", "--draws", 2]
    refused(run(capsys, *arguments, *point), 2, "point is deterministic")
    flat = ["--bundle", bundle, "--format", "sd-scripts"]
    refused(run(capsys, *arguments, *flat), 5, "channels, height and width")
    absent = ["--bundle", bundle, "--keep", "colour"]
    refused(run(capsys, *arguments, *absent), 5, "no 'colour'; there is images, labels")


def test_a_full_disk_ends_in_one_line_and_finished_shards_stay(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The system refuses larger files, as a full disk does."""
    source, output = write_npz(tmp_path / "in", IMAGES), tmp_path / "out"
    command = [sys.executable, "-m", "latens_bulk", "encode", str(source), str(output)]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    done = subprocess.run(
        [*command, "--bundle", str(bundle)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    refused(Outcome(done.returncode, done.stdout, done.stderr), 1, "too large")
    assert list(output.glob("part-*")) == []
    assert json.loads(ok(run(capsys, *command[3:], "--bundle", bundle, "--json")).out)["complete"]


@pytest.mark.parametrize(
    ("modality", "has_codes", "is_conditional", "said"),
    [
        ("audio", False, False, "model m is of audio items; expected one of images"),
        ("TABULAR", False, False, "model m is of tabular items"),
        ("IMAGE", True, False, "model m encodes to codes; expected latents of real numbers"),
        ("IMAGE", False, True, "model m needs the class of each image; expected one without"),
    ],
)
def test_models_whose_latents_have_no_place_in_the_output(
    modality: str, has_codes: bool, is_conditional: bool, said: str
) -> None:
    facts = {"has_codes": has_codes, "is_conditional": is_conditional}
    with pytest.raises(BadDataError, match=said):
        require_latents_of_images("m", modality, **facts)
    require_latents_of_images("m", "image", has_codes=False, is_conditional=False)
