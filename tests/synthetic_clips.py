"""Clips with known motion, drawn frame by frame: a textured board that moves before a moving background.

For tests and benchmarks. Frames are made when they are read, so a clip may be as long as one likes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dift_edit.clips.io.base import check_range
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import apply_homography, quad_matrix
from dift_edit.imaging.image import Image

__all__ = ["SyntheticClip", "drawn_texture"]


def drawn_texture(size: tuple[int, int], seed: int) -> npt.NDArray[np.uint8]:
    """A picture of blobs, rings and strokes on a grained ground.

    Parameters
    ----------
    size : (W, H)
        In pixels.
    seed : int
        Another seed, another picture.

    Returns
    -------
    ndarray
        (H, W, 3) uint8.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = rng.uniform(40, 215, (max(height // 48, 2), max(width // 48, 2), 3)).astype(np.float32)
    canvas = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    for cell, depth in ((12, 18.0), (5, 9.0)):  # the grain of the material, so that no part is without any texture
        grain = rng.normal(0, depth, (height // cell + 2, width // cell + 2)).astype(np.float32)
        canvas += cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    for _ in range(max(12, width * height // 2500)):
        color = rng.integers(0, 256, 3).tolist()
        x, y = int(rng.integers(width)), int(rng.integers(height))
        kind, reach = rng.integers(3), int(rng.integers(3, max(min(size) // 8, 5)))
        if kind == 0:
            cv2.circle(canvas, (x, y), reach, color, -1, cv2.LINE_AA)
        elif kind == 1:
            dx, dy = rng.integers(-4 * reach, 4 * reach + 1, 2).tolist()
            cv2.line(canvas, (x, y), (x + dx, y + dy), color, int(rng.integers(1, 6)), cv2.LINE_AA)
        else:
            axes = (reach, int(rng.integers(2, reach + 1)))
            cv2.ellipse(canvas, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, color, 2, cv2.LINE_AA)
    return np.asarray(np.clip(cv2.GaussianBlur(canvas, (0, 0), 0.7), 0, 255), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True, eq=False)
class SyntheticClip:
    """A board with a texture that moves, turns, tilts and grows; its place in every frame is known.

    Attributes
    ----------
    texture : ndarray
        (h, w, 3) uint8: the board.
    background : ndarray
        (H, W, 3) uint8, larger than the frame by a margin.
    count : int
        Number of frames.
    size : (W, H)
        Of a frame.
    swing : float
        Travel of the board's middle, as a share of the frame's free space; above 1 it leaves the frame.
    turn, tilt, zoom : float
        Greatest rotation (radians), perspective and log-scale.
    shake : float
        Standard deviation in pixels of the trembling of a hand-held camera.
    noise : float
        Standard deviation of the sensor's noise in grey levels.
    light : float
        Greatest relative change of brightness.
    flat : float
        Share of the board, from its right edge, that has one plain colour.
    bend : float
        How far the board's middle bulges downward or upward, as a share of its height; its left and right edges stay.
    occluder : (first, last) or None
        Frames in which a board with another texture stands before it; it slides in from the left and out
        again, for fifteen frames each.
    cuts : sequence of (first, last)
        Frames that show another scene.
    seed : int
        Of everything random.
    """

    texture: npt.NDArray[np.uint8]
    background: npt.NDArray[np.uint8]
    count: int
    size: tuple[int, int] = (640, 360)
    swing: float = 0.7
    turn: float = 0.25
    tilt: float = 0.12
    zoom: float = 0.25
    shake: float = 0.0
    noise: float = 2.0
    light: float = 0.15
    flat: float = 0.0
    bend: float = 0.0
    period: float = 180.0
    occluder: tuple[int, int] | None = None
    cuts: tuple[tuple[int, int], ...] = ()
    seed: int = 0
    name: str = "the drawn clip"

    @classmethod
    def drawn(
        cls, count: int, *, seed: int = 0, size: tuple[int, int] = (640, 360), **options: object
    ) -> "SyntheticClip":
        """With drawn textures."""
        side = min(size) // 3
        texture = drawn_texture((side * 4 // 3, side), seed + 1)
        plain = round(texture.shape[1] * (1 - float(options.get("flat", 0.0))))  # type: ignore[arg-type]
        texture[:, plain:] = texture.mean((0, 1)).round()
        return cls(
            texture=texture,
            background=drawn_texture((size[0] + 160, size[1] + 160), seed + 2),
            count=count, size=size, seed=seed, **options,  # type: ignore[arg-type]
        )  # fmt: skip

    def __len__(self) -> int:
        return self.count

    def board(self, index: int) -> Points:
        """(4, 2) the board's corners in a frame."""
        rng = np.random.default_rng((self.seed, 7))
        phases = rng.uniform(0, 2 * np.pi, 8)
        rates = rng.uniform(0.7, 1.3, 8) * 2 * np.pi / self.period
        wave = np.sin(rates * index + phases)
        height, width = self.texture.shape[:2]
        quad = (np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]) - 0.5) * [width, height]
        angle, scale = self.turn * wave[0], np.exp(self.zoom * wave[1])
        turned = scale * quad @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        depth = 1 + self.tilt * (quad / [width, height] * 2 * wave[2:4]).sum(1, keepdims=True)
        free = (np.array(self.size) - [width, height]) / 2
        middle = np.array(self.size) / 2 + self.swing * free * wave[4:6]
        return np.asarray(middle + turned / depth + self._tremble(index))

    def _tremble(self, index: int) -> Points:
        """Low-passed white noise; the camera moves everything alike."""
        if not self.shake:
            return np.zeros(2)
        taps = np.array([1, 4, 6, 4, 1]) / np.sqrt(70.0)
        draws = [np.random.default_rng((self.seed, 11, index + k)).standard_normal(2) for k in range(5)]
        return np.asarray(self.shake * np.einsum("k,kc->c", taps, np.array(draws)))

    def quad(self, index: int, box: tuple[float, float, float, float] = (0.25, 0.2, 0.75, 0.8)) -> Points:
        """(4, 2) where the corners of a box of the board, given in shares of its sides, lie in a frame."""
        left, top, right, bottom = box
        return self.place(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), index)

    def place(self, shares: Points, index: int) -> Points:
        """(N, 2) where points of the board, given in shares of its sides, lie in a frame."""
        height, width = self.texture.shape[:2]
        bulge = np.stack([np.zeros(len(shares)), self._bulge(index) * (1 - (2 * shares[:, 0] - 1) ** 2)], 1)
        return apply_homography(self._matrix(index), shares * [width, height] - 0.5 + bulge)

    def visible(self, index: int) -> float:
        """The share of the quad that is seen: inside the frame, not covered, in this scene."""
        if self.away(index):
            return 0.0
        quad = self.quad(index)
        low = np.floor(quad.min(0)).astype(int)
        extent = np.ceil(quad.max(0)).astype(int) + 1 - low
        mask = np.zeros((extent[1], extent[0]), np.uint8)
        cv2.fillConvexPoly(mask, np.round(quad - low).astype(np.int32), 1)
        whole = int(mask.sum())
        x, y = np.arange(extent[0]) + low[0], np.arange(extent[1]) + low[1]
        mask[(y < 0) | (y >= self.size[1])] = 0
        mask[:, (x < 0) | (x >= self.size[0])] = 0
        if self.covered(index) > 0:
            left, top, right, bottom = self._cover(index)
            mask[np.ix_((y >= top) & (y <= bottom), (x >= left) & (x <= right))] = 0
        return float(mask.sum()) / whole

    def _bulge(self, index: int) -> float:
        """Pixels of the board by which its middle is off."""
        if not self.bend:
            return 0.0
        return float(self.bend * self.texture.shape[0] * np.sin(2 * np.pi * index / (0.5 * self.period)))

    def _cover(self, index: int) -> tuple[float, float, float, float]:
        """The occluder's box: left, top, right, bottom."""
        height, width = self.texture.shape[:2]
        cover, board = self.covered(index), self.board(index).mean(0)
        left = (1 - cover) * -1.6 * width + cover * (board[0] - 0.8 * width)
        top = board[1] - 0.8 * height
        return float(left), float(top), float(left + int(width * 1.6)), float(top + int(height * 1.6))

    def _matrix(self, index: int) -> npt.NDArray[np.float64]:
        height, width = self.texture.shape[:2]
        outer = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64) - 0.5
        return np.asarray(quad_matrix(outer, self.board(index)))

    def away(self, index: int) -> bool:
        """Whether the frame belongs to another scene."""
        return any(first <= index <= last for first, last in self.cuts)

    def covered(self, index: int) -> float:
        """How far the occluder has come: 0 outside the frame, 1 before the board."""
        if self.occluder is None:
            return 0.0
        first, last = self.occluder
        return float(np.clip(min(index - first, last - index) / 15, 0, 1))

    def frame(self, index: int) -> Image:
        """Draw one frame."""
        rng = np.random.default_rng((self.seed, 13, index))
        if self.away(index):
            picture = np.roll(self.background[::-1, ::-1, ::-1], 3 * index, 1)[: self.size[1], : self.size[0]]
            return Image(self._exposed(picture.astype(np.float32), index, rng))
        drift = 30 * np.sin(2 * np.pi * index / (1.7 * self.period)) + self._tremble(index)
        shift = np.array([[1, 0, drift[0] - 80], [0, 1, drift[1] - 80]], dtype=np.float64)
        picture = cv2.warpAffine(self.background, shift, self.size, flags=cv2.INTER_LINEAR).astype(np.float32)
        bent = self._bent(index)
        margin = (len(bent) - len(self.texture)) / 2
        self._lay(picture, bent, self._matrix(index) @ _shift(0, -margin))
        if self.covered(index) > 0:
            height, width = self.texture.shape[:2]
            other = np.ascontiguousarray(self.background[: int(height * 1.6), : int(width * 1.6)])
            left, top, _, _ = self._cover(index)
            other = np.dstack([other, np.full(other.shape[:2], 255, np.uint8)])
            self._lay(picture, other, _shift(left, top))
        return Image(self._exposed(picture, index, rng))

    def _bent(self, index: int) -> npt.NDArray[np.uint8]:
        """The board as it is bent, (h, w, 4), with a margin above and below as high as it may bulge."""
        height, width = self.texture.shape[:2]
        margin = int(np.ceil(abs(self.bend) * height))
        rgba = np.dstack([self.texture, np.full((height, width), 255, np.uint8)])
        rgba = cv2.copyMakeBorder(rgba, margin, margin, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        if self.bend:
            x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(len(rgba), dtype=np.float32))
            shift = self._bulge(index) * (1 - (2 * (x + 0.5) / width - 1) ** 2)
            rgba = cv2.remap(rgba, x, (y - shift).astype(np.float32), cv2.INTER_LINEAR)
        return np.asarray(rgba, dtype=np.uint8)

    def _lay(
        self, picture: npt.NDArray[np.float32], rgba: npt.NDArray[np.uint8], matrix: npt.NDArray[np.float64]
    ) -> None:
        """Put an (h, w, 4) layer on."""
        rgba = cv2.copyMakeBorder(rgba, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))
        warped = cv2.warpPerspective(
            rgba.astype(np.float32), matrix @ _shift(-1, -1), self.size, flags=cv2.INTER_LINEAR
        )
        alpha = warped[..., 3:] / 255
        picture[:] = warped[..., :3] + picture * (1 - alpha)

    def _exposed(self, picture: npt.NDArray[np.float32], index: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        gain = 1 + self.light * np.sin(2 * np.pi * index / (0.6 * self.period))
        grain = rng.standard_normal(picture.shape, dtype=np.float32) * self.noise
        return np.asarray(np.clip(picture * gain + grain, 0, 255).round(), dtype=np.uint8)

    def read(self, start: int, stop: int) -> Iterator[Image]:
        """The frames ``start`` … ``stop - 1``."""
        check_range(self, start, stop)
        for index in range(start, stop):
            yield self.frame(index)

    def fingerprint(self) -> str:
        """Of what it is made from."""
        plain = [value for name, value in vars(self).items() if name not in ("texture", "background", "name")]
        return f"synthetic {plain}"

    def frame_name(self, index: int) -> str:
        """A number with five digits."""
        return f"{index:05d}.png"

    def seconds(self, index: int) -> float:
        """At 25 frames a second."""
        return index / 25


def _shift(x: float, y: float) -> npt.NDArray[np.float64]:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)
