"""The explorer follows WCAG 2.1 AA as far as axe-core can tell, in both themes, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser

from browser import explorer, running_browser
from server_process import Server

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


def faults(found: dict[str, Any]) -> list[str]:
    """Each violation with its first elements, in a line."""
    return [
        f"{rule['id']}: {node['html'][:120]}: {node['failureSummary'][:200]}"
        for rule in found["violations"]
        for node in rule["nodes"][:3]
    ]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_no_rule_is_broken(theme: Any, width: int, browser: Browser, server: Server) -> None:
    with explorer(browser, server.http_address) as page:
        page.page.set_viewport_size({"width": width, "height": 900})
        page.page.emulate_media(color_scheme=theme)
        page.open()
        page.until_count("#neighbours canvas", 7)
        broken: list[str] = []
        for panel in ("sliders", "image", "mix"):
            page.page.click(f"#tab-{panel}")
            broken += faults(Axe().run(page.page, options=RULES).response)
        page.page.click("#help")
        broken += faults(Axe().run(page.page, options=RULES).response)
    assert broken == []
