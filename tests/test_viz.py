import numpy as np
import pytest

from dift_edit import viz
from dift_edit.errors import EditError
from dift_edit.imaging.files import as_image
from dift_edit.viz.primitives import load_font, wrapped_lines


def plain(width, height, color=(120, 160, 200)):
    return as_image(np.full((height, width, 3), color, np.uint8))


def test_contact_sheet_has_a_cell_for_every_picture():
    images = [plain(300, 200), plain(50, 400), None, plain(1, 1), plain(4000, 30)]
    captions = ["a.jpg\nconfidence 0.52", "word " * 60, "x" * 400, "", "damaged"]
    statuses = ["applied", "abstained", "failed", "", "source"]
    sheet = viz.contact_sheet(images, captions, statuses=statuses, cell=160, columns=3, title="A title " * 40)
    assert sheet.size[0] < 3 * 190 and (sheet.pixels == 255).mean() < 0.9
    for color in ("applied", "abstained", "failed"):
        rgb = np.array([int(viz.STATUS_COLORS[color][i : i + 2], 16) for i in (1, 3, 5)])
        assert (sheet.pixels == rgb).all(axis=2).sum() > 100, f"the frame of {color} is not seen"
    with pytest.raises(EditError, match="one caption"):
        viz.contact_sheet(images, ["one"])
    with pytest.raises(EditError, match="contact sheet"):
        viz.contact_sheet([])


def test_captions_fit_their_width():
    font = load_font(14)
    for text in ("hello world", "a" * 300, "two words " * 40, "é" * 90, ""):
        lines = wrapped_lines(text, font, 120, 4)
        assert len(lines) <= 4 and all(font.getlength(line) <= 120 for line in lines)
    assert wrapped_lines("ab cd", font, 500, 4) == ["ab cd"]


def test_quad_is_drawn_where_it_is():
    drawn = viz.draw_quad(plain(200, 100), [(20, 20), (120, 20), (120, 80), (20, 80)], color="#ff0000", label="0.52")
    red = (drawn.pixels == (255, 0, 0)).all(axis=2)
    assert red[20, 100] and red[50, 120] and red[80, 60] and not red[50, 70]
    assert drawn.size == (200, 100)


def test_matches_join_their_points():
    drawn = viz.draw_matches(plain(100, 100), plain(200, 100), [(50, 50)], [(20, 80)], height=200, numbers=False)
    assert drawn.size[1] == 200 and drawn.size[0] > 600
    changed = (np.abs(drawn.pixels.astype(int) - (120, 160, 200)).max(axis=2) > 30)[:, :195]
    assert changed[100, 100] and not changed[20].any(), "the dot is at the centre of the left picture"
    with pytest.raises(EditError, match="pairs"):
        viz.draw_matches(plain(9, 9), plain(9, 9), [(1, 1)], [(1, 1), (2, 2)])


def test_heat_map_is_bright_where_values_are_high():
    values = np.zeros((4, 4))
    values[3, 3] = 1
    drawn = viz.draw_heatmap(plain(80, 80), values, point=(10, 10)).pixels.astype(int).sum(axis=2)
    assert drawn[75, 75] > drawn[40, 5] + 100
    with pytest.raises(EditError, match="finite"):
        viz.draw_heatmap(plain(8, 8), np.full((2, 2), np.nan))
    flat = viz.draw_heatmap(plain(80, 80), np.full((2, 2), 0.9), limits=(0, 1), colors="confidence", strength=1).pixels
    assert (flat[..., 1] > flat[..., 0]).all(), "high confidence is green"
    unknown = viz.draw_heatmap(plain(80, 80), [[np.nan, 0.0], [1.0, 0.5]]).pixels
    assert np.ptp(unknown[5, 5]) == 0 and np.ptp(unknown[70, 5]) > 20, "what is not known has no colour"
    with_bar = viz.draw_heatmap(plain(80, 80), values, legend=True)
    assert with_bar.size[0] == 80 and with_bar.size[1] > 90
    with pytest.raises(EditError, match="colours"):
        viz.draw_heatmap(plain(8, 8), values, colors="jet")


def test_mesh_and_comparison_have_the_right_size():
    mesh = viz.draw_mesh(plain(60, 60), [(5, 5), (50, 5), (5, 50), (50, 50)], [(0, 1, 2), (1, 2, 3)], color="#00ff00")
    assert (mesh.pixels[5, 30] == (0, 255, 0)).all() and (mesh.pixels[45, 45] != (0, 255, 0)).any()
    pair = viz.before_after(plain(100, 50), plain(100, 50, (0, 0, 0)), height=100)
    assert pair.size[1] == 100 and pair.size[0] > 400
