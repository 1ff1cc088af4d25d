"""The explorer's map, sliders and keyboard, driven by mouse and keys on a real server."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

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


def shift_drag(page: Explorer, start: tuple[float, float], stop: tuple[float, float]) -> None:
    page.page.keyboard.down("Shift")
    page.drag(page.spot(*start), page.spot(*stop))
    page.page.keyboard.up("Shift")


def test_the_page_opens_with_a_map_an_image_and_samples_and_no_error(
    page: Explorer, record_property: Callable[[str, object], None]
) -> None:
    page.until_ink("#here", lambda ink: ink > 20)
    page.until("document.querySelectorAll('#samples canvas').length > 10")
    assert [chip.strip() for chip in page.page.locator("#legend .chip").all_inner_texts()] == [
        str(digit) for digit in range(10)
    ]
    # Grid and points, and not a plain ground.
    page.until(
        """() => {
          const map = document.getElementById("map");
          const { data } = map.getContext("2d").getImageData(0, 0, map.width, map.height);
          return new Set(new Uint32Array(data.buffer)).size > 100;
        }"""
    )
    first = "performance.getEntriesByType('resource').find(e => e.name.endsWith('/Decode'))"
    page.until(first)
    record_property(
        "milliseconds_to_first_image", round(page.page.evaluate(f"{first}.responseEnd"))
    )


def test_the_image_follows_a_drag(page: Explorer) -> None:
    before, picture = page.point(), page.picture()
    page.page.keyboard.down("Shift")
    page.page.mouse.move(*page.spot(0.3, 0.3))
    page.page.mouse.down()
    page.page.mouse.move(*page.spot(0.35, 0.5), steps=6)
    page.until_moved(before)
    page.until_changed("#here", picture)
    page.until_shown("#card")  # the image under the hand
    page.page.mouse.up()
    page.until_gone("#card")
    page.until_text("#latency", " ms")


def test_the_ring_is_dragged_and_the_background_is_panned(page: Explorer) -> None:
    shift_drag(page, (0.5, 0.5), (0.6, 0.6))
    on_ring = page.point()
    page.drag(page.spot(0.6, 0.6), page.spot(0.4, 0.3))
    assert page.until_moved(on_ring) != on_ring
    where, sight = page.point(), page.picture("#map")
    page.drag(page.spot(0.8, 0.8), page.spot(0.7, 0.7))
    page.until_changed("#map", sight)
    assert page.point() == where


def test_wheel_buttons_and_keys_zoom(page: Explorer) -> None:
    sight = page.picture("#map")
    page.page.mouse.move(*page.spot(0.5, 0.5))
    acts: list[Callable[[], None]] = [
        lambda: page.page.mouse.wheel(0, -400),
        lambda: page.page.click("#zoom-in"),
        lambda: page.page.keyboard.press("-"),
        lambda: page.page.keyboard.press("0"),
    ]
    for act in acts:
        act()
        sight = page.until_changed("#map", sight)


def find_dot(page: Explorer) -> str:
    """Moves over the map's middle until a test image's card shows; its words."""
    parts = itertools.cycle(range(60))

    def finds() -> bool:
        page.page.mouse.move(*page.spot(0.3 + next(parts) / 150, 0.5))
        return page.page.locator("#card canvas").is_visible()

    page.until_holds(finds, "a point under the hand")
    return page.text("#card figcaption")


def test_a_point_shows_its_image_and_a_click_goes_there(page: Explorer) -> None:
    words = find_dot(page)
    assert words.startswith("test image ")
    assert words[-1] in "0123456789"
    page.until_ink("#card canvas", lambda ink: ink > 20)
    before = page.point()
    page.page.mouse.down()
    page.page.mouse.up()
    page.until_moved(before)
    page.until_text("#neighbours button:first-child span", words[-1])
    page.until_count("#pins .badge", 0)


def test_a_double_click_pins_a_point_or_what_is_there(page: Explorer) -> None:
    assert "pin" in page.text("#pins li")
    find_dot(page)
    x, y = page.spot(0.5, 0.5)
    page.page.mouse.dblclick(x, y)
    page.until_count("#pins .badge", 1)
    before = page.point()
    page.page.mouse.dblclick(*page.spot(0.2, 0.85))
    page.until_moved(before)
    page.until_count("#pins .badge", 2)


def test_the_nearest_test_images_are_beside_the_point_and_lead_there(page: Explorer) -> None:
    page.until_count("#neighbours button", 7)
    third = page.page.locator("#neighbours button").nth(2)
    title = third.get_attribute("title")
    before = page.point()
    third.click()
    page.until_moved(before)
    page.until_holds(
        lambda: page.page.get_attribute("#neighbours button:first-child", "title") == title,
        "the image that was clicked is the nearest",
    )
    page.until_ink("#neighbours button:first-child canvas", lambda ink: ink > 20)


def test_an_image_is_pinned_once(page: Explorer) -> None:
    page.page.click("#pin")
    page.until_count("#pins .badge", 1)
    page.page.click("#pin")
    page.until_text("#notice", "This image is pinned already, as A.")
    page.until_count("#pins .badge", 1)


def test_the_map_is_saved_as_the_embedding_projector_reads_it(page: Explorer) -> None:
    with page.page.expect_download() as vectors:
        page.page.click("#map-tsv")
    rows = Path(vectors.value.path()).read_text().splitlines()
    assert vectors.value.suggested_filename in {"vectors.tsv", "metadata.tsv"}
    assert len(rows) == 1000, "one row per test image in the bundle"


@pytest.mark.parametrize(
    ("width", "height", "least"), [(1100, 800, 140), (1400, 900, 185), (1920, 1080, 380)]
)
def test_the_decoded_image_grows_with_the_window(
    page: Explorer, width: int, height: int, least: int
) -> None:
    page.page.set_viewport_size({"width": width, "height": height})
    page.until(f"document.getElementById('here').clientWidth >= {least}")
    box = page.page.locator("#here").bounding_box()
    assert box is not None
    assert abs(box["width"] - box["height"]) < 3 or box["height"] > 0.4 * height
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_click_on_the_background_moves_the_point_there(page: Explorer) -> None:
    before = page.point()
    page.page.mouse.click(*page.spot(0.97, 0.6))
    assert page.until_moved(before)[0] > before[0]


def test_labels_grid_and_points_are_shown_and_hidden(page: Explorer) -> None:
    sight = page.picture("#map")
    page.page.click("#legend .chip:nth-child(4)")
    page.until_pressed("#legend .chip:nth-child(4)", False)
    sight = page.until_changed("#map", sight)
    for button, key in (("#tiles", "t"), ("#dots", "d")):
        page.page.click(button)
        page.until_pressed(button, False)
        sight = page.until_changed("#map", sight)
        page.page.keyboard.press(key)
        page.until_pressed(button, True)
        sight = page.until_changed("#map", sight)


def test_sliders_show_activity_and_move_the_point(page: Explorer) -> None:
    page.until_count(".unit", 2)
    nats = [float(text.split()[0]) for text in page.page.locator(".unit .kl").all_inner_texts()]
    assert nats == sorted(nats, reverse=True)
    assert page.text(".unit .ticks").split()[5].startswith("+2")
    before, picture = page.point(), page.picture()
    page.page.locator(".unit input").first.focus()
    for _ in range(40):
        page.page.keyboard.press("ArrowRight")
    page.until_moved(before)
    page.until_changed("#here", picture)
    moved = page.point()
    page.page.locator(".unit").first.locator(".film button").first.click()
    assert page.until_moved(moved) != moved


def test_attributes_have_sliders_that_add_their_direction(browser: Browser, server: Server) -> None:
    def with_attribute(route: Route) -> None:
        listed = route.fetch().json()
        for model in listed["models"]:
            size = int(model["latentShape"][0])
            direction = [0.5, 1.0, 0.0][:size]
            model["attributes"] = [{"name": "slant", "direction": direction}]
        route.fulfill(json=listed)

    with explorer(browser, server.http_address) as page:
        page.page.route("**/ListModels", with_attribute)
        page.open()
        slider = page.page.locator('.unit input[aria-label="slant"]')
        slider.focus()
        slider.fill("2")
        moved = page.until_moved([0.0, 0.0])
        assert moved == pytest.approx([1.0, 2.0], abs=0.02)
        slider.fill("-1")
        assert page.until_moved(moved) == pytest.approx([-0.5, -1.0], abs=0.02)


def test_keys_move_centre_undo_and_redo(page: Explorer) -> None:
    page.page.focus("#map")
    page.page.keyboard.press("ArrowRight")
    right = page.until_moved([0.0, 0.0])
    assert right[0] > 0
    page.page.keyboard.press("Shift+ArrowUp")
    up = page.until_moved(right)
    assert up[1] > right[1]
    page.page.keyboard.press("Control+z")
    assert page.until_moved(up) == right
    page.page.keyboard.press("Control+Shift+z")
    assert page.until_moved(right) == up
    page.page.keyboard.press("Home")
    assert page.until_moved(up) == [0.0, 0.0]
    page.page.click("#undo")
    assert page.until_moved([0.0, 0.0]) == up


def test_tabs_and_help_are_reachable_by_keyboard(page: Explorer) -> None:
    page.page.keyboard.press("m")
    page.until_shown("#panel-mix")
    page.page.focus("#tab-mix")
    page.page.keyboard.press("ArrowLeft")
    page.until_shown("#panel-image")
    page.page.keyboard.press("?")
    page.until_shown("#keys")
    page.page.keyboard.press("Escape")
    page.until_gone("#keys")


def test_a_seed_gives_the_same_samples_and_r_draws_others(page: Explorer) -> None:
    page.page.wait_for_selector("#samples canvas")
    first = page.picture("#samples canvas")
    page.page.keyboard.press("r")
    page.until_changed("#samples canvas", first)
    page.until("document.getElementById('seed').value === '2'")
    page.page.fill("#seed", "1")
    page.page.press("#seed", "Enter")
    page.until("before => document.querySelector('#samples canvas').toDataURL() === before", first)
    before = page.point()
    page.page.locator("#samples button").nth(3).click()
    page.until_moved(before)


def test_a_label_is_found_by_its_name(page: Explorer) -> None:
    def shown() -> list[str]:
        return page.page.locator("#legend .chip[aria-pressed=true]").all_inner_texts()

    labels = shown()
    assert "3" in labels
    page.page.fill("#find", "3")
    page.until_holds(lambda: shown() == ["3"], "only the label is shown")
    before = page.point()
    page.page.press("#find", "Enter")
    page.until_moved(before)
    page.page.fill("#find", "unicorn")
    page.until("document.getElementById('find').getAttribute('aria-invalid') === 'true'")
    assert shown() == labels
    page.page.press("#find", "Enter")
    page.until_text("#notice", "No label has unicorn in its name")
    page.page.press("#find", "Escape")
    page.until("document.getElementById('find').value === ''")


def test_another_model_of_more_coordinates_is_shown_on_its_principal_axes(page: Explorer) -> None:
    page.page.select_option("#model", index=1)
    page.until("document.getElementById('axes').textContent.includes('principal axes of 3')")
    page.until("document.querySelectorAll('.unit').length === 3")
    page.until_text("#where", page.where_text([0.0, 0.0, 0.0]).replace("  ", " "))
    sight = page.picture("#map")
    page.page.locator(".unit .film button").first.click()
    page.until_moved([0.0, 0.0, 0.0])
    page.until_changed("#map", sight)  # the plane of the grid has moved with the point
    page.page.select_option("#model", index=0)
    page.until_count(".unit", 2)
    page.until("document.getElementById('where').textContent === 'z = 0.00  0.00'")


@pytest.mark.parametrize("size", [(360, 740), (820, 1180), (1920, 1080)])
def test_the_page_fits_from_phone_to_wide_screen(
    browser: Browser, server: Server, size: tuple[int, int]
) -> None:
    with explorer(browser, server.http_address, size=size, has_touch=size[0] < 900) as page:
        page.open()
        width = page.page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0]
        for selector in ("#map", "#here", "#tab-mix", "#draw", "#model", "#help"):
            box = page.page.locator(selector).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= size[0] + 0.5, selector


@pytest.mark.parametrize(("system", "other"), [("dark", "light"), ("light", "dark")])
def test_dark_and_light_mode_follow_the_system_until_changed(
    browser: Browser, server: Server, system: str, other: str
) -> None:
    with explorer(browser, server.http_address, color_scheme=system) as page:
        page.open()
        assert page.page.get_attribute("html", "data-theme") == system
        picture = page.picture()
        page.page.click("#theme")
        page.page.wait_for_selector(f'html[data-theme="{other}"]')
        page.until_changed("#here", picture)  # the ink turns with the paper
        page.page.reload()
        page.page.wait_for_selector(f'html[data-theme="{other}"]')
