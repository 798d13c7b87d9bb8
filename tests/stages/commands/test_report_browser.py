"""The page in a real browser (headless Chromium through Playwright): it loads, sorts, filters, shows its pictures."""

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect, sync_playwright

from stages.commands import main as cli
from tests.conftest import ROOT
from tests.stages.commands.report_run import HOSTILE_NAME, N_VIDEOS, WORST, make_run

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: none of {', '.join(NAMES)} is installed")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report on disk."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        values["evaluate"]["bootstrap_samples"] = 100
        Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
        make_run()
        cli.call(["report", "--out", "page.html"])
    return (folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The loaded page; whatever the console, an exception or the network had to say fails the test at its end."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )
    page.goto(address)
    yield page
    page.close()
    assert complaints == []


def column(page: Page, number: int) -> list[str]:
    return page.locator("#table tbody tr:visible").evaluate_all(
        "(rows, number) => rows.map((row) => row.cells[number].textContent.trim())", number
    )


def numbers(texts: list[str]) -> list[float]:
    return [float(text.replace("−", "-")) for text in texts if text != "–"]


def test_it_loads_without_a_word_and_shows_every_picture(page: Page) -> None:
    assert page.title().endswith("aigc-vqa report")
    # Pictures of the table load when they come into sight.
    page.locator("#videos").scroll_into_view_if_needed()
    pictures = page.locator("#table img")
    assert pictures.count() == N_VIDEOS - 1
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
    page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    # 12 + 12 cards of 3 frames, each with its crop; the film strip's pictures are inside SVG and have a size on screen.
    assert page.locator(".strip svg image").count() == 24 * 3 == page.locator(".strip rect.crop").count()
    boxes = [image.bounding_box() for image in page.locator(".strip svg image").all()[:6]]
    assert all(box is not None and box["width"] > 20 and box["height"] > 15 for box in boxes)
    assert page.locator(".figure svg").count() == 4


def test_a_click_sorts_and_a_second_click_turns_the_order(page: Page) -> None:
    heading = page.locator("#table thead th", has_text="error")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    errors = column(page, 7)
    assert numbers(errors) == sorted(numbers(errors), reverse=True)
    # The failed video has no error: missing values stand last in both orders.
    assert errors[-1] == "–"
    heading.locator("button").click()
    errors = column(page, 7)
    assert heading.get_attribute("aria-sort") == "ascending"
    assert numbers(errors) == sorted(numbers(errors))
    assert errors[-1] == "–"
    assert column(page, 1)[0].startswith(WORST)
    assert page.locator("#table th[aria-sort]").count() == 1


def test_the_search_box_and_the_part_filter(page: Page) -> None:
    count = page.get_by_role("status").filter(has_text="videos")
    page.get_by_label("Search").fill("CLIP_1 thing")
    assert count.text_content() == "10 of 20 videos"
    assert all(text.startswith("clip_1") for text in column(page, 1))
    page.get_by_label("Part").select_option("train")
    assert set(column(page, 2)) == {"train"}
    page.get_by_label("Search").fill("no such video")
    assert column(page, 1) == []
    page.get_by_role("button", name="Show all").click()
    assert count.text_content() == "20 of 20 videos"
    assert page.evaluate("document.activeElement.id") == "search"
    page.get_by_label("Search").fill("repeated frames")
    assert len(column(page, 1)) == 1


def test_the_keyboard_alone_reaches_and_sorts(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the results"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#search").focus()
    page.keyboard.type("clip_0")
    for _ in range(3):  # the part, the table that scrolls, the first heading
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "video"
    page.keyboard.press("Enter")
    assert column(page, 1)[0].startswith("clip_09")
    page.keyboard.press("Space")
    assert column(page, 1)[0].startswith("clip_01")


def test_a_link_to_a_hidden_row_shows_it(page: Page) -> None:
    page.get_by_label("Search").fill("nothing at all")
    link = page.locator("#errors .card h3 a").first
    link.click()
    target = page.locator(str(link.get_attribute("href")))
    assert target.is_visible()
    assert target.locator(".name").text_content() == WORST


def test_a_click_on_a_point_leads_to_its_row_in_this_page(page: Page) -> None:
    point = page.locator("#scatter a").first
    point.click()
    row = page.locator(page.evaluate("location.hash"))
    expect(row).to_be_in_viewport(ratio=0.9)
    assert len(page.context.pages) == 1


def test_the_table_scrolls_in_its_place_under_its_headings(page: Page) -> None:
    """The last row comes into sight below the column headings, which stay at the top of the table."""
    frame, last = page.locator("#videos .scroll"), page.locator("#table tbody tr").last
    page.evaluate("(name) => { location.hash = name; }", last.get_attribute("id"))
    expect(last).to_be_in_viewport(ratio=0.9)
    assert frame.evaluate("(one) => one.scrollTop") > 0
    # In one look: the page may still be gliding to its place.
    tops = frame.evaluate(
        "(one) => [one, one.querySelector('thead th')].map((part) => part.getBoundingClientRect().top)"
    )
    assert tops[1] == pytest.approx(tops[0], abs=2)


def test_everything_has_a_name_for_a_screen_reader(page: Page) -> None:
    """Headings in order, one main part, a name for each control and picture."""
    assert page.get_by_role("main").count() == 1
    levels = page.locator("h1, h2, h3").evaluate_all("(all) => all.map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    nameless = """() => [...document.querySelectorAll("[role=img], [role=group], nav, img, input, select, button, a")]
      .filter((one) => !one.closest("[aria-hidden]"))
      .filter((one) => !(one.getAttribute("aria-label") || one.alt || one.textContent.trim() || one.labels?.length))
      .map((one) => one.outerHTML.slice(0, 90))"""
    assert page.evaluate(nameless) == []
    strip = page.get_by_role("img", name="Frame 2 at 0.25 s").first
    assert "crop from 4, 2 to 40, 30" in str(strip.get_attribute("aria-label"))


def test_foreign_text_is_shown_and_does_nothing(page: Page) -> None:
    assert page.locator("#table .name").first.text_content() == HOSTILE_NAME
    assert "owned" not in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_sideways_scrolling_and_with_contrast(
    browser: Browser, address: str, scheme: Any
) -> None:
    """WCAG AA asks for a contrast of 4.5; colours are those that the browser computed."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    contrast = """(name) => {
      const light = (text) => {
        const part = text.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255)
          .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
      };
      const style = document.createElement("p");
      document.body.append(style);
      style.style.color = `var(--${name})`;
      style.style.background = "var(--surface)";
      const computed = getComputedStyle(style);
      const values = [light(computed.color), light(computed.backgroundColor)].sort((a, b) => a - b);
      style.remove();
      return (values[1] + 0.05) / (values[0] + 0.05);
    }"""
    colours = {name: page.evaluate(contrast, name) for name in ("ink", "muted", "accent", "warn", "good")}
    assert {name: value for name, value in colours.items() if value < 4.5} == {}
    context.close()
