"""A clip in, a clip out: the command, resuming, and what is kept of a video."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from cell_colors import CellColors, cell_picture
from clip_data import SMALL, errors, sticker, write_clip
from clip_kills import Killer, contents
from dift_edit.cli import main
from dift_edit.clips.io import as_clip, open_clip, open_writer
from dift_edit.clips.job import process_clip
from dift_edit.clips.resume import Scratch
from dift_edit.clips.sequence import SequenceSettings
from dift_edit.edits import Redaction, Region, Sticker
from dift_edit.errors import OutputError
from dift_edit.geometry.quad import quad_side
from dift_edit.imaging.files import as_image
from synthetic_clips import SyntheticClip, drawn_texture


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> tuple[SyntheticClip, Path]:
    pytest.importorskip("av")
    clip = SyntheticClip.drawn(24, seed=12, size=SMALL)
    return clip, write_clip(clip, tmp_path_factory.mktemp("clip") / "in.mp4")


def save_sticker(clip: SyntheticClip, folder: Path) -> tuple[Path, str]:
    edit = sticker(clip.quad(0))
    path = folder / "sticker.png"
    edit.image.save(path)
    return path, ",".join(f"{value:.3f}" for value in edit.quad.ravel())


@pytest.mark.slow
def test_the_command_makes_a_video_and_a_report(video, tmp_path: Path, capsys) -> None:
    clip, path = video
    png, quad = save_sticker(clip, tmp_path)
    arguments = ["sequence", str(path), "--sticker", str(png), "--quad", quad, "-o", str(tmp_path / "out.mp4")]
    arguments += ["--model", "lite"]
    assert main(arguments) == 0
    assert "on 24 of 24 frames" in capsys.readouterr().err
    assert len(open_clip(tmp_path / "out.mp4")) == 24
    report = json.loads((tmp_path / "out.mp4.sequence.json").read_text())
    rows = report["rows"]
    assert errors(clip, np.array([row["corners"] for row in rows])).mean() < 0.02
    assert min(row["confidence"] for row in rows) > 0.8
    plot = (tmp_path / "out.mp4.sequence.svg").read_text()
    assert plot.startswith("<svg") and plot.count("<polyline") == 1
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")], "nothing is left behind"
    arguments[arguments.index("-o") + 1] = str(tmp_path / "bad.mp4")
    assert main([*arguments, "--frame", "24"]) == 2
    assert "frames 0 to 23" in capsys.readouterr().err


@pytest.fixture(scope="module")
def killer(tmp_path_factory) -> Killer:
    pytest.importorskip("av")
    return Killer(tmp_path_factory.mktemp("kills"))


@pytest.mark.slow
@pytest.mark.parametrize("output", ["out.mp4", "out.gif", "frames"])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(killer: Killer, tmp_path: Path, output: str) -> None:
    (tmp_path / "calm").mkdir()
    (tmp_path / "killed").mkdir()
    killer.run(tmp_path / "calm" / output)
    ends = [killer.run(tmp_path / "killed" / output, killer.moment(writing)) for writing in (False, True)]
    assert max(ends) < 1000, "it was killed in the middle"
    killer.run(tmp_path / "killed" / output)
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm"), "the same bytes, and nothing else is left"


def test_two_runs_do_not_write_the_same_output(video, lite, tmp_path: Path) -> None:
    clip, path = video
    held = Scratch(tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="Another run is writing"):
        process_clip(path, sticker(clip.quad(0)), tmp_path / "out.mp4", featurizer=lite)
    held.close(keep=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_frames_that_were_not_edited_stay_as_they_were(lite, tmp_path: Path) -> None:
    clip = SyntheticClip.drawn(15, seed=4, size=SMALL, cuts=((5, 15),))
    folder = write_clip(clip, tmp_path / "in")
    report = process_clip(folder, sticker(clip.quad(0)), tmp_path / "out", featurizer=lite)
    assert report.applied == 5
    same = [
        (tmp_path / "out" / f"{i:05d}.png").read_bytes() == (folder / f"{i:05d}.png").read_bytes() for i in range(15)
    ]
    assert same == [False] * 5 + [True] * 10


@pytest.mark.parametrize(("kind", "output"), [(".gif", ".gif"), (".webp", ".webp"), (".webp", ".gif")])
def test_an_animation_keeps_its_durations_and_its_loop(lite, tmp_path: Path, kind: str, output: str) -> None:
    clip = SyntheticClip.drawn(6, seed=2, size=(192, 108))
    pictures = [PIL.Image.fromarray(image.pixels) for image in clip.read(0, 6)]
    durations = [40, 70, 100, 40, 250, 90] if kind == ".gif" else [33, 33, 34, 33, 500, 167]
    pictures[0].save(tmp_path / f"in{kind}", save_all=True, append_images=pictures[1:], duration=durations, loop=2)
    report = process_clip(tmp_path / f"in{kind}", sticker(clip.quad(0)), tmp_path / f"out{output}", featurizer=lite)
    assert report.applied == 6
    with PIL.Image.open(tmp_path / f"out{output}") as made:
        assert made.n_frames == 6 and made.info["loop"] == 2
        found = []
        for index in range(6):
            made.seek(index)
            made.load()
            found.append(made.info["duration"])
    if kind == output:
        assert found == durations
    else:  # a GIF counts hundredths of a second; the rounding does not add up
        assert np.abs(np.cumsum(found) - np.cumsum(durations)).max() <= 5
    x, y = clip.quad(5).mean(0).round().astype(int)
    last = next(iter(open_clip(tmp_path / f"out{output}").read(5, 6))).pixels[y, x].astype(int)
    assert np.abs(last - (255, 0, 160)).max() < 40


LONG = 48


def write_long_video(path: Path) -> list[tuple[float, float]]:
    """LONG frames of 720p with a tone: a textured patch goes to and fro. Its shift in every frame is returned."""
    import av

    patch = drawn_texture((220, 160), 5)
    y, x = np.mgrid[:720, :1280]
    ground = np.stack([90 + x // 16, 60 + y // 9, 120 + (x + y) // 40], -1).astype(np.uint8)
    steps = [abs(index % 40 - 20) for index in range(LONG)]
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=Fraction(30000, 1001), options={"preset": "ultrafast", "g": "20"})
        video.width, video.height, video.pix_fmt = 1280, 720, "yuv420p"
        sound = out.add_stream("aac", rate=48000)
        for step in steps:
            picture = ground.copy()
            picture[260 + 2 * step : 420 + 2 * step, 400 + 4 * step : 620 + 4 * step] = patch
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        wave = (np.sin(np.arange(48000 * LONG // 30) / 48000 * 2 * np.pi * 440) * 8000).astype(np.int16)[None]
        for start in range(0, wave.shape[1], 1024):
            piece = np.ascontiguousarray(wave[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 48000, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return [(4.0 * step - 80, 2.0 * step - 40) for step in steps]


@pytest.mark.slow
def test_frames_of_720p_keep_their_number_rate_times_and_audio(lite, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    shifts = write_long_video(tmp_path / "in.mp4")
    pixels = np.full((40, 60, 4), (255, 0, 160, 255), np.uint8)
    edit = Sticker(pixels, at=(540, 340, 100, 70))
    report = process_clip(
        tmp_path / "in.mp4", edit, tmp_path / "out.mp4", featurizer=lite, settings=SequenceSettings(working_side=240)
    )
    before, after = open_clip(tmp_path / "in.mp4"), open_clip(tmp_path / "out.mp4")
    assert len(after) == len(before) == LONG and after.size == (1280, 720) and report.applied == LONG
    assert [after.seconds(index) for index in range(LONG)] == [before.seconds(index) for index in range(LONG)]
    packets = []
    for path in (tmp_path / "in.mp4", tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            assert container.streams.video[0].average_rate == Fraction(30000, 1001)
            packets.append([(p.pts, bytes(p)) for p in container.demux(container.streams.audio[0]) if p.size])
    assert packets[0] == packets[1] and len(packets[0]) > 60
    corners = np.array([report.track.corners(index) for index in range(LONG)])
    truth = edit.quad + np.array(shifts)[:, None]
    assert np.linalg.norm(corners - truth, axis=2).mean() < 0.02 * quad_side(edit.quad)
    for index in (0, 27, LONG - 1):
        x, y = truth[index].mean(0).astype(int)
        shown = next(after.read(index, index + 1)).pixels[y - 20 : y + 20, x - 30 : x + 30].reshape(-1, 3)
        assert np.abs(shown.mean(0) - (255, 0, 160)).max() < 12


def test_a_redaction_does_not_leave_the_frames_of_an_earlier_run_beside_its_own(tmp_path: Path) -> None:
    clip, featurizer = [np.roll(cell_picture(), index, 1) for index in range(3)], CellColors()
    region = Region.polygon([(24, 16), (56, 16), (56, 48), (24, 48)])
    words = {"featurizer": featurizer, "settings": SequenceSettings(feature_stride=0), "report": False}
    redaction, output = Redaction(region=region), tmp_path / "out"
    output.mkdir()
    for name in ("00001.png", "00003.png"):  # of a run when the clip had more frames
        as_image(clip[0]).save(output / name)

    def stop(stage: str, done: int, _total: int) -> None:
        if (stage, done) == ("writing", 2):
            raise KeyboardInterrupt

    with pytest.raises(OutputError, match=r"00003\.png is no frame of this clip .* remove it, or choose another"):
        process_clip(clip, redaction, output, **words)
    assert sorted(path.name for path in output.iterdir()) == ["00001.png", "00003.png"]
    process_clip(clip[:1], sticker(redaction.quad), output, **words)  # hides nothing: the others may stay
    (output / "00003.png").unlink()
    (output / "notes.txt").write_text("no picture")
    with pytest.raises(KeyboardInterrupt):
        process_clip(clip, redaction, output, progress=stop, **words)
    assert process_clip(clip, redaction, output, **words).applied == 3
    with pytest.raises(OutputError, match="folder of the clip itself"):
        process_clip(sorted(output.glob("*.png")), redaction, output, **words)


@pytest.mark.slow
def test_frames_that_a_redaction_is_not_on_are_named_and_no_text_of_the_video_stays(
    tmp_path: Path, tiny_model, capsys
) -> None:
    """In the second shot the object is not there: its frames are written as they were, and that is said aloud."""
    av = pytest.importorskip("av")
    shots = [SyntheticClip.drawn(6, seed=seed, size=SMALL) for seed in (12, 40)]
    frames = [next(shot.read(index, index + 1)) for shot in shots for index in range(6)]
    plain = tmp_path / "plain.mp4"
    writer = open_writer(plain, as_clip(frames))
    for frame in frames:
        writer.add(frame)
    writer.close()
    with av.open(str(plain)) as read, av.open(str(tmp_path / "in.mp4"), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        out.metadata.update({"title": "ANNA K. 4711", "location": "+52.5163+013.3777/"})
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    clip = open_clip(tmp_path / "in.mp4")
    first = next(clip.read(0, 1))
    quad = shots[0].quad(0)
    (left, top), (right, bottom) = quad.min(0).astype(int), quad.max(0).astype(int)
    pixels = first.pixels.copy()
    pixels[top:bottom, left:right] = 0
    as_image(pixels).save(tmp_path / "edited.png")
    words = ["sequence", str(tmp_path / "in.mp4"), "--edited", str(tmp_path / "edited.png"), "--edited-as", "redact"]
    words += ["--feature-stride", "0", "--model", str(tiny_model), "-o", str(tmp_path / "out.mp4"), "--quiet"]
    assert main(words) == 1
    report = json.loads((tmp_path / "out.mp4.sequence.json").read_text())
    assert report["unredacted"] and set(report["unredacted"]) <= set(range(6, 12))
    assert [row["frame"] for row in report["rows"] if row["opacity"] == 0] == report["unredacted"]
    assert f"{len(report['unredacted'])} of 12 frames were NOT redacted" in capsys.readouterr().err
    writer = open_writer(tmp_path / "copy.mp4", clip)
    writer.add(first)
    data, copied = (tmp_path / "out.mp4").read_bytes(), writer.close().read_bytes()
    for text in (b"ANNA K. 4711", b"loci"):
        assert text in copied and text not in data
