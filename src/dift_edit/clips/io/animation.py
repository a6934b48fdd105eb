"""Animated pictures: GIF and WebP, with the frames' durations and the loop count kept."""

import contextlib
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from PIL import GifImagePlugin

from dift_edit.atomic_files import file_sha256
from dift_edit.clips.io.base import Clip, check_range, unfinished
from dift_edit.errors import ImageError, OutputError
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image

__all__ = ["AnimationClip", "AnimationWriter"]

Picture = PIL.Image.Image


class AnimationClip:
    """The frames of a GIF, an animated WebP or an animated PNG.

    Raises
    ------
    ImageError
        If the file is missing or damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.name = str(path)
        with self._open() as picture, self._damage():
            self.size = picture.size
            self.loop = picture.info.get("loop")
            self.durations = [_duration(picture, index) for index in range(getattr(picture, "n_frames", 1))]
        self._starts = [0.0, *accumulate(milliseconds / 1000 for milliseconds in self.durations)]

    def _open(self) -> Picture:
        try:
            return PIL.Image.open(self.path)
        except FileNotFoundError as error:
            raise ImageError(f"{self.path} does not exist: check the path.") from error
        except Exception as error:  # also sizes that Pillow takes for a bomb
            raise ImageError(f"{self.path} is damaged, too large or not a picture: replace the file.") from error

    @contextlib.contextmanager
    def _damage(self) -> Iterator[None]:
        """A sentence instead of whatever a decoder may meet in a damaged file."""
        try:
            yield
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(f"{self.path} is damaged or incomplete: replace the file.") from error

    def __len__(self) -> int:
        return len(self.durations)

    def read(self, start: int, stop: int) -> Iterator[Image]:
        """The frames ``start`` … ``stop - 1``."""
        check_range(self, start, stop)
        with self._open() as picture:
            for index in range(start, stop):
                with self._damage():
                    picture.seek(index)
                    clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
                    pixels = np.array(picture.convert("RGBA" if clear else "RGB"))
                yield _opaque(as_image(pixels))

    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return file_sha256(self.path, links=True)

    def frame_name(self, index: int) -> str:
        """A number with five digits."""
        return f"{index:05d}.png"

    def seconds(self, index: int) -> float:
        """Sum of the durations of the frames before it."""
        return self._starts[index]


def _duration(picture: Picture, index: int) -> float:
    picture.seek(index)
    picture.load()  # WebP knows a frame's duration only then
    return float(picture.info.get("duration", 0)) or 100.0


def _opaque(image: Image) -> Image:
    if image.alpha is not None and (image.alpha == image.full_scale).all():
        return Image(image.pixels)
    return image


class AnimationWriter:
    """Writes a GIF frame by frame, or an animated WebP.

    In a GIF every frame gets a palette of its own; a frame of at most 256 colours is stored without loss. The frames
    of a WebP are held in memory until the end, as Pillow's writer wants them all at once.
    """

    def __init__(self, path: Path, clip: Clip, scratch: Path | None = None) -> None:
        self.path = path
        self._clip = clip
        self._next = 0
        self._loop = getattr(clip, "loop", 0)
        self._temporary = unfinished(path, scratch)
        try:
            self._file = self._temporary.open("xb")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
        self._frames: list[Picture] = []

    def add(self, image: Image, *, unchanged: bool = False) -> None:
        """Write the next frame."""
        index = self._next
        self._next += 1
        if self.path.suffix.lower() == ".gif":
            self._add_gif(image, index)
        else:
            self._frames.append(image.to_pil())

    def _add_gif(self, image: Image, index: int) -> None:
        picture = _with_palette(image)
        if index == 0:
            info = {} if self._loop is None else {"loop": self._loop}
            blocks, _ = GifImagePlugin.getheader(picture, info=info)
            for block in blocks:
                self._file.write(block)
        options: dict[str, Any] = {"duration": self._duration(index), "include_color_table": True, "disposal": 1}
        if image.alpha is not None:
            options.update(transparency=255, disposal=2)
        for block in GifImagePlugin.getdata(picture, **options):
            self._file.write(block)

    def _duration(self, index: int) -> int:
        """Milliseconds; those of a GIF are multiples of 10 whose rounding errors do not add up."""
        step = 10 if self.path.suffix.lower() == ".gif" else 1
        start, end = (round(self._clip.seconds(number) * 1000 / step) * step for number in (index, index + 1))
        return end - start

    def close(self) -> Path:
        """Finish the file and give it its name."""
        try:
            if self._frames:
                durations = [self._duration(index) for index in range(self._next)]
                loop = 1 if self._loop is None else int(self._loop)
                self._frames[0].save(
                    self._file, "WEBP", save_all=True, append_images=self._frames[1:], duration=durations, loop=loop,
                    quality=95, method=4,
                )  # fmt: skip
            else:
                self._file.write(b";")
            self._file.close()
            self._temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error
        return self.path

    def discard(self) -> None:
        """Remove what was written."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)


def _with_palette(image: Image) -> Picture:
    """A picture with at most 256 colours (255 where it has holes, which get colour 255)."""
    rgb = Image(image.pixels).to_pil()
    most = 256 if image.alpha is None else 255
    colors = rgb.getcolors(most)
    if colors is None:
        # An octree keeps small spots of a strong colour, which median cut loses; dithering would flicker.
        reduced = rgb.quantize(most, method=PIL.Image.Quantize.FASTOCTREE)
        paletted = rgb.quantize(palette=reduced, dither=PIL.Image.Dither.NONE)
    else:
        exact = PIL.Image.new("P", (1, 1))
        flat = [channel for _, color in colors for channel in color]  # type: ignore[union-attr]
        exact.putpalette(flat + flat[:3] * (256 - len(colors)))
        paletted = rgb.quantize(palette=exact, dither=PIL.Image.Dither.NONE)
    if image.alpha is not None:
        hole = np.asarray(image.alpha) < image.full_scale / 2
        indices = np.where(hole, np.uint8(255), np.asarray(paletted))
        palette = paletted.getpalette() or []
        paletted = PIL.Image.frombytes("P", rgb.size, indices.astype(np.uint8).tobytes())
        paletted.putpalette((palette + [0] * 768)[:768])
    return paletted
