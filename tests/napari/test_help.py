"""The tour: offered once, walked through on the bundled pictures, left at any time."""

import gc
import os
import weakref
from pathlib import Path

import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication

from napari_dift_edit.help import TOUR


def _click(bench, words):
    bench.qtbot.mouseClick(bench.dock.help.choices[words], Qt.MouseButton.LeftButton)


def test_tour_is_offered_once(open_bench, cat):
    seen = Path(os.environ["XDG_STATE_HOME"]) / "dift-edit" / "napari-tour-seen"
    seen.unlink()
    bench = open_bench({"cat": cat})
    assert bench.dock.help.isVisible() and "six steps" in bench.dock.help.words.text()
    _click(bench, "Not now")
    assert not bench.dock.help.isVisible() and seen.exists()
    assert not open_bench({"cat": cat}).dock.help.isVisible()


def test_closed_dock_is_let_go(open_bench, cat):
    bench = open_bench({"cat": cat})
    viewer, dock, widget = bench.viewer, weakref.ref(bench.dock), bench.dock
    del bench
    open_bench.end()
    viewer.window.remove_dock_widget(widget)
    widget.deleteLater()
    del widget
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    gc.collect()
    assert dock() is None, "something holds it"


@pytest.mark.slow
def test_tour_goes_through_the_main_path(open_bench):
    bench = open_bench()
    bench.editor.choose_settings(mirror="never")
    help_menu = bench.viewer.window.help_menu
    action = next(each for each in help_menu.actions() if "Tour of dift-edit" in each.text())
    action.trigger()
    assert bench.dock.help.step == 0 and "1 of 6" in bench.dock.help.words.text()
    _click(bench, "Do it for me")
    bench.wait(lambda: bench.dock.help.step == 1)
    assert bench.editor.session.source and len(bench.editor.session.targets) > 3
    for name in [bench.editor.pictures.name(key) for key in bench.editor.session.targets[2:]]:
        bench.viewer.layers.remove(name)  # two will do
    bench.wait(lambda: len(bench.editor.session.targets) == 2, 5)
    assert "border" in bench.dock.choose.edit.more.styleSheet(), "the button that it is about is marked"
    _click(bench, "Do it for me")
    bench.wait(lambda: bench.dock.help.step == 2)
    assert bench.editor.session.edit is not None
    assert "border" not in bench.dock.choose.edit.more.styleSheet()
    bench.idle()
    _click(bench, "Next")
    _click(bench, "Do it for me")
    bench.wait(lambda: bench.dock.help.step == 4)
    assert len(bench.editor.session.results) == len(bench.editor.session.targets)
    _click(bench, "Do it for me")
    bench.wait(lambda: bench.dock.help.step == 5)
    assert any(result.review == "accepted" for result in bench.editor.session.results.values())
    assert len(TOUR) == 6
    _click(bench, "Finish")
    assert not bench.dock.help.isVisible() and bench.dock.help.step == -1
    bench.dock.shut()
    assert not any("Tour of dift-edit" in each.text() for each in help_menu.actions())
