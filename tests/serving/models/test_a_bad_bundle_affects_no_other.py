"""An invalid bundle is refused with a reason, and the others are loaded and serve."""

from __future__ import annotations

import asyncio
import lzma
import shutil
import threading
import tokenize
import zlib
from pathlib import Path
from typing import Any

import pytest

from bad_bundles import truncated
from bundle_cases import CASES, run_cases
from latens.v1 import latens_pb2 as pb
from latens_serving.errors import BundleRefusedError, LatensError
from latens_serving.models.background import is_background_running
from latens_serving.models.model import LoadedModel
from latens_serving.models.refusal import without_paths
from latens_serving.models.repository import Repository, State
from model_folders import add_version, load_bundle

MOST_GROWTH = 64 << 20
MOST_AT_ANY_TIME = 192 << 20


@pytest.fixture
def repository(model_repository: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(model_repository, tmp_path / "models"))


def states(models: Repository) -> dict[str, State]:
    return {f"{entry.name}/{entry.version}": entry.state for entry in models.entries()}


def test_hostile_bundles_are_refused_while_the_good_one_answers_and_memory_stays(
    model_repository: Path,
) -> None:
    outcomes = list(run_cases(model_repository))
    assert [outcome.case for outcome in outcomes] == list(CASES)
    for outcome in outcomes:
        assert outcome.state == pb.MODEL_STATE_FAILED, outcome
        assert outcome.case.said in outcome.reason, outcome
        assert "/models" not in outcome.reason, outcome
        assert outcome.answers, outcome
        assert outcome.growth < MOST_GROWTH, outcome
        assert outcome.peak < MOST_AT_ANY_TIME, outcome


class Panic(BaseException):
    """What a native library may raise."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        NotImplementedError("/secret/path"),
        RuntimeError("/secret/path"),
        tokenize.TokenError("EOF in multi-line statement"),
        zlib.error("incorrect header check"),
        lzma.LZMAError("Corrupt input data"),
        OSError(5, "Input/output error", "/secret/path"),
        StopIteration(),
        Panic("/secret/path"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_any_kind_refuses_one_version_and_it_is_tried_again_when_it_changes(
    repository: Path, error: BaseException
) -> None:
    raising = True

    def load_or_raise(directory: Path) -> LoadedModel:
        if raising and directory.parent.name == "mnist-2d":
            raise error
        return load_bundle(directory)

    models = Repository(repository, load_or_raise)
    await models.refresh()
    assert states(models) == {"mnist-2d/1": State.FAILED, "point/1": State.READY}
    reason = models.entries()[0].reason
    assert "could not be loaded" in reason
    assert "/secret" not in reason
    raising = False
    await models.refresh()
    assert states(models)["mnist-2d/1"] is State.FAILED
    (repository / "mnist-2d" / "1" / "notes.txt").write_text("changed")
    await models.refresh()
    assert states(models) == {"mnist-2d/1": State.READY, "point/1": State.READY}
    models.close()


async def test_a_load_that_does_not_end_is_abandoned_and_the_others_are_loaded(
    repository: Path,
) -> None:
    end = threading.Event()
    late: list[LoadedModel] = []

    def load_or_hang(directory: Path) -> LoadedModel:
        model = load_bundle(directory)
        if directory.parent.name == "mnist-2d":
            end.wait(60)
            late.append(model)
        return model

    models = Repository(repository, load_or_hang, load_seconds=2)
    await models.refresh()
    assert states(models) == {"mnist-2d/1": State.FAILED, "point/1": State.READY}
    assert models.entries()[0].reason == "loading took longer than 2 s (--load-seconds)"
    end.set()
    async with asyncio.timeout(60):
        while not (late and late[0]._engines[0]._session is None):  # type: ignore[attr-defined]
            await asyncio.sleep(0.01)
    assert not is_background_running()
    models.close()


async def test_a_version_whose_load_request_is_cancelled_does_not_stay_loading(
    repository: Path,
) -> None:
    may_load, loading = threading.Event(), threading.Event()

    def slow(directory: Path) -> LoadedModel:
        loading.set()
        assert may_load.wait(60)
        return load_bundle(directory)

    models = Repository(repository, slow)
    looking = asyncio.ensure_future(models.refresh())
    await asyncio.to_thread(loading.wait, 60)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    may_load.set()
    await models.refresh()
    assert states(models) == {"mnist-2d/1": State.READY, "point/1": State.READY}
    models.close()


async def test_refused_versions_do_not_count_and_do_not_evict_the_good_one(
    repository: Path,
) -> None:
    for version in range(2, 7):
        add_version(repository, version, truncated)
    models = Repository(repository, load_bundle, max_versions=2)
    await models.refresh()
    found = states(models)
    assert found.pop("mnist-2d/1") is State.READY
    assert {found[f"mnist-2d/{version}"] for version in range(2, 7)} == {State.FAILED}
    assert models.pick("mnist-2d", "").version == "1"
    for version in (7, 8):
        add_version(repository, version)
    await models.refresh()
    ready = [name for name, state in states(models).items() if state is State.READY]
    assert ready == ["mnist-2d/8", "mnist-2d/7", "point/1"]
    models.close()


def test_links_inside_the_repository_are_followed(repository: Path) -> None:
    (repository / ".store").mkdir()
    for path in list((repository / "point" / "1").iterdir()):
        moved = repository / ".store" / path.name
        path.rename(moved)
        path.symlink_to(Path("../../.store") / moved.name)
    load_bundle(repository / "point" / "1").close()


def test_a_version_that_is_a_link_out_of_the_repository_is_refused(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "point" / "1").rename(tmp_path / "elsewhere")
    (repository / "point" / "1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BundleRefusedError, match="leaves the repository"):
        load_bundle(repository / "point" / "1")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bundle.json: No such file", "bundle.json: No such file"),
        ("file /models/x/1/encoder.onnx is bad", "file encoder.onnx is bad"),
        ("'/a/b' and /c/d", "'b' and d"),
        ("says mnist/2, but lies in mnist/1", "says mnist/2, but lies in mnist/1"),
        ("3 rows/s", "3 rows/s"),
    ],
)
def test_callers_see_no_absolute_paths(text: str, shown: str) -> None:
    assert without_paths(text) == shown


async def test_an_unreadable_folder_changes_nothing(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Repository(repository, load_bundle)
    await models.refresh()

    def unreadable(self: Path) -> Any:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", unreadable)
        with pytest.raises(OSError, match="Input/output"):
            await models.refresh()
    assert set(states(models).values()) == {State.READY}
    with pytest.raises(LatensError):
        models.pick("nothing", "")
    models.close()
