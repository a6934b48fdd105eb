import numpy as np
import pytest
from scipy.linalg import solveh_banded

from dift_edit.clips.tracking.appearance import Template, follow, grey, palette, share_inside
from dift_edit.clips.tracking.cuts import CutDetector
from dift_edit.clips.tracking.plot import confidence_plot
from dift_edit.clips.tracking.pose import fit_pose, similarity_basis
from dift_edit.clips.tracking.smoothing import Observations, _banded, _groups, _normal_equations, _prior, smooth
from dift_edit.clips.tracking.visibility import opacities
from dift_edit.geometry.quad import apply_homography, quad_matrices, quad_matrix, quad_side
from dift_edit.imaging.image import Image
from synthetic_clips import SyntheticClip, drawn_texture

QUAD = np.array([[20.0, 30.0], [80.0, 28.0], [84.0, 75.0], [18.0, 70.0]])


def test_homographies_of_quads_agree_with_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    other = QUAD + np.array([[3, -2], [5, 6], [-4, 2], [1, 1.0]])
    expected = cv2.getPerspectiveTransform(QUAD.astype(np.float32), other.astype(np.float32))
    assert np.allclose(quad_matrix(QUAD, other), expected, atol=1e-4)
    assert np.allclose(apply_homography(quad_matrices(QUAD, other[None]), QUAD)[0], other)


def test_pose_is_found_among_outliers(rng) -> None:
    truth = QUAD @ np.array([[0.95, 0.2], [-0.2, 0.95]]) + [6, -3] + np.array([[0, 0], [1.5, 0], [0, 0.5], [-1, 0]])
    source = rng.uniform([15, 25], [85, 78], (120, 2))
    target = apply_homography(quad_matrix(QUAD, truth), source) + rng.normal(0, 0.1, (120, 2))
    target[:40] += rng.uniform(-30, 30, (40, 2))
    fit = fit_pose(QUAD, QUAD, source, target, np.ones(120))
    assert fit is not None
    assert np.abs(fit.corners - truth).max() < 0.25
    assert fit_pose(QUAD, QUAD, source[:5], target[:5], np.ones(5)) is None


def test_without_tilt_the_change_is_affine(rng) -> None:
    source = rng.uniform([15, 25], [85, 78], (80, 2))
    target = source + rng.normal(0, 0.5, (80, 2)) + [2, 1]
    fit = fit_pose(QUAD, QUAD, source, target, np.ones(80), tilts=False)
    assert fit is not None
    _, taper = similarity_basis(QUAD)
    assert np.abs(taper @ (fit.corners - QUAD).ravel()).max() < 1e-3


def test_a_template_is_found_with_sub_pixel_precision() -> None:
    clip = SyntheticClip.drawn(30, seed=3, size=(320, 180))
    first, later = (grey(clip.frame(index), clip.size) for index in (0, 12))
    template = Template.of(first, clip.quad(0))
    found = follow(template, clip.quad(12) + [2.5, -2.0], later, warp=True)
    assert found is not None and found.seen > 0.8
    assert np.linalg.norm(found.pose.corners - clip.quad(12), axis=1).mean() < 0.5
    elsewhere = follow(template, clip.quad(12) + [60.0, 40.0], later, warp=True)
    assert elsewhere is None or elsewhere.seen < 0.5


def test_brightness_changes_little(rng) -> None:
    picture = drawn_texture((160, 120), 1)
    dark = np.clip(picture * 0.55 + 12, 0, 255).astype(np.uint8)
    a, b = (grey(Image(p), (160, 120)).astype(int) for p in (picture, dark))
    assert np.abs(a - b).mean() < 0.35 * np.abs(a - 128).mean()


def test_share_inside_is_the_area() -> None:
    square = np.array([[-10.5, 9.5], [9.5, 9.5], [9.5, 29.5], [-10.5, 29.5]])
    assert share_inside(square, (100, 100)) == pytest.approx(0.5)
    assert share_inside(square + 200, (100, 100)) == 0


def test_palette_tells_things_apart() -> None:
    clip = SyntheticClip.drawn(30, seed=3, size=(320, 180))
    key = palette(clip.frame(0), clip.quad(0))
    same = np.minimum(key, palette(clip.frame(20), clip.quad(20))).sum()
    other = np.minimum(key, palette(clip.frame(0), clip.quad(0) + [-150.0, 20.0])).sum()
    assert key.sum() == pytest.approx(1, abs=1e-5)
    assert same > 0.6 > 2 * other
    assert palette(clip.frame(0), clip.quad(0) + 1000).sum() == 0


def evidence(count: int, rng, *, noise: float = 0.4, hidden: slice = slice(0, 0)) -> tuple[np.ndarray, Observations]:
    t = np.arange(count)[:, None]
    truth = QUAD.ravel() + 20 * np.sin(2 * np.pi * t / 80 + np.arange(8) * 0.02)
    information = np.repeat(np.eye(8)[None] / noise**2, count, 0)
    information[hidden] = 0
    corners = truth + rng.normal(0, noise, truth.shape)
    corners[hidden] = 0
    zero = np.zeros((count, 8))
    return truth, Observations(corners, information, zero, np.zeros((count, 8, 8)))


def test_banded_equations_are_the_dense_ones(rng) -> None:
    _, seen = evidence(12, rng)
    steps = np.vstack([np.zeros(8), np.diff(seen.corners, axis=0)])
    seen = Observations(seen.corners, seen.information, steps, np.repeat(np.eye(8)[None] * 3.0, 12, 0))
    prior = _prior(_groups(QUAD.ravel()), [2.0, 5.0, 11.0])
    ones = np.ones(12)
    matrix, right = _normal_equations(seen, prior, ones, ones)
    dense = np.zeros((96, 96))
    target = np.zeros(96)
    for t in range(12):
        at = slice(8 * t, 8 * t + 8)
        dense[at, at] += seen.information[t]
        target[at] += seen.information[t] @ seen.corners[t]
        if t:
            row = np.zeros((8, 96))
            row[:, at], row[:, 8 * t - 8 : 8 * t] = np.eye(8), -np.eye(8)
            dense += row.T @ seen.step_information[t] @ row
            target += row.T @ seen.step_information[t] @ steps[t]
        if 0 < t < 11:
            row = np.zeros((8, 96))
            row[:, 8 * t - 8 : 8 * t], row[:, at], row[:, 8 * t + 8 : 8 * t + 16] = np.eye(8), -2 * np.eye(8), np.eye(8)
            dense += row.T @ prior @ row
    assert np.allclose(solveh_banded(matrix, right.ravel()), np.linalg.solve(dense, target), atol=1e-5)
    assert _banded(np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), np.zeros((2, 8, 8))).shape == (24, 16)


def test_smoothing_takes_noise_out_and_leaves_movement(rng) -> None:
    truth, seen = evidence(200, rng)
    solved = smooth(seen)
    assert np.abs(solved - truth).mean() < 0.5 * np.abs(seen.corners - truth).mean()
    bend = [float(np.sqrt((np.diff(x, 2, axis=0) ** 2).mean())) for x in (solved, truth)]
    assert bend[0] < 1.2 * bend[1]


def test_smoothing_follows_a_shaking_camera(rng) -> None:
    truth, seen = evidence(150, rng, noise=0.1)
    shake = rng.normal(0, 3, (150, 2))
    moved = Observations(seen.corners + np.tile(shake, 4), seen.information, seen.steps, seen.step_information)
    assert np.abs(smooth(moved) - truth - np.tile(shake, 4)).mean() < 0.12


def test_gaps_are_bridged_and_outliers_ignored(rng) -> None:
    truth, seen = evidence(120, rng, noise=0.2, hidden=slice(50, 60))
    seen.corners[90] += 40
    solved = smooth(seen)
    assert np.abs(solved - truth)[50:60].max() < 2.5
    assert np.abs(solved - truth)[90].max() < 1


def test_long_clips_are_solved_in_windows_without_seams(rng) -> None:
    truth, seen = evidence(1700, rng)
    solved = smooth(seen)
    assert np.abs(solved - truth).mean() < 0.2
    assert np.abs(np.diff(solved, axis=0) - np.diff(truth, axis=0))[795:805].max() < 0.4


def test_fades_lie_in_the_seen_frames_and_nothing_blinks() -> None:
    shown = np.ones(40, bool)
    shown[10] = False  # one lost frame
    shown[20:28] = False
    shown[23] = True  # one lucky frame
    opacity = opacities(shown, np.zeros(40, bool), fade=3)
    assert (opacity[:15] == 1).all() and (opacity[20:28] == 0).all()
    assert opacity[17:20].tolist() == [0.75, 0.5, 0.25] and opacity[28:31].tolist() == [0.25, 0.5, 0.75]
    breaks = np.zeros(40, bool)
    breaks[20] = breaks[28] = True
    hard = opacities(shown, breaks, fade=3)
    assert (hard[:20] == 1).all() and (hard[20:28] == 0).all() and (hard[28:] == 1).all()


def test_cuts_but_not_flashes_pans_or_noise(rng) -> None:
    wide = drawn_texture((900, 240), 4)
    other = drawn_texture((320, 240), 5)
    frames = [wide[:, 6 * i : 6 * i + 320] for i in range(20)]  # a pan
    frames[12] = np.clip(frames[12] * 1.4 + 20, 0, 255).astype(np.uint8)  # a flash
    frames += [other] * 5
    detector = CutDetector()
    noisy = [Image(np.clip(f + rng.normal(0, 8, f.shape), 0, 255).astype(np.uint8)) for f in frames]
    assert [index for index, image in enumerate(noisy) if detector(image)] == [20]


def test_plot_holds_every_frame_and_escapes_the_title() -> None:
    values = np.linspace(0, 1, 50)
    plot = confidence_plot(values, values**2, cuts=[10, 30], keyframes=[0], title="a <clip> & more")
    import xml.etree.ElementTree as ET

    root = ET.fromstring(plot)
    line = root.find(".//{http://www.w3.org/2000/svg}polyline")
    assert line is not None and len(line.attrib["points"].split()) == 50
    assert "a <clip> & more" in "".join(root.itertext())
    long = confidence_plot(np.ones(100_000), np.ones(100_000))
    assert len(long) < 100_000


def test_the_drawn_clip_is_where_it_says() -> None:
    clip = SyntheticClip.drawn(10, seed=1, noise=0, light=0)
    still, moved = clip.frame(0), clip.frame(9)
    points = np.array([[0.3, 0.3], [0.6, 0.7], [0.4, 0.5]]) * [clip.texture.shape[1], clip.texture.shape[0]]
    for index, image in ((0, still), (9, moved)):
        at = apply_homography(clip._matrix(index), points)
        for (x, y), (u, v) in zip(at, points, strict=True):
            patch = image.pixels[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2].reshape(-1, 3).mean(0)
            source = clip.texture[round(v) - 1 : round(v) + 2, round(u) - 1 : round(u) + 2].reshape(-1, 3).mean(0)
            assert np.abs(patch - source).max() < 25
    assert quad_side(clip.quad(0)) > 20
