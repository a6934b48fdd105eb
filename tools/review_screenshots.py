"""Make the pictures of docs/review.md: the page of a run on the bundled samples, in Chromium.

python tools/review_screenshots.py docs/images [desktop grid move pins phone dark …]
"""

import json
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


def desktop(page: Page) -> None:
    """The list, and the least sure target."""


def grid(page: Page) -> None:
    """Several selected in the grid."""
    page.keyboard.press("g")
    for place in (1, 2, 4):
        page.locator(".row").nth(place).click(modifiers=["Control"])


def move(page: Page) -> None:
    """The edit turned by hand."""
    page.keyboard.press("m")
    for _ in range(6):
        page.keyboard.press(".")
    page.keyboard.press("Shift+ArrowRight")


def pins(page: Page) -> None:
    """Two pins."""
    page.keyboard.press("p")
    for x, y in ((0.3, 0.42), (0.62, 0.45)):
        for name in ("#source-frame", "#frame"):
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
            shot = output / f"review-{name}.png"
            page.screenshot(path=shot)
            PIL.Image.open(shot).convert("RGB").save(shot.with_suffix(".jpg"), quality=84, optimize=True)
            print(shot.with_suffix(".jpg"))
        browser.close()


def main(output: str, *names: str) -> None:
    """Run the samples where that was not done before, and take the views."""
    folder = Path(tempfile.gettempdir()) / "dift-edit-review"
    run_job(sample_job(folder))
    print(json.dumps({"folder": str(folder)}))
    Path(output).mkdir(parents=True, exist_ok=True)
    take(folder, Path(output), list(names or TRACKED))


if __name__ == "__main__":
    main(*sys.argv[1:])
