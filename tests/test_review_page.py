"""The review page, clicked in a real browser from file://, and what is done with its decisions."""

import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from batch_data import SETTINGS, make_scene, picture, rows_of, variant
from dift_edit.annotations import (
    AnnotatedImage,
    AnnotatedObject,
    Annotations,
    Keypoint,
    Outline,
    read_annotations,
)
from dift_edit.batch import ModelSpec, annotate_batch, run_job
from dift_edit.batch.finish import journal_path, write_review
from dift_edit.cli import main
from dift_edit.edits import ColorAdjust, Redaction, Region, Sticker
from dift_edit.geometry.base import MatrixTransform
from dift_edit.imaging.files import as_image, load_image
from dift_edit.job.recipe import Job, load_job
from dift_edit.report.page import page_html
from dift_edit.report.previews import CUTOUT, SOURCE_BEFORE, cutout_box, preview_name, write_source_previews
from dift_edit.results.folder import OutputFolder
from dift_edit.results.journal import Journal
from dift_edit.results.manifest import Row
from dift_edit.settings import AnnotateSettings, BatchSettings, TransferSettings

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
ARGUMENTS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
]  # fmt: skip
EVIL = "<img src=x onerror=\"document.title='pwned'\">'\"&lt;\n.png"
SCRIPT = "a<script>document.title='pwned'<:script>.png"


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, headless=True, chromium_sandbox=False, args=ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("request", lambda request: request.url.startswith(("file:", "blob:")) or page.problems.append(request.url))
    yield page
    context.close()
    assert page.problems == []


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_model):
    """A run over ordinary, broken and hostile targets."""
    folder = make_scene(tmp_path_factory.mktemp("review"), 6)
    photos = folder / "photos"
    (photos / "broken.png").write_bytes(b"nothing")
    for number, name in enumerate([EVIL, SCRIPT, "@DATA@ @SCRIPT@.png", "x" * 240 + ".png", "日本 é.png"]):
        variant(20 + number).save(photos / name, "PNG")
    if sys.platform.startswith("linux"):
        variant(30).save(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png"), "PNG")
    job = Job(
        source=str(folder / "source.png"), sticker=str(folder / "sticker.png"), targets=(str(photos),),
        output=str(folder / "out"), model=str(tiny_model), model_settings=SETTINGS,
        transfer=TransferSettings(min_confidence=0.0, mirror="never"), batch=BatchSettings(preview_size=64),
    )  # fmt: skip
    run_job(job)
    return folder


@pytest.fixture
def out(finished, tmp_path):
    """A copy of that run's output, to be changed."""
    shutil.copytree(finished / "out", finished / tmp_path.name, symlinks=True)
    return finished / tmp_path.name


def rows(folder):
    return {row["id"].rsplit("/", 1)[-1]: row for row in rows_of(folder)}


def opened(page, folder):
    page.goto((folder / "review.html").as_uri())
    return page


def saved(page, path):
    with page.expect_download() as download:
        page.click("#export")
    download.value.save_as(path)
    return json.loads(path.read_text())


@pytest.mark.slow
def test_hostile_names_stay_inside_and_do_not_run(finished, page):
    out = finished / "out"
    found = rows(out)
    assert all(row["status"] == "applied" for name, row in found.items() if name != "broken.png")
    assert len({row["output"] for row in found.values()}) == len(found)  # with None for the broken one
    for row in found.values():
        if row["output"]:
            path = (out / row["output"]).resolve()
            assert (
                path.is_relative_to(out.resolve())
                and hashlib.sha256(path.read_bytes()).hexdigest() == row["output_sha256"]
            )
    assert sorted(path.name for path in finished.iterdir() if path.is_file()) == ["source.png", "sticker.png"]
    opened(page, out)
    page.get_by_role("button", name="All", exact=False).first.click()
    page.select_option("#sort", "name")
    for _ in range(len(found)):
        page.keyboard.press("j")
    page.fill("#search", "script")
    assert page.locator(".row .title").first.inner_text().strip() in (SCRIPT, "@DATA@ @SCRIPT@.png")
    assert "pwned" not in page.title() and page.locator("script").count() == 2
    html = (out / "review.html").read_text()
    assert "<img src=x" not in html and "</script>.png" not in html and page.locator("[onerror]").count() == 0


def test_review_by_mouse(out, page, tmp_path):
    opened(page, out)
    judged = len(rows(out)) - 1  # all but the broken one
    assert page.locator("#found").inner_text() == f"{judged} of {judged + 1} targets"
    page.get_by_role("button", name="Failed 1").click()
    assert page.locator("#accept").is_disabled()
    assert page.locator(".row").count() == 1 and "broken.png" in page.locator("#name").inner_text()
    assert "not a picture" in page.locator("#nothing").inner_text()
    page.get_by_role("button", name="Applied").click()
    page.select_option("#sort", "name")
    page.locator(".row", has_text="photo0001.png").click()
    for side in ("before", "after"):
        assert page.evaluate(f"document.getElementById('{side}').naturalWidth") > 0
        assert "photo0001.png" in page.locator(f"#{side}").get_attribute("alt")
    clip = "getComputedStyle(document.getElementById('after')).clipPath"
    assert page.evaluate(clip) == "inset(0px 0px 0px 0%)"  # the edit is seen whole
    box = page.locator("#frame").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.5)
    left = page.evaluate("parseFloat(document.getElementById('line').style.left)")
    assert 10 < left < 30
    assert f"{round(left)}" in page.evaluate(clip)
    page.click("#accept")
    assert "photo0002.png" in page.locator("#name").inner_text() and page.evaluate(clip).endswith(" 0%)")
    page.click("#reject")
    page.fill("#note", "too <b>far</b> left")
    decided = saved(page, tmp_path / "decisions.json")["decisions"]
    found = {made["id"].rsplit("/", 1)[-1]: made for made in decided}
    assert found["photo0001.png"]["decision"] == "accepted" and found["photo0002.png"]["decision"] == "rejected"
    assert found["photo0003.png"]["note"] == "too <b>far</b> left"
    page.reload()
    page.get_by_role("button", name="Rejected 1").click()
    assert "photo0002.png" in page.locator("#name").inner_text()
    assert "is-rejected" in page.locator(".row").first.get_attribute("class")
    page.fill("#search", "zzz")
    assert page.locator(".row").count() == 0 and "Nothing" in page.locator("#name").inner_text()


@pytest.mark.slow
def test_review_by_keyboard_alone(out, page, tmp_path):
    opened(page, out)
    page.keyboard.press("/")
    page.keyboard.type("photo")
    page.keyboard.press("Escape")
    for key in ("a", "r", "a", "k", "u", "n"):
        page.keyboard.press(key)
    page.keyboard.type("a note with keys arj")
    page.keyboard.press("Escape")
    before = page.evaluate("document.getElementById('slider').value")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.getElementById('slider').value") != before
    hidden = "document.getElementById('overlay').hasAttribute('hidden')"
    assert page.evaluate(hidden)
    page.keyboard.press("o")
    assert not page.evaluate(hidden)
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible() and "apply-review" in page.locator("#command").inner_text()
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.keyboard.press("e")
    download.value.save_as(tmp_path / "decisions.json")
    decided = json.loads((tmp_path / "decisions.json").read_text())["decisions"]
    assert sorted(made["decision"] for made in decided) == ["", "accepted", "rejected"]
    assert [made["note"] for made in decided if made["note"]] == ["a note with keys arj"]
    focusable = page.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea, a')].filter(e => e.offsetParent)"
        ".every(e => e.innerText || e.ariaLabel || e.labels?.length || e.title)"
    )
    assert focusable


COUNT = 10_000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A page of ten thousand rows, each with its preview."""
    folder = tmp_path_factory.mktemp("many")
    listed = [
        Row(
            id=f"{i}", target=f"photos/{i:05d}.jpg", status="abstained" if i % 7 == 0 else "applied",
            confidence=i / COUNT, size=[640, 480], output=None if i % 7 == 0 else f"{i}.jpg",
            reason="not sure" if i % 7 == 0 else "", quad=[[200, 100], [400, 100], [400, 300], [200, 300]],
        )
        for i in range(COUNT)
    ]  # fmt: skip
    job = {"fingerprint": "x", "quad": [[0, 0], [9, 0], [9, 9], [0, 9]], "source_size": [20, 20]}
    html = page_html(listed, job, command="")
    assert len(html) < 8e6
    (folder / "review.html").write_bytes(html)
    pictures = [picture(number, (640, 480)) for number in range(8)]
    for number, each in enumerate(pictures):
        each.save(folder / f"{number}.jpg", quality=82)
    for row in listed:
        number = int(row.id)
        for kind in ["after"] * (row.status == "applied") + ["before"] * (row.status != "applied" or number < 100):
            path = folder / preview_name(row.id, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(folder / f"{number % 8}.jpg")
    return folder


@pytest.mark.slow
def test_ten_thousand_rows_on_a_phone(browser, many):
    from playwright.sync_api import expect

    context = browser.new_context(viewport={"width": 390, "height": 780}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto((many / "review.html").as_uri())
    assert page.locator(".row").count() < 40
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("document.getElementById('list').scrollTop = 5000 * 76")
    expect(page.locator(".row .title").first).to_have_text(re.compile("^049"))
    assert not page.locator("#detail").is_visible()
    page.locator(".row").nth(6).tap()
    assert page.locator("#detail").is_visible() and page.locator("#accept").is_visible()
    page.locator("#accept").tap()
    page.locator("#back").tap()
    assert not page.locator("#detail").is_visible() and page.locator(".row .accepted").count() == 1
    page.locator(".row .tick").nth(8).tap()  # begins to select: a tap selects now
    page.locator(".row").nth(9).tap()
    assert page.locator("#selected").inner_text() == "2 selected" and not page.locator("#detail").is_visible()
    page.locator("#bulk-reject").tap()
    assert page.locator(".row .rejected").count() == 2
    context.close()


SCROLL = """async (pixels) => {
  const list = document.getElementById("list");
  list.scrollTop = 0;
  for (let i = 0; i < 30; i++) {
    list.scrollTop += pixels;
    await new Promise(requestAnimationFrame);
  }
  await new Promise((done) => setTimeout(done, 100));
}"""
LONG_TASKS = """() => {
  window.tasks = [];
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "longtask" });
}"""


def main_thread_tasks(trace):
    """Processor time of each task of the page's main thread, in milliseconds, from Chromium's own trace."""
    events = json.loads(trace)["traceEvents"]
    named = [each for each in events if each["name"] == "thread_name"]
    threads = {(each["pid"], each["tid"]) for each in named if each["args"]["name"] == "CrRendererMain"}
    return [
        each["tdur"] / 1000
        for each in events
        if each["name"].endswith("RunTask") and "tdur" in each and (each["pid"], each["tid"]) in threads
    ]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["list", "grid"])
def test_scrolling_ten_thousand_rows_has_no_long_task(browser, many, layout):
    """Slowly, by pages, and in leaps, with everything selected."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto((many / "review.html").as_uri())
    if layout == "grid":
        page.keyboard.press("g")
    page.keyboard.press("s")
    page.evaluate(LONG_TASKS)
    for pixels in (40, 700, 9000):
        browser.start_tracing(page=page, categories=["toplevel"])
        page.evaluate(SCROLL, pixels)
        tasks = main_thread_tasks(browser.stop_tracing())
        longest = max(page.evaluate("window.tasks.splice(0)"), default=0)  # of the clock: it shares the machine
        print(
            f"{layout}, {pixels} pixels a frame: longest task {max(tasks):.0f} ms of processor, {longest:.0f} ms in all"
        )
        assert len(tasks) > 30 and max(tasks) < 100
    assert page.locator(".row").count() < 120
    context.close()


@pytest.mark.slow
def test_many_are_selected_and_decided_at_once(many, page, tmp_path):
    opened(page, many)
    listed = page.locator("#list")
    page.locator(".row").nth(2).click()
    page.locator(".row").nth(6).click(modifiers=["Shift"])
    assert page.locator("#selected").inner_text() == "5 selected"
    page.locator(".row").nth(4).click(modifiers=["Control"])
    page.locator(".row .tick").nth(1).click()
    assert page.locator("#selected").inner_text() == "5 selected"
    assert page.locator('.row[aria-selected="true"]').count() == 5
    page.click("#bulk-accept")
    assert page.locator("#bulk").is_hidden() and page.locator("#toast-text").inner_text() == "5 targets accepted."
    page.get_by_role("button", name="Abstained 1429").click()
    page.keyboard.press("s")
    page.keyboard.press("r")
    page.get_by_role("button", name="Rejected 1429").click()  # by filter, and the two of before among them
    assert page.locator("#found").inner_text() == "1429 of 10000 targets"
    page.keyboard.press("z")
    assert page.locator("#chips [data-filter=rejected]").inner_text().split() == ["Rejected", "0"]
    assert page.locator("#chips [data-filter=accepted]").inner_text().split() == ["Accepted", "5"]
    page.keyboard.press("y")
    page.get_by_role("button", name="To review").click()
    listed.focus()
    for key in ("Home", "x", "J", "J", "K", "a"):  # by keys alone: two of them
        page.keyboard.press(key)
    made = saved(page, tmp_path / "d.json")["decisions"]
    counted = [sum(each["decision"] == what for each in made) for what in ("accepted", "rejected")]
    assert counted == [len({each["id"] for each in made}) - 1429, 1429] and counted[0] >= 6
    page.reload()  # they are kept
    assert page.locator("#chips [data-filter=rejected]").inner_text().split() == ["Rejected", "1429"]
    page.get_by_role("button", name="Rejected 1429").click()
    page.keyboard.press("Control+a")
    page.click("#bulk-clear")
    assert page.locator("#chips [data-filter=rejected]").inner_text().split() == ["Rejected", "0"]


@pytest.mark.slow
def test_the_grid_is_chosen_walked_and_opened_by_keys(many, page):
    opened(page, many)
    page.keyboard.press("g")
    columns = page.evaluate("grid().columns")
    assert columns > 3 and page.locator("#detail").is_hidden()
    for key, place in (("ArrowDown", columns), ("ArrowRight", columns + 1), ("ArrowUp", 1), ("ArrowLeft", 0)):
        page.keyboard.press(key)
        assert page.evaluate("view.current") == place
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible() and page.locator("#name").inner_text() == "00000.jpg"
    page.keyboard.press("a")
    assert page.locator("#name").inner_text() == "00001.jpg"
    page.keyboard.press("Escape")
    assert page.locator("#detail").is_hidden() and page.locator(".row .accepted").count() == 1
    page.evaluate(
        "document.getElementById('size').value = 400; document.getElementById('size').dispatchEvent(new Event('input'))"
    )
    assert page.evaluate("grid().columns") < columns


@pytest.mark.slow
def test_moved_corners_are_put_on_again(out, page, tmp_path, capsys):
    opened(page, out)
    page.fill("#search", "photo0003")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    corner = page.locator(".corner").nth(0)
    box, frame = corner.bounding_box(), page.locator("#frame").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 0.1 * frame["width"], y - 0.1 * frame["height"], steps=4)
    page.mouse.up()
    page.locator(".corner").nth(2).focus()
    page.keyboard.press("Shift+ArrowRight")
    made = saved(page, tmp_path / "decisions.json")["decisions"]
    assert len(made) == 1 and len(made[0]["pins"]) == 4
    before = rows(out)["photo0003.png"]
    assert main(["apply-review", str(out), str(tmp_path / "decisions.json")]) == 0
    row = rows(out)["photo0003.png"]
    moved = np.subtract(row["quad"], before["quad"])
    np.testing.assert_allclose(moved[0], [-4.8, -4.0], atol=0.6)  # a tenth of 48 × 40
    np.testing.assert_allclose(moved[[1, 3]], 0, atol=0.02)
    assert moved[2][0] > 0.5 and row["engine"] == "pins" and row["output_sha256"] != before["output_sha256"]
    pixels = load_image(out / "photo0003.png").pixels.astype(int)
    centre = np.mean(row["quad"], axis=0).round().astype(int)
    np.testing.assert_allclose(pixels[centre[1], centre[0]], (220, 20, 60), atol=3)
    again = rows(out)
    assert main(["apply-review", str(out), str(tmp_path / "decisions.json")]) == 0
    assert rows(out) == again
    assert "1 remade" in capsys.readouterr().out


def drag(page, x, y, dx, dy):
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx, y + dy, steps=5)
    page.mouse.up()


def middle(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def turn_of(quad):
    """Angle of the upper side, and its length."""
    side = np.subtract(quad[1], quad[0])
    return np.degrees(np.arctan2(side[1], side[0])), np.hypot(*side)


@pytest.mark.slow
def test_the_whole_box_is_dragged_scaled_turned_and_undone(out, page):
    opened(page, out)
    page.fill("#search", "photo0001")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    quads = [page.evaluate("boxOf(current())")]
    frame = page.locator("#frame").bounding_box()
    unit = frame["width"] / 48
    assert page.locator("#ghost").is_visible() and page.evaluate("document.getElementById('ghost').naturalWidth") > 0

    def step():
        quads.append(page.evaluate("boxOf(current())"))
        return np.array(quads[-2]), np.array(quads[-1])

    drag(page, frame["x"] + 20 * unit, frame["y"] + 20 * unit, 3 * unit, -2 * unit)
    before, after = step()
    np.testing.assert_allclose(after - before, np.tile([3, -2], (4, 1)), atol=0.1)
    centre = after.mean(axis=0)
    x, y = middle(page, "#grow")
    reach = x - (frame["x"] + (centre[0] + 0.5) * unit)
    drag(page, x, y, 0.25 * reach, 0.25 * (y - (frame["y"] + (centre[1] + 0.5) * unit)))
    before, after = step()
    assert turn_of(after)[1] / turn_of(before)[1] == pytest.approx(1.25, abs=0.03)
    np.testing.assert_allclose(after.mean(axis=0), centre, atol=0.1)
    x, y = middle(page, "#turn")
    drag(page, x, y, 4 * unit, 0)
    before, after = step()
    assert 5 < turn_of(after)[0] - turn_of(before)[0] < 60
    page.keyboard.press("f")
    before, after = step()
    np.testing.assert_allclose(after, before[[1, 0, 3, 2]])
    for keys, turned, scaled in ((".", 1, 1), (",,,", -3, 1), ("++", 0, 1.02**2), ("-", 0, 1 / 1.02)):
        page.keyboard.type(keys)
        before, after = step()
        assert turn_of(after)[0] - turn_of(before)[0] == pytest.approx(turned, abs=0.1)
        assert turn_of(after)[1] / turn_of(before)[1] == pytest.approx(scaled, abs=0.01)
    page.locator("#frame").focus()
    page.keyboard.press("ArrowRight")
    before, after = step()
    assert (after - before)[:, 0].min() > 0.05
    x, y = middle(page, ".corner >> nth=0")
    drag(page, x, y, 60 * unit, 60 * unit)  # across the others: it stops before the box crosses itself
    assert page.evaluate("isConvex(boxOf(current()), current().size)")
    for _ in range(20):
        page.keyboard.press("z")
    assert page.evaluate("boxOf(current())") == quads[0] and page.locator("#undo").is_disabled()
    page.keyboard.press("y")
    assert page.evaluate("boxOf(current())") == quads[1]


def test_the_preview_lies_where_the_edit_will(out, page):
    """Corner of the picture that the browser lays against the corner of the result."""
    opened(page, out)
    page.fill("#search", "photo0002")
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    page.keyboard.type("......++")
    page.wait_for_timeout(100)
    seen = page.locator("#ghost").bounding_box()
    frame = page.locator("#frame").bounding_box()
    quad = np.array(page.evaluate("boxOf(current())"))
    unit = frame["width"] / 48
    low, high = quad.min(axis=0) + 0.5, quad.max(axis=0) + 0.5
    found = [
        (seen["x"] - frame["x"]) / unit,
        (seen["y"] - frame["y"]) / unit,
        seen["width"] / unit,
        seen["height"] / unit,
    ]
    np.testing.assert_allclose(found, [*low, *(high - low)], atol=0.05)


@pytest.mark.slow
def test_pins_are_set_by_clicks_and_lead_a_new_search(out, page, tmp_path):
    opened(page, out)
    page.fill("#search", "photo0002")
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    assert page.evaluate("document.getElementById('source-picture').naturalWidth") > 0
    source, target = page.locator("#source-frame").bounding_box(), page.locator("#frame").bounding_box()

    def click(box, x, y):
        page.mouse.click(box["x"] + (x + 0.5) * box["width"] / 48, box["y"] + (y + 0.5) * box["height"] / 40)

    click(source, 24, 20)
    assert "same point in the picture" in page.locator("#place-hint").inner_text()
    click(target, 27, 18)
    click(target, 12, 10)  # the other way round
    click(source, 10, 12)
    assert page.locator("#pin-marks .pin").count() == 2 and page.locator("#source-marks .pin").count() == 2
    page.locator("#pin-marks .pin").nth(1).focus()
    page.keyboard.press("Delete")
    page.locator("#pin-marks .pin").nth(0).focus()
    page.keyboard.press("ArrowDown")
    (made,) = saved(page, tmp_path / "d.json")["decisions"]
    np.testing.assert_allclose(made["pins"], [[[24, 20], [27, 18 + 48 / 400]]], atol=0.15)  # a pixel of the screen
    assert "searched again" in page.locator("#place-hint").inner_text()
    assert main(["apply-review", str(out), str(tmp_path / "d.json")]) == 0
    row = rows(out)["photo0002.png"]
    moved = np.array(row["matrix"]) @ [*made["pins"][0][0], 1]
    np.testing.assert_allclose(moved[:2] / moved[2], made["pins"][0][1], atol=0.01)
    assert row["reason"] == "searched again with pins" and row["pins"] == made["pins"]


def test_pins_by_keys_alone(out, page):
    opened(page, out)
    page.keyboard.press("p")
    for pane in ("source-frame", "frame"):
        page.locator(f"#{pane}").focus()
        for key in ("ArrowRight", "Shift+ArrowDown", "Enter"):
            page.keyboard.press(key)
    ((source, target),) = page.evaluate("made(current()).pins")
    np.testing.assert_allclose([source, target], [[24 + 48 / 150, 20 + 48 / 20]] * 2, atol=0.01)
    page.keyboard.press("Escape")
    assert page.evaluate("view.mend") == "" and page.locator("#tag").inner_text() == "preview of your correction"


@pytest.mark.parametrize("kind", ["sticker", "fill", "pixelate", "recolour"])
def test_the_cutout_shows_the_edit_and_nothing_of_what_is_hidden(tmp_path, kind):
    source = as_image(np.asarray(picture(3)))
    box = (10, 8, 21, 17)
    sticker = np.zeros((17, 21, 4), np.uint8)
    sticker[..., :3], sticker[..., 3] = (200, 30, 60), np.linspace(0, 255, 21).round()[None]
    edit = {
        "sticker": lambda: Sticker(sticker, at=box),
        "fill": lambda: Redaction(region=Region.box(*box), mode="fill"),
        "pixelate": lambda: Redaction(region=Region.box(*box), mode="pixelate"),
        "recolour": lambda: ColorAdjust(region=Region.box(*box), hue=90),
    }[kind]()
    folder = OutputFolder(tmp_path, hides_content=kind in ("fill", "pixelate"))
    write_source_previews(folder, source, edit, 640)
    cutout = np.asarray(PIL.Image.open(tmp_path / CUTOUT)).astype(int)
    left, top, right, bottom = cutout_box(edit.quad, source.size)
    assert cutout.shape == (bottom - top, right - left, 4)
    edited = np.asarray(edit.apply(source, MatrixTransform(np.eye(3)), source=source).to_pil()).astype(int)
    ground = np.asarray(picture(3)).astype(int)[top:bottom, left:right]
    opacity = cutout[..., 3:] / 255
    shown = cutout[..., :3] * opacity + ground * (1 - opacity)
    assert np.abs(shown - edited[top:bottom, left:right]).max() <= 2
    if kind in ("fill", "pixelate"):
        inside = opacity[1:-1, 1:-1]
        assert inside.min() == 1  # its shape does not depend on what is below
        assert not (tmp_path / SOURCE_BEFORE).exists()
        assert (tmp_path.parent / f"{tmp_path.name}-unredacted" / SOURCE_BEFORE).exists()


def test_what_rows_may_also_have_is_shown(out, page, tmp_path):
    """A suggestion, the earlier place, further instances, annotations."""
    more = {
        "suggested": "typical of 7 others <b>",
        "earlier": {"quad": [[1, 1], [9, 1], [9, 9], [1, 9]], "confidence": 0.4},
        "placements": [{"quad": [[20, 1], [29, 1], [29, 9], [20, 9]], "confidence": 0.7, "status": status}
                       for status in ("applied", "abstained")],
        "warning": "1 more instance is not hidden",
        "marks": [
            {"key": "0", "kind": "keypoint", "name": "eye", "points": [[5, 6]], "closed": False, "confidence": 0.2},
            {"key": "1", "kind": "outline", "name": "wing", "points": [[5, 6], [9, 6], [7, 9]], "closed": True,
             "confidence": 0.9},
        ],
    }  # fmt: skip
    html = (out / "review.html").read_text()
    head, data, tail = re.split(r'(?<=id="data">)(.*)(?=</script>\n<script>)', html, flags=re.DOTALL)
    plain = json.loads(data)
    surest = max((row for row in plain["rows"] if row["status"] == "applied"), key=lambda row: row["confidence"])
    surest.update(more)
    (out / "review.html").write_text(head + json.dumps(plain).replace("<", "\\u003c") + tail)
    opened(page, out)
    assert page.locator("#name").inner_text() == surest["target"].rsplit("/", 1)[-1]  # first of all
    assert "7 others <b>" in page.locator("#suggested").inner_text() and page.locator(".row .star").count() == 1
    kinds = (".earlier", "circle.doubt", "polygon.mark-line", ".instance.off")
    assert [page.locator(f"#further {kind}").count() for kind in kinds] == [1, 1, 1, 1]
    assert page.locator("#further text").all_text_contents() == ["1", "2", "eye", "wing"]
    assert "40" in page.locator("#facts").inner_text() and page.locator("#warning").is_visible()
    page.keyboard.press("2")
    page.locator("#instances button").nth(0).click()
    assert page.locator("#further .instance.off").count() == 0
    (made,) = saved(page, tmp_path / "d.json")["decisions"]
    assert made["instances"] == ["rejected", "accepted"]
    page.keyboard.press("1")
    page.keyboard.press("2")
    assert saved(page, tmp_path / "e.json")["decisions"] == []


@pytest.fixture(scope="module")
def annotated(tmp_path_factory, tiny_model):
    """A run that carried a box, an outline and keypoints."""
    folder = make_scene(tmp_path_factory.mktemp("annotated"), 2)
    eyes = [Keypoint("left_eye", 12, 12), Keypoint("right_eye", 30, 14), Keypoint("tail", 25, 30)]
    outline = Outline(np.array([(8.0, 8), (34, 9), (30, 32)]))
    thing = AnnotatedObject(category="cat", box=(8, 8, 35, 33), outlines=[outline], keypoints=eyes)
    known = Annotations([AnnotatedImage(path="source.png", objects=[thing])])
    annotate_batch(
        folder / "source.png", known, [folder / "photos"], folder / "out",
        featurizer=ModelSpec(name=str(tiny_model), settings=SETTINGS), format="cvat",
        settings=AnnotateSettings(min_confidence=0, min_keypoint_confidence=0, mirror="never"),
        batch=BatchSettings(preview_size=64),
    )  # fmt: skip
    return folder


@pytest.mark.slow
def test_annotations_are_corrected_on_the_page_and_in_the_file(annotated, page, tmp_path, capsys):
    out = annotated / "out"
    row = rows_of(out)[0]
    before = json.loads((out / row["output"]).read_bytes())["objects"][0]
    file = out / "annotations.xml"
    as_found = file.read_bytes()
    opened(page, out)
    page.select_option("#sort", "order")
    assert page.locator("#further circle").count() == 3 and page.locator("#mend").is_hidden()
    page.click("#mark")
    handle = page.locator(".mark-handle").nth(4)  # after the corners of the box: the outline has its own when chosen
    assert "left_eye" in handle.get_attribute("aria-label")
    box = page.locator("#frame").bounding_box()
    scale = row["size"][0] / box["width"]
    drag(page, *middle(page, ".mark-handle >> nth=4"), 20 / scale, -6 / scale)
    drag(page, *middle(page, ".mark-handle >> nth=2"), -8 / scale, -8 / scale)
    page.select_option("#mark-choice", label="tail")
    page.click("#missing")
    assert page.locator("#further circle").count() == 2
    page.click("#done")
    page.keyboard.press("a")
    (made,) = saved(page, tmp_path / "decisions.json")["decisions"]
    assert set(made["moved"]) == {"0.box.0", "0.keypoint.0", "0.keypoint.2"} and made["moved"]["0.keypoint.2"] == []
    assert main(["apply-review", str(out), str(tmp_path / "decisions.json")]) == 0
    assert "1 corrected" in capsys.readouterr().out
    images = {Path(image.path).stem: image for image in read_annotations(file, format="cvat").images}
    (thing,) = images[Path(row["id"]).stem].objects
    eye, _, tail = thing.keypoints
    np.testing.assert_allclose([eye.x, eye.y], np.add(before["keypoints"][0][1:3], (20, -6)), atol=1.5 * scale)
    np.testing.assert_allclose(thing.box, np.add(before["box"], (0, 0, -8, -8)), atol=1.5 * scale)
    assert tail.missing and len(thing.outlines) == 1
    row = rows_of(out)[0]
    assert row["review"] == "accepted" and row["moved"] == made["moved"]
    opened(page, out)  # the page knows what was applied
    page.click("#chips [data-filter=corrected]")
    assert page.locator(".row").count() == 1 and page.locator("#further circle").count() == 2
    page.click("#mark")
    page.click("#reset")
    page.keyboard.press("Escape")
    saved(page, tmp_path / "back.json")
    assert main(["apply-review", str(out), str(tmp_path / "back.json")]) == 0
    assert file.read_bytes() == as_found and rows_of(out)[0]["moved"] == {}


@pytest.mark.parametrize(
    "moved", [{"9.box.0": []}, {"0.box.0": [[1, 1]]}, {"0.keypoint.0": [[1e6, 1]]}, {"0.outline.0": [[1, 1]]}]
)
def test_corrections_that_fit_nothing_are_refused_in_a_sentence(annotated, tmp_path, capsys, moved):
    out = annotated / "out"
    row, job = rows_of(out)[0], json.loads((out / "manifest.jsonl").read_text().splitlines()[0])["job"]
    made = {"id": row["id"], "decision": "", "note": "", "pins": [], "moved": moved}
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"format": "dift-edit review", "version": 1, "job": job, "decisions": [made]}))
    before = (out / "annotations.xml").read_bytes()
    assert main(["apply-review", str(out), str(path)]) == 1
    assert "not corrected: " in capsys.readouterr().err and (out / "annotations.xml").read_bytes() == before


def test_learning_is_offered_after_some_decisions(out, page):
    html = (out / "review.html").read_text()
    (out / "review.html").write_text(re.sub('"learn":"[^"]*"', '"learn":"dift-edit apply-review x --learn"', html))
    opened(page, out)
    for expected in ("Undo", "Undo", "Improve the others"):
        page.keyboard.press("a")
        assert page.locator("#toast-action").inner_text() == expected
    with page.expect_download():
        page.click("#toast-action")
    assert page.locator("#toast-text").inner_text() == "3 decisions saved. Now run dift-edit apply-review x --learn"


def decisions(folder, **made):
    with Journal(journal_path(OutputFolder(folder))) as journal:
        job = journal.job["fingerprint"]
        ids = {key.rsplit("/", 1)[-1]: key for key in journal.rows}
    listed = [{"id": ids[f"{name}.png"], "decision": what, "note": "", "pins": []} for name, what in made.items()]
    path = folder.parent / f"{folder.name}.json"
    path.write_text(json.dumps({"format": "dift-edit review", "version": 1, "job": job, "decisions": listed}))
    return str(path)


def test_rejected_results_move_away_and_back(out, capsys):
    first = decisions(out, photo0000="rejected", photo0001="accepted", broken="rejected")
    assert main(["apply-review", str(out), first]) == 0
    found = rows(out)
    assert (
        found["photo0000.png"]["output"] == "rejected/photo0000.png" and found["photo0000.png"]["review"] == "rejected"
    )
    assert (out / "rejected" / "photo0000.png").exists() and not (out / "photo0000.png").exists()
    assert found["photo0001.png"]["review"] == "accepted" and (out / "photo0001.png").exists()
    assert found["broken.png"]["output"] is None
    assert main(["apply-review", str(out), first]) == 0 and rows(out) == found
    assert main(["apply-review", str(out), decisions(out, photo0000="accepted")]) == 0
    assert (out / "photo0000.png").exists() and rows(out)["photo0000.png"]["output"] == "photo0000.png"
    (out / "photo0000.png").unlink()  # by hand: that decision is left, the next one is carried out
    both = decisions(out, photo0000="rejected", photo0001="rejected")
    assert main(["apply-review", str(out), both]) == 1
    assert "not rejected: The result photo0000.png is not in" in capsys.readouterr().err
    assert rows(out)["photo0001.png"]["output"] == "rejected/photo0001.png"


def test_report_makes_the_page_and_missing_previews_again(out, capsys):
    page = (out / "review.html").read_bytes()
    (out / "review.html").unlink()
    previews = sorted(out.rglob("*-after.jpg"))
    previews[0].unlink()
    assert main(["report", str(out), "--preview-size", "64"]) == 0
    assert previews[0].exists() and (out / "review.html").read_bytes() == page.replace(
        b"/out ", f"/{out.name} ".encode()
    )
    assert "review.html" in capsys.readouterr().out
    assert main(["report", str(out / "nowhere")]) == 2


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "no decisions"),
        ('{"format": "dift-edit review", "version": 1, "job": "other", "decisions": []}', "another job"),
    ],
)
def test_foreign_decisions_are_refused(out, tmp_path, capsys, content, words):
    (tmp_path / "d.json").write_text(content)
    assert main(["apply-review", str(out), str(tmp_path / "d.json")]) == 2
    assert words in capsys.readouterr().err


def test_damaged_decisions_are_refused(out, capsys):
    path = decisions(out, photo0000="rejected")
    text = Path(path).read_text()
    for change, words in (("maybe", "not one that the page makes"), ("rejected", "no row")):
        broken = text.replace("rejected", change) if change == "maybe" else text.replace("photo0000.png", "gone.png")
        Path(path).write_text(broken)
        assert main(["apply-review", str(out), path]) == 2
        assert words in capsys.readouterr().err
    assert (out / "photo0000.png").exists()


def with_pins(folder, name, pins):
    path = Path(decisions(folder, **{name: ""}))
    data = json.loads(path.read_text())
    data["decisions"][0]["pins"] = pins
    path.write_text(json.dumps(data))
    return str(path)


def test_fewer_pins_lead_a_new_search(out, capsys):
    before = rows(out)["photo0002.png"]
    quad = np.mean(before["quad"], axis=0)
    source = load_job(out / "job.toml")
    centre = np.mean(source.load_edit(load_image(source.source)).quad, axis=0)
    path = with_pins(out, "photo0002", [[centre.tolist(), (quad + [3, -2]).tolist()]])
    assert main(["apply-review", str(out), path]) == 0
    row = rows(out)["photo0002.png"]
    assert row["status"] == "applied" and row["engine"] != "pins" and row["reason"] == "searched again with pins"
    moved = np.array(row["matrix"]) @ [*centre, 1]
    np.testing.assert_allclose(moved[:2] / moved[2], quad + [3, -2], atol=0.01)
    assert row["output_sha256"] == hashlib.sha256((out / "photo0002.png").read_bytes()).hexdigest()
    assert main(["apply-review", str(out), path]) == 0 and rows(out)["photo0002.png"] == row
    capsys.readouterr()
    path = with_pins(out, "photo0003", [[[1, 1], [2, 2]], [[1, 1], [9, 9]]])
    assert main(["apply-review", str(out), path]) == 1
    assert "Two pins start at the same place" in capsys.readouterr().err


def test_corners_that_cross_are_refused(out, capsys):
    corners = [[[0, 0], [1, 1]], [[10, 0], [8, 9]], [[10, 10], [9, 1]], [[0, 10], [0, 9]]]
    assert main(["apply-review", str(out), with_pins(out, "photo0001", corners)]) == 1
    assert "crosses itself" in capsys.readouterr().err


def test_contact_sheet_and_page_of_an_empty_folder_of_rows(tmp_path):
    folder = OutputFolder(tmp_path)
    with Journal(journal_path(folder)) as journal:
        write_review(folder, journal)
    assert (tmp_path / "review.html").exists()


def test_previews_are_small(finished):
    for path in (finished / "out" / "review_files").rglob("*.jpg"):
        assert max(PIL.Image.open(path).size) <= 64


def test_a_placement_without_a_matrix_is_drawn_as_a_mesh(finished, tiny_model, tmp_path, page):
    job = Job(
        source=str(finished / "source.png"), sticker=str(finished / "sticker.png"), output=str(tmp_path / "out"),
        targets=(str(finished / "photos" / "photo0001.png"),), model=str(tiny_model), model_settings=SETTINGS,
        transfer=TransferSettings(min_confidence=0.0, mirror="never", engine="mesh"),
        batch=BatchSettings(preview_size=64),
    )  # fmt: skip
    run_job(job)
    (row,) = rows(tmp_path / "out").values()
    mesh = np.array(row["mesh"])
    assert row["matrix"] is None and mesh.shape == (7, 7, 2)
    np.testing.assert_allclose([mesh[0, 0], mesh[0, -1], mesh[-1, -1], mesh[-1, 0]], row["quad"], atol=1e-5)
    opened(page, tmp_path / "out")
    page.keyboard.press("o")
    assert page.locator("#mesh").get_attribute("d").count("M") == 14 and not page.locator("#shape").is_visible()
    page.keyboard.press("o")
    assert not page.locator("#overlay").is_visible()


CONTRAST = (Path(__file__).parent / "contrast.js").read_text()


@pytest.mark.slow
def test_every_text_has_contrast_and_every_picture_words(finished, page):
    measured = {"light": [], "dark": []}

    def measure():
        for scheme, found in measured.items():
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # else colours change slowly
            found.extend(page.evaluate(CONTRAST))

    opened(page, finished / "out")
    page.keyboard.press("a")
    page.keyboard.press("r")
    for words in ("broken", "photo0001", "zzz", ""):
        page.fill("#search", words)
        page.locator("#toast:not(.on)").wait_for(state="attached")
        measure()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    measure()
    for scheme, found in measured.items():
        assert len(found) > 100 and [each for each in found if each[0] < 4.5] == [], scheme
    shown = "[...document.querySelectorAll('img')].filter((image) => image.checkVisibility())"
    assert page.evaluate(f"{shown}.length") > 3 and page.evaluate(f"{shown}.every((image) => image.alt.length > 3)")


def test_find_has_room_for_its_words(finished, page):
    opened(page, finished / "out")
    assert page.locator("#search").bounding_box()["width"] >= 200
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


@pytest.fixture
def listener():
    """A server of this machine that takes down every connection."""
    import socket
    import threading

    server = socket.create_server(("127.0.0.1", 0))
    seen = []

    def listen():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            seen.append(connection.recv(300))
            connection.close()

    threading.Thread(target=listen, daemon=True).start()
    yield server.getsockname()[1], seen
    server.close()


def hostile_values(port):
    """What a file of decisions, a row or the browser's memory could hold to run a script or reach the network."""
    address = f"http://127.0.0.1:{port}/x"
    markup = f"<img src='{address}' onerror='fetch(\"{address}\")'><script src='{address}'></script>"
    style = f"1px;background:url({address})"
    return [markup, style, f"url({address})", f"javascript:fetch('{address}')", address, "__proto__", "constructor",
            {"length": 4, "map": address}, [[address]], None, 1e308, [], {}]  # fmt: skip


@pytest.mark.slow
def test_hostile_decisions_are_refused_and_nothing_is_requested(out, page, tmp_path, listener):
    port, seen = listener
    opened(page, out)
    page.click("#accept")
    good = saved(page, tmp_path / "good.json")
    point = [1.0, 2.0]
    made = {"id": good["decisions"][0]["id"], "decision": "rejected", "note": "", "pins": []}
    contents = [
        json.dumps({**good, "decisions": [{**made, key: content}]})
        for value in hostile_values(port)
        for key, content in [("decision", value), ("note", value), ("pins", value), ("id", value),
                             ("pins", [[point, [value, value]]] * 4), ("pins", [[point, value]] * 4)]
    ]  # fmt: skip
    contents += ["[" * 100_000, "{}", "null", "", "[1]", json.dumps({**good, "job": "other"}), "\0" * 99]
    for content in contents:
        file = {"name": "bad.json", "mimeType": "application/json", "buffer": content.encode()}
        page.set_input_files("#file", file)
        while page.evaluate("document.getElementById('file').value"):  # until it is read
            page.wait_for_timeout(5)
    page.keyboard.press("m")
    for _ in range(3):
        page.keyboard.press("j")
    page.wait_for_timeout(300)
    kept = saved(page, tmp_path / "kept.json")["decisions"]
    assert (
        len(contents) > 80
        and seen == []
        and page.locator("script").count() == 2
        and page.locator("[onerror]").count() == 0
    )
    assert all(made["decision"] in ("", "accepted", "rejected") and isinstance(made["note"], str) for made in kept)
    assert main(["apply-review", str(out), str(tmp_path / "kept.json")]) in (0, 1)


@pytest.mark.slow
def test_hostile_rows_and_a_hostile_memory_of_the_browser_request_nothing(page, tmp_path, listener):
    port, seen = listener
    texts = [value for value in hostile_values(port) if isinstance(value, str)]
    many = [
        Row(id=text, target=f"a/{text}", status="failed" if i % 2 else "applied", reason=text, engine=text, note=text,
            confidence=None if i % 2 else 0.5, size=[40, 30], output=None if i % 2 else text, review="accepted")
        for i, text in enumerate(texts)
    ]  # fmt: skip
    html = page_html(
        many, {"fingerprint": "x", "quad": [[0, 0], [9, 0], [9, 9], [0, 9]], "redaction": True}, command=texts[0]
    )
    (tmp_path / "review.html").write_bytes(html)
    page.goto((tmp_path / "review.html").as_uri())
    memory = [[text, value] for text in texts for value in hostile_values(port)]
    page.evaluate("(memory) => localStorage.setItem('dift-edit review x', JSON.stringify(memory))", memory)
    page.reload()
    page.keyboard.press("m")
    for _ in range(len(many)):
        page.keyboard.press("j")
    page.wait_for_timeout(300)
    page.problems[:] = [problem for problem in page.problems if "ERR_FILE_NOT_FOUND" not in problem]
    assert seen == [] and page.locator("script").count() == 2 and page.locator("[onerror]").count() == 0
    links = page.evaluate("[...document.links].map((link) => link.protocol)")
    assert set(links) <= {"file:", ""}
