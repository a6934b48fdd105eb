"""A (T, Y, X, C) layer: the edit of one frame goes through time."""

import numpy as np
import PIL.Image
import pytest
from qtpy.QtCore import Qt

from napari_dift_edit.sessions import open_session, save_session


def _clip(cat, count=5):
    """The cat moving three pixels right and two down in each frame."""
    return np.stack([np.roll(cat, (2 * t, 3 * t), (0, 1)) for t in range(count)])


@pytest.mark.slow
def test_edit_of_a_frame_goes_through_the_stack(open_bench, cat, sticker, tmp_path):
    bench = open_bench()
    bench.viewer.add_image(_clip(cat), name="clip", scale=(2, 1, 1))
    bench.wait(lambda: bench.editor.session.source, 5)
    bench.viewer.dims.set_current_step(0, 2)
    bench.dock.choose.choose_source(bench.key("clip"))
    assert bench.editor.session.source == bench.key("clip") + "#2"
    assert bench.editor.session.targets == (bench.key("clip"),)
    bench.use(sticker, quad=((66.0, 64.0), (246.0, 64.0), (246.0, 134.0), (66.0, 134.0)))
    bench.propagate()
    result = bench.result("clip")
    assert result.status == "applied" and len(result.track) == 5, result.reason
    for frame, (quad, _) in enumerate(result.track):
        assert np.abs(np.array(quad[0]) - (60 + 3 * frame, 60 + 2 * frame)).max() < 3, frame
    shown = bench.viewer.layers["clip · edited"]
    clip = bench.viewer.layers["clip"]
    assert shown.data.shape[0] == 5 and np.allclose(shown.data_to_world((4, 0, 0))[0], clip.data_to_world((4, 0, 0))[0])
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

    # what is kept: one picture for each frame, and the session
    assert bench.dock.keeper.export(tmp_path / "out") == 1
    bench.wait(lambda: bench.editor.job is None)
    files = sorted((tmp_path / "out" / "clip frames").iterdir())
    assert [path.name for path in files] == [f"{number:05d}.png" for number in range(5)]
    for frame, (path, crop) in enumerate(zip(files, result.crops, strict=True)):
        with PIL.Image.open(path) as written:
            pixels = np.asarray(written.convert("RGB"))
        assert np.array_equal(pixels[0], clip.data[frame][0]), "what is outside the edit is as it was"
        x, y = (round(value) for value in np.mean(result.track[frame][0], axis=0))
        assert pixels[y + 20, x, 0] > 180 and pixels[y + 20, x, 1] < 80 and crop.frame == frame
    save_session(bench.editor, tmp_path / "kept")
    bench.wait(lambda: bench.editor.job is None)
    edited, track = bench.viewer.layers["clip · edited"].data, result.track
    other = open_bench()  # the window opened again
    open_session(other.editor, tmp_path / "kept", other.dock.add_picture)
    other.wait(lambda: other.editor.job is None and other.editor.session.results)
    other.idle()
    assert other.editor.session.source == other.key("clip") + "#2"
    assert other.result("clip").track == track
    assert np.array_equal(other.viewer.layers["clip"].data, clip.data)
    assert np.array_equal(other.viewer.layers["clip · edited"].data, edited)
    corner = clip.data_to_world((4, 259, 359))
    assert np.allclose(other.viewer.layers["clip"].data_to_world((4, 259, 359)), corner)
