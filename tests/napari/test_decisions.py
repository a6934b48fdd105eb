"""What the user decided stays: propagating again, other models, failures, pictures that vanish."""

import gc

import numpy as np
import PIL.Image
import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QMenu

from dift_edit.errors import DiftEditError


def _menu(dock):
    """The texts of *More*, with whether they can be chosen."""
    menu = QMenu()
    dock.results._fill_menu(menu)
    return {action.text(): action for action in menu.actions() if action.text()}, menu


@pytest.mark.slow
def test_propagating_again_keeps_decisions(bench, sticker, tmp_path, pictures):
    bench.use(sticker)
    bench.propagate()
    bench.editor.review(bench.key("mirror"), "rejected")
    by_hand = ((50.0, 60.0), (230.0, 60.0), (230.0, 130.0), (50.0, 130.0))
    bench.editor.correct(bench.key("dark"), by_hand)
    bench.idle()
    decided = {name: bench.result(name) for name in ("mirror", "dark")}
    assert bench.dock.results.run.text() == "Place again in 1 picture"
    bench.propagate()
    assert all(bench.result(name) is result for name, result in decided.items())
    assert "2 decided before and kept" in bench.dock.results.reason.text()

    # a folder that is added changes nothing about that
    PIL.Image.fromarray(pictures["dark"]).save(tmp_path / "more.png")
    bench.dock.choose.add_folder(tmp_path)
    bench.wait(lambda: len(bench.editor.session.targets) == 4, 60)
    bench.propagate()
    assert all(bench.result(name) is result for name, result in decided.items())
    new = bench.editor.session.results[bench.editor.session.targets[-1]]
    assert new.status == "applied" and not new.review

    # accepted and pinned ones stay, too; and all of them go when the user says so
    bench.editor.review(bench.key("coffee"), "accepted")
    bench.editor.pin(bench.editor.session.targets[-1], (150.0, 95.0), (132.0, 107.0))
    bench.idle()
    assert not bench.dock.results.run.isEnabled()
    assert "every ticked picture is decided" in bench.dock.results.run.toolTip()
    with pytest.raises(DiftEditError, match="stay as they are"):
        bench.editor.propagate()
    actions, _ = _menu(bench.dock)
    actions["Place decided pictures again (4)"].trigger()
    bench.wait(lambda: bench.editor.job is None and bench.dock.scene.settled)
    assert not bench.result("mirror").review and not bench.result("dark").by_hand
    bench.press("Z", Qt.KeyboardModifier.ControlModifier)
    assert bench.result("mirror").review == "rejected" and bench.result("dark").by_hand


@pytest.mark.slow
def test_changed_sticker_is_put_where_it_was_placed_by_hand(open_bench, pictures, sticker):
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    bench.use(sticker)
    quad = ((50.0, 60.0), (230.0, 60.0), (230.0, 130.0), (50.0, 130.0))
    bench.editor.correct(bench.key("dark"), quad)
    bench.idle()
    other = sticker.copy()
    other[..., :3] = (0, 0, 255)
    bench.use(other)
    assert bench.result("dark").stale
    bench.viewer.add_image(pictures["mirror"], name="mirror")
    bench.wait(lambda: len(bench.editor.session.targets) == 2, 5)
    bench.propagate()
    bench.idle()
    dark = bench.result("dark")
    assert dark.by_hand and dark.quad == quad and not dark.stale
    pixels = dark.crops[0].pixels
    assert tuple(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]) == (0, 0, 255, 255)


def test_failure_replaces_nothing(open_bench, pictures, sticker, tmp_path):
    bench = open_bench({"cat": pictures["cat"]})
    PIL.Image.fromarray(pictures["dark"]).save(tmp_path / "dark.png")
    bench.use(sticker)
    bench.dock.choose.add_folder(tmp_path)
    bench.wait(lambda: len(bench.editor.session.targets) == 1, 60)
    bench.propagate()
    (key,) = bench.editor.session.targets
    before = bench.editor.session.results[key]
    assert before.status == "applied"
    (tmp_path / "dark.png").write_bytes(b"no picture any more")
    bench.propagate()
    after = bench.editor.session.results[key]
    assert after.status == "applied" and after.quad == before.quad and "placing it again failed" in after.reason


@pytest.mark.slow
def test_another_model_marks_results_and_a_typo_is_an_error(open_bench, pictures, sticker):
    bench = open_bench({name: pictures[name] for name in ("cat", "dark", "coffee")})
    bench.use(sticker)
    bench.propagate()
    bench.editor.review(bench.key("coffee"), "accepted")
    bench.idle()
    before = dict(bench.editor.session.results)
    bench.editor.choose_settings(model="mini-with-a-typo")
    assert all(result.stale for result in bench.editor.session.results.values())
    assert bench.dock.results.run.text() == "Update 1 picture"
    assert "Update makes 1 again (1 decided ones stay)" in bench.dock.results.reason.text()
    notification_manager.records.clear()
    bench.propagate()
    assert any("There is no model 'mini-with-a-typo'" in record.message for record in notification_manager.records)
    assert bench.dock.results.reason.text().startswith("Stopped by an error: 0 of 1 placed")
    assert {key: result.quad for key, result in bench.editor.session.results.items()} == {
        key: result.quad for key, result in before.items()
    }
    bench.editor.choose_settings(model="lite")
    assert not any(result.stale for result in bench.editor.session.results.values()), "the old model made them"


@pytest.mark.slow
def test_decision_without_a_row_is_said(bench, sticker):
    bench.press("K")
    assert "No picture is chosen" in bench.dock.results.reason.text()
    bench.press("Period")
    bench.press("J")
    assert "mirror has no result yet" in bench.dock.results.reason.text()
    assert not bench.editor.session.results


@pytest.mark.slow
def test_source_removed_while_it_works(bench, sticker):
    bench.use(sticker)
    bench.qtbot.mouseClick(bench.dock.results.run, Qt.MouseButton.LeftButton)
    bench.wait(lambda: bench.editor.running)
    bench.viewer.layers.remove("cat")
    bench.wait(lambda: bench.editor.job is None)
    bench.idle()
    assert bench.editor.session.source == "" and bench.dock.choose.source.currentIndex() == -1
    assert bench.dock.choose.source.placeholderText() == "Choose the source"
    assert not bench.dock.results.run.isEnabled() and "choose the source" in bench.dock.results.run.toolTip()
    bench.editor.undo()  # the session of before; its source is not there
    assert not bench.dock.results.run.isEnabled()
    with pytest.raises(DiftEditError, match="no longer open"):
        bench.editor.propagate()
    bench.editor.redo()
    bench.dock.choose.choose_source(bench.key("dark"))
    assert bench.dock.results.run.isEnabled()


@pytest.mark.slow
def test_window_closed_while_python_lives_on(open_bench, pictures, sticker):
    """The model of the viewer outlives its window: nothing of the dock answers to it any more."""
    bench = open_bench({name: pictures[name] for name in ("cat", "dark")})
    bench.use(sticker)
    layers, editor, errors = bench.viewer.layers, bench.editor, []
    picture = layers["dark"]
    notification_manager.notification_ready.connect(errors.append)
    bench.viewer.close()
    bench.qtbot.wait(100)
    gc.collect()
    QApplication.processEvents()
    layers.append(type(picture)(np.zeros((20, 30)), name="later"))
    layers.remove("later")
    editor.said.emit("a word")
    editor.changed.emit(editor.session)
    bench.qtbot.wait(100)
    notification_manager.notification_ready.disconnect(errors.append)
    assert not errors
