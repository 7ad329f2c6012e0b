"""The page in a real browser, without JavaScript and by keyboard alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_home import Served, server

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")


@pytest.fixture(scope="module")
def address(made: Served) -> Iterator[str]:
    with server(made) as running:
        yield running.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A container's root has no sandbox to offer; the page is our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A page that may reach our server and nothing else, and runs no script."""
    context = browser.new_context(
        base_url=address, java_script_enabled=False, viewport={"width": 1100, "height": 800}
    )
    page = context.new_page()
    page.wrong = []
    page.on("requestfailed", lambda request: page.wrong.append(request.url))
    page.on("console", lambda message: page.wrong.append(message.text))
    page.on("request", lambda r: r.url.startswith((address, "data:")) or page.wrong.append(r.url))
    yield page
    assert page.wrong == []
    context.close()


def focused(page: Any) -> str:
    """What has the focus, as a user of a screen reader hears it."""
    return page.locator("*:focus").evaluate(
        "e => e.labels && e.labels.length ? e.labels[0].textContent : e.textContent.trim()"
    )


def test_by_keyboard_from_the_form_to_the_answer(page: Any, tmp_path: Path) -> None:
    page.goto("/")
    assert focused(page) == "User"
    page.keyboard.type("u005")
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        order.append(focused(page))
    assert order == ["At (UTC; empty is now)", "Feature over time", "Span", "Look up"]
    page.keyboard.press("Enter")
    page.wait_for_url("**/?user=u005*")
    assert page.title().startswith("u005")
    assert page.get_by_role("heading", level=1).inner_text() == "User u005"
    for heading in ("What comes next", "Timeline", "Features by scale"):
        assert page.get_by_role("heading", name=heading, exact=True).is_visible()
    for chart in ("Probability of each next state", "Last events over time", "event_count_7d"):
        drawing = page.get_by_role("img", name=chart)
        box = drawing.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 50
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    page.screenshot(path=artifacts / "user.png", full_page=True)
    assert (artifacts / "user.png").stat().st_size > 20_000


def test_the_first_stop_skips_to_the_content(page: Any) -> None:
    page.goto("/?user=u005")
    page.keyboard.press("Tab")
    link = page.get_by_role("link", name="Skip to the content")
    assert focused(page) == "Skip to the content"
    assert link.bounding_box()["x"] >= 0  # it is seen while it has the focus
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused(page) == "User"


def test_a_table_of_the_events_opens_by_keyboard(page: Any) -> None:
    page.goto("/?user=u005")
    table = page.get_by_role("region", name="Last events")
    assert not table.is_visible()
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    assert table.is_visible()
    assert table.get_by_role("row").count() == 31


def test_a_wrong_instant_has_the_focus_and_says_why(page: Any) -> None:
    page.goto("/?user=u005&at=noon")
    assert focused(page).startswith("At ")
    assert "is not an instant" in page.get_by_role("alert").inner_text()
    field = page.get_by_label("At (UTC; empty is now)")
    assert field.get_attribute("aria-describedby") == page.get_by_role("alert").get_attribute("id")
    page.wrong.clear()  # the console names the status 422


def test_nothing_is_cut_off_on_a_narrow_screen(page: Any, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 380, "height": 700})
    page.goto("/?user=u005")
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    page.screenshot(path=artifacts / "narrow.png", full_page=True)


def test_text_has_contrast(page: Any) -> None:
    """At least 4.5 to 1 for every text, by WCAG's formula, on what lies behind it."""
    page.goto("/?user=u005")
    worst = page.evaluate(_WORST_CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    assert worst["texts"] > 100


def test_the_reference_has_every_route(page: Any) -> None:
    page.goto("/docs")
    assert page.get_by_role("heading", name="POST /predict").is_visible()
    page.get_by_role("link", name="PredictRequest").first.click()
    assert page.url.endswith("#PredictRequest")


_WORST_CONTRAST = """() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  let worst = { ratio: 99, texts: 0 };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    worst.texts += 1;
    if ((a + 0.05) / (b + 0.05) < worst.ratio) {
      Object.assign(worst, { ratio: (a + 0.05) / (b + 0.05), text: element.textContent.trim() });
    }
  }
  return worst;
}"""
