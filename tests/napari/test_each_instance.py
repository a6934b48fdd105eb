"""Several instances of the object in one picture: each is decided on its own, and a redaction is done with all."""

import json

import numpy as np
import pytest
from qtpy.QtCore import Qt

from dift_edit.geometry.quad import quad_iou

BOX = ((70, 60), (240, 150))
"""(left, top), (right, bottom) of the cat's face that is hidden."""


@pytest.mark.slow
def test_each_instance_is_decided_on_its_own(open_bench, pictures, tmp_path):
    two = np.concatenate([pictures["dark"], pictures["dark"]], 1)
    bench = open_bench({"cat": pictures["cat"], "two": two}, arrange=True)
    bench.editor.choose_settings(mirror="never")
    (left, top), (right, bottom) = BOX
    corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
    region = bench.viewer.add_shapes([corners], name="face", affine=bench.viewer.layers["cat"].affine)
    bench.dock.choose.edit.use_layer(region, "redact", {"mode": "fill"})
    bench.idle()
    bench.propagate()
    result, table = bench.result("two"), bench.dock.results.table
    assert result.status == "applied" and result.hides and len(result.instances) == 2, result.reason
    first, second = result.instances
    assert first.shown and second.missed and not second.shown and result.visible == 1
    assert table.model().index(0, 2).data() == "1 of 2 hidden"
    places = [np.array([(left, top), (right, top), (right, bottom), (left, bottom)]) + (dx - 18, 12) for dx in (0, 360)]
    assert all(max(quad_iou(place, each.quad) for each in result.instances) > 0.6 for place in places)

    def hidden():
        layer = bench.viewer.layers["two · edited"]
        spots = [layer.world_to_data(bench.viewer.layers["two"].data_to_world(np.mean(each.quad, 0)[::-1]))
                 for each in bench.result("two").instances]  # fmt: skip
        inside = [np.round(spot).astype(int) for spot in spots]
        return [
            all(spot >= 0) and all(spot < layer.data.shape[:2]) and layer.data[tuple(spot)][3] > 0 for spot in inside
        ]

    assert hidden() == [True, False]
    assert bench.dock.keeper.export(tmp_path / "out") == 1
    bench.wait(lambda: bench.editor.job is None)
    assert "still show what the redaction hides" in bench.dock.results.reason.text()

    # the other one is chosen by a press on its outline, and accepted: both are hidden, and the first is left to decide
    table.go_to(bench.key("two"))
    bench.idle()
    bench.click("two", *np.mean(second.quad, 0))
    assert bench.dock.scene.handles.instance(bench.key("two")) == 1
    bench.press("K")
    bench.idle()
    now = bench.result("two")
    assert [each.review for each in now.instances] == ["", "accepted"] and not now.visible and not now.review
    assert hidden() == [True, True] and bench.dock.scene.handles.instance(bench.key("two")) == 0
    bench.press("K")
    bench.idle()
    assert bench.result("two").review == "accepted" and "1 of 1" in bench.dock.results.count.text()

    # one is moved by hand, and rejected: the redaction is not done any more
    centre = np.mean(second.quad, 0)
    bench.click("two", *centre)
    bench.drag("two", tuple(centre), tuple(centre + (12, 8)))
    bench.idle()
    moved = bench.result("two").instances
    assert moved[1].by_hand and np.abs(np.array(moved[1].quad) - second.quad - (12, 8)).max() < 4
    assert moved[0] == bench.result("two").instances[0] and moved[0].review == "accepted"
    bench.press("J")
    bench.idle()
    assert [each.review for each in bench.result("two").instances] == ["accepted", "rejected"]
    assert bench.result("two").visible == 1 and "0 of 1" in bench.dock.results.count.text()
    bench.press("Z", Qt.KeyboardModifier.ControlModifier)
    bench.idle()
    assert bench.result("two").instances == moved and hidden() == [True, True]

    # a session keeps each of them
    from napari_dift_edit.sessions import open_session, save_session

    save_session(bench.editor, tmp_path / "kept")
    bench.wait(lambda: bench.editor.job is None)
    kept = json.loads((tmp_path / "kept" / "session.json").read_text())
    assert [each["by_hand"] for each in kept["targets"][0]["result"]["instances"]] == [False, True]
    open_session(bench.editor, tmp_path / "kept", bench.dock.add_picture)
    bench.wait(lambda: bench.editor.job is None)
    (again,) = bench.editor.session.results.values()
    assert np.allclose([each.quad for each in again.instances], [each.quad for each in moved]) and again.hides
