"""Figures of clips: error, jitter, drift, speed, memory, resume.

python benchmarks/sequence.py synthetic [KIND …]   # drawn clips with known motion, 200 frames
python benchmarks/sequence.py davis FOLDER OUT     # JPEGImages/480p of DAVIS: jitter, and strips to look at
python benchmarks/sequence.py video OUT.mp4        # 300 frames of 720p with sound: count, rate, audio, speed
python benchmarks/sequence.py memory               # peak memory at 100 and 1000 frames
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import dift_edit as de
from dift_edit.clips.io import open_clip, open_writer
from dift_edit.clips.job import process_clip
from dift_edit.clips.sequence import render_sequence, track_sequence
from dift_edit.edits import Sticker
from dift_edit.geometry.quad import quad_side
from dift_edit.placement.placement import locate_features
from synthetic_clips import SyntheticClip

QUADS = {
    "swan-head": ("blackswan", (408, 68, 82, 80)),
    "swan-body": ("blackswan", (200, 290, 230, 85)),
    "dog-head": ("dog", (420, 172, 92, 110)),
    "dog-body": ("dog", (255, 100, 150, 90)),
}


def sticker(width: int = 120, height: int = 90) -> np.ndarray:
    """A frame, a ring and a line, so that turns and shears are seen."""
    import cv2

    pixels = np.zeros((height, width, 4), np.uint8)
    cv2.rectangle(pixels, (2, 2), (width - 3, height - 3), (255, 0, 120, 255), 4, cv2.LINE_AA)
    cv2.circle(pixels, (width // 2, height // 2), height // 4, (0, 220, 255, 255), 5, cv2.LINE_AA)
    cv2.line(pixels, (0, 0), (width // 2, height // 2), (255, 230, 0, 255), 4, cv2.LINE_AA)
    return pixels


def jitter(quads: np.ndarray) -> float:
    return float(np.sqrt((np.diff(quads, 2, axis=0) ** 2).sum(2).mean()))


CASES: dict[str, dict[str, object]] = {
    "smooth": {}, "hand-held": {"shake": 1.5}, "noisy": {"noise": 8.0}, "half-flat": {"flat": 0.5},
    "bent": {"bend": 0.12}, "occluder": {"occluder": (60, 110)}, "stays-hidden": {"occluder": (60, 10_000)},
    "cut": {"cuts": ((80, 99),)}, "leaves": {"swing": 2.2, "zoom": 0.1, "turn": 0.15, "period": 110.0},
}  # fmt: skip


def key_of(clip: SyntheticClip) -> int | None:
    """A frame in which the patch is seen whole; None for a clip that should leave the picture and does not."""
    share = np.array([clip.visible(index) for index in range(len(clip))])
    if clip.swing > 1 and (share == 0).sum() < 5:
        return None
    whole = np.flatnonzero(share > 0.99)
    return int(whole[len(whole) // 3 if clip.swing > 1 else 0]) if len(whole) else None


def synthetic(
    featurizer: de.Featurizer, count: int, size: tuple[int, int], names: list[str], seeds: int,
    settings: de.clips.SequenceSettings,
) -> None:  # fmt: skip
    """One line a clip. `ghost`: frames that show the edit though at most a tenth of its place is seen."""
    steps = np.linspace(0, 1, 7)
    shares = np.stack(np.meshgrid(0.25 + 0.5 * steps, 0.2 + 0.6 * steps), -1).reshape(-1, 2)
    for name, seed in [(name, seed) for name in names or CASES for seed in range(3, 3 + seeds)]:
        clip = SyntheticClip.drawn(count, seed=seed, size=size, **CASES[name])
        key = key_of(clip)
        if key is None:
            continue
        frames = list(clip.read(0, count))
        start, used = time.perf_counter(), time.process_time()
        edit = Sticker(sticker(), quad=clip.quad(key))
        track = track_sequence(frames, edit, featurizer=featurizer, keyframes=key, settings=settings)
        seconds, used = time.perf_counter() - start, time.process_time() - used
        truth = np.array([clip.quad(index) for index in range(count)])
        quads = np.array([track.corners(index) for index in range(count)])
        side = np.array([quad_side(quad) for quad in truth])
        opacity = np.array([track.opacity(index) for index in range(count)])
        visible = np.array([clip.visible(index) for index in range(count)])
        shown = opacity > 0
        error = np.linalg.norm(quads - truth, axis=2).mean(1) / side
        inner = np.array([
            np.linalg.norm(track.transform(index)(clip.place(shares, key)) - clip.place(shares, index), axis=1).mean()
            for index in range(count)
        ]) / side  # fmt: skip
        runs = [run for run in np.split(np.arange(count), np.flatnonzero(~shown)) if shown[run].sum() > 20]
        ratio = [jitter(quads[run[1:]]) / jitter(truth[run[1:]]) for run in runs]  # of long runs that show the edit
        whole = visible > 0.99
        print(
            f"{name:12} {seed} error {error[shown].mean():6.2%} worst {error[shown].max():6.2%} last 50 shown "
            f"{error[shown][-50:].mean():6.2%} within {inner[shown].mean():6.2%}, jitter "
            f"{max(ratio, default=float('nan')):.2f}x, ghost {int((shown & (visible < 0.1)).sum())}, seen and shown "
            f"{opacity[whole].mean():.0%}, cuts {track.cuts}, {count / seconds:.1f} frames/s, "
            f"{count / used:.1f} per CPU second",
            flush=True,
        )


def davis(featurizer: de.Featurizer, folder: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for name, (sequence, box) in QUADS.items():
        clip = open_clip(folder / sequence)
        edit = Sticker(sticker(box[2], box[3]), at=box)
        start, used = time.perf_counter(), time.process_time()
        track = track_sequence(clip, edit, featurizer=featurizer)
        results = list(render_sequence(clip, track))
        seconds, used = time.perf_counter() - start, time.process_time() - used
        quads = np.array([track.corners(index) for index in range(len(clip))])
        known = featurizer(next(clip.read(0, 1)))
        single = [edit.quad]
        for image in clip.read(1, len(clip)):
            seen = featurizer(image)
            single.append(locate_features(known, edit.quad, seen, lambda seen=seen: seen, mirror="never").quad)
        shown = sum(result.opacity > 0 for result in results)
        print(
            f"{name:10} jitter {jitter(quads):.2f} px, frame by frame {jitter(np.array(single)):.2f} px; shown "
            f"{shown}/{len(clip)}; {len(clip) / seconds:.1f} frames/s ({len(clip) / used:.1f} per second of CPU)",
            flush=True,
        )
        chosen = np.linspace(0, len(clip) - 1, 8).round().astype(int)
        cells = [results[index].image.pixels[::2, ::2] for index in chosen]
        strip = np.vstack([np.hstack(cells[:4]), np.hstack(cells[4:])])
        PIL.Image.fromarray(strip).save(out / f"{name}.jpg", quality=90)
        (out / f"{name}.svg").write_text(track.plot(name))


def make_video(path: Path, clip: SyntheticClip, *, sound: bool) -> None:
    """The drawn clip at 25 frames a second, with a tone."""
    import av

    silent = path.with_name("silent.mp4") if sound else path
    writer = open_writer(silent, clip)
    for image in clip.read(0, len(clip)):
        writer.add(image)
    writer.close()
    if not sound:
        return
    with av.open(str(silent)) as source, av.open(str(path), "w") as target:
        video = target.add_stream_from_template(source.streams.video[0])
        audio = target.add_stream("aac", rate=48000)
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        total = int(48000 * len(clip) / 25)
        wave = (np.sin(np.arange(total) / 48000 * 2 * np.pi * 440) * 8000).astype(np.int16)[None]
        for start in range(0, total, 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[:, start : start + 1024]), "s16", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            target.mux(audio.encode(frame))
        target.mux(audio.encode(None))


def audio_bytes(path: Path) -> bytes:
    import av

    with av.open(str(path)) as container:
        return b"".join(bytes(packet) for packet in container.demux(audio=0) if packet.size)


def video(featurizer: de.Featurizer, out: Path, count: int, size: tuple[int, int]) -> None:
    clip = SyntheticClip.drawn(count, seed=3, size=size)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.mp4"
        make_video(source, clip, sound=True)
        start, used = time.perf_counter(), time.process_time()
        report = process_clip(source, Sticker(sticker(), quad=clip.quad(0)), out, featurizer=featurizer)
        seconds, used = time.perf_counter() - start, time.process_time() - used
        before, after = open_clip(source), open_clip(out)
        times = [abs(before.seconds(index) - after.seconds(index)) for index in range(count)]
        print(report.summary())
        print(
            f"frames {len(before)} → {len(after)}, rate {before.rate} → {after.rate}, largest difference of times "
            f"{max(times):.6f} s, audio equal byte by byte: {audio_bytes(source) == audio_bytes(out)}; "
            f"{count / seconds:.1f} frames/s ({count / used:.1f} per second of CPU)"
        )


def memory_of(count: int) -> None:
    """In a process of its own: peak memory in MiB of tracking, rendering and writing."""
    featurizer = de.load_featurizer("mini")
    clip = SyntheticClip.drawn(count, seed=3, size=(640, 360))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.mp4"
        make_video(source, clip, sound=False)
        edit = Sticker(sticker(), quad=clip.quad(0))
        process_clip(source, edit, Path(folder) / "out.mp4", featurizer=featurizer)
    print(json.dumps({"frames": count, "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["synthetic", "davis", "video", "memory", "memory-of"])
    parser.add_argument("paths", nargs="*", type=str)
    parser.add_argument("--count", type=int, default=0, help="number of frames")
    parser.add_argument("--seeds", type=int, default=1, help="number of drawn clips of each kind")
    parser.add_argument("--size", choices=["480p", "180p"], default="480p", help="of drawn clips")
    parser.add_argument("--engine", default="homography", help="homography or mesh")
    args = parser.parse_args()
    if args.what == "memory":
        for count in (100, 1000):
            subprocess.run([sys.executable, __file__, "memory-of", str(count)], check=True)
        return
    if args.what == "memory-of":
        memory_of(int(args.paths[0]))
        return
    featurizer = de.load_featurizer("mini")
    if args.what == "synthetic":
        size = (854, 480) if args.size == "480p" else (320, 180)
        settings = de.clips.SequenceSettings(engine=args.engine)
        synthetic(featurizer, args.count or 200, size, args.paths, args.seeds, settings)
    elif args.what == "davis":
        davis(featurizer, Path(args.paths[0]), Path(args.paths[1]))
    else:
        video(featurizer, Path(args.paths[0]), args.count or 300, (1280, 720))


if __name__ == "__main__":
    main()
