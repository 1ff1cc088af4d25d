"""The explorer in a real browser: Chromium with Playwright, on the page of a real server."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

WIDE = (1000, 640)  # wide enough for two columns, small enough to paint fast without a GPU
_PATIENCE = 90.0  # seconds: the machine may have much else to do
BUSY = "429 (Too Many Requests)"
"""The browser's line for a refusal of a busy server, after which the page asks again. A machine
with much else to do gives such answers in any test; what the page must do has a test of its own."""
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str:
    """The path of Chromium; without it, skips the test, or fails under CI."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    text = "NO BROWSER: the explorer was not tested; install chromium (apt-get install chromium)"
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


@contextmanager
def running_browser() -> Iterator[Browser]:
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Explorer:
    """A page of the explorer, with the actions of a user."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        """Errors and warnings of the console, and exceptions that nothing caught."""
        self.requests: list[str] = []
        page.set_default_timeout(_PATIENCE * 1000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def _hear(self, message: Any) -> None:
        # The readback that this one advises on is the tests' own.
        if message.type in {"error", "warning"} and "willReadFrequently" not in message.text:
            self.complaints.append(message.text)

    def open(self, fragment: str = "") -> Explorer:
        """Opens the page; waits for the image at the point and the legend of the labels."""
        self.page.goto(self.url + fragment)
        self.until("document.getElementById('latency').textContent.includes('ms')")
        self.page.wait_for_selector("#legend .chip")
        return self

    def until(self, expression: str, arg: object = None) -> None:
        """Waits until an expression of the page is true.

        Playwright's own `wait_for_function` calls eval in the page, which its policy forbids.
        """
        self.until_holds(
            lambda: self.page.evaluate(expression, arg), f"{expression} {str(arg)[:80]}"
        )

    def until_holds(self, check: Callable[[], object], what: str) -> None:
        """Waits until a check that is made here is true."""
        give_up = time.monotonic() + _PATIENCE
        while not check():
            if time.monotonic() > give_up:
                raise AssertionError(f"never came true: {what}; complaints: {self.complaints[:3]}")
            self.page.wait_for_timeout(20)

    def until_text(self, selector: str, words: str) -> None:
        """Waits until an element's text holds the words."""
        self.until_holds(
            lambda: words in self.text(selector),
            f"{words!r} in {selector}, {self.text(selector)!r}",
        )

    def until_shown(self, selector: str) -> None:
        self.page.wait_for_selector(selector, state="visible")

    def until_gone(self, selector: str) -> None:
        """Waits until an element is hidden or removed."""
        self.page.wait_for_selector(selector, state="hidden")

    def until_count(self, selector: str, count: int) -> None:
        self.until_holds(
            lambda: self.page.locator(selector).count() == count, f"{count} of {selector}"
        )

    def until_pressed(self, selector: str, pressed: bool) -> None:
        """Waits until a button is, or is not, pressed."""
        wanted = str(pressed).lower()
        self.until_holds(
            lambda: self.page.get_attribute(selector, "aria-pressed") == wanted,
            f"{selector} is {'' if pressed else 'not '}pressed",
        )

    def text(self, selector: str) -> str:
        return self.page.inner_text(selector)

    def point(self) -> list[float]:
        """The point's latent, as shown beside the picture."""
        return [float(word) for word in self.text("#where").removeprefix("z =").split()]

    def picture(self, selector: str = "#here") -> str:
        """The content of a canvas, for comparisons."""
        return str(self.page.eval_on_selector(selector, "canvas => canvas.toDataURL()"))

    def ink(self, selector: str) -> int:
        """How many pixels of a canvas are not empty."""
        count = """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let ink = 0;
          for (let i = 3; i < data.length; i += 4) ink += data[i] > 25;
          return ink;
        }"""
        return int(self.page.eval_on_selector(selector, count))

    def until_ink(self, selector: str, enough: Callable[[int], bool]) -> int:
        """Waits until a canvas has enough filled pixels; returns their number."""
        self.until_holds(lambda: enough(self.ink(selector)), f"ink enough in {selector}")
        return self.ink(selector)

    def until_changed(self, selector: str, before: str) -> str:
        """Waits until the content of a canvas changes."""
        self.until(
            "([selector, before]) => document.querySelector(selector).toDataURL() !== before",
            [selector, before],
        )
        return self.picture(selector)

    def until_moved(self, before: list[float]) -> list[float]:
        """Waits until the point has moved."""
        self.until(
            "before => document.getElementById('where').textContent !== before",
            self.where_text(before),
        )
        return self.point()

    @staticmethod
    def where_text(latent: list[float]) -> str:
        return "z = " + "  ".join(f"{value:.2f}" for value in latent)

    def spot(self, across: float, down: float, selector: str = "#map") -> tuple[float, float]:
        """A place on an element, as parts of its width and height."""
        box = self.page.locator(selector).bounding_box()
        assert box is not None
        return box["x"] + across * box["width"], box["y"] + down * box["height"]

    def drag(
        self, start: tuple[float, float], stop: tuple[float, float], *, steps: int = 8
    ) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move(*stop, steps=steps)
        mouse.up()

    def pin_at(self, across: float, down: float) -> None:
        """Moves the point to a place on the map, and pins it."""
        count = self.page.locator("#pins .badge").count()
        self.page.keyboard.down("Shift")
        self.page.mouse.click(*self.spot(across, down))
        self.page.keyboard.up("Shift")
        self.page.keyboard.press("p")
        self.until("count => document.querySelectorAll('#pins .badge').length > count", count)


@contextmanager
def explorer(browser: Browser, address: str, **options: Any) -> Iterator[Explorer]:
    """A new page; at its end the console must have no errors."""
    width, height = options.pop("size", WIDE)
    tolerated = (BUSY, *options.pop("tolerated", ()))
    options.setdefault("color_scheme", "dark")
    context = browser.new_context(viewport={"width": width, "height": height}, **options)
    try:
        opened = Explorer(context.new_page(), f"http://{address}/")
        yield opened
        left = [text for text in opened.complaints if not any(part in text for part in tolerated)]
        assert not left, left[:3]
    finally:
        context.close()
