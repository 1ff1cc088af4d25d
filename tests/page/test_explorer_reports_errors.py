"""The explorer reports a server that is dead, empty, old, or requires a token."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from browser import Explorer, explorer, running_browser
from server_process import Server, running_server

NETWORK = "Failed to load resource"  # the browser's own line for every failed request
TOKEN = "a-token-to-explore-with"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


def notice(page: Explorer, words: str) -> None:
    page.until("words => document.getElementById('notice').innerText.includes(words)", words)


def port_of_no_client() -> int:
    """A free port that the system gives nobody by itself, and so is still free a little later."""
    while True:
        port = random.randrange(15000, 30000)
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def test_the_loss_and_the_return_of_the_server_are_reported(
    browser: Browser, model_repository: Path
) -> None:
    port = port_of_no_client()
    with running_server(model_repository, f"--http-port={port}") as server:
        address = server.http_address
        with explorer(browser, address, tolerated=[NETWORK]) as page:
            page.open()
            server.kill()
            page.page.keyboard.press("ArrowRight")
            notice(page, "does not answer")
            page.until_text("#latency", "no answer")
            with running_server(model_repository, f"--http-port={port}") as again:
                assert again.http_address == address
                # Without anyone doing anything.
                page.until_gone("#notice")
                # The answer to what was asked in vain comes a little after the notice goes.
                page.until_text("#latency", " ms")


def answering(body: object, status: int = 200) -> Callable[[Route], None]:
    def answer(route: Route) -> None:
        route.fulfill(status=status, content_type="application/json", body=json.dumps(body))

    return answer


def test_calls_to_a_busy_server_are_repeated_before_an_error(
    browser: Browser, server: Server
) -> None:
    refusals = iter(range(2))

    def busy_at_first(route: Route) -> None:
        if next(refusals, None) is None:
            route.continue_()
        else:
            answering({"code": "resource_exhausted", "message": "full"}, 429)(route)

    with explorer(browser, server.http_address, tolerated=[NETWORK]) as page:
        page.page.route("**/Decode", busy_at_first)
        page.open()
        page.until_ink("#here", lambda ink: ink > 20)
        page.until_gone("#notice")
        assert next(refusals, None) is None


def test_without_models_the_page_says_how_to_make_one(browser: Browser, server: Server) -> None:
    with explorer(browser, server.http_address) as page:
        page.page.route("**/ListModels", answering({}))
        page.page.goto(page.url)
        notice(page, "has no model yet")
        notice(page, "latens-export")
        page.page.unroute("**/ListModels")
        page.page.wait_for_selector("#legend .chip")  # it tries again by itself


def test_a_refused_model_is_named_with_the_reason(browser: Browser, server: Server) -> None:
    failed = {"name": "broken", "version": "3", "state": "MODEL_STATE_FAILED"}
    listed = {"models": [failed | {"stateReason": "decoder.onnx: truncated"}]}
    with explorer(browser, server.http_address) as page:
        page.page.route("**/ListModels", answering(listed))
        page.page.goto(page.url)
        notice(page, "broken version 3: decoder.onnx: truncated")


def test_functions_that_the_server_lacks_are_hidden_with_a_note(
    browser: Browser, server: Server
) -> None:
    with explorer(browser, server.http_address, tolerated=[NETWORK]) as page:
        for method in ("Score", "Inpaint", "Reconstruct"):
            page.page.route(f"**/{method}", lambda route: route.fulfill(status=404))
        page.open()
        page.page.click("#tab-image")
        page.drag(page.spot(0.5, 0.2, ".paper"), page.spot(0.5, 0.8, ".paper"))
        page.page.locator(".verdict dt", has_text="score").wait_for()
        page.until_text(".verdict", "does not offer it")
        page.page.click("#brush-mask")
        page.drag(page.spot(0.3, 0.8, ".paper"), page.spot(0.7, 0.8, ".paper"))
        page.page.click("#fill")
        page.until("document.body.innerText.includes('does not offer inpainting')")
        page.until_gone("#fill")
        page.until_gone("#notice")


def test_a_deterministic_model_offers_no_scores_and_no_inpainting(
    browser: Browser, server: Server
) -> None:
    with explorer(browser, server.http_address) as page:
        page.open()
        page.page.select_option("#model", index=1)
        page.until("document.querySelectorAll('.unit').length === 3")
        page.page.click("#tab-image")
        page.drag(page.spot(0.5, 0.2, ".paper"), page.spot(0.5, 0.8, ".paper"))
        page.page.locator(".verdict dt", has_text="reconstruction").wait_for()
        assert "log p(x)" not in page.text(".verdict")
        page.until_text("#panel-image", "is deterministic")


def test_a_bundle_without_test_embeddings_shows_only_the_grid(
    browser: Browser, server: Server
) -> None:
    with explorer(browser, server.http_address, tolerated=[NETWORK]) as page:
        page.page.route("**/test-embeddings/**", lambda route: route.fulfill(status=404))
        page.page.goto(page.url)
        page.until_text("#latency", " ms")
        page.until_gone("#dots")
        page.until_shown("#tiles")
        page.until_ink("#here", lambda ink: ink > 20)


def test_the_page_requests_a_token_and_uses_it(
    browser: Browser, model_repository: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"infer {TOKEN}\n")
    with (
        running_server(model_repository, f"--tokens={tokens}") as server,
        explorer(browser, server.http_address, tolerated=[NETWORK]) as page,
    ):
        page.page.goto(page.url)
        notice(page, "requires a token")
        page.page.fill("#notice input", TOKEN)
        page.page.press("#notice input", "Enter")
        page.page.wait_for_selector("#legend .chip")
        page.until_gone("#notice")
