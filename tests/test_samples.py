"""The bundled sample pictures: complete, consistent, and what tools/make_samples.py makes."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "src" / "dift_edit" / "samples"
LISTING = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
TARGETS = {t["name"]: t for t in LISTING["targets"]}
MARKS = np.array(list(LISTING["source"]["landmarks"].values()))


@pytest.fixture(scope="module")
def maker():
    pytest.importorskip("skimage")
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import make_samples

        yield make_samples
    finally:
        sys.path.remove(str(ROOT / "tools"))


def pixels(path_or_picture):
    picture = path_or_picture if isinstance(path_or_picture, Image.Image) else Image.open(path_or_picture)
    return np.asarray(picture.convert("RGB"), dtype=float)


def encoded(picture, quality):
    """Pixels after the JPEG encoder: its error is not a difference."""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=quality)
    return pixels(file)


def area(quad):
    x, y = np.asarray(quad).T
    return 0.5 * (x * np.roll(y, -1) - np.roll(x, -1) * y).sum()


def turns(quad):
    edges = np.roll(quad, -1, axis=0) - np.asarray(quad)
    after = np.roll(edges, -1, axis=0)
    return np.sign(edges[:, 0] * after[:, 1] - edges[:, 1] * after[:, 0])


def test_the_folder_holds_what_the_list_names_and_little_else():
    named = {LISTING["source"]["file"], LISTING["sticker"]["file"], *(t["file"] for t in LISTING["targets"])}
    present = {p.name for p in FOLDER.iterdir() if p.suffix in {".jpg", ".png"}}
    assert named == present
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 2.5e6
    notes = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(name in notes for name in named)
    assert "CC0" in (FOLDER / "LICENSE.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("entry", [LISTING["source"], LISTING["sticker"], *LISTING["targets"]], ids=lambda e: e["file"])
def test_sizes_are_those_of_the_files_and_bounded(entry):
    with Image.open(FOLDER / entry["file"]) as picture:
        assert list(picture.size) == entry["size"]
        assert max(picture.size) <= 1000 and min(picture.size) >= 400
        assert not picture.getexif()
    assert (FOLDER / entry["file"]).stat().st_size < 400_000
    assert entry["caption"] and "\n" not in entry["caption"]


def test_the_sticker_is_an_rgba_picture_that_lies_on_the_source():
    sticker = LISTING["sticker"]
    x, y, w, h = sticker["at"]
    assert [w, h] == sticker["size"]
    assert sticker["quad"] == [[x, y], [x + w - 1, y], [x + w - 1, y + h - 1], [x, y + h - 1]]
    width, height = LISTING["source"]["size"]
    assert x >= 0 and x + w <= width and y >= 0 and y + h <= height
    with Image.open(FOLDER / sticker["file"]) as picture:
        alpha = np.asarray(picture.convert("RGBA"))[..., 3]
    assert 0.1 < (alpha > 0).mean() < 0.6
    assert alpha.max() == 255 and ((alpha > 20) & (alpha < 235)).mean() > 0.01


def test_the_lenses_are_on_the_eyes():
    sticker = LISTING["sticker"]
    red = np.asarray(Image.open(FOLDER / sticker["file"]).convert("RGBA"), dtype=int)
    frame = (red[..., 0] > 150) & (red[..., 1] < 90) & (red[..., 3] > 200)
    for name in ("left_eye", "right_eye"):
        x, y = np.array(LISTING["source"]["landmarks"][name]) - sticker["at"][:2]
        row = np.flatnonzero(frame[round(y)])
        left, right = row[row < x].max(), row[row > x].min()
        assert abs((left + right) / 2 - x) < 20


def test_exactly_one_target_has_nothing_to_match_and_it_is_the_last():
    expected = [t["expected"] for t in LISTING["targets"]]
    assert expected == ["applied"] * (len(expected) - 1) + ["abstained"]
    assert len(expected) >= 9
    assert [t["truth"] is None for t in LISTING["targets"]] == [e == "abstained" for e in expected]
    assert any(t["mirrored"] for t in LISTING["targets"])


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t["truth"]])
def test_true_quads_and_landmarks_lie_inside_and_do_not_fold(name):
    target = TARGETS[name]
    quad, limit = np.array(target["truth"]["quad"]), np.array(target["size"]) - 1
    slack = 0.02 * limit
    assert (quad >= -slack).all() and (quad <= limit + slack).all()
    assert len(set(turns(quad))) == 1
    assert (area(quad) < 0) == target["mirrored"]
    marks = np.array(list(target["truth"]["landmarks"].values()))
    assert list(target["truth"]["landmarks"]) == list(LISTING["source"]["landmarks"])
    assert (marks > 0).all() and (marks < limit).all()


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t["truth"] and t["truth"]["kind"] == "drawn"])
def test_the_parts_of_drawn_cats_are_in_other_places_than_a_similarity_says(name, maker):
    truth = TARGETS[name]["truth"]
    marks = np.array(list(truth["landmarks"].values()))
    left = marks - maker.similarity(MARKS, marks)(MARKS)
    spacing = np.linalg.norm(marks[0] - marks[1])
    assert 0.005 < np.linalg.norm(left, axis=1).max() / spacing < 0.25
    np.testing.assert_allclose(maker.similarity(MARKS, marks)(maker.corners()), truth["quad"], atol=0.02)


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if t["truth"] and t["truth"]["kind"] == "warp"])
def test_the_source_moved_by_the_true_map_correlates_with_the_target(name):
    """Gradients of small windows round the eyes, through the landmarks' affine map, against a shifted window."""
    target = TARGETS[name]
    source = pixels(FOLDER / "cat.jpg").mean(-1)
    picture = pixels(FOLDER / target["file"]).mean(-1)
    places = np.array(list(target["truth"]["landmarks"].values()))
    solve = np.linalg.lstsq(np.c_[MARKS, np.ones(4)], places, rcond=None)[0]
    offsets = np.stack(np.meshgrid(np.arange(-90, 91, 3), np.arange(-90, 91, 3)), -1).reshape(-1, 2)

    def likeness(shift):
        scores = []
        for mark, place in zip(MARKS[:2], places[:2], strict=True):
            at = mark + offsets
            there = place + (offsets + shift) @ solve[:2]
            i, j = np.round(at).astype(int).T, np.round(there).astype(int).T
            inside = (j >= 0).all(0) & (j[0] < picture.shape[1]) & (j[1] < picture.shape[0])
            values = source[i[1], i[0]][inside], picture[j[1, inside], j[0, inside]]
            scores.append(np.corrcoef(*values)[0, 1])
        return np.mean(scores)

    right = likeness(np.zeros(2))
    assert right > 0.5
    assert all(right > likeness(np.array(s)) for s in [(30, 0), (-30, 0), (0, 30), (0, -30)])


def test_source_and_sticker_are_made_again(maker):
    assert np.abs(encoded(maker.photo.cat(), maker.QUALITY) - pixels(FOLDER / "cat.jpg")).mean() < 1
    sticker = np.asarray(maker.draw_sticker(), dtype=float)
    shipped = np.asarray(Image.open(FOLDER / LISTING["sticker"]["file"]), dtype=float)
    assert np.abs(sticker[..., 3] - shipped[..., 3]).mean() < 0.5
    assert np.abs((sticker - shipped)[..., :3] * shipped[..., 3:] / 255).mean() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", list(TARGETS))
def test_targets_are_made_again(name, maker):
    recipe = next(r for r in maker.RECIPES if r[0] == name)
    target = recipe[3]()
    entry = maker.describe(name, recipe[1], target)
    assert {k: v for k, v in entry.items() if k != "truth"} == {k: v for k, v in TARGETS[name].items() if k != "truth"}
    if entry["truth"]:
        assert entry["truth"]["kind"] == TARGETS[name]["truth"]["kind"]
        np.testing.assert_allclose(entry["truth"]["quad"], TARGETS[name]["truth"]["quad"], atol=0.05)
    assert np.abs(encoded(target.picture, maker.QUALITY) - pixels(FOLDER / f"{name}.jpg")).mean() < 1


def test_frames_of_the_moving_cat_loop_and_follow_their_map(maker):
    frames = list(maker.moving_cat(8, size=(226, 150)))
    rest = pixels(frames[0][0])
    assert np.abs(pixels(maker.photo.cat().resize((226, 150), Image.Resampling.LANCZOS)) - rest).mean() < 1
    steps = [np.abs(pixels(a[0]) - pixels(b[0])).mean() for a, b in zip(frames, frames[1:] + frames[:1], strict=True)]
    assert min(steps) > 1 and max(steps) < 4 * min(steps)
    eye = (MARKS[:1] + 0.5) * (226 / 902, 150 / 600) - 0.5
    moved = np.array([forward(eye)[0] for _, forward in frames])
    assert np.ptp(moved, axis=0).max() > 5
    patch = np.stack(np.meshgrid(np.arange(-8, 9), np.arange(-8, 9)), -1).reshape(-1, 2)
    for picture, forward in frames[1:]:
        here, there = np.round(eye + patch).astype(int), np.round(forward(np.round(eye + patch))).astype(int)
        assert np.corrcoef(rest[here[:, 1], here[:, 0], 1], pixels(picture)[there[:, 1], there[:, 0], 1])[0, 1] > 0.9


def test_turned_cats_are_where_their_map_says(maker):
    source = pixels(maker.photo.cat())
    for picture, forward in maker.turned_cats((-30, 20), (0.6,), (320, 240)):
        flat = pixels(picture)
        there = np.round(forward(MARKS)).astype(int)
        assert (there > 0).all() and (there < (320, 240)).all()
        ears = np.array([(150.0, 150.0), (540.0, 420.0), (760.0, 60.0), (60.0, 560.0), (640.0, 150.0), (300.0, 480.0)])
        points = np.vstack([MARKS, ears])
        i, j = np.round(points).astype(int), np.round(forward(points)).astype(int)
        here = np.array([source[y - 4 : y + 5, x - 4 : x + 5].mean((0, 1)) for x, y in i])
        assert np.corrcoef(here.ravel(), flat[j[:, 1], j[:, 0]].ravel())[0, 1] > 0.8


@pytest.mark.slow
def test_a_litter_has_its_eyes_where_it_says_and_differs(maker):
    cats = list(maker.litter(2, seed=4))
    again = [np.asarray(p) for p, _ in maker.litter(1, seed=4)]
    assert (again[0] == np.asarray(cats[0][0])).all()
    assert np.abs(pixels(cats[0][0]) - pixels(cats[1][0])).mean() > 5
    for picture, marks in cats:
        array = pixels(picture)
        for eye in ("left_eye", "right_eye"):
            x, y = np.round(marks[eye]).astype(int)
            pupil, beside = (
                array[y - 2 : y + 5, x - 2 : x + 3].mean(),
                array[y - 2 : y + 5, x - 22 : x + 23].max(axis=-1).max(),
            )
            assert pupil < 60 < beside - pupil


@pytest.fixture(scope="module")
def place(mini):
    import dift_edit

    source = dift_edit.load_image(FOLDER / LISTING["source"]["file"])
    known = mini(source)

    def features(picture, *, seed=0):
        return known if picture is source else mini(picture, seed=seed)

    return lambda file: dift_edit.locate(source, LISTING["sticker"]["quad"], FOLDER / file, featurizer=features)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grey", "pencil", "kitten", "tuxedo"])
def test_the_embedded_model_finds_the_place(name, place):
    from dift_edit.geometry.quad import quad_iou

    target = TARGETS[name]
    placement = place(target["file"])
    assert placement.mirrored == target["mirrored"]
    assert quad_iou(placement.quad, np.array(target["truth"]["quad"])) > 0.65


@pytest.mark.slow
def test_the_embedded_model_is_not_sure_where_there_is_no_cat(place):
    assert place(LISTING["targets"][-1]["file"]).confidence < 0.3
