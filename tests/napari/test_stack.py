"""A (T, Y, X, C) layer: the edit of one frame goes through time."""

import numpy as np
from qtpy.QtCore import Qt


def _clip(cat, count=6):
    """The cat moving three pixels right and two down in each frame."""
    return np.stack([np.roll(cat, (2 * t, 3 * t), (0, 1)) for t in range(count)])


def test_edit_of_a_frame_goes_through_the_stack(open_bench, cat, sticker):
    bench = open_bench()
    bench.viewer.add_image(_clip(cat), name="clip", scale=(2, 1, 1))
    bench.wait(lambda: bench.editor.session.source, 5)
    bench.viewer.dims.set_current_step(0, 2)
    bench.dock.choose._choose_source(bench.key("clip"))
    assert bench.editor.session.source == bench.key("clip") + "#2"
    assert bench.editor.session.targets == (bench.key("clip"),)
    bench.use(sticker, quad=((66.0, 64.0), (246.0, 64.0), (246.0, 134.0), (66.0, 134.0)))
    bench.propagate()
    result = bench.result("clip")
    assert result.status == "applied" and len(result.track) == 6, result.reason
    for frame, (quad, _) in enumerate(result.track):
        assert np.abs(np.array(quad[0]) - (60 + 3 * frame, 60 + 2 * frame)).max() < 3, frame
    shown = bench.viewer.layers["clip · edited"]
    clip = bench.viewer.layers["clip"]
    assert shown.data.shape[0] == 6 and np.allclose(shown.data_to_world((4, 0, 0))[0], clip.data_to_world((4, 0, 0))[0])
    bench.viewer.dims.set_current_step(0, 4)
    outline = bench.dock.scene.outlines.data[0]
    assert np.abs(outline[0][-2:] - (68, 72)).max() < 3, "the outline follows the frame that is seen"

    bench.editor.correct(bench.key("clip"), tuple((x + 20, y) for x, y in result.track[4][0]), 4)
    bench.idle()
    again = bench.result("clip")
    assert np.abs(np.array(again.track[4][0]) - np.array(result.track[4][0]) - (20, 0)).max() < 1
    assert np.abs(np.array(again.track[2][0]) - np.array(result.track[2][0])).max() < 3
    bench.press("Z", Qt.KeyboardModifier.ControlModifier)
    assert bench.result("clip") is result
