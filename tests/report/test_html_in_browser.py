"""The HTML report in a real browser: nothing fails, nothing is fetched, everybody can read it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import pytest
from page_examples import bare, full
from PIL import Image

from edgekit.report.html import html_page, shown_flips

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, ViewportSize

_ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--no-first-run",
)
_PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
_DESK: Final[ViewportSize] = {"width": 1100, "height": 900}
# WCAG 2.2, 1.4.3: contrast of text, computed as it defines it. axe-core leaves words in pictures out.
_LEAST_CONTRAST: Final = 4.5
_CONTRASTS: Final = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const rgba = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b]
    .map(value => value / 255)
    .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgba(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
  };
  return [...document.querySelectorAll("svg text")].map(text => {
    const [a, b] = [rgba(getComputedStyle(text).fill), behind(text)].map(luminance);
    return {text: text.textContent, contrast: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)};
  });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium of the system, driven by playwright; without either: skip, or fail where CI=true."""
    try:
        import axe_playwright_python  # noqa: F401
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("needs playwright and axe-playwright-python: pip install 'edgekit[test]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        _missing("needs chromium, which is not on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        yield chromium
        chromium.close()


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two example pages as files, the full one with pictures."""
    folder = tmp_path_factory.mktemp("pages")
    stream = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(stream, "JPEG")
    thumbnails = {flip.index: stream.getvalue() for flip in shown_flips(full().detail)[1:]}
    (folder / "full.html").write_text(html_page(full(), thumbnails), encoding="utf-8")
    (folder / "bare.html").write_text(html_page(bare(), {}), encoding="utf-8")
    return {"full": folder / "full.html", "bare": folder / "bare.html"}


@dataclasses.dataclass
class Visit:
    """A page that is open, and all that it complained about or asked for."""

    page: Page
    complaints: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)

    def background(self) -> str:
        return str(self.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    def width(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


@contextlib.contextmanager
def visiting(
    browser: Browser, path: Path, size: ViewportSize = _DESK, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Visit]:
    with contextlib.closing(browser.new_context(viewport=size, color_scheme=scheme)) as context:
        visit = Visit(context.new_page())
        visit.page.on("console", lambda message: visit.complaints.append(message.text))
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.page.on("request", lambda request: visit.requests.append(request.url))
        visit.page.goto(path.as_uri())
        yield visit


@pytest.mark.parametrize("name", ["full", "bare"])
@pytest.mark.parametrize(
    ("size", "scheme"), [(_DESK, "light"), (_DESK, "dark"), (_PHONE, "light")], ids=["light", "dark", "phone"]
)
def test_the_page_opens_without_complaint_fetches_nothing_and_everybody_can_read_it(
    browser: Browser, pages: dict[str, Path], name: str, size: ViewportSize, scheme: Literal["light", "dark"]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with visiting(browser, pages[name], size, scheme) as visit:
        assert visit.complaints == []
        assert visit.requests == [pages[name].as_uri()]
        assert visit.page.evaluate("[...document.images].every(image => image.naturalWidth === 32)")
        assert visit.page.evaluate("document.images.length") == (23 if name == "full" else 0)
        assert visit.width() == size["width"]
        contrasts = visit.page.evaluate(_CONTRASTS)
        assert contrasts
        assert [found for found in contrasts if found["contrast"] < _LEAST_CONTRAST] == []
        found = Axe().run(visit.page)
        assert found.violations_count == 0, found.generate_snapshot()


def test_a_very_narrow_phone_does_not_scroll_sideways_either(browser: Browser, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["full"], {"width": 320, "height": 600}) as visit:
        assert visit.width() == 320


def test_the_page_forbids_what_would_be_fetched_or_run(browser: Browser, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["bare"]) as visit:
        visit.page.evaluate(
            """() => {
              const image = document.createElement("img"); image.src = "http://127.0.0.1:9/picture.png";
              const script = document.createElement("script"); script.textContent = "window.ran = true";
              document.body.append(image, script);
            }"""
        )
        visit.page.wait_for_timeout(200)
        assert visit.page.evaluate("window.ran") is None
        assert len([text for text in visit.complaints if "Content Security Policy" in text]) == 2


def test_the_colours_follow_the_system_until_somebody_chooses(browser: Browser, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["bare"]) as visit:
        light = visit.background()
        visit.page.emulate_media(color_scheme="dark")
        dark = visit.background()
        assert dark != light
        visit.page.locator("#theme-light").check()
        assert visit.background() == light
        visit.page.emulate_media(color_scheme="light")
        visit.page.locator("#theme-dark").check()
        assert visit.background() == dark


def test_the_keyboard_reaches_everything_that_can_be_used(browser: Browser, pages: dict[str, Path]) -> None:
    with visiting(browser, pages["full"], _PHONE) as visit:
        usable = "a, summary, [tabindex='0'], input:checked"
        total = visit.page.evaluate(f"""document.querySelectorAll("{usable}").length""")
        reached = set()
        for _ in range(total):
            visit.page.keyboard.press("Tab")
            reached.add(
                visit.page.evaluate(f"""[...document.querySelectorAll("{usable}")].indexOf(document.activeElement)""")
            )
            assert (
                visit.page.evaluate(
                    "getComputedStyle(document.activeElement.type === 'radio'"
                    " ? document.activeElement.nextElementSibling : document.activeElement).outlineStyle"
                )
                == "solid"
            )
        assert reached == set(range(total))
        light = visit.background()
        visit.page.locator("#theme-system").focus()
        visit.page.keyboard.press("ArrowRight")
        visit.page.keyboard.press("ArrowRight")
        assert visit.page.evaluate("document.activeElement.id") == "theme-dark"
        assert visit.background() != light


def test_in_print_it_is_light_and_without_what_cannot_be_used_on_paper(
    browser: Browser, pages: dict[str, Path]
) -> None:
    with visiting(browser, pages["full"], scheme="dark") as visit:
        visit.page.locator("#theme-dark").check()
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert visit.background() == "rgb(255, 255, 255)"
        assert not visit.page.locator("nav").is_visible()
        assert not visit.page.locator(".theme").is_visible()
        assert visit.page.locator("#flips img").first.is_visible()
        assert visit.page.pdf(format="A4").startswith(b"%PDF")
