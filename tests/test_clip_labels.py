"""Masks and keypoints through clips: from any frame, resumed, from the command line."""

import json
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest

from cell_colors import CellColors, cell_picture
from clip_data import SMALL, write_clip
from dift_edit.cli import main
from dift_edit.clips.io import as_clip, open_clip
from dift_edit.clips.labels.carry import propagate_keypoints, propagate_labels
from dift_edit.clips.labels.masks import draw_labels, read_mask, write_mask
from dift_edit.clips.labels.settings import PropagationSettings
from dift_edit.clips.labels_job import process_keypoints, process_labels
from dift_edit.errors import GeometryError, ImageError, OutputError
from dift_edit.evaluation.segmentation import region_similarity
from dift_edit.imaging.image import Image
from synthetic_clips import SyntheticClip

COUNT, KEY = 9, 3
EXACT = {"top_k": 1, "radius": 0, "last_frames": 2}


@pytest.fixture
def frames() -> list[np.ndarray]:
    """The same picture, one cell further to the right in each frame."""
    return [np.roll(cell_picture(), 8 * index, 1) for index in range(COUNT)]


@pytest.fixture
def labels() -> np.ndarray:
    mask = np.zeros((64, 96), np.uint8)
    mask[16:48, 24:56] = 1
    mask[16:32, 64:72] = 7
    return mask


def test_labels_go_forward_and_backward_from_any_frame(frames, labels) -> None:
    for key in (0, KEY, -1):
        clip = as_clip(frames)
        found = list(propagate_labels(clip, labels, featurizer=CellColors(), frame=key, edges="cells", **EXACT))
        assert len(found) == COUNT
        for index, one in enumerate(found):
            expected = np.roll(labels, 8 * (index - key % COUNT), 1)
            assert (one.labels == expected).mean() > 0.97 and one.classes == (0, 1, 7)
        assert np.array_equal(found[key].labels, labels)


def test_a_clip_gives_what_an_iterable_gives(frames, labels) -> None:
    streamed = propagate_labels(iter(frames), labels, featurizer=CellColors())
    clip = propagate_labels(as_clip(frames), labels, featurizer=CellColors())
    for one, other in zip(streamed, clip, strict=True):
        assert np.array_equal(one.labels, other.labels) and np.array_equal(one.scores, other.scores)


def test_keypoints_go_forward_and_backward(frames) -> None:
    points = np.array([[35.5, 27.5], [51.5, 43.5]])  # centres of cells
    found = list(propagate_keypoints(as_clip(frames), points, featurizer=CellColors(), frame=KEY, **EXACT))
    inside = [index for index in range(COUNT) if points[0, 0] + 8 * (index - KEY) >= 8 and index < 7]
    assert len(found) == COUNT and len(inside) >= 6
    for index in inside:
        np.testing.assert_allclose(found[index], points + [8 * (index - KEY), 0], atol=1e-3)


@pytest.mark.parametrize("stopped", [2, 5, 7])
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(tmp_path: Path, frames, labels, stopped: int) -> None:
    calm, rest = CellColors(), CellColors()
    process_labels(frames, labels, tmp_path / "calm", featurizer=calm, frame=KEY)

    def stop(_stage: str, done: int, _total: int) -> None:
        if done == stopped:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process_labels(frames, labels, tmp_path / "out", featurizer=CellColors(), frame=KEY, progress=stop)
    process_labels(frames, labels, tmp_path / "out", featurizer=rest, frame=KEY)
    names = sorted(path.name for path in (tmp_path / "calm").iterdir())
    assert len(names) == COUNT
    assert all((tmp_path / "calm" / name).read_bytes() == (tmp_path / "out" / name).read_bytes() for name in names)
    assert calm.calls == COUNT
    assert rest.calls <= COUNT - stopped + 1 + stopped  # the keyframe again, and the frames that are looked back at
    kept = ["calm", "calm.labels.json", "out", "out.labels.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == kept
    assert (tmp_path / kept[1]).read_bytes() == (tmp_path / kept[3]).read_bytes()


def test_another_job_does_not_take_the_scores_of_the_first(tmp_path: Path, frames, labels) -> None:
    journal = tmp_path / "j"
    first = list(propagate_labels(frames, labels, featurizer=CellColors(), journal=journal, **EXACT))
    again = CellColors()
    list(propagate_labels(frames, labels, featurizer=again, journal=journal, **EXACT))
    assert again.calls == 1, "everything was there"
    moved = np.roll(labels, 16, 0)
    other = list(propagate_labels(frames, moved, featurizer=CellColors(), journal=journal, **EXACT))
    assert not np.array_equal(first[-1].labels, other[-1].labels)


def test_frames_to_check_are_named(tmp_path: Path, labels) -> None:
    plain = np.full_like(cell_picture(), 200)
    frames = [cell_picture(), cell_picture(), plain, plain, cell_picture()]
    sharp = PropagationSettings(last_frames=0, temperature=1e-4, radius=0)
    report = process_labels(frames, labels, tmp_path / "out", featurizer=CellColors(), settings=sharp)
    assert (
        report.frame == 0 and report.confidences[0] == 1.0 and min(report.confidences[1], report.confidences[4]) > 0.9
    )
    assert report.confidences[2:4] == (0, 0) and report.unsure == [(2, 3)], "one of the two objects is nowhere"
    assert report.summary().endswith("Check frames 2–3.")
    written = json.loads((tmp_path / "out.labels.json").read_text())
    assert written["check"] == [[2, 3]] and written["confidence"][2] == 0 and len(written["confidence"]) == 5


def test_masks_are_drawn_over_the_frames(frames, labels) -> None:
    image = Image(frames[0])
    drawn = draw_labels(image, labels)
    assert np.array_equal(drawn.pixels[labels == 0], image.pixels[labels == 0])
    inside = drawn.pixels[24:40, 30:50].astype(float)
    assert np.abs(inside - (image.pixels[24:40, 30:50] * 0.5 + np.array([64, 0, 0]))).max() <= 1
    deep = Image(frames[0].astype(np.uint16) * 257)
    assert np.abs(draw_labels(deep, labels).pixels / 257 - drawn.pixels).max() < 1


@pytest.mark.slow
def test_the_command_carries_a_mask_and_points(tmp_path: Path, capsys) -> None:
    clip = SyntheticClip.drawn(3, seed=3, size=SMALL)
    source = str(write_clip(clip, tmp_path / "in"))

    def board(index: int) -> np.ndarray:
        mask = np.zeros(SMALL[::-1], np.uint8)
        return cv2.fillConvexPoly(mask, np.round(clip.board(index)).astype(np.int32), 1)

    write_mask(tmp_path / "m.png", board(1))
    settings = ["--frame", "1", "--last-frames", "3", "--radius", "4"]
    assert main(["sequence", source, "--mask", str(tmp_path / "m.png"), *settings, "-o", str(tmp_path / "out")]) == 0
    assert "The masks of 3 frames are in" in capsys.readouterr().err
    masks = [read_mask(tmp_path / "out" / f"{index:05d}.png") for index in range(3)]
    assert min(region_similarity(mask == 1, board(index) == 1) for index, mask in enumerate(masks)) > 0.8

    quad = clip.quad(1)
    points = ",".join(f"{value:.1f}" for value in quad.ravel())
    assert main(["sequence", source, "--points", points, *settings, "-o", str(tmp_path / "out.gif"), "--quiet"]) == 0
    plain = json.loads((tmp_path / "out.gif.points.json").read_text())
    assert plain["frame"] == 1 and np.allclose(plain["points"][1], quad, atol=0.1)
    error = np.array([np.linalg.norm(np.array(plain["points"][i]) - clip.quad(i), axis=1).mean() for i in range(3)])
    assert error.max() < 8, "about a cell"
    assert len(open_clip(tmp_path / "out.gif")) == 3


def test_points_alone(tmp_path: Path, frames) -> None:
    points = [[35.5, 27.5]]
    assert process_keypoints(frames, points, tmp_path / "p.json", featurizer=CellColors()) == tmp_path / "p.json"
    plain = json.loads((tmp_path / "p.json").read_text())
    assert plain["frame"] == 0 and len(plain["points"]) == COUNT and plain["points"][0] == points
    process_keypoints(frames, points, tmp_path / "out", featurizer=CellColors())
    assert json.loads((tmp_path / "out.points.json").read_text()) == plain
    drawn = np.asarray(PIL.Image.open(tmp_path / "out" / "00000.png")).astype(int)
    assert np.abs(drawn[27, 35] - (242, 36, 36)).max() < 10, "a dot in the first colour"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.points.json", "p.json"]


def test_wrong_input_is_named(tmp_path: Path, frames, labels, capsys) -> None:
    with pytest.raises(GeometryError, match="frames 0 to 8"):
        list(propagate_labels(as_clip(frames), labels, featurizer=CellColors(), frame=9))
    with pytest.raises(GeometryError, match="96×64"):
        process_labels(frames, labels[:-1], tmp_path / "out", featurizer=CellColors())
    with pytest.raises(OutputError, match="0 to 255"):
        process_labels(frames, labels.astype(int) * 100, tmp_path / "out", featurizer=CellColors())
    with pytest.raises(GeometryError, match="featurizer"):
        list(propagate_labels(as_clip(frames), labels))
    with pytest.raises(OutputError, match=r"\.xyz"):
        process_keypoints(frames, [[3, 4]], tmp_path / "a.xyz", featurizer=CellColors())
    assert not list(tmp_path.iterdir()), "nothing is left behind"
    for index, frame in enumerate(frames[:2]):
        (tmp_path / "in").mkdir(exist_ok=True)
        PIL.Image.fromarray(frame).save(tmp_path / "in" / f"{index}.png")
    for taken in (tmp_path / "in", [tmp_path / "in" / "0.png"]):
        with pytest.raises(OutputError, match="folder of the clip itself"):
            process_labels(taken, labels, tmp_path / "in", featurizer=CellColors())
    (tmp_path / "twice").mkdir()
    for name in ("0.png", "0.bmp"):
        PIL.Image.fromarray(frames[0]).save(tmp_path / "twice" / name)
    with pytest.raises(OutputError, match=r"frames 0\.bmp and 0\.png would both be 0\.png"):
        process_labels(tmp_path / "twice", labels, tmp_path / "out", featurizer=CellColors())
    assert not (tmp_path / "out").exists()
    PIL.Image.fromarray(np.arange(100, dtype=np.uint8)[None].repeat(9, 0)).save(tmp_path / "photo.png")
    with pytest.raises(ImageError, match="too many gray levels"):
        read_mask(tmp_path / "photo.png")
    for arguments, said in (
        (["--mask", "nowhere.png"], "does not exist"),
        (["--mask", "m.png", "--points", "1,2"], "carried by itself"),
        (["--points", "1,2", "--frame", "0", "--frame", "1"], "from one frame"),
        (["--points", "1,2", "--frame", "2"], "frames 0 to 1"),
    ):
        assert main(["sequence", str(tmp_path / "in"), *arguments, "-o", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["sequence", str(tmp_path / "in"), "--points", "1,2,3", "-o", str(tmp_path / "out")])


def test_transparency_marks_the_object(tmp_path: Path) -> None:
    pixels = np.zeros((6, 8, 4), np.uint8)
    pixels[2:4, 3:6] = (0, 0, 0, 255)
    PIL.Image.fromarray(pixels).save(tmp_path / "cutout.png")
    expected = np.zeros((6, 8), np.uint8)
    expected[2:4, 3:6] = 1
    assert np.array_equal(read_mask(tmp_path / "cutout.png"), expected)
