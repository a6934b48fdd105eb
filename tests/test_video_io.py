from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from dift_edit.clips.io import as_clip, iterate_reversed, open_clip, open_writer
from dift_edit.errors import ImageError, OutputError
from dift_edit.imaging.image import Image
from synthetic_clips import drawn_texture

av = pytest.importorskip("av")


def moving(index: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A smooth picture that tells its own number by where a bright square is and by its grey level."""
    y, x = np.mgrid[: size[1], : size[0]]
    picture = np.stack([x * 200 // size[0], y * 200 // size[1], np.full_like(x, 40 + 3 * index)], -1).astype(np.uint8)
    picture[20:36, 4 + index : 20 + index] = 255
    return picture


def write_video(
    path: Path,
    count: int = 30,
    *,
    fps: Fraction = Fraction(30000, 1001),
    audio: str = "aac",
    times: list[int] | None = None,
    codec: str = "libx264",
    size: tuple[int, int] = (96, 64),
) -> None:
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=fps, options={"g": "12"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        sound = out.add_stream(audio, rate=48000) if audio else None
        if times is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(moving(index, size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound is not None:
            total = int(48000 * count / fps)
            wave = (np.sin(np.arange(total) / 48000 * 2 * np.pi * 440) * 8000).astype(np.int16)[None]
            done = 0
            while done < total:
                piece = av.AudioFrame.from_ndarray(wave[:, done : done + 1024], format="s16", layout="mono")
                piece.sample_rate, piece.pts = 48000, done
                out.mux(sound.encode(piece))
                done += 1024
            out.mux(sound.encode(None))


def audio_packets(path: Path) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return [(float(p.pts * p.time_base), bytes(p)) for p in container.demux(stream) if p.size]


def position(image: Image) -> int:
    bright = np.flatnonzero(image.pixels[22:34].min(axis=(0, 2)) > 180)
    return int(bright.min()) - 4


def copy_clip(source: Path, target: Path) -> Path:
    clip = open_clip(source)
    writer = open_writer(target, clip)
    for image in clip.read(0, len(clip)):
        writer.add(image)
    return writer.close()


def test_video_frames_have_numbers_from_everywhere(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    clip = open_clip(tmp_path / "a.mp4")
    assert len(clip) == 30 and clip.size == (96, 64)
    assert [position(image) for image in clip.read(0, 30)] == list(range(30))
    assert [position(image) for image in clip.read(17, 20)] == [17, 18, 19]
    backward = [(number, position(image)) for number, image in iterate_reversed(clip, 3, 27, run=5)]
    assert backward == [(number, number) for number in range(26, 2, -1)]


def test_mp4_keeps_frames_times_and_audio(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    copy_clip(tmp_path / "a.mp4", tmp_path / "b.mp4")
    before, after = open_clip(tmp_path / "a.mp4"), open_clip(tmp_path / "b.mp4")
    assert len(after) == len(before) == 30
    assert [after.seconds(i) for i in range(30)] == pytest.approx([before.seconds(i) for i in range(30)])
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    assert audio_packets(tmp_path / "b.mp4") == audio_packets(tmp_path / "a.mp4")
    for a, b in zip(before.read(0, 30), after.read(0, 30), strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).mean() < 3


def test_variable_frame_times_are_kept(tmp_path: Path) -> None:
    steps = np.random.default_rng(3).integers(15, 120, 20)
    times = [0, *np.cumsum(steps).tolist()][:20]
    write_video(tmp_path / "a.mp4", 20, times=times, audio="")
    copy_clip(tmp_path / "a.mp4", tmp_path / "b.mov")
    seconds = [open_clip(tmp_path / "b.mov").seconds(i) for i in range(20)]
    assert seconds == pytest.approx([time / 1000 for time in times], abs=1.1e-3)


def test_webm_gets_audio_that_it_can_hold(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    copy_clip(tmp_path / "a.mp4", tmp_path / "b.webm")
    assert len(open_clip(tmp_path / "b.webm")) == 30
    with av.open(str(tmp_path / "b.webm")) as container:
        sound = container.streams.audio[0]
        assert sound.codec_context.name == "opus"
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(sound)])
    assert len(samples) / 48000 == pytest.approx(30 * 1001 / 30000, abs=0.05)
    spectrum = np.abs(np.fft.rfft(samples[4800:43200]))
    assert np.argmax(spectrum) * 48000 / 38400 == pytest.approx(440, abs=3)


def test_same_frames_give_same_bytes(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 12)
    for suffix in (".mp4", ".webm"):
        first, second = (copy_clip(tmp_path / "a.mp4", tmp_path / f"{n}{suffix}") for n in "xy")
        assert first.read_bytes() == second.read_bytes()


def test_turned_video_is_read_upright(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 5, audio="")
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "b.mp4"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])  # as a phone held upright writes it
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    upright, turned = open_clip(tmp_path / "a.mp4"), open_clip(tmp_path / "b.mp4")
    assert turned.size == (64, 96)
    a, b = next(upright.read(2, 3)).pixels, next(turned.read(2, 3)).pixels
    assert np.array_equal(np.rot90(a, -1), b), "a quarter turn clockwise"
    written = open_clip(copy_clip(tmp_path / "b.mp4", tmp_path / "c.mp4"))
    assert written.size == (64, 96)
    assert np.abs(next(written.read(2, 3)).pixels.astype(int) - b).mean() < 3


def test_folder_in_natural_order_and_unchanged_frames_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for index in (1, 2, 10):
        PIL.Image.fromarray(moving(index)).save(tmp_path / "in" / f"f{index}.jpg", quality=60)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    clip = open_clip(tmp_path / "in")
    assert [clip.frame_name(i) for i in range(3)] == ["f1.jpg", "f2.jpg", "f10.jpg"]
    writer = open_writer(tmp_path / "out", clip)
    for index, image in enumerate(clip.read(0, 3)):
        writer.add(Image(255 - image.pixels) if index == 1 else image, unchanged=index != 1)
    assert writer.close() == tmp_path / "out"
    for name in ("f1.jpg", "f10.jpg"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()
    assert (tmp_path / "out" / "f2.jpg").read_bytes() != (tmp_path / "in" / "f2.jpg").read_bytes()
    video = open_clip(copy_clip(tmp_path / "in", tmp_path / "v.mp4"))
    assert len(video) == 3 and video.seconds(1) == pytest.approx(1 / 25)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animation_keeps_durations_and_loop(tmp_path: Path, suffix: str) -> None:
    pictures = [PIL.Image.fromarray(moving(i)).quantize(200).convert("RGB") for i in range(6)]
    durations = [40, 70, 100, 40, 250, 90]
    options = {"lossless": True} if suffix == ".webp" else {}
    source = tmp_path / f"a{suffix}"
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=durations, loop=3, **options)
    clip = open_clip(source)
    written = open_clip(copy_clip(source, tmp_path / f"b{suffix}"))
    assert len(written) == len(clip) == 6
    assert np.diff([written.seconds(i) for i in range(7)]) == pytest.approx(np.array(durations) / 1000)
    assert written.loop == 3
    for a, b in zip(clip.read(0, 6), written.read(0, 6), strict=True):
        assert np.abs(a.pixels.astype(int) - b.pixels).mean() <= (0 if suffix == ".gif" else 3)


def test_a_small_spot_of_a_strong_colour_survives_in_a_gif(tmp_path: Path) -> None:
    picture = drawn_texture((320, 180), 3) // 2 + 40  # dull, with thousands of colours
    picture[90:93, 160:163] = (250, 10, 20)
    clip = as_clip([picture, picture])
    writer = open_writer(tmp_path / "a.gif", clip)
    for image in clip.read(0, 2):
        writer.add(image)
    written = next(open_clip(writer.close()).read(0, 1)).pixels.astype(int)
    assert np.abs(written[91, 161] - (250, 10, 20)).max() < 40
    assert np.sqrt(((written - picture) ** 2).mean()) < 8


def test_gif_holes_stay_holes(tmp_path: Path) -> None:
    alpha = np.full((64, 96), 255, np.uint8)
    alpha[:20] = 0
    clip = as_clip([np.dstack([moving(i), alpha]) for i in range(3)])
    writer = open_writer(tmp_path / "a.gif", clip)
    for image in clip.read(0, 3):
        writer.add(image)
    for image in open_clip(writer.close()).read(0, 3):
        assert image.alpha is not None and np.array_equal(image.alpha, alpha)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"not a video at all" * 50)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="not a video"):
        open_clip(tmp_path / "bad.mp4")
    with pytest.raises(ImageError, match="no picture in the folder"):
        open_clip(tmp_path / "empty")
    with pytest.raises(ImageError, match="does not exist"):
        open_clip(tmp_path / "none.mp4")
    with pytest.raises(ImageError, match="no iterator"):
        as_clip(iter([moving(0)]))
    clip = as_clip([moving(0), moving(1, (50, 50))])
    with pytest.raises(ImageError, match="one size"):
        list(clip.read(0, 2))
    with pytest.raises(OutputError, match=r"\.xyz"):
        open_writer(tmp_path / "a.xyz", clip)
    assert not list(tmp_path.glob(".dift*"))
    write_video(tmp_path / "a.mp4", 3, audio="")
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(OutputError, match="is the clip itself"):
        open_writer(tmp_path / "x" / ".." / "a.mp4", open_clip(tmp_path / "a.mp4"))
    assert (tmp_path / "a.mp4").read_bytes() == before


def test_a_given_up_video_leaves_nothing(tmp_path: Path) -> None:
    clip = as_clip([moving(0), moving(1)])
    for name in ("a.mp4", "a.gif"):
        writer = open_writer(tmp_path / name, clip)
        writer.add(next(clip.read(0, 1)))
        writer.discard()
    assert not list(tmp_path.iterdir())
