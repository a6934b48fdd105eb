"""A patch that bends: the mesh engine of clips."""

import numpy as np
import pytest

from clip_data import errors, jitter, sticker
from dift_edit.clips.sequence import SequenceSettings, render_sequence, track_sequence
from dift_edit.clips.tracking.bending import smooth_offsets
from dift_edit.geometry.mesh import signed_areas
from dift_edit.geometry.quad import quad_side
from synthetic_clips import SyntheticClip

STEPS = np.linspace(0, 1, 6)
SHARES = np.stack(np.meshgrid(0.25 + 0.5 * STEPS, 0.2 + 0.6 * STEPS), -1).reshape(-1, 2)


def followed(clip: SyntheticClip, lite, engine: str):
    found = track_sequence(
        clip, sticker(clip.quad(0)), featurizer=lite, settings=SequenceSettings(engine=engine, feature_stride=0)
    )
    count = len(clip)
    corners = np.array([found.corners(index) for index in range(count)])
    inner = np.array([found.transform(index)(clip.place(SHARES, 0)) for index in range(count)])
    truth = np.array([clip.place(SHARES, index) for index in range(count)])
    side = np.array([quad_side(clip.quad(index)) for index in range(count)])
    return found, errors(clip, corners), np.linalg.norm(inner - truth, axis=2).mean(1) / side, inner, truth


@pytest.mark.slow
def test_a_bending_patch_is_followed_without_jitter_or_folds(lite) -> None:
    clip = SyntheticClip.drawn(40, seed=3, size=(480, 270), bend=0.12, period=120)
    _, corners, points, _, _ = followed(clip, lite, "homography")
    found, bent_corners, bent_points, inner, truth = followed(clip, lite, "mesh")
    assert corners.mean() > 0.01 and points.mean() > 0.008, "as a plane it is off"
    assert bent_corners.mean() < 0.3 * corners.mean() and bent_points.mean() < 0.3 * points.mean()
    assert bent_points.max() < 0.006
    assert jitter(inner[1:]) <= 1.1 * jitter(truth[1:])
    bends = found.layers[0].bends
    for index in range(40):
        moved = bends.mesh.source.copy()
        moved[: bends.offsets.shape[1]] += bends.offsets[index]
        areas = [signed_areas(points, bends.mesh.triangles) for points in (moved, bends.mesh.source)]
        assert (areas[0] / areas[1]).min() > 0.3
    assert np.abs(bends.offsets[0]).max() < 0.05, "the keyframe is not bent"
    picture = next(result.image.pixels for result in render_sequence(clip, found, start=30)).astype(int)
    changed = np.abs(picture - clip.frame(30).pixels).sum(2) > 30
    place = clip.place(np.array([[0.5, 0.5]]), 30)[0].round().astype(int)
    assert changed[place[1], place[0]] and 0.5 < changed.sum() / quad_side(clip.quad(30)) ** 2 < 1.1


@pytest.mark.slow
def test_a_flat_patch_stays_flat(lite) -> None:
    clip = SyntheticClip.drawn(20, seed=4, size=(480, 270), noise=6)
    _, corners, points, _, _ = followed(clip, lite, "homography")
    _, bent_corners, bent_points, _, _ = followed(clip, lite, "mesh")
    assert bent_points.mean() < points.mean() + 0.001 and bent_corners.mean() < corners.mean() + 0.002


@pytest.mark.slow
def test_bends_stop_where_the_patch_is_hidden(lite) -> None:
    clip = SyntheticClip.drawn(48, seed=3, size=(320, 180), bend=0.1, period=120, occluder=(4, 42))
    found, _, points, inner, _ = followed(clip, lite, "mesh")
    shown = np.array([found.opacity(index) > 0 for index in range(48)])
    assert not shown.all() and points[shown].max() < 0.03
    assert np.isfinite(inner).all()
    assert np.abs(np.diff(found.layers[0].bends.offsets, axis=0)).max() < 0.03 * 60, "no leaps across the gap"


def test_offsets_are_smoothed_as_far_as_they_are_noise(rng) -> None:
    time = np.arange(200)
    truth = np.stack([3 * np.sin(time / 15), np.cos(time / 22), 0 * time], 1)
    weights = rng.uniform(0.5, 1, 200)
    noisy = truth + rng.normal(0, 0.3, truth.shape) / np.sqrt(weights)[:, None]
    solved = smooth_offsets(noisy, weights)
    assert np.abs(solved - truth).mean() < 0.4 * np.abs(noisy - truth).mean()
    bend = [float(np.sqrt((np.diff(x, 2, axis=0) ** 2).mean())) for x in (solved, truth, noisy)]
    assert bend[0] < 2 * bend[1] < 0.2 * bend[2]
    weights[80:90] = 0
    noisy[80:90] = 1000
    assert np.abs(smooth_offsets(noisy, weights) - truth)[75:95].max() < 1.0
    assert not smooth_offsets(noisy, np.zeros(200)).any()
    assert np.abs(smooth_offsets(noisy[:2], weights[:2]) - noisy[:2]).max() < 0.02
    alone = np.zeros(50)
    alone[0] = 100
    assert np.abs(smooth_offsets(np.zeros((50, 2)), alone)).max() == 0
