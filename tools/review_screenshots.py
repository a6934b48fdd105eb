"""Make the pictures of docs/review.md: the page of a run on the bundled samples, in Chromium.

python tools/review_screenshots.py docs/images [desktop grid move pins phone dark …]
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import PIL.Image
from playwright.sync_api import Page, sync_playwright

from dift_edit.batch import run_job
from dift_edit.samples import sample_job

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 780}, "is_mobile": True, "has_touch": True}


EYES = (((0.378, 0.378), (0.355, 0.374)), ((0.7, 0.455), (0.637, 0.359)))
"""Each eye in the source and in the picture of the tuxedo cat, as shares of width and height."""


def desktop(page: Page) -> None:
    """The list, and the least sure target."""


def grid(page: Page) -> None:
    """Several selected in the grid."""
    page.keyboard.press("g")
    for place in (1, 2, 4):
        page.locator(".row").nth(place).click(modifiers=["Control"])


def move(page: Page) -> None:
    """The edit turned by hand."""
    page.locator(".row").filter(has_text="kitten").click()
    page.keyboard.press("m")
    page.keyboard.type("......+++")


def pins(page: Page) -> None:
    """The eyes of source and target."""
    page.locator(".row").filter(has_text="tuxedo").click()
    page.keyboard.press("p")
    page.wait_for_timeout(300)
    for source, target in EYES:
        for name, (x, y) in (("#source-frame", source), ("#frame", target)):
            box = page.locator(name).bounding_box()
            assert box is not None
            page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])


def before(page: Page) -> None:
    """The line between before and after."""
    page.locator(".row").nth(2).click()
    page.locator("#slider").evaluate("(slider) => { slider.value = 480; slider.dispatchEvent(new Event('input')); }")


def helped(page: Page) -> None:
    """The keys."""
    page.keyboard.press("?")


def phone(page: Page) -> None:
    """A target on a phone."""
    page.locator(".row").first.tap()


VIEWS: dict[str, tuple[dict[str, Any], Any]] = {
    "desktop": (DESKTOP, desktop),
    "grid": (DESKTOP, grid),
    "move": (DESKTOP, move),
    "pins": (DESKTOP, pins),
    "before": (DESKTOP, before),
    "help": (DESKTOP, helped),
    "dark": ({**DESKTOP, "color_scheme": "dark"}, desktop),
    "dark-grid": ({**DESKTOP, "color_scheme": "dark"}, grid),
    "phone": (PHONE, phone),
    "phone-list": (PHONE, desktop),
    "phone-grid": (PHONE, lambda page: page.locator("#as-grid").tap()),
    "phone-move": (PHONE, lambda page: (phone(page), page.locator("#mend").tap())),
    "phone-pins": (PHONE, lambda page: (phone(page), page.locator("#pin").tap())),
}
TRACKED = ("desktop", "grid", "move", "pins", "phone")


def take(folder: Path, output: Path, names: list[str]) -> None:
    """Take the views of a run's page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=False, args=["--disable-gpu", "--disable-dev-shm-usage"]
        )
        for name in names:
            options, prepare = VIEWS[name]
            page = browser.new_context(**options).new_page()
            page.on("pageerror", lambda error: print(f"error: {error}"))
            page.goto((folder / "review.html").as_uri())
            page.wait_for_timeout(400)
            prepare(page)
            page.wait_for_timeout(700)
            picture = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            picture.thumbnail((1000, 1000))
            picture.save(output / f"review-{name}.jpg", quality=80, optimize=True)
            print(output / f"review-{name}.jpg")
        browser.close()


def main(output: str, *names: str) -> None:
    """Run the samples where that was not done before, and take the views."""
    folder = Path(tempfile.gettempdir()) / "dift-edit-review"
    run_job(sample_job(folder))
    Path(output).mkdir(parents=True, exist_ok=True)
    take(folder, Path(output), list(names or TRACKED))


if __name__ == "__main__":
    main(*sys.argv[1:])
