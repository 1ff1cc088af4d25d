"""The explorer with the browser's touch events and the real clipboard."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser

from browser import Explorer, explorer, running_browser
from server_process import Server

PHONE = {"size": (390, 844), "has_touch": True, "is_mobile": True}
Spot = tuple[float, float]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running


@pytest.fixture
def phone(browser: Browser, server: Server) -> Iterator[Explorer]:
    """The page on a phone, without test images on the map that a tap might pin."""
    with explorer(browser, server.http_address, **PHONE) as page:
        page.open()
        page.page.tap("#dots")
        page.until_pressed("#dots", False)
        yield page


class Fingers:
    """Up to two fingers on the glass, as the browser gets them from the system."""

    def __init__(self, page: Explorer) -> None:
        self._session = page.page.context.new_cdp_session(page.page)

    def put(self, *spots: Spot) -> None:
        self._send("touchStart", spots)

    def move(self, starts: tuple[Spot, ...], stops: tuple[Spot, ...], steps: int = 6) -> None:
        for step in range(1, steps + 1):
            part = step / steps
            self._send(
                "touchMove",
                tuple(
                    (a[0] + part * (b[0] - a[0]), a[1] + part * (b[1] - a[1]))
                    for a, b in zip(starts, stops, strict=True)
                ),
            )

    def lift(self) -> None:
        self._send("touchEnd", ())

    def lift_the_second(self, spot: Spot) -> None:
        self._send("touchEnd", (spot,), first=1)

    def _send(self, kind: str, spots: tuple[Spot, ...], first: int = 0) -> None:
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(spots, first)]
        self._session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def latent_at(page: Explorer, across: float, down: float) -> list[float]:
    """The latent of a place on the map: a tap moves the point there."""
    before = page.point()
    page.page.touchscreen.tap(*page.spot(across, down))
    return page.until_moved(before)


def shift(spot: Spot, across: float, down: float = 0.0) -> Spot:
    return spot[0] + across, spot[1] + down


def width_of_the_map(page: Explorer) -> tuple[float, float]:
    """How much of latent space lies between two places of the map, and the middle of it."""
    left, right = latent_at(page, 0.3, 0.6), latent_at(page, 0.7, 0.6)
    return right[0] - left[0], (right[0] + left[0]) / 2


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_two_fingers_zoom_around_the_point_between_them(phone: Explorer, factor: float) -> None:
    width, middle = width_of_the_map(phone)
    fingers, centre = Fingers(phone), phone.spot(0.5, 0.6)
    reach = 40 if factor > 1 else 80
    starts = shift(centre, -reach), shift(centre, reach)
    stops = shift(centre, -reach * factor), shift(centre, reach * factor)
    fingers.put(*starts)
    fingers.move(starts, stops)
    fingers.lift()
    narrower, same = width_of_the_map(phone)
    assert narrower == pytest.approx(width / factor, rel=0.05, abs=0.03)
    assert same == pytest.approx(middle, abs=0.05)


def test_two_fingers_pan_and_the_remaining_one_continues(phone: Explorer) -> None:
    width, middle = width_of_the_map(phone)
    unit = phone.page.evaluate("document.getElementById('map').clientWidth") * 0.4 / width
    fingers, centre = Fingers(phone), phone.spot(0.5, 0.6)
    starts = shift(centre, -30), shift(centre, 30)
    stops = tuple(shift(spot, 60) for spot in starts)
    fingers.put(*starts)
    fingers.move(starts, stops)
    fingers.lift_the_second(stops[1])
    fingers.move(stops[:1], (shift(stops[0], 40),))
    fingers.lift()
    wide, moved = width_of_the_map(phone)
    assert wide == pytest.approx(width, rel=0.05, abs=0.03)
    assert moved == pytest.approx(middle - 100 / unit, abs=0.08)


def test_a_finger_drags_the_ring_until_a_second_one_touches(phone: Explorer) -> None:
    start = latent_at(phone, 0.5, 0.6)
    ring, fingers = phone.spot(0.5, 0.6), Fingers(phone)
    fingers.put(ring)
    fingers.move((ring,), (shift(ring, 50, -40),))
    phone.until_moved(start)
    phone.until_shown("#card")  # the image under the hand
    spots = shift(ring, 50, -40), shift(ring, -50, -40)
    fingers.put(*spots)
    phone.until_gone("#card")
    dragged = phone.point()
    assert dragged[0] > start[0]
    assert dragged[1] > start[1]
    fingers.move(spots, (shift(spots[0], 30), shift(spots[1], -30)))
    fingers.lift()
    phone.until("!document.getElementById('map').dataset.hand")
    assert phone.point() == dragged  # the ring was let go, and only the view has changed


def test_a_finger_draws_on_the_paper_and_the_page_does_not_scroll(phone: Explorer) -> None:
    phone.page.tap("#tab-image")
    phone.page.locator(".paper").scroll_into_view_if_needed()
    scrolled = phone.page.evaluate("scrollY")
    fingers, start, stop = (
        Fingers(phone),
        phone.spot(0.5, 0.2, ".paper"),
        phone.spot(0.5, 0.8, ".paper"),
    )
    fingers.put(start)
    fingers.move((start,), (stop,))
    fingers.lift()
    phone.until_ink(".paper canvas", lambda ink: ink > 20)
    assert phone.page.evaluate("scrollY") == scrolled


def a_seven() -> str:
    """A picture in dark ink on light paper, not of the model's shape; PNG in base64."""
    image = Image.new("L", (120, 160), 255)
    ImageDraw.Draw(image).line([(30, 35), (85, 35), (60, 130)], fill=0, width=12)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


COPY_PICTURE = """async encoded => {
  const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
  const picture = new Blob([bytes], { type: "image/png" });
  await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
}"""


@pytest.fixture
def desk(browser: Browser, server: Server) -> Iterator[Explorer]:
    permissions = ["clipboard-read", "clipboard-write"]
    with explorer(browser, server.http_address, permissions=permissions) as page:
        yield page.open()


def test_a_copied_picture_is_pasted_anywhere_on_the_page(desk: Explorer) -> None:
    desk.page.evaluate(COPY_PICTURE, a_seven())
    desk.page.focus("#map")
    desk.page.keyboard.press("Control+v")
    desk.until_shown("#panel-image")
    desk.until_ink(".paper canvas", lambda ink: 20 < ink < 28 * 28 / 3)  # light on dark
    desk.page.locator(".verdict dt", has_text="log p(x)").wait_for()
    desk.until_ink('canvas[aria-label="Reconstruction"]', lambda ink: ink > 20)


def test_pasted_text_is_ignored(desk: Explorer) -> None:
    desk.page.evaluate("navigator.clipboard.writeText('12')")
    desk.page.focus("#seed")
    desk.page.keyboard.press("Control+a")
    desk.page.keyboard.press("Control+v")
    desk.page.keyboard.press("Enter")
    desk.until("document.getElementById('seed').value === '12'")
    desk.page.focus("#map")
    desk.page.keyboard.press("Control+v")
    desk.until_gone("#panel-image")


def test_a_link_is_copied_to_the_clipboard(desk: Explorer) -> None:
    desk.page.focus("#map")
    desk.page.keyboard.press("l")
    desk.until_text("#notice", "Copied")
    assert desk.page.evaluate("navigator.clipboard.readText()") == desk.page.url
