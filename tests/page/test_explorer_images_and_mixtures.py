"""The explorer's images: drawn, dropped, masked, filled in, mixed, saved, sent as a link."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence
from playwright.sync_api import Browser, FilePayload

from browser import Explorer, explorer, running_browser
from server_process import Server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Explorer]:
    with explorer(browser, server.http_address) as opened:
        yield opened.open()


@pytest.fixture
def panel(page: Explorer) -> Explorer:
    page.page.click("#tab-image")
    return page


def draw_a_one(page: Explorer) -> None:
    page.drag(page.spot(0.55, 0.2, ".paper"), page.spot(0.45, 0.8, ".paper"), steps=12)


def verdict(page: Explorer, name: str) -> str:
    """One line of what is said of the image, once it is there."""
    row = page.page.locator(".verdict dt", has_text=name)
    row.wait_for()
    return row.locator("xpath=following-sibling::dd[1]").inner_text()


def test_a_drawing_has_its_posterior_reconstruction_error_and_score(panel: Explorer) -> None:
    sight = panel.picture("#map")
    draw_a_one(panel)
    panel.until_changed("#map", sight)  # the posterior with its ellipse
    panel.until_ink('canvas[aria-label="Image"]', lambda ink: ink > 20)
    panel.until_ink('canvas[aria-label="Reconstruction"]', lambda ink: ink > 20)
    panel.until_ink('canvas[aria-label="Error"]', lambda ink: ink > 5)
    assert verdict(panel, "spread").startswith("σ 0.")  # noqa: RUF001
    words = verdict(panel, "log p(x)").replace("\N{MINUS SIGN}", "-")
    bound, error = words.removesuffix(" nats").split(" ± ")
    elbo = -float(verdict(panel, "reconstruction").split()[0]) - float(
        verdict(panel, "KL").split()[0]
    )
    assert abs(float(bound) - elbo) < 60
    assert 0 < float(error) < 20
    before = panel.point()
    panel.page.click("#go-there")
    panel.until_moved(before)


def test_strokes_are_erased_undone_and_cleared(panel: Explorer) -> None:
    paper = ".paper canvas"
    draw_a_one(panel)
    drawn = panel.until_ink(paper, lambda ink: ink > 20)
    panel.page.click("#brush-erase")
    panel.drag(panel.spot(0.4, 0.8, ".paper"), panel.spot(0.6, 0.8, ".paper"))
    panel.until_ink(paper, lambda ink: ink < drawn)
    panel.page.keyboard.press("Control+z")
    panel.until_ink(paper, lambda ink: ink == drawn)
    panel.page.click("#clear")
    panel.until_ink(paper, lambda ink: ink == 0)
    panel.page.keyboard.press("Control+z")
    panel.until_ink(paper, lambda ink: ink == drawn)


def picture_of_a_seven() -> bytes:
    image = Image.new("L", (120, 160), 255)  # dark on light, and not the model's shape
    pixels = np.asarray(image).copy()
    pixels[30:42, 30:90] = 0
    pixels[42:130, 76:90] = 0
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_picture_is_opened_and_becomes_light_on_dark(panel: Explorer) -> None:
    picture = FilePayload(name="7.png", mimeType="image/png", buffer=picture_of_a_seven())
    panel.page.set_input_files("#file", files=[picture])
    verdict(panel, "error")
    panel.until_ink(".paper canvas", lambda ink: 20 < ink < 28 * 28 / 3)


def test_a_picture_is_dropped(panel: Explorer) -> None:
    drop = """encoded => {
      const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], "7.png", { type: "image/png" }));
      document.querySelector(".paper").dispatchEvent(
        new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }"""
    panel.page.evaluate(drop, base64.b64encode(picture_of_a_seven()).decode())
    verdict(panel, "error")
    panel.until_ink(".paper canvas", lambda ink: ink > 20)


def test_other_files_are_refused_with_a_message(browser: Browser, server: Server) -> None:
    with explorer(browser, server.http_address, tolerated=["not a picture"]) as page:
        page.open()
        page.page.click("#tab-image")
        text = FilePayload(name="a.png", mimeType="image/png", buffer=b"no picture at all")
        page.page.set_input_files("#file", files=[text])
        page.until_text("#notice", "not a picture")


def put_a_test_image(panel: Explorer) -> None:
    """On the paper, as soon as the test images are there."""

    def put() -> bool:
        panel.page.click("#test-image")
        return panel.ink(".paper canvas") > 0

    panel.until_holds(put, "a test image")


def test_a_masked_part_is_filled_in_and_the_rest_stays(panel: Explorer) -> None:
    panel.page.wait_for_selector("#test-image:visible")
    put_a_test_image(panel)
    panel.page.wait_for_selector("#fill:disabled")
    panel.page.click("#brush-mask")
    panel.drag(panel.spot(0.1, 0.75, ".paper"), panel.spot(0.9, 0.75, ".paper"))
    panel.until_ink(".paper canvas.over", lambda ink: ink > 50)
    panel.page.fill("#rounds", "10")
    panel.page.click("#fill")
    panel.page.wait_for_selector(".fills button:nth-child(4)")
    known = """() => {
      const rows = canvas => [...canvas.getContext("2d").getImageData(0, 0, 28, 14).data];
      const paper = rows(document.querySelector(".paper canvas"));
      return [...document.querySelectorAll(".fills canvas")].every(
        canvas => rows(canvas).every((value, i) => value === paper[i]));
    }"""
    assert panel.page.evaluate(known)
    panel.page.click(".fills button")
    panel.until_count(".fills button", 0)
    panel.until_ink(".paper canvas.over", lambda ink: ink == 0)


def mix(page: Explorer, pins: int) -> None:
    for across, down in ((0.35, 0.3), (0.65, 0.7), (0.35, 0.7), (0.65, 0.3))[:pins]:
        page.pin_at(across, down)
    page.page.click("#tab-mix")


@pytest.mark.parametrize("shape", ["line", "arc"])
def test_a_scrubber_moves_along_the_path_between_two_pins(page: Explorer, shape: str) -> None:
    mix(page, 2)
    page.page.click(f"#shape-{shape}")
    page.page.wait_for_selector(".reel canvas:nth-child(9)")
    start, sight = page.picture(".big"), page.picture("#map")
    page.page.focus("#scrubber")
    page.page.keyboard.press("End")
    end = page.until_changed(".big", start)
    page.page.keyboard.press("Home")
    assert page.until_changed(".big", end) == start
    page.page.fill("#scrubber", "0.5")
    page.until_changed("#map", sight)  # the bead has left its pin
    before = page.point()
    page.page.click("#path-here")
    assert page.until_moved(before) != before


def test_the_path_is_played_and_stopped(page: Explorer) -> None:
    mix(page, 3)
    page.page.wait_for_selector(".reel canvas:nth-child(9)")
    start = page.picture(".big")
    page.page.keyboard.press("m")  # away from the tab's button, which Space would press
    page.page.focus("#map")
    page.page.keyboard.press("Space")
    page.until_text("#play", "Stop")
    page.until_changed(".big", start)
    page.page.keyboard.press("Space")
    page.until_text("#play", "Play")


@pytest.mark.parametrize("pins", [3, 4])
def test_corners_are_mixed_on_a_square(page: Explorer, pins: int) -> None:
    mix(page, pins)
    page.page.click("#shape-square")
    page.until("document.getElementById('square').width === 9 * 28")
    page.until_count(".square .badge:visible", pins)
    pinned = page.point()
    page.page.mouse.click(*page.spot(0.02, 0.02, "#square"))
    at_a = page.until_moved(pinned)
    page.drag(page.spot(0.1, 0.1, "#square"), page.spot(0.99, 0.99, "#square"))
    assert page.until_moved(at_a) != at_a
    middle = page.point()
    page.page.focus("#square")
    page.page.keyboard.press("ArrowLeft")
    assert page.until_moved(middle) != middle


def test_too_few_pins_are_reported(page: Explorer) -> None:
    page.page.click("#tab-mix")
    page.until_text("#panel-mix", "Pin two to four images")
    page.page.click("#shape-square")
    page.until_text("#panel-mix", "three or four")


def test_a_pin_is_dragged_selected_and_removed(page: Explorer) -> None:
    page.pin_at(0.4, 0.4)
    page.page.keyboard.press("Home")
    page.until("document.getElementById('where').textContent === 'z = 0.00  0.00'")
    picture = page.picture("#pins canvas")
    page.drag(page.spot(0.4, 0.4), page.spot(0.75, 0.75))
    page.until_changed("#pins canvas", picture)
    page.page.keyboard.press("1")
    assert page.until_moved([0.0, 0.0]) != [0.0, 0.0]
    page.page.hover("#pins li")
    page.page.click("#pins .away")
    page.until_count("#pins .badge", 0)


def saved(page: Explorer, button: str) -> Path:
    with page.page.expect_download() as download:
        page.page.click(button)
    return Path(download.value.path())


def test_pictures_and_latents_are_saved_as_files_that_others_can_read(page: Explorer) -> None:
    with Image.open(saved(page, "#here-png")) as image:
        assert image.width == image.height >= 224
    np.testing.assert_allclose(np.load(saved(page, "#here-npy")), [page.point()], atol=0.006)
    with Image.open(saved(page, "#map-save")) as image:
        assert image.width > 600
    mix(page, 2)
    page.page.wait_for_selector(".reel canvas:nth-child(9)")
    with Image.open(saved(page, "#path-png")) as strip:
        side = strip.height
        assert strip.width == 16 * side
        places = [(part * side, 0, (part + 1) * side, side) for part in range(16)]
        stills = [small(strip.crop(place)) for place in places]
    latents = np.load(saved(page, "#path-npy"))
    assert latents.shape == (16, 2)
    assert latents.dtype == np.float32
    with Image.open(saved(page, "#path-gif")) as film:
        frames = [small(frame) for frame in ImageSequence.Iterator(film)]
    there_and_back = stills + stills[-2:0:-1]
    np.testing.assert_array_equal(frames, there_and_back)
    mix_square(page)


def small(image: Image.Image) -> np.ndarray[Any, Any]:
    """An enlarged picture at the model's own size."""
    return np.asarray(image.convert("L").resize((28, 28), Image.Resampling.NEAREST))


def mix_square(page: Explorer) -> None:
    page.pin_at(0.5, 0.8)
    page.page.click("#shape-square")
    page.until("document.getElementById('square').width === 9 * 28")
    assert np.load(saved(page, "#square-npy")).shape == (9, 9, 2)
    with Image.open(saved(page, "#square-png")) as sheet:
        assert sheet.width == sheet.height


def test_a_link_contains_the_whole_state(browser: Browser, server: Server) -> None:
    with explorer(browser, server.http_address) as page:
        page.open()
        page.page.click("#tab-image")
        draw_a_one(page)
        page.page.click("#brush-mask")
        page.drag(page.spot(0.2, 0.8, ".paper"), page.spot(0.6, 0.8, ".paper"))
        page.page.keyboard.press("r")
        mix(page, 3)
        page.page.click("#shape-arc")
        page.page.click("#zoom-in")
        page.page.click("#legend .chip:nth-child(2)")
        page.page.wait_for_selector(".reel canvas:nth-child(9)")
        page.page.focus("#scrubber")
        page.page.keyboard.press("End")
        page.page.click("#share")
        page.page.wait_for_selector("#notice:visible")
        link = page.page.evaluate("location.hash")
        seen = sight_of(page)
    with explorer(browser, server.http_address) as other:
        other.open(link)
        other.page.wait_for_selector(".reel canvas:nth-child(9)")
        other.until_holds(lambda: sight_of(other) == seen, f"{seen}"[:400])


def sight_of(page: Explorer) -> dict[str, object]:
    return {
        "point": page.point(),
        "pins": page.page.locator("#pins .badge").count(),
        "seed": page.page.input_value("#seed"),
        "arc": page.page.get_attribute("#shape-arc", "aria-pressed"),
        "scrubber": page.page.input_value("#scrubber"),
        "hidden": page.page.get_attribute("#legend .chip:nth-child(2)", "aria-pressed"),
        "paper": page.picture(".paper canvas"),
        "mask": page.picture(".paper canvas.over"),
    }


@pytest.mark.parametrize("fragment", ["#garbage", "#eyJ6IjogMX0", "#" + "A" * 5000])
def test_a_broken_link_opens_the_page_as_new(
    browser: Browser, server: Server, fragment: str
) -> None:
    with explorer(browser, server.http_address) as page:
        page.open(fragment)
        page.until_text("#where", "z = 0.00 0.00")
