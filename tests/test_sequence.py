from pathlib import Path

import numpy as np
import pytest

from clip_data import SMALL, errors, jitter, sticker, write_clip
from dift_edit.clips.io import open_clip
from dift_edit.clips.sequence import SequenceSettings, propagate_sequence, render_sequence, track_sequence
from dift_edit.clips.tracking.plan import plan_clip
from dift_edit.edits import edit_from_difference
from dift_edit.errors import EditError, OutputError, SettingsError
from dift_edit.geometry.quad import apply_homography, quad_matrices
from dift_edit.imaging.image import Image
from synthetic_clips import SyntheticClip


def track(clip, key, mini, quad=None, **settings):
    edit = sticker(clip.quad(key) if quad is None else quad)
    return track_sequence(clip, edit, featurizer=mini, keyframes=key, settings=SequenceSettings(**settings))


def places(found, count: int) -> np.ndarray:
    return np.array([found.corners(index) for index in range(count)])


@pytest.mark.slow
@pytest.mark.parametrize(("model", "shake"), [("mini", 0.0), ("lite", 1.0)])
def test_a_hundred_frames_without_drift_or_jitter(request, model: str, shake: float) -> None:
    clip = SyntheticClip.drawn(101, seed=5, size=SMALL, shake=shake, zoom=0.15, period=90)
    quads = places(track(clip, 0, request.getfixturevalue(model)), 101)
    truth = np.array([clip.quad(index) for index in range(101)])
    error = errors(clip, quads)
    assert error.mean() < 0.02
    assert error[-25:].mean() < 0.02, "no drift"
    assert jitter(quads) <= 1.2 * jitter(truth)


def test_keyframe_in_the_middle_is_exact_and_its_neighbours_are_near(mini) -> None:
    clip = SyntheticClip.drawn(31, seed=2, size=SMALL)
    quad = clip.quad(15)
    results = list(propagate_sequence(clip, sticker(quad), featurizer=mini, keyframes=15))
    assert [result.frame for result in results] == list(range(31))
    assert all(result.status == "applied" and result.opacity == 1 for result in results)
    assert np.array_equal(results[15].placement.quad, quad)
    assert errors(clip, np.array([result.placement.quad for result in results])).max() < 0.03
    changed = (results[3].image.pixels != clip.frame(3).pixels).any(2)
    assert changed.any()
    ys, xs = np.nonzero(changed)
    low, high = clip.quad(3).min(0) - 3, clip.quad(3).max(0) + 3
    assert xs.min() >= low[0] and xs.max() <= high[0] and ys.min() >= low[1] and ys.max() <= high[1]


@pytest.mark.slow
def test_occluder_makes_the_edit_fade_and_come_back(lite) -> None:
    clip = SyntheticClip.drawn(50, seed=3, size=SMALL, occluder=(4, 38))
    results = list(propagate_sequence(clip, sticker(clip.quad(0)), featurizer=lite))
    opacity = np.array([result.opacity for result in results])
    covered = np.array([clip.covered(index) for index in range(50)])
    assert (opacity[covered == 1] == 0).all(), "hidden while the occluder stands before it"
    assert (opacity[:4] == 1).all() and (opacity[-6:] == 1).all()
    assert ((opacity > 0) & (opacity < 1)).sum() >= 6, "it fades"
    assert np.abs(np.diff(opacity)).max() < 0.4
    shown = opacity > 0.5
    assert errors(clip, np.array([result.placement.quad for result in results]))[shown].max() < 0.03
    hidden = next(result for result in results if result.opacity == 0)
    assert hidden.status == "abstained" and "hidden" in hidden.reason
    assert np.array_equal(hidden.image.pixels, clip.frame(hidden.frame).pixels)


@pytest.mark.slow
def test_cuts_are_reported_and_the_edit_comes_back_with_its_shot(lite) -> None:
    clip = SyntheticClip.drawn(24, seed=4, size=SMALL, cuts=((8, 14),))
    found = track(clip, 0, lite)
    assert found.cuts == [8, 15]
    opacity = np.array([found.opacity(index) for index in range(24)])
    assert (opacity[:8] == 1).all() and (opacity[8:15] == 0).all() and (opacity[16:] == 1).all()
    assert errors(clip, places(found, 24))[16:].max() < 0.03


@pytest.mark.slow
def test_cuts_are_the_same_when_tracked_backward(lite) -> None:
    clip = SyntheticClip.drawn(24, seed=4, size=SMALL, cuts=((8, 14),))
    assert track(clip, 23, lite).cuts == [8, 15]


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "grey"), [(1, False), (11, True)])
def test_leaving_the_picture(lite, seed: int, grey: bool) -> None:
    """Without colours, nothing but what the features lead back to tells that the patch is not in the picture."""
    clip = SyntheticClip.drawn(40, seed=seed, size=SMALL, swing=2.2, zoom=0.1, turn=0.15, period=55)
    visible = np.array([clip.visible(index) for index in range(40)])
    inside, outside = np.flatnonzero(visible > 0.99), visible == 0
    key = int(inside[len(inside) // 3])
    assert outside.sum() > 5 and len(inside) > 5, "the drawn clip must do what the test is about"
    frames = [image.pixels for image in clip.read(0, 40)]
    if grey:
        frames = [np.repeat(pixels.mean(2, keepdims=True), 3, 2).astype(np.uint8) for pixels in frames]
    found = track(frames, key, lite, quad=clip.quad(key), working_side=180)
    opacity = np.array([found.opacity(index) for index in range(40)])
    assert (opacity[outside] == 0).all()
    assert opacity[inside].mean() > 0.6, "it comes back"
    assert errors(clip, places(found, 40))[inside].max() < 0.05


@pytest.mark.slow
def test_smoothing_halves_the_jitter_of_single_frames(lite) -> None:
    clip = SyntheticClip.drawn(41, seed=8, size=SMALL, noise=6)
    quads = places(track(clip, 0, lite), 41)
    raw = track(clip, 0, lite, smooth=False).layers[0].path.raw
    truth = np.array([clip.quad(index) for index in range(41)])
    assert jitter(quads - truth) < 0.5 * jitter(raw - truth)


def test_a_corrected_keyframe_is_met(lite) -> None:
    clip = SyntheticClip.drawn(41, seed=9, size=SMALL)
    moved = clip.quad(40) + [4.0, -3.0]
    edit = sticker(clip.quad(0))
    found = track_sequence(clip, edit, featurizer=lite, keyframes={0: None, 40: moved})
    assert np.allclose(found.corners(0), clip.quad(0)) and np.allclose(found.corners(40), moved)
    offset = np.linalg.norm(places(found, 41) - [clip.quad(i) for i in range(41)], axis=2).mean(1)
    assert offset[5] < 1.5 < 3.5 < offset[36]
    assert np.abs(np.diff(offset)).max() < 1.0, "the correction comes gradually"


def test_two_edits_are_blended_from_one_to_the_other(lite) -> None:
    clip = SyntheticClip.drawn(21, seed=10, size=SMALL)
    edits = {0: sticker(clip.quad(0), color=(250, 0, 0)), 20: sticker(clip.quad(20), color=(0, 0, 250))}
    reds = []
    for result in propagate_sequence(clip, edits, featurizer=lite):
        x, y = np.round(clip.quad(result.frame).mean(0)).astype(int)
        red, _, blue = result.image.pixels[y, x].astype(int)
        reds.append(red - blue)
    assert reds[0] == 250 and reds[-1] == -250
    assert abs(reds[10]) < 60 and (np.diff(reds) < 5).all()


def test_a_drawn_difference_is_carried(lite) -> None:
    clip = SyntheticClip.drawn(12, seed=11, size=SMALL)
    before = clip.frame(0)
    after = before.pixels.copy()
    x, y = np.round(clip.quad(0).mean(0)).astype(int)
    after[y - 8 : y + 8, x - 10 : x + 10] = (20, 220, 40)
    edit = edit_from_difference(before, Image(after))
    *_, last = propagate_sequence(clip, edit, featurizer=lite)
    x, y = np.round(
        apply_homography(quad_matrices(clip.board(0), clip.board(11)[None])[0], np.array([[x, y]]))[0]
    ).astype(int)
    assert np.abs(last.image.pixels[y, x].astype(int) - (20, 220, 40)).max() < 30


def test_keyframes_are_counted_from_the_end_as_well() -> None:
    clip = SyntheticClip.drawn(5, seed=1, size=SMALL)
    first, last = sticker(clip.quad(0)), sticker(clip.quad(4), color=(0, 255, 0))
    parts = plan_clip(clip, {-1: last, 0: first}, 0)
    assert [(part.source, part.edit) for part in parts] == [(0, first), (4, last)]
    (part,) = plan_clip(clip, first, {-1: clip.quad(4), 0: None})
    assert [key.frame for key in part.keyframes] == [0, 4] and part.passes == 6


def test_wrong_keyframes_are_named(lite) -> None:
    clip = SyntheticClip.drawn(5, seed=1, size=SMALL)
    edit = sticker(clip.quad(0))
    with pytest.raises(EditError, match="frames 0 to 4"):
        track_sequence(clip, edit, featurizer=lite, keyframes=5)
    with pytest.raises(EditError, match="exactly one"):
        track_sequence(clip, edit, featurizer=lite, keyframes={0: None, 2: None})
    for twice in ({4: edit, -1: edit}, {2: edit, -3: edit}):
        with pytest.raises(EditError, match="Two keyframes are frame"):
            track_sequence(clip, twice, featurizer=lite)
    for wrong in ([0], None):
        with pytest.raises(EditError, match="not in the clip"):
            track_sequence(clip, edit, featurizer=lite, keyframes=wrong)
    with pytest.raises(EditError, match="No edit"):
        track_sequence(clip, {}, featurizer=lite)
    with pytest.raises(SettingsError, match="working_side"):
        SequenceSettings(working_side=3)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> tuple[SyntheticClip, Path]:
    pytest.importorskip("av")
    clip = SyntheticClip.drawn(40, seed=12, size=SMALL)
    return clip, write_clip(clip, tmp_path_factory.mktemp("clip") / "in.mp4")


def test_a_run_that_was_killed_while_it_cleared_away_is_forgiven(video, lite, tmp_path: Path) -> None:
    clip, _ = video
    journal = tmp_path / "j"
    journal.mkdir()
    (journal / "0-0-on.npz").write_bytes(b"of another job, its label is gone")
    (journal / ".dift-edit-0a.tmp").write_bytes(b"half of a file")
    edit = sticker(clip.quad(0))
    track_sequence(list(clip.read(0, 3)), edit, featurizer=lite, journal=journal)
    assert not list(journal.glob("*.tmp"))
    (journal / "holiday.json").write_text("{}")
    (journal / "job.json").unlink()
    with pytest.raises(OutputError, match="holds other files"):
        track_sequence(list(clip.read(0, 3)), edit, featurizer=lite, journal=journal)
    assert (journal / "holiday.json").exists()


@pytest.mark.slow
def test_resuming_reads_only_what_is_missing(video, lite, tmp_path: Path) -> None:
    clip, path = video
    edit = sticker(clip.quad(0))

    class Stop(Exception):
        pass

    def stop(done: int, _total: int) -> None:
        if done == 27:
            raise Stop

    with pytest.raises(Stop):
        track_sequence(path, edit, featurizer=lite, journal=tmp_path / "j", progress=stop)
    read = []

    class Counting:
        def __init__(self, inner):
            self._inner = inner

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def __len__(self):
            return len(self._inner)

        def read(self, start, stop):
            read.append((start, stop))
            return self._inner.read(start, stop)

        @property
        def name(self):
            return self._inner.name

        @property
        def size(self):
            return self._inner.size

        def fingerprint(self):
            return self._inner.fingerprint()

        def frame_name(self, index):
            return self._inner.frame_name(index)

        def seconds(self, index):
            return self._inner.seconds(index)

    resumed = track_sequence(Counting(open_clip(path)), edit, featurizer=lite, journal=tmp_path / "j")
    assert (21, 40) in read and not any(start == 1 for start, _ in read)
    again = track_sequence(path, edit, featurizer=lite)
    assert np.array_equal(resumed.layers[0].path.corners, again.layers[0].path.corners)
    other = track_sequence(
        path, edit, featurizer=lite, journal=tmp_path / "j", settings=SequenceSettings(working_side=100)
    )
    assert not np.array_equal(other.layers[0].path.corners, again.layers[0].path.corners), "another job starts anew"


def test_render_can_start_anywhere(lite) -> None:
    clip = SyntheticClip.drawn(12, seed=2, size=SMALL)
    found = track(clip, 0, lite)
    whole = [result.image.pixels for result in render_sequence(clip, found)]
    late = [result.image.pixels for result in render_sequence(clip, found, start=9)]
    assert all(np.array_equal(a, b) for a, b in zip(whole[9:], late, strict=True))


@pytest.mark.slow
def test_davis_jitter_is_less_than_half_of_single_frame_placement(shared: Path, mini) -> None:
    from dift_edit.placement.placement import locate_features

    clip = open_clip(shared / "sequences" / "davis" / "JPEGImages" / "480p" / "blackswan")
    frames = list(clip.read(0, 8))
    quad = np.array([[408, 68], [490, 68], [490, 148], [408, 148]], float) - 0.5
    known = mini(frames[0])
    single = [locate_features(known, quad, mini(image), lambda: known, mirror="never").quad for image in frames[1:]]
    found = track_sequence(frames, sticker(quad), featurizer=mini)
    assert jitter(places(found, 8)[1:]) < 0.5 * jitter(np.array(single))
