"""Images in memory: pixels as displayed, in sRGB, with what is needed to write them back as they came."""

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from dift_edit.errors import ImageError
from dift_edit.imaging.writing import save_image

if TYPE_CHECKING:
    import torch

__all__ = ["FileInfo", "Image", "Pixels", "from_array", "image_digest"]

Pixels = npt.NDArray[Any]
"""(H, W, C) uint8, uint16 or float32 in [0, 1]."""

_FULL = {"uint8": 255, "uint16": 65535, "float32": 1}


@dataclass(frozen=True, kw_only=True, eq=False)
class FileInfo:
    """What an image's file held beside its pixels, so that a result can be written in the same way.

    Attributes
    ----------
    path : Path
        Where it was read.
    format : str
        Pillow's name of the format ("JPEG", "PNG", …).
    metadata : dict
        Arguments for Pillow's writer: ``exif`` (orientation already applied and reset), ``icc_profile``,
        ``xmp``, ``dpi``, for JPEG ``qtables`` and ``subsampling``, for HEIC ``chroma``.
    native, converted : ndarray or None
        For an image with another colour profile than sRGB: its pixels in that profile and after conversion.
        Pixels that are not edited are written back from `native`, without loss of gamut; edited ones never are
        (see `Image.written`).
    """

    path: Path
    format: str
    metadata: dict[str, Any] = field(default_factory=dict)
    native: Pixels | None = None
    converted: Pixels | None = None


@dataclass(frozen=True, eq=False)
class Image:
    """An image as displayed: turned as its EXIF says, in sRGB.

    Attributes
    ----------
    pixels : ndarray
        (H, W, 3) uint8, uint16, or float32 in [0, 1]; straight (not premultiplied) colour.
    alpha : ndarray or None
        (H, W) of the same type; None when the image is opaque.
    file : FileInfo or None
        Where it came from.
    written : ndarray or None
        (H, W) bool: the pixels that an edit set, whatever they equal. They are never written back from the file's
        native pixels: a colour outside sRGB and the edit's own may both be clipped to one value. None when there are
        none, or nothing is known of them.

    Raises
    ------
    ImageError
        If the image has no pixels, or another shape or type.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    file: FileInfo | None = None
    written: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype.name not in _FULL:
            raise ImageError(
                "Pixels must be (H, W, 3) uint8, uint16 or float32, but are "
                f"{self.pixels.shape} {self.pixels.dtype}: convert them with as_image()."
            )
        if 0 in self.pixels.shape:
            raise ImageError(
                f"{self.name} has no pixels ({self.size[0]}×{self.size[1]}): give a picture of 1×1 or more."
            )
        if self.alpha is not None and (
            self.alpha.shape != self.pixels.shape[:2] or self.alpha.dtype != self.pixels.dtype
        ):
            raise ImageError(f"The alpha channel of {self.name} must have the size and type of its pixels.")
        if self.written is not None and (self.written.shape != self.pixels.shape[:2] or self.written.dtype != np.bool_):
            raise ImageError(f"The mask of the written pixels of {self.name} must be (H, W) bool, of its pixels' size.")

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W): the shape of `to_tensor()`."""
        return 3, self.pixels.shape[0], self.pixels.shape[1]

    @property
    def name(self) -> str:
        """How messages call this picture."""
        return str(self.file.path) if self.file else "the picture"

    @property
    def full_scale(self) -> int:
        """The number that stands for full intensity: 255, 65535 or 1."""
        return _FULL[self.pixels.dtype.name]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content (pixels, alpha, type, size), as hexadecimal digits."""
        return image_digest(self)

    def to_tensor(self) -> "torch.Tensor":
        """(3, H, W) float32 in [0, 1]."""
        import torch  # takes seconds, and the command line needs this module before it knows what to do

        return (
            torch.from_numpy(np.ascontiguousarray(self.pixels.transpose(2, 0, 1), dtype=np.float32)) / self.full_scale
        )

    def to_pil(self) -> PIL.Image.Image:
        """As a Pillow picture of 8 bits per channel, RGB or RGBA."""
        pixels = _to_uint8(self.pixels)
        if self.alpha is not None:
            pixels = np.concatenate([pixels, _to_uint8(self.alpha)[..., None]], axis=2)
        return PIL.Image.fromarray(np.ascontiguousarray(pixels))

    def resized(self, size: Sequence[int], *, exact: bool = False) -> "torch.Tensor":
        """The image over white, resampled (Pillow, bicubic with antialiasing, 8 bits).

        Parameters
        ----------
        size : (W, H)
            New size; the aspect ratio is not kept by itself.
        exact : bool
            Resample in one step, as published protocols do; without, images more than six times as large as the
            new size are halved first. The halves are kept, so that several networks share them.

        Returns
        -------
        torch.Tensor
            (3, H, W) float32 in [0, 1].
        """
        import torch

        width, height = (int(edge) for edge in size)
        excess = min(self.size[0] / width, self.size[1] / height) / 3
        times = 0 if exact else int(math.log2(max(excess, 1)))
        picture = self._halved(times)
        if picture.size != (width, height):
            # What was halved several times may be a fraction of a pixel wider than its last whole pixel.
            box = (0, 0, self.size[0] / 2**times, self.size[1] / 2**times)
            picture = picture.resize((width, height), PIL.Image.Resampling.BICUBIC, box=box)
        return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).astype(np.float32)) / 255

    def _halved(self, times: int) -> PIL.Image.Image:
        """The picture over white, halved so many times (means of 2 × 2 pixels)."""
        if times:
            known = self._halves.get(times)
            return known or self._halves.setdefault(times, self._halved(times - 1).reduce(2))
        picture = self.to_pil()
        if picture.mode == "RGBA":
            white = PIL.Image.new("RGBA", picture.size, "white")
            picture = PIL.Image.alpha_composite(white, picture).convert("RGB")
        return picture

    @cached_property
    def _halves(self) -> dict[int, PIL.Image.Image]:
        return {}

    def mirrored(self) -> "Image":
        """The picture reflected left to right."""
        alpha = None if self.alpha is None else np.ascontiguousarray(self.alpha[:, ::-1])
        return Image(np.ascontiguousarray(self.pixels[:, ::-1]), alpha)

    def turned(self, quarters: int) -> "Image":
        """The picture turned by quarter turns against the clock."""
        alpha = None if self.alpha is None else np.ascontiguousarray(np.rot90(self.alpha, quarters))
        return Image(np.ascontiguousarray(np.rot90(self.pixels, quarters)), alpha)

    def crop(self, box: Sequence[int]) -> "Image":
        """The part in the half-open pixel box (left, top, right, bottom), which must lie inside."""
        left, top, right, bottom = (int(edge) for edge in box)
        if not (0 <= left < right <= self.size[0] and 0 <= top < bottom <= self.size[1]):
            raise ImageError(f"The crop {tuple(box)} does not lie inside {self.name} of size {self.size}.")
        window = (slice(top, bottom), slice(left, right))
        return Image(self.pixels[window], None if self.alpha is None else self.alpha[window])

    def with_pixels(
        self, pixels: Pixels, alpha: Pixels | None, written: npt.NDArray[np.bool_] | None = None
    ) -> "Image":
        """Another content with the same file information (to write a result as its target came).

        Parameters
        ----------
        pixels, alpha : ndarray
            As of every `Image`.
        written : ndarray, optional
            (H, W) bool: which pixels were set; None when it may be any.
        """
        if written is not None and self.written is not None:
            written = written | self.written
        elif self.written is not None or (self.file is not None and self.file.native is not None):
            written = np.ones(pixels.shape[:2], bool) if written is None else written
        return replace(self, pixels=pixels, alpha=alpha, written=written)

    def save(self, path: Path | str) -> Path:
        """Write it: see `dift_edit.imaging.writing.save_image`."""
        return save_image(self, path)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Pixels:
        """The pixels (H, W, 3), or (H, W, 4) where there is alpha."""
        pixels = self.pixels if self.alpha is None else np.concatenate([self.pixels, self.alpha[..., None]], axis=2)
        return np.array(pixels, dtype=dtype, copy=copy)

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.to_pil().save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        kind = "RGB" if self.alpha is None else "RGBA"
        return f"Image({self.size[0]}×{self.size[1]} {kind} {self.pixels.dtype}, {self.name})"


def image_digest(image: Image) -> str:
    """SHA-256 of an image's content.

    Parameters
    ----------
    image : Image
        The image; its file's name and metadata do not count.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(f"{image.pixels.shape} {image.pixels.dtype}".encode())
    digest.update(np.ascontiguousarray(image.pixels).data)
    if image.alpha is not None:
        digest.update(b"alpha")
        digest.update(np.ascontiguousarray(image.alpha).data)
    return digest.hexdigest()


def from_array(array: Pixels) -> Image:
    """An array of pixels as an `Image`.

    Parameters
    ----------
    array : ndarray
        (H, W) or (H, W, 1 | 3 | 4), bool, uint8, uint16 or float in [0, 1].

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        If it is not an image.
    """
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            f"An array of shape {array.shape} is not a picture: give (H, W), (H, W, 3) or (H, W, 4), "
            "or a tensor (C, H, W)."
        )
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "f":
        if array.size and not (np.isfinite(array).all() and array.min() >= -1e-3 and array.max() <= 1 + 1e-3):
            raise ImageError(
                "Floating-point pixels must be finite and in [0, 1]: divide by the full-scale value first."
            )
        array = np.clip(array, 0, 1).astype(np.float32)
    if array.dtype.name not in _FULL:
        raise ImageError(f"Pixels of type {array.dtype} are not supported: use uint8, uint16 or float in [0, 1].")
    pixels = np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[..., :3]
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return Image(np.ascontiguousarray(pixels), None if alpha is None else np.ascontiguousarray(alpha))


def _to_uint8(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
