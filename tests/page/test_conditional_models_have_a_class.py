"""The page decodes and encodes a conditional model's images in the class that is chosen."""

from __future__ import annotations

from pathlib import Path

from browser import explorer, running_browser
from labelled_model import NAMES, trained
from server_process import running_server

INK = """(wanted) => {
  const canvas = document.getElementById('here');
  const context = canvas.getContext('2d');
  const {data, width, height} = context.getImageData(0, 0, canvas.width, canvas.height);
  const light = [0, 0];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) light[x < width / 2 ? 0 : 1] += data[4 * (y * width + x)];
  const [left, right] = light.map((one) => one > 0.4 * Math.max(...light));
  return (left && right ? 'both' : left ? 'left' : 'right') === wanted;
}"""


def test_the_class_decides_what_is_decoded(tmp_path: Path) -> None:
    trained(tmp_path / "run").export(tmp_path / "models", "halves")
    with (
        running_server(tmp_path / "models") as server,
        running_browser() as browser,
    ):
        with explorer(browser, server.http_address, color_scheme="dark") as page:
            page.open()
            assert page.page.locator("#class option").all_inner_texts() == list(NAMES)
            for name in ("right", "both", "left"):
                page.page.select_option("#class", label=name)
                page.until(INK, name)
            page.page.click("#undo")
            page.until(INK, "both")
            page.page.click("#tab-image")
            page.page.click("#test-image")
            page.until_text(".verdict", "nats")
            page.page.click("#share")
            page.until("location.hash.length > 10")
            chosen = page.page.locator("#class").input_value()
            link = page.page.evaluate("location.hash")
        with explorer(browser, server.http_address, color_scheme="dark") as page:
            page.open(link)
            page.until("(name) => document.getElementById('class').value === name", chosen)


def test_other_models_have_no_class(tmp_path: Path) -> None:
    trained(tmp_path / "run", epochs=1, conditional=False).export(tmp_path / "models", "plain")
    with (
        running_server(tmp_path / "models") as server,
        running_browser() as browser,
        explorer(browser, server.http_address) as page,
    ):
        page.open()
        assert not page.page.locator("#classes").is_visible()
