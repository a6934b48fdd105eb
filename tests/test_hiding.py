"""Something passes before a part of the patch: the edit is cut off there."""

import cv2
import numpy as np
import pytest

from clip_data import sticker
from dift_edit.clips.sequence import SequenceSettings, render_sequence, track_sequence
from dift_edit.clips.tracking.hiding import hidden_map
from dift_edit.edits import Redaction, Region
from dift_edit.errors import EditError
from dift_edit.imaging.image import Image
from synthetic_clips import SyntheticClip, drawn_texture

COUNT = 24


def barred(clip: SyntheticClip) -> tuple[list[Image], np.ndarray]:
    """Frames before which a bar with a texture of its own passes slowly, and (n, H, W) where the bar is."""
    width, height = clip.size
    texture = drawn_texture((width // 14, height), 99)
    frames, bars = [], np.zeros((len(clip), height, width), bool)
    for index in range(len(clip)):
        pixels = clip.frame(index).pixels.copy()
        middle = clip.quad(index).mean(0)[0]
        left = round(middle - texture.shape[1] / 2 + (index - COUNT / 2) * 0.03 * width)
        low, high = max(left, 0), min(left + texture.shape[1], width)
        if low < high:
            pixels[:, low:high] = texture[:, low - left : high - left]
            bars[index, :, low:high] = True
        frames.append(Image(pixels))
    return frames, bars


def inside(quad: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size[::-1], np.uint8)
    middle = quad.mean(0)
    return cv2.fillConvexPoly(mask, np.round(middle + 0.8 * (quad - middle)).astype(np.int32), 1) > 0


@pytest.mark.slow
def test_the_edit_is_cut_off_along_what_passes_before_it(lite) -> None:
    clip = SyntheticClip.drawn(COUNT, seed=3, size=(480, 270))
    frames, bars = barred(clip)
    edit = sticker(clip.quad(0))
    over, uncovered = {}, {}
    for occlusion in ("whole", "parts"):
        settings = SequenceSettings(occlusion=occlusion, feature_stride=0)
        found = track_sequence(frames, edit, featurizer=lite, settings=settings)
        over[occlusion], uncovered[occlusion] = [], []
        for result in render_sequence(frames, found):
            if result.opacity < 1 or result.frame == 0:
                continue
            changed = np.abs(result.image.pixels.astype(int) - frames[result.frame].pixels).sum(2) > 60
            patch = inside(clip.quad(result.frame), clip.size)
            bar = cv2.erode(bars[result.frame].astype(np.uint8), np.ones((7, 7))) > 0
            free = patch & ~cv2.dilate(bars[result.frame].astype(np.uint8), np.ones((15, 15))).astype(bool)
            if (patch & bar).sum() > 100:
                over[occlusion].append(changed[patch & bar].mean())
            if free.sum() > 100:
                uncovered[occlusion].append(changed[free].mean())
    assert len(over["parts"]) >= 5
    assert np.mean(over["whole"]) > 0.9, "as a whole it lies on the bar"
    assert np.mean(over["parts"]) < 0.25, "in parts the bar is before it"
    assert np.mean(uncovered["parts"]) > 0.93 and np.mean(uncovered["parts"]) > np.mean(uncovered["whole"]) - 0.03


def test_nothing_is_cut_off_where_nothing_hides_the_patch(lite) -> None:
    clip = SyntheticClip.drawn(16, seed=4, size=(480, 270), noise=6, light=0.3, period=40)
    edit = sticker(clip.quad(0))
    found = track_sequence(clip, edit, featurizer=lite, settings=SequenceSettings(occlusion="parts", feature_stride=0))
    shares = []
    for index in range(1, 16):
        hidden = found.layers[0].hidden.at(index, found.transform(index), clip.size)
        whole = np.zeros(clip.size[::-1]) if hidden is None else hidden.within((0, 0, *clip.size))[..., 0]
        shares.append(whole[inside(clip.quad(index), clip.size)].mean())
    assert np.mean(shares) < 0.02


def test_a_changed_look_is_no_occlusion(rng) -> None:
    key, other = drawn_texture((200, 150), 1), drawn_texture((200, 150), 2)
    assert not hidden_map(key, other).any(), "nothing is recognised, so nothing is told apart"
    darker = np.clip(key * np.array([0.6, 0.7, 0.8]) + rng.normal(0, 3, key.shape), 0, 255).astype(np.uint8)
    assert hidden_map(key, darker).mean() < 0.01
    covered = key.copy()
    covered[:, :60] = other[:, :60]
    hidden = hidden_map(key, covered)
    assert hidden[:, :50].mean() > 0.9 and hidden[:, 70:].mean() < 0.03


def test_a_redaction_is_never_cut_off(lite) -> None:
    clip = SyntheticClip.drawn(3, seed=4, size=(320, 180))
    edit = Redaction(region=Region.polygon(clip.quad(0)))
    with pytest.raises(EditError, match="never cut off"):
        track_sequence(clip, edit, featurizer=lite, settings=SequenceSettings(occlusion="parts"))
