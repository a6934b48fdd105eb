"""*Improve the others*: what was decided helps the pictures that are not sure, as one step."""

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt

from dift_edit.errors import DiftEditError
from dift_edit.geometry.quad import quad_iou
from dift_edit.job.recipe import load_job
from napari_dift_edit.colours import COLOURS, colour_of


@pytest.fixture
def hard(pictures):
    """The cat in other colours, inverted and so noisy that no place in it is sure."""
    rng = np.random.default_rng(0)
    made = {}
    for name, shift in (("one", (14, -20)), ("two", (-10, 16))):
        moved = np.roll(pictures["cat"], shift, (0, 1)).astype(float)[:, :, [1, 2, 0]]
        made[name] = np.clip(255 - moved + rng.normal(0, 120, moved.shape), 0, 255).astype(np.uint8)
    return made


@pytest.mark.slow
def test_decided_results_help_the_others(open_bench, pictures, hard, sticker):
    bench = open_bench({"cat": pictures["cat"], **hard}, model=None)
    bench.use(sticker)
    with pytest.raises(DiftEditError, match="Nothing is decided"):
        bench.editor.improve()
    assert not bench.dock.results.improve.isEnabled()
    bench.propagate()
    assert not bench.dock.results.improve.isEnabled()
    assert "accept a result first" in bench.dock.results.improve.toolTip()
    unsure = bench.editor.improvable()
    assert bench.key("two") in unsure

    # one is put right by hand; the other, in the same odd colours, is placed again with it
    right = tuple((x - 20, y + 14) for x, y in ((60.0, 60.0), (240.0, 60.0), (240.0, 130.0), (60.0, 130.0)))
    bench.editor.correct(bench.key("one"), right)
    bench.idle()
    before = bench.result("two")
    corrected, steps = bench.result("one"), bench.editor.history.number
    assert bench.dock.results.improve.isEnabled()
    bench.qtbot.mouseClick(bench.dock.results.improve, Qt.MouseButton.LeftButton)
    bench.wait(lambda: bench.editor.job is None and bench.dock.scene.settled)
    after = bench.result("two")
    truth = [(x + 16, y - 10) for x, y in ((60, 60), (240, 60), (240, 130), (60, 130))]
    assert after is not before and "improved by 1 decided picture" in after.reason
    assert quad_iou(after.quad, truth) > 0.7
    assert bench.result("one") is corrected
    assert bench.editor.history.number == steps + 1 and bench.editor.history.undo_label.startswith("Improve")
    bench.press("Z", Qt.KeyboardModifier.ControlModifier)
    assert bench.result("two") is before


def test_a_trusted_place_is_kept_unless_the_new_one_is_better(windowless, pictures, sticker):
    editor, viewer, idle = windowless
    for name in ("cat", "dark", "coffee"):
        viewer.add_image(pictures[name][::2, ::2], name=name)
    source, dark, coffee = (editor.pictures.key(layer) for layer in viewer.layers)
    editor.choose_settings(model="lite", mirror="never", min_confidence=0.0)  # so that all are applied
    editor.set_source(source)
    editor.set_targets([dark, coffee])
    editor.use_picture("sticker", sticker, "sign", quad=((30.0, 30.0), (120.0, 30.0), (120.0, 65.0), (30.0, 65.0)))
    idle()
    editor.propagate()
    idle()
    editor.review(dark, "accepted")
    placed = editor.session.results[coffee]
    assert placed.status == "applied" and placed.confidence < 0.5
    trusted = replace(placed, confidence=0.75)
    editor.restore(editor.session.with_result(coffee, trusted))
    said = []
    editor.said.connect(said.append)
    editor.improve()
    idle()
    assert editor.session.results[coffee] is trusted and said[-1].startswith("0 of 1 others improved")


@pytest.mark.slow
def test_further_views_carry_the_edit(open_bench, pictures, hard, sticker, tmp_path):
    """A picture on which the user says where the edit lies helps with all others, and goes into the recipe."""
    bench = open_bench({"cat": pictures["cat"], **hard}, model=None)
    choose, one = bench.dock.choose, bench.key("one")
    assert not choose.views.isEnabled()
    bench.editor.choose_settings(mirror="never")
    bench.use(sticker)
    for name in ("cat", "two"):
        bench.viewer.layers[name].visible = False
    choose.add_view(one)
    bench.idle()
    assert bench.editor.session.targets == (bench.key("two"),) and choose.views.text() == "Views: 2"
    start = np.mean(bench.editor.session.views[one], 0)
    right = np.array([(x - 20, y + 14) for x, y in ((60.0, 60.0), (240.0, 60.0), (240.0, 130.0), (60.0, 130.0))])
    bench.drag("one", tuple(start), tuple(right.mean(0)))
    assert np.abs(np.array(bench.editor.session.views[one]) - right).max() < 3, "its outline is dragged"
    bench.propagate()
    truth = [(x + 16, y - 10) for x, y in ((60, 60), (240, 60), (240, 130), (60, 130))]
    assert quad_iou(bench.result("two").quad, truth) > 0.7
    bench.dock.keeper.save_job(tmp_path / "job.toml")
    bench.wait(lambda: bench.editor.job is None)
    (view,) = load_job(tmp_path / "job.toml").views
    assert np.abs(np.array(view.quad) - right).max() < 3 and view.image.endswith("one.png")
    choose.editor.drop_view(one)
    bench.idle()
    assert set(bench.editor.session.targets) == {one, bench.key("two")} and bench.result("two").stale


@pytest.mark.slow
def test_the_most_helpful_picture_comes_first(open_bench, pictures, hard, sticker):
    bench = open_bench({"cat": pictures["cat"], "dark": pictures["dark"], **hard})
    bench.editor.choose_settings(mirror="never")
    bench.use(sticker)
    bench.propagate()
    bench.idle()
    unsure = set(bench.editor.improvable())
    assert {bench.key("one"), bench.key("two")} <= unsure
    first, table = next(iter(bench.editor.suggestions)), bench.dock.results.table
    assert first in unsure and bench.key("dark") not in bench.editor.suggestions
    assert table.listed[0] == first and table.model().index(0, 0).data().startswith("★ ")
    table.go_to(first)
    assert "Put this one right first: not sure" in bench.dock.results.reason.text()
    bench.press("K")
    bench.idle()
    assert first not in bench.editor.suggestions, "what is decided is suggested no more"


@pytest.mark.slow
def test_made_accepted_and_corrected_look_different(bench, sticker):
    bench.use(sticker)
    bench.propagate()
    bench.editor.review(bench.key("mirror"), "accepted")
    bench.editor.correct(bench.key("coffee"), ((50.0, 60.0), (230.0, 60.0), (230.0, 130.0), (50.0, 130.0)))
    bench.idle()
    colours = [colour_of(bench.result(name)) for name in ("dark", "mirror", "coffee")]
    assert colours == [COLOURS["sure"], COLOURS["accepted"], COLOURS["hand"]] and len(set(colours)) == 3
