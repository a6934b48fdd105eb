"""A folder of photos: listed with thumbnails, seen one at a time, decided, written after review, resumed."""

import json
import shutil
import time

import numpy as np
import PIL.Image
import pytest
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtWidgets import QPushButton

from conftest import EYES
from dift_edit.errors import DiftEditError
from napari_dift_edit.sessions import Autosave, save_session
from napari_dift_edit.state import Result

CTRL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def photos(tmp_path, pictures):
    """Three photos in a folder: two of the cat, and coffee."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("coffee", "dark", "mirror"):
        PIL.Image.fromarray(pictures[name]).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def many(tmp_path, rng):
    """Forty small photos."""
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(40):
        size = (80, 60) if number % 2 else (60, 80)
        pixels = np.full((size[1], size[0], 3), 6 * number, np.uint8)
        PIL.Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder


def _add(bench, folder, count):
    bench.dock.choose.add_folder(folder)
    bench.wait(lambda: len(bench.editor.session.targets) == count, 60)


def _key(bench, name):
    return next(key for key in bench.editor.session.targets if key.endswith(f"/{name}"))


def _go(bench, key):
    bench.dock.results.table.go_to(key)
    bench.wait(lambda: bench.dock.stage.key == key and not bench.dock.busy)


def test_files_are_seen_one_at_a_time(open_bench, pictures, many):
    bench = open_bench({"cat": pictures["cat"]})
    _add(bench, many, 40)
    table, model = bench.dock.results.table, bench.dock.results.table.model()
    bench.wait(lambda: model.index(0, 0).data(Qt.ItemDataRole.DecorationRole) is not None, 20)
    icon = model.index(0, 0).data(Qt.ItemDataRole.DecorationRole)
    assert icon.height() == 40 and icon.width() == 30, "upright as the photo is"
    layers = len(bench.viewer.layers)
    _go(bench, _key(bench, "00.png"))
    layer = bench.dock.stage.layer
    assert layer.name == "00.png" and len(bench.viewer.layers) == layers + 1
    assert bench.editor.session.targets == tuple(table.listed), "what is seen is no new target"
    corner = layer.data_to_world((-0.5, -0.5))
    assert corner[1] >= bench.viewer.layers["cat"].extent.world[1][1], "beside the source, not on it"
    bench.wait(lambda: len(bench.dock.stage._pictures) == 3, 20)  # the next two are read ahead
    bench.dock.stage._reading.submit = None  # nothing has to be read now
    used = time.thread_time()
    bench.press("Period")
    assert bench.dock.stage.layer is layer and layer.name == "01.png"
    assert (layer.data[..., 0] == 6).all()
    bench.idle()
    used = time.thread_time() - used
    print(f"the next file takes {1000 * used:.0f} ms of the window's thread")
    assert used < 0.3
    assert len(bench.viewer.layers) == layers + 1 and len(bench.dock.stage._pictures) <= 6


@pytest.mark.slow
def test_filter_sort_and_several_rows_at_once(open_bench, pictures, sticker, many, tiny_model):
    bench = open_bench({"cat": pictures["cat"]})
    bench.editor.choose_settings(model=str(tiny_model), mirror="never")
    bench.use(sticker)
    _add(bench, many, 40)
    keys = bench.editor.session.targets
    bench.editor.propagate(keys[:6])
    bench.wait(lambda: len(bench.editor.session.results) == 2)  # results are there while the batch still runs
    assert bench.editor.job is not None and bench.dock.results.table.listed[0] == keys[0]
    assert bench.dock.results.table.model().index(0, 2).data()
    bench.wait(lambda: bench.editor.job is None)
    results, table = bench.dock.results, bench.dock.results.table
    assert results.run.text() == "Propagate to 34 pictures", "what is done is not done again"
    results.state.setCurrentText("Not placed yet")
    assert table.listed == list(keys[6:]) and results.count.text() == "34 of 40"
    results.words.setText("3")
    assert [key.rsplit("/", 1)[1] for key in table.listed] == [
        "13.png", "23.png", *(f"3{digit}.png" for digit in range(10))
    ]  # fmt: skip
    results.words.clear()
    results.state.setCurrentText("To review")
    assert set(table.listed) == set(keys[:6])
    for number in range(3):
        table.selectionModel().select(
            table.model().index(number, 0),
            QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows,
        )
    chosen = table.chosen_keys
    assert len(chosen) == 3
    table.selectionModel().setCurrentIndex(table.model().index(2, 0), QItemSelectionModel.SelectionFlag.NoUpdate)
    qtbot = bench.qtbot
    qtbot.keyClick(table, Qt.Key.Key_J)
    assert {key for key, result in bench.editor.session.results.items() if result.review == "rejected"} == set(chosen)
    assert set(table.listed) == set(keys[:6]) - set(chosen), "decided rows leave the filtered list"
    bench.press("Z", CTRL)
    assert not any(result.review for result in bench.editor.session.results.values()), "it was one step"


def test_review_correct_and_export(open_bench, pictures, sticker, photos):
    bench = open_bench({"cat": pictures["cat"]})
    bench.use(sticker)
    _add(bench, photos, 3)
    bench.propagate()
    coffee, dark, mirror = (_key(bench, f"{name}.png") for name in ("coffee", "dark", "mirror"))
    assert not (photos / "edited").exists() or not list((photos / "edited").glob("*.png")), "nothing before review"
    assert not any(result.crops for result in bench.editor.session.results.values()), "nothing is held in memory"
    layers = {layer.name for layer in bench.viewer.layers}
    _go(bench, mirror)
    assert "mirror.png · edited" in bench.viewer.layers
    shown = bench.viewer.layers["mirror.png · edited"]
    assert shown.data[shown.data.shape[0] // 2, shown.data.shape[1] // 2, 0] > 180
    bench.press("K")
    bench.wait(lambda: not bench.dock.busy)
    assert bench.editor.session.results[mirror].review == "accepted"
    _go(bench, dark)
    edited = bench.viewer.layers["dark.png · edited"]
    assert edited is shown, "its layer is used again"
    assert {layer.name for layer in bench.viewer.layers} - layers == {"dark.png", "dark.png · edited"}

    # its outline is dragged as on any picture, and the edit follows
    quad = np.array(bench.editor.session.results[dark].quad)
    middle = quad.mean(0)
    bench.drag("dark.png", tuple(middle), tuple(middle + (20, 10)))
    bench.wait(lambda: bench.editor.session.results[dark].by_hand and not bench.dock.busy)
    assert np.abs(np.array(bench.editor.session.results[dark].quad) - quad - (20, 10)).max() < 3

    _go(bench, coffee)
    bench.press("J")
    bench.wait(lambda: not bench.dock.busy)
    assert bench.dock.keeper.export(None) == 2
    bench.wait(lambda: bench.editor.job is None)
    written = sorted(path.relative_to(photos / "edited").as_posix() for path in (photos / "edited").rglob("*.png"))
    assert [name for name in written if not name.startswith(".")] == ["dark.png", "mirror.png"]
    rows = [json.loads(line) for line in (photos / "edited" / "manifest.jsonl").read_text().splitlines()]
    assert {row["output"]: row["review"] for row in rows} == {
        None: "rejected",
        "dark.png": "",
        "mirror.png": "accepted",
    }
    with PIL.Image.open(photos / "edited" / "dark.png") as picture:
        pixels = np.asarray(picture)
    x, y = (round(value) for value in middle + (20, 10))
    assert pixels[y + 10, x, 0] > 180 and pixels[y + 10, x, 1] < 80

    # what nobody looked at is marked as such
    bench.editor.review(mirror, "")
    assert bench.dock.keeper.export(None, unreviewed=False) == 1
    bench.wait(lambda: bench.editor.job is None)
    assert bench.dock.keeper.export(None) == 2
    bench.wait(lambda: bench.editor.job is None)
    assert (photos / "edited" / "unreviewed" / "mirror.png").is_file()


@pytest.mark.slow
def test_work_goes_on_after_the_window_was_closed(open_bench, pictures, sticker, photos):
    first = open_bench({"cat": pictures["cat"]})
    first.editor.choose_settings(mirror="never")
    first.use(sticker)
    _add(first, photos, 3)
    first.editor.propagate(first.editor.session.targets[:2])
    first.wait(lambda: first.editor.job is None)
    coffee, dark = first.editor.session.targets[:2]
    first.editor.review(dark, "accepted")
    kept = photos / "edited" / ".dift-edit" / "session"
    first.wait((kept / "pictures" / "cat.png").is_file, 60)
    first.wait((kept / "edit.png").is_file, 60)
    before = dict(first.editor.session.results)
    first.viewer.close()
    first.qtbot.wait(100)

    second = open_bench({"cat": pictures["cat"]})
    _add(second, photos, 3)
    second.wait(second.dock.help.isVisible, 10)
    assert "unfinished work" in second.dock.help.words.text()
    second.qtbot.mouseClick(second.dock.help.choices["Go on with it"], Qt.MouseButton.LeftButton)
    second.wait(lambda: second.editor.job is None and second.editor.session.results, 60)
    second.wait(lambda: not second.dock.busy)
    session = second.editor.session
    assert [layer.name for layer in second.viewer.layers if layer.name == "cat"] == ["cat"], "the source is not doubled"
    assert np.allclose(session.edit.quad, EYES) and len(session.targets) == 3
    for key in (coffee, dark):
        assert session.results[key].quad == before[key].quad and session.results[key].review == before[key].review
    assert second.dock.results.run.text() == "Propagate to 1 picture"
    _go(second, dark)  # the place is known, the picture is made again
    assert "dark.png · edited" in second.viewer.layers
    second.propagate()
    assert len(second.editor.session.results) == 3 and second.editor.session.results[dark].review == "accepted"


@pytest.mark.slow
def test_unfinished_work_is_never_overwritten(open_bench, pictures, sticker, photos):
    old = photos / "edited" / ".dift-edit" / "session"
    old.mkdir(parents=True)
    (old / "session.json").write_text("of somebody else")
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    bench.use(sticker)
    _add(bench, photos, 4)
    bench.editor.correct(bench.key("dark"), EYES)  # and not a word about the offer
    bench.wait(lambda: (old.parent / "session-1").is_dir() and (old / "session.json").is_file(), 30)
    assert "targets" in (old / "session.json").read_text()
    assert (old.parent / "session-1" / "session.json").read_text() == "of somebody else"


def test_damaged_photo_is_said_and_the_others_go_on(open_bench, pictures, photos):
    (photos / "coffee.png").write_bytes(b"no picture")
    kept = photos / "edited-unredacted" / "session"  # pictures of a session are no targets
    kept.mkdir(parents=True)
    shutil.copy(photos / "dark.png", kept)
    bench = open_bench({"cat": pictures["cat"]})
    _add(bench, photos, 3)
    bench.dock.results.table.go_to(_key(bench, "coffee.png"))
    bench.wait(lambda: "coffee.png is not a picture" in bench.dock.results.reason.text())
    _go(bench, _key(bench, "mirror.png"))
    assert bench.dock.stage.layer.name == "mirror.png"

    # photos of the same names from another folder get results of their own in the same output folder
    other = photos.parent / "other"
    shutil.copytree(photos, other, ignore=shutil.ignore_patterns("edited*"))
    bench.dock.choose.add_folder(other, photos / "edited")
    bench.wait(lambda: len(bench.editor.session.targets) == 6, 60)
    outputs = bench.editor.asker.outputs
    assert outputs[f"file:{photos / 'dark.png'}"] == str(photos / "edited" / "dark.png")
    assert outputs[f"file:{other / 'dark.png'}"] == str(photos / "edited" / "other" / "dark.png")
    assert len(set(outputs.values())) == 6


def test_every_button_that_is_off_says_why(open_bench, pictures):
    bench = open_bench()
    for widget in bench.dock.findChildren(QPushButton):
        if not widget.isEnabled():
            assert "Not now: " in widget.toolTip(), widget.text()
    off = {widget.text() for widget in bench.dock.findChildren(QPushButton) if not widget.isEnabled()}
    assert {"Explore", "Export …", "Sticker …", "Undo"} <= off
    bench.viewer.add_image(pictures["cat"], name="cat")
    bench.wait(lambda: bench.editor.session.source, 5)
    assert "no edit yet" in bench.dock.results.run.toolTip()


def test_a_session_with_a_redaction_lies_outside_the_results(windowless, qtbot, pictures, sticker, tmp_path):
    """It holds the source as it is. One that lay there before the edit hid something goes out of the folder, too."""
    results, source = tmp_path / "edited", pictures["cat"]
    old = results / ".dift-edit" / "session-1"
    old.mkdir(parents=True)
    (old / "session.json").write_text("of somebody else")
    editor, viewer, idle = windowless
    autosave = Autosave(editor, [str(results)])
    editor.set_source(editor.pictures.key(viewer.add_image(source, name="cat")))
    editor.set_targets([f"file:{tmp_path / 'photo.png'}"])

    def use(kind, pixels, **more):
        editor.use_picture(kind, pixels, kind, **more)
        idle()

    def in_results():
        return sorted(path.name for path in results.rglob("*") if path.is_file())

    use("sticker", sticker, quad=EYES)
    place = Result(status="applied", quad=EYES, confidence=1.0)
    editor.restore(editor.session.with_result(editor.session.targets[0], place))
    autosave.write()  # its pictures may still be on their way when the edit becomes a redaction
    assert Autosave.find(results) == results / ".dift-edit" / "session"
    copy = source.copy()
    copy[60:130, 60:240] = 0
    editor.use_picture("difference", copy, "black box")
    assert editor.session.hides is None
    autosave.write()
    assert (results / ".dift-edit" / "session").is_dir(), "whether it hides something is not known yet"
    qtbot.waitUntil(lambda: bool(editor.session.hides), timeout=60_000)
    autosave.write()
    idle()
    kept = tmp_path / "edited-unredacted" / "session"
    assert not in_results() and Autosave.find(results) == kept
    assert kept.parent.stat().st_mode & 0o077 == 0
    assert np.array_equal(np.asarray(PIL.Image.open(kept / "pictures" / "cat.png")), source)
    assert (kept.with_name("session-1") / "session.json").read_text() == "of somebody else"
    (results / "manifest.jsonl").touch()
    (tmp_path / "link").symlink_to(results)
    for folder in (results / "mine", tmp_path / "link" / "mine"):
        with pytest.raises(DiftEditError, match="would show what the edit hides"):
            save_session(editor, folder)
    assert in_results() == ["manifest.jsonl"]
    (results / "manifest.jsonl").unlink()
    editor.asker.outputs[editor.session.targets[0]] = str(results / "photo.png")  # nothing was exported yet
    with pytest.raises(DiftEditError, match="would show what the edit hides"):
        save_session(editor, results / "mine")
    editor.asker.outputs[editor.session.targets[0]] = str(results / "sub" / "photo.png")  # of a folder in the folder
    with pytest.raises(DiftEditError, match="would show what the edit hides"):
        save_session(editor, results / "mine", [str(results)])
    assert not in_results()

    use("sticker", sticker, quad=EYES)
    autosave.write()
    idle()
    assert not in_results(), "its source may be what was hidden before"
    autosave.close()
