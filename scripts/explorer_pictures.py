"""Draws the pictures of the explorer in docs/images, from a server with the models of `make run`.

    python scripts/explorer_pictures.py http://127.0.0.1:8080/

The server needs `mnist-2d` (two coordinates) and `mnist` (ten). Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "docs" / "images"
DESK = (1240, 760)
PHONE = (390, 844)
_SETTLED = 1500  # milliseconds for the last tiles to fade in


def main() -> None:
    """Draws all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("address", help="of the server's HTTP port")
    address = parser.parse_args().address
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for draw in (plane, sliders, image, mix, phone):
            draw(browser, address)
        browser.close()


def plane(browser: Browser, address: str) -> None:
    """The plane of the model with two coordinates, with the ring under way."""
    page = opened(browser, address, "mnist-2d", "dark")
    drag(page, (0.5, 0.5), (0.6, 0.37))
    saved(page, "explorer-map")


def sliders(browser: Browser, address: str) -> None:
    """The sliders of ten coordinates."""
    page = opened(browser, address, "mnist", "light")
    drag(page, (0.5, 0.5), (0.4, 0.3))
    saved(page, "explorer-sliders")


def image(browser: Browser, address: str) -> None:
    """A test image with a mask, its reconstruction and score; and what fills the mask."""
    page = opened(browser, address, "mnist", "light")
    page.click("#tab-image")
    page.click("#test-image")
    page.click("#brush-mask")
    drag(page, (0.05, 0.35), (0.95, 0.35), ".paper")
    page.wait_for_function("() => document.querySelector('.verdict').innerText.includes('log p')")
    saved(page, "explorer-image")
    page.set_viewport_size({"width": DESK[0], "height": 1400})
    page.click("#fill")
    page.wait_for_selector(".fills canvas")
    page.wait_for_timeout(_SETTLED)
    panel, fills = (page.locator(name).bounding_box() for name in ("#panel-image", ".fills"))
    assert panel is not None
    assert fills is not None
    height = fills["y"] + fills["height"] - panel["y"] + 16
    write(page.screenshot(clip={**panel, "height": height}), "explorer-inpaint")


def mix(browser: Browser, address: str) -> None:
    """Four pins, and the arcs through them."""
    page = opened(browser, address, "mnist", "dark")
    for across, down in ((0.2, 0.3), (0.7, 0.45), (0.45, 0.75), (0.55, 0.2)):
        page.mouse.dblclick(*spot(page, across, down))
        page.wait_for_timeout(300)
    page.click("#tab-mix")
    page.click(".segments button:nth-child(2)")
    page.wait_for_selector(".reel canvas")
    saved(page, "explorer-mix")


def phone(browser: Browser, address: str) -> None:
    """The page on a phone."""
    page = opened(browser, address, "mnist", "dark", PHONE, 1.5)
    page.mouse.click(*spot(page, 0.6, 0.6))
    saved(page, "explorer-phone")


def opened(
    browser: Browser,
    address: str,
    model: str,
    theme: str,
    size: tuple[int, int] = DESK,
    scale: float = 1.0,
) -> Page:
    """The page with a model, once its picture and its labels are there."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if theme == "dark" else "light",
        device_scale_factor=scale,
        bypass_csp=True,
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#legend .chip")
    options = page.locator("#model option").all_inner_texts()
    place = next(i for i, text in enumerate(options) if text.split()[0] == model)
    page.select_option("#model", index=place)
    page.wait_for_selector("#legend .chip")
    page.wait_for_timeout(_SETTLED)
    return page


def spot(page: Page, across: float, down: float, element: str = "#map") -> tuple[float, float]:
    """The place of a share of an element's width and height."""
    box = page.locator(element).bounding_box()
    assert box is not None
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def drag(
    page: Page, start: tuple[float, float], stop: tuple[float, float], element: str = "#map"
) -> None:
    page.mouse.move(*spot(page, *start, element))
    page.mouse.down()
    page.mouse.move(*spot(page, *stop, element), steps=12)
    page.mouse.up()


def saved(page: Page, name: str) -> None:
    page.wait_for_timeout(_SETTLED)
    write(page.screenshot(), name)


def write(content: bytes, name: str) -> None:
    """A PNG of 256 colours, a quarter of the size, which looks the same here."""
    with Image.open(io.BytesIO(content)) as picture:
        few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=8)
    few.save(IMAGES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
