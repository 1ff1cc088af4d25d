"""The explorer's files: small, whole, of one origin, in the wheel; test embeddings as exported."""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from browser import explorer, running_browser
from http_calls import request
from latens_serving.bundle.test_embeddings import EMBEDDINGS_FILE
from server_process import Server

ROOT = Path(__file__).parents[2]
WEB = ROOT / "clients" / "web"
MOST_BYTES = 200_000
SENT = {".html", ".js", ".css", ".svg"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


def page_files() -> list[Path]:
    return [path for path in sorted(WEB.rglob("*")) if path.suffix in SENT]


def test_the_page_is_under_200_kilobytes_packed(
    record_property: Callable[[str, object], None],
) -> None:
    packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in page_files())
    record_property("packed_bytes", packed)
    assert packed < MOST_BYTES


def test_every_file_is_served_compressed_and_revalidated(server: Server) -> None:
    for path in page_files():
        url = "/" + path.relative_to(WEB).as_posix()
        first = request(server.http_address, url, headers={"Accept-Encoding": "gzip"})
        assert first.status == 200, url
        if path.name != "index.html":
            assert gzip.decompress(first.body) == path.read_bytes()
        known = {"If-None-Match": first.headers["etag"]}
        assert request(server.http_address, url, headers=known).status == 304
    assert request(server.http_address, "/js/main.js").body == (WEB / "js/main.js").read_bytes()


def test_the_page_refers_to_no_other_site() -> None:
    for path in page_files():
        text = re.sub(r"http://www\.w3\.org/2000/svg", "", path.read_text())
        text = re.sub(r"^//.*$|//\s.*$", "", text, flags=re.MULTILINE)
        assert not re.search(r"(src|href|from|import|url)\s*[=(:]?\s*[\"']?https?:", text), path


def test_every_module_is_preloaded(server: Server) -> None:
    served = request(server.http_address, "/").body.decode()
    announced = set(re.findall(r'rel="modulepreload" href="([^"]+)"', served))
    modules = {f"js/{path.name}" for path in (WEB / "js").glob("*.js")}
    assert announced == modules - {"js/first.js", "js/main.js"}


def test_all_requests_go_to_the_server(browser: Browser, server: Server) -> None:
    with explorer(browser, server.http_address) as page:
        page.open()
        elsewhere = [url for url in page.requests if not url.startswith((page.url, "blob:"))]
        assert not elsewhere


def test_the_wheel_carries_the_page(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "serving", check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        for path in page_files():
            inside = f"latens_serving/transports/http/page/{path.relative_to(WEB).as_posix()}"
            assert packed.read(inside) == path.read_bytes()


def test_test_embeddings_are_sent_as_arrays_that_numpy_reads(
    server: Server, model_repository: Path
) -> None:
    with np.load(model_repository / "mnist-2d" / "1" / EMBEDDINGS_FILE) as exported:
        for name in ("images", "means", "labels"):
            path = f"/test-embeddings/mnist-2d/1/{name}.npy"
            answer = request(server.http_address, path, headers={"Accept-Encoding": "gzip"})
            array = np.load(io.BytesIO(gzip.decompress(answer.body)))
            np.testing.assert_array_equal(array, exported[name])
            assert array.dtype == exported[name].dtype
            plain = request(server.http_address, path)
            np.testing.assert_array_equal(np.load(io.BytesIO(plain.body)), exported[name])


@pytest.mark.parametrize("path", ["nobody/1/means", "mnist-2d/9/means", "mnist-2d/1/log_var"])
def test_an_unknown_array_is_not_found(server: Server, path: str) -> None:
    assert request(server.http_address, f"/test-embeddings/{path}.npy").status == 404
