"""Cancelling, crashes, layers that vanish and two windows."""

import os
import signal
import time

import pytest
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton


def cancel_seconds():
    """0.3 s, and as much more as other programs of the machine take of the processors."""
    return 0.3 * max(1.0, 1.5 * os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.slow
def test_cancel_mid_run_is_immediate_and_keeps_what_is_done(bench, sticker):
    bench.use(sticker)
    results = bench.dock.results
    bench.qtbot.mouseClick(results.run, Qt.MouseButton.LeftButton)
    assert results.run.text() == "Cancel"
    bench.wait(lambda: bench.result("mirror") is not None)
    first = bench.result("mirror")
    start = time.perf_counter()
    bench.qtbot.mouseClick(results.run, Qt.MouseButton.LeftButton)
    bench.wait(lambda: bench.editor.job is None)
    seconds = time.perf_counter() - start
    print(f"cancelled in {seconds:.2f} s")
    assert seconds < cancel_seconds()
    assert bench.result("mirror") is first
    assert bench.result("coffee") is None, "the last one was not begun"
    left = 3 - len(bench.editor.session.results)
    assert results.run.text() == f"Propagate to {left} picture{'s' * (left > 1)}" and results.run.isEnabled()
    bench.propagate()  # the engine goes on with the rest
    assert bench.result("mirror") is first
    assert bench.result("coffee") is not None


@pytest.mark.slow
def test_cancel_in_the_activity_dock(bench, sticker):
    bench.use(sticker)
    bench.qtbot.mouseClick(bench.dock.results.run, Qt.MouseButton.LeftButton)
    dialog = bench.viewer.window._qt_window._activity_dialog
    bench.wait(lambda: [b for b in dialog.findChildren(QPushButton) if b.text() == "Cancel"], 10)
    button = next(b for b in dialog.findChildren(QPushButton) if b.text() == "Cancel")
    start = time.perf_counter()
    button.click()
    bench.wait(lambda: bench.editor.job is None)
    seconds = time.perf_counter() - start
    print(f"cancelled in {seconds:.2f} s")
    assert seconds < cancel_seconds()
    assert len(bench.editor.session.results) < 3


@pytest.mark.slow
def test_target_removed_while_it_is_worked_on(bench, sticker):
    bench.use(sticker)
    bench.qtbot.mouseClick(bench.dock.results.run, Qt.MouseButton.LeftButton)
    bench.wait(lambda: bench.editor.running == bench.key("mirror"))
    gone = {bench.key("mirror"), bench.key("dark")}
    bench.viewer.layers.remove("mirror")
    bench.viewer.layers.remove("dark")
    bench.wait(lambda: bench.editor.job is None)
    assert bench.result("coffee") is not None, "the others are still done"
    assert not any(name.name.startswith(("mirror", "dark")) for name in bench.viewer.layers)
    assert not gone & set(bench.editor.session.targets)


@pytest.mark.slow
def test_engine_crash_is_said_and_nothing_is_lost(bench, sticker):
    bench.use(sticker)
    notification_manager.records.clear()
    bench.qtbot.mouseClick(bench.dock.results.run, Qt.MouseButton.LeftButton)
    bench.wait(lambda: bench.editor.running == bench.key("mirror"))
    os.kill(bench.editor.asker.engine.pid, signal.SIGKILL)
    bench.wait(lambda: bench.editor.job is None)
    assert any("engine process ended" in record.message for record in notification_manager.records)
    assert bench.result("mirror").status == "failed" and "run the rest again" in bench.result("mirror").reason
    dark = bench.result("dark")
    assert dark.status == "applied" and bench.result("coffee").status == "abstained", "the engine was started again"
    assert "dark · edited" in bench.viewer.layers


@pytest.mark.slow
def test_two_viewers_do_not_mix(open_bench, pictures, sticker):
    first = open_bench({name: pictures[name] for name in ("cat", "mirror")})
    second = open_bench({name: pictures[name] for name in ("cat", "dark")})
    first.use(sticker)
    second.use(sticker[::-1].copy())
    for bench in (first, second):
        bench.qtbot.mouseClick(bench.dock.results.run, Qt.MouseButton.LeftButton)
    first.wait(lambda: first.editor.job is None and second.editor.job is None)
    assert first.result("mirror").mirrored and not second.result("dark").mirrored
    assert "dark · edited" not in first.viewer.layers and "mirror · edited" not in second.viewer.layers
    first.press("Z", Qt.KeyboardModifier.ControlModifier)
    assert not first.editor.session.results and second.editor.session.results
    assert first.editor.asker.engine is second.editor.asker.engine


@pytest.mark.slow
def test_wrong_setting_is_one_sentence(bench, sticker):
    bench.use(sticker)
    bench.editor.choose_settings(engine="no such engine")
    notification_manager.records.clear()
    bench.propagate()
    assert any("no such engine" in record.message for record in notification_manager.records)
    assert not bench.editor.session.results, "no target was touched"
    assert bench.dock.results.run.isEnabled()


@pytest.mark.slow
def test_dock_closed_while_working(open_bench, pictures, sticker):
    bench = open_bench(pictures)
    bench.use(sticker)
    bench.editor.propagate()
    count = len([layer for layer in bench.viewer.layers if layer.name in pictures])
    bench.dock.shut()
    bench.wait(lambda: bench.editor.job is None)
    assert [layer.name for layer in bench.viewer.layers] == list(pictures)
    assert count == 4
