"""Videos through PyAV: frames by number, with their times, audio, turn and colour matrix kept."""

import contextlib
from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dift_edit.atomic_files import file_sha256
from dift_edit.clips.io.base import Clip, check_range, unfinished
from dift_edit.errors import ImageError, MissingDependencyError, OutputError
from dift_edit.imaging.image import Image

__all__ = ["VIDEO_ENCODERS", "VideoClip", "VideoWriter"]

# The encoders' own scales of quality (crf) and speed; visually lossless for most content (chosen).
# Without mbtree: with it, x264's AVX-512 code gives other bytes from run to run, and a resumed job must give the same.
_MP4: tuple[str, dict[str, str]] = ("libx264", {"crf": "17", "preset": "medium", "mbtree": "0"})
_WEBM: tuple[str, dict[str, str]] = ("libvpx-vp9", {"crf": "22", "b": "0", "cpu-used": "4", "row-mt": "1"})
VIDEO_ENCODERS = {
    ".mp4": ("mp4", *_MP4), ".m4v": ("mp4", *_MP4), ".mov": ("mov", *_MP4), ".mkv": ("matroska", *_MP4),
    ".webm": ("webm", *_WEBM),
}  # fmt: skip
"""Ending → container, encoder, its options."""

_AUDIO_FALLBACK = {"webm": "libopus"}
_THREADS = 4  # fixed: the bytes that an encoder gives depend on the number of threads
_UNSPECIFIED, _BT709, _BT601 = 2, 1, 6  # ITU-T H.273, matrix coefficients


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingDependencyError("av", "video", "Reading and writing videos") from error
    return av


class VideoClip:
    """The frames of a video's first video stream.

    Frames have numbers in the order of their times; a frame that the decoder cannot give is replaced by the one
    before it. Reading from the middle starts at the nearest key frame of the stream.

    Parameters
    ----------
    path : path
        Whatever FFmpeg can read.

    Raises
    ------
    ImageError
        If there is no such file, or no image in it.
    MissingDependencyError
        If PyAV is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = str(path)
        with self.open() as container:
            if not container.streams.video:
                raise ImageError(f"{path} has no video stream: give a video.")
            stream = container.streams.video[0]
            self.time_base = Fraction(stream.time_base)
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self._times, self._exact = _packet_times(container, stream)
        if not self._exact:
            self._times = self._decoded_times()
        if not self._times:
            raise ImageError(f"{path} has no frames: give a complete video.")
        self._index = {time: number for number, time in enumerate(self._times)}
        first = next(self._decode(0), None)
        if first is None:
            raise ImageError(f"{path} cannot be decoded: it is damaged or of an unknown kind.")
        frame = first[1]
        self.pixel_aspect = frame_aspect(self.path, _av())
        self.matrix = int(frame.colorspace)
        self.tags = {name: int(getattr(frame, name)) for name in ("color_primaries", "color_trc", "color_range")}
        if self.matrix in (0, _UNSPECIFIED):
            self.matrix = _BT709 if min(frame.width, frame.height) >= 720 else _BT601
        self.size = self._image(frame).size

    @contextlib.contextmanager
    def open(self) -> Iterator[Any]:
        """The open container, with FFmpeg's errors in our words."""
        av = _av()
        try:
            with av.open(str(self.path)) as container:
                yield container
        except FileNotFoundError as error:
            raise ImageError(f"{self.path} does not exist: check the path.") from error
        except av.FFmpegError as error:
            raise ImageError(f"{self.path} is not a video that can be read ({error.strerror}).") from error

    def __len__(self) -> int:
        return len(self._times)

    def read(self, start: int, stop: int) -> Iterator[Image]:
        """The frames ``start`` … ``stop - 1``."""
        check_range(self, start, stop)
        wanted = start
        last: Any = None
        if start == stop:
            return
        for number, frame in self._decode(start):
            if number < wanted:
                last = frame
                continue
            while wanted < min(number, stop):  # the decoder left some out
                yield self._image(last if last is not None else frame)
                wanted += 1
            if wanted >= stop:
                return
            yield self._image(frame)
            last = frame
            wanted += 1
            if wanted >= stop:
                return
        for _ in range(wanted, stop):
            if last is None:
                raise ImageError(f"The frames from {wanted} of {self.path} cannot be decoded: the file is damaged.")
            yield self._image(last)

    def _decode(self, start: int) -> Iterator[tuple[int, Any]]:
        """Decoded frames with their numbers, from a key frame at or before `start`."""
        with self.open() as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if start and self._exact:
                container.seek(self._times[start], stream=stream, backward=True)
            position = 0
            for frame in container.decode(stream):
                if not self._exact:
                    yield position, frame
                    position += 1
                elif frame.pts in self._index:
                    yield self._index[frame.pts], frame

    def _decoded_times(self) -> list[int]:
        """Times of a stream whose packets do not tell them: the frame's own, or its number at the mean rate."""
        step = 1 / (self.rate * self.time_base)
        with self.open() as container:
            container.streams.video[0].thread_type = "AUTO"
            times = [frame.pts for frame in container.decode(container.streams.video[0])]
        if None in times or any(b <= a for a, b in pairwise(times)):
            return [round(number * step) for number in range(len(times))]
        return times

    def _image(self, frame: Any) -> Image:
        matrix = self.matrix if hasattr(self, "matrix") else _BT709
        pixels = frame.reformat(format="rgb24", src_colorspace=matrix, dst_color_range=2).to_ndarray()
        quarters = round(frame.rotation / 90) % 4
        return Image(np.ascontiguousarray(np.rot90(pixels, quarters)))

    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return file_sha256(self.path, links=True)

    def frame_name(self, index: int) -> str:
        """A number with five digits."""
        return f"{index:05d}.png"

    def time(self, index: int) -> int:
        """Presentation time in units of `time_base`, as in the file."""
        return self._times[index]

    def seconds(self, index: int) -> float:
        """Time from the first frame; the last frame is taken to last as long as the mean."""
        if index == len(self):
            return self.seconds(index - 1) + float(1 / self.rate)
        return float((self._times[index] - self._times[0]) * self.time_base)

    def index_at(self, seconds: float) -> int:
        """Number of the frame that is shown at a time from the start."""
        at = self._times[0] + seconds / self.time_base
        return max(bisect_right(self._times, at + 1e-6) - 1, 0)


def _packet_times(container: Any, stream: Any) -> tuple[list[int], bool]:
    """Presentation times of all packets, sorted, and whether they are complete and distinct."""
    times = [
        packet.pts for packet in container.demux(stream) if packet.size and not getattr(packet, "is_discard", False)
    ]
    whole = bool(times) and None not in times and len(set(times)) == len(times)
    return sorted(times) if whole else [], whole


def frame_aspect(path: Path, av: Any) -> Fraction:
    """Aspect of one pixel (1 where it is not told)."""
    with av.open(str(path)) as container:
        return Fraction(container.streams.video[0].sample_aspect_ratio or 1) or Fraction(1)


class VideoWriter:
    """Encodes frames, with the times of a `VideoClip` or at a clip's rate; audio and subtitles are taken over.

    Audio is copied without loss where the container can hold it and encoded anew where not. The same frames give
    the same bytes.
    """

    def __init__(self, path: Path, clip: Clip, scratch: Path | None = None, *, keep_metadata: bool = True) -> None:
        av = _av()
        self.path = path
        self._clip = clip
        self._next = 0
        self._temporary = unfinished(path, scratch)
        container, codec, options = VIDEO_ENCODERS[path.suffix.lower()]
        try:
            self._out = av.open(str(self._temporary), "w", format=container, options={"fflags": "+bitexact"})
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        video = clip if isinstance(clip, VideoClip) else None
        rate = video.rate if video else Fraction(1 / _mean_step(clip)).limit_denominator(1001)
        self._stream = self._out.add_stream(codec, rate=rate, options=dict(options))
        self._time_base = video.time_base if video else 1 / rate
        width, height = clip.size
        context = self._stream.codec_context
        context.width, context.height = width, height
        context.pix_fmt = "yuv444p" if (width % 2 or height % 2) and codec == "libx264" else "yuv420p"
        context.time_base = self._time_base
        context.thread_count = _THREADS
        self._matrix = video.matrix if video else _BT709
        context.colorspace = self._matrix
        context.color_range = 1
        if video:
            context.color_primaries, context.color_trc = video.tags["color_primaries"], video.tags["color_trc"]
            if video.pixel_aspect != 1:
                context.sample_aspect_ratio = video.pixel_aspect
        self._tracks = _Tracks(video, self._out, container, keep_metadata=keep_metadata) if video else None

    def add(self, image: Image, *, unchanged: bool = False) -> None:
        """Encode the next frame."""
        av = _av()
        picture = Image(image.pixels).to_pil() if image.pixels.dtype != np.uint8 else None
        frame = av.VideoFrame.from_ndarray(
            np.ascontiguousarray(image.pixels if picture is None else np.asarray(picture)), format="rgb24"
        )
        frame = frame.reformat(
            format=self._stream.codec_context.pix_fmt, dst_colorspace=self._matrix, src_color_range=2, dst_color_range=1
        )
        clip = self._clip
        frame.time_base = self._time_base
        frame.pts = clip.time(self._next) if isinstance(clip, VideoClip) else self._next
        self._next += 1
        try:
            self._mux(self._stream.encode(frame))
        except OSError as error:
            self.discard()
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            if self._tracks:
                self._tracks.copy_until(float(packet.dts * packet.time_base))
            self._out.mux(packet)

    def close(self) -> Path:
        """Finish the file and give it its name."""
        try:
            self._mux(self._stream.encode(None))
            if self._tracks:
                self._tracks.copy_until(float("inf"))
            self._out.close()
            self._temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error
        finally:
            if self._tracks:
                self._tracks.close()
        return self.path

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(Exception):
            self._out.close()
        self._temporary.unlink(missing_ok=True)


def _mean_step(clip: Clip) -> float:
    return clip.seconds(len(clip)) / len(clip)


class _Tracks:
    """Audio and subtitles of the source, handed over in step with the video."""

    def __init__(self, clip: VideoClip, out: Any, container: str, *, keep_metadata: bool) -> None:
        av = _av()
        self._source = av.open(str(clip.path))
        self._out = out
        self._targets: dict[int, tuple[Any, Any]] = {}
        for stream in self._source.streams:
            if stream.type not in ("audio", "subtitle"):
                continue
            target = resampler = None
            if stream.codec_context and stream.codec_context.name in _names(out, stream):
                target = out.add_stream_from_template(stream)
            elif stream.type == "audio":
                target = out.add_stream(_AUDIO_FALLBACK.get(container, "aac"), rate=48000)
                target.codec_context.layout = stream.codec_context.layout
                resampler = av.AudioResampler(
                    target.codec_context.format, target.codec_context.layout, 48000, _frame_size(target)
                )
            if target is not None:
                self._targets[stream.index] = (target, resampler)
        if keep_metadata:
            out.metadata.update(self._source.metadata)
        streams = [stream for stream in self._source.streams if stream.index in self._targets]
        self._packets = self._source.demux(streams) if streams else iter(())
        self._waiting: Any = None

    def copy_until(self, seconds: float) -> None:
        """Write the packets whose time is not after `seconds`."""
        while True:
            packet = self._waiting or next(self._packets, None)
            self._waiting = None
            if packet is None:
                return
            time = packet.dts if packet.dts is not None else packet.pts
            if time is not None and float(time * packet.time_base) > seconds:
                self._waiting = packet
                return
            target, resampler = self._targets[packet.stream.index]
            if resampler is None:
                if time is not None:
                    packet.stream = target
                    self._out.mux(packet)
            else:
                self._transcode(packet, target, resampler)

    def _transcode(self, packet: Any, target: Any, resampler: Any) -> None:
        frames = packet.decode()
        if not packet.size:
            frames = [*frames, None]
        for frame in frames:
            for piece in resampler.resample(frame):
                self._out.mux(target.encode(piece))
        if not packet.size:
            self._out.mux(target.encode(None))

    def close(self) -> None:
        self._source.close()


def _names(out: Any, stream: Any) -> set[str]:
    """Names of the codecs of a stream's kind that a container takes over as they are."""
    known = {
        "mp4": {"aac", "mp3", "ac3", "alac", "opus", "flac", "mov_text"},
        "mov": {"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le", "mov_text"},
        "webm": {"opus", "vorbis", "webvtt"},
        "matroska": {
            "aac",
            "mp3",
            "ac3",
            "opus",
            "vorbis",
            "flac",
            "pcm_s16le",
            "pcm_s24le",
            "subrip",
            "ass",
            "webvtt",
        },
    }
    del stream
    return known[out.format.name.split(",")[0]]


def _frame_size(target: Any) -> int | None:
    """Samples that the encoder wants in one frame; opening it tells."""
    target.codec_context.open(strict=False)
    return target.codec_context.frame_size or None
