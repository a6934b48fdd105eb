"""Chain and anchor: follow a quad from its keyframe through the frames of a clip, one way.

Each frame is compared with the one before it (the chain, which follows anything but drifts), with the keyframe
warped to where the quad should lie (the anchor, which does not drift as long as the patch looks the same), and
with a recent frame in which it was seen well. Diffusion features find the patch again when all of these fail, and
check from time to time that the right thing is followed.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from dift_edit.clips.tracking.appearance import Sighting, Template, follow, grey, palette, search, working_size
from dift_edit.clips.tracking.cuts import CutDetector
from dift_edit.clips.tracking.finder import Finder
from dift_edit.clips.tracking.pose import PoseFit
from dift_edit.geometry.coords import Points, rescale_points
from dift_edit.geometry.quad import quad_side
from dift_edit.imaging.image import Image

__all__ = ["Observation", "Tracker"]

# Numbers without a source are chosen.
_CONFIRMED = 0.6  # share of the patch that must look right to call it found
_TRUSTED = 0.5  # confidence of features that is enough without a look that fits
_COLORS, _OTHER = 0.45, 0.25  # shared colours of a place that may be the patch, and of one that is something else
_LOOKS = (2, 6)  # frames after a loss in which features look, beside those at the stride
_LOST_STRIDE = 12  # frames between looks of features for a lost patch when they do not look regularly
_SAME = 0.6  # of the quad's side: features that are farther off contradict
_SEARCH = 2  # frames between two searches for a lost patch
_RENEW = 8  # frames between two recent templates
_FEATURE_NOISE = 0.06  # of the quad's side: error of a place found by features
_TAME, _TAME_TAPER = 0.03, 0.1  # of an affine or projective change of shape is taken back at every unconfirmed frame
_GIVE_UP = 12  # frames without a sighting during which the last movement is continued


@dataclass(frozen=True, eq=False)
class Observation:
    """What one frame says about where the quad is.

    Attributes
    ----------
    frame : int
        Its number.
    corners : ndarray
        (4, 2) pixels; where nothing was seen, a guess.
    information : ndarray
        (8, 8) inverse covariance of these corners as an absolute measurement; zero when there is none.
    step : ndarray
        (4, 2) movement of the corners since the frame that was tracked before this one.
    step_information : ndarray
        (8, 8) of that movement; zero when it is unknown.
    seen : float
        Share, 0 to 1, of what lies in the image of the quad that looks right.
    confidence : float
        0 to 1.
    anchor : str
        What the corners rest on: "key", "recent", "chain", "features" or "none".
    cut : bool
        A new shot begins here (in the direction of tracking).
    jump : bool
        Found anew at another place: no smoothing across.
    """

    frame: int
    corners: Points
    information: npt.NDArray[np.float64]
    step: Points
    step_information: npt.NDArray[np.float64]
    seen: float
    confidence: float
    anchor: str
    cut: bool = False
    jump: bool = False

    def to_plain(self) -> dict[str, Any]:
        """As numbers, strings and lists; every digit is kept."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in plain.items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Observation":
        """The inverse of `to_plain`."""
        values: dict[str, Any] = {
            key: np.array(value) if isinstance(value, list) else value for key, value in plain.items()
        }
        return cls(**values)


class Tracker:
    """Follows a quad from its keyframe.

    Parameters
    ----------
    keyframe : Image
        The frame on which the edit was made.
    quad : ndarray
        (4, 2) corners of the edit in its pixels.
    find : callable
        Gives the place of the quad in any frame by features, or None.
    working_side : int
        Short side in pixels of the frames for tracking, see `working_size`.
    feature_stride : int
        Features look at every so many frames; 0: only when the patch was lost.
    """

    def __init__(
        self, keyframe: Image, quad: Points, find: Finder, *, working_side: int = 480, feature_stride: int = 12
    ) -> None:
        self._full = keyframe.size
        self._size = working_size(keyframe.size, quad_side(quad), working_side)
        self._find = find
        self._stride = feature_stride
        self._corners = rescale_points(quad, self._full, self._size)
        self._key = Template.of(grey(keyframe, self._size), self._corners)
        self._palette = palette(keyframe, quad)
        self._recent = self._key
        self._recent_noise = np.zeros((8, 8))
        self._before: Template | None = self._key
        self._velocity = np.zeros((4, 2))
        self._lost = 0
        self._age = 0  # frames since the recent template was taken
        self._since_features = 0
        self._disagreed = 0
        self._fading = 1.0  # confidence that is left since the keyframe was last seen
        self._cuts = CutDetector()
        self._cuts(keyframe)

    def step(self, index: int, image: Image) -> Observation:
        """Take the next frame.

        Parameters
        ----------
        index : int
            Its number, for the observation.
        image : Image
            The frame.

        Returns
        -------
        Observation
        """
        picture = grey(image, self._size)
        cut = self._cuts(image)
        last = self._corners
        predicted = last + (0 if cut else 1) * self._velocity
        chain = None
        if self._before is not None and not cut:
            chain = follow(self._before, predicted, picture, warp=False, levels=3, planar=False)
        self._since_features += 1
        if cut:  # something large that passes may look like a cut
            key = self._best(self._key, [last + self._velocity], picture)
            cut = self._lost > 0 or key is None or key.seen < _CONFIRMED
            predicted = last if cut else last + self._velocity
        guesses = [predicted] if chain is None else [chain.pose.corners, predicted]
        key = self._best(self._key, guesses, picture)
        anchor, found = self._choose(key, guesses, chain, picture)
        jump, confidence = False, 0.0
        if found is None:
            anchor, found, jump, confidence = self._again(image, picture, predicted)
        elif anchor != "key" and self._stride and self._since_features >= self._stride:
            anchor, found, jump, confidence = self._check(image, picture, anchor, found)
        noise = self._recent_noise if anchor == "recent" else np.zeros((8, 8))
        return self._conclude(
            index, picture, last, predicted, anchor=anchor, found=found, chain=chain, noise=noise, cut=cut, jump=jump,
            confidence=confidence,
        )  # fmt: skip

    def _best(
        self, template: Template, guesses: list[Points], picture: npt.NDArray[np.uint8], *, planar: bool = True
    ) -> Sighting | None:
        """The sighting from the first guess that is confirmed, or the better one."""
        best: Sighting | None = None
        for guess in guesses:
            sighting = follow(template, guess, picture, warp=True, planar=planar)
            if sighting is not None and (best is None or sighting.seen > best.seen):
                best = sighting
            if best is not None and best.seen > _CONFIRMED:
                break
        return best

    def _choose(
        self, key: Sighting | None, guesses: list[Points], chain: Sighting | None, picture: npt.NDArray[np.uint8]
    ) -> tuple[str, Sighting | None]:
        """What to rest on: the keyframe where it is confirmed, else what looks most right."""
        if key is not None and key.seen > _CONFIRMED:
            return "key", key
        recent = self._best(self._recent, guesses, picture, planar=False)
        bonuses = (("key", key, 0.1), ("recent", recent, 0.0), ("chain", chain if self._fading > 0.3 else None, -0.1))
        options = [
            (sighting.seen + bonus, name, sighting)
            for name, sighting, bonus in bonuses
            if sighting is not None and sighting.seen + bonus > _CONFIRMED
        ]
        if not options:
            return "none", None
        _, name, best = max(options, key=lambda option: option[0])
        return name, best

    def _again(
        self, image: Image, picture: npt.NDArray[np.uint8], predicted: Points
    ) -> tuple[str, Sighting | None, bool, float]:
        """Look for the patch in the whole frame: anchor, sighting, whether it jumped, confidence of features."""
        if self._lost % _SEARCH == 0:
            for guess in search(self._key, predicted, picture):
                sighting = follow(self._key, guess, picture, warp=True, levels=3)
                if sighting is not None and sighting.seen > _CONFIRMED:
                    return "key", sighting, True, 0.0
        if self._lost in _LOOKS or self._lost % (self._stride or _LOST_STRIDE) == 0:
            self._since_features = 0
            place = self._find(image)
            if place is not None and place.confidence > 0.3:
                corners = rescale_points(place.corners, self._full, self._size)
                sighting = follow(self._key, corners, picture, warp=True, levels=4)
                if sighting is not None and sighting.seen > _CONFIRMED:
                    return "key", sighting, True, place.confidence
                if place.confidence > _TRUSTED and self._alike(image, place.corners) > _COLORS:
                    return "features", _coarse(corners), True, place.confidence
        return "none", None, False, 0.0

    def _check(
        self, image: Image, picture: npt.NDArray[np.uint8], anchor: str, found: Sighting
    ) -> tuple[str, Sighting | None, bool, float]:
        """Go on with what is followed without the keyframe, unless the patch itself is seen, or features contradict."""
        self._since_features = 0
        for guess in search(self._key, found.pose.corners, picture):
            sighting = follow(self._key, guess, picture, warp=True, levels=3)
            if sighting is not None and sighting.seen > _CONFIRMED:
                return "key", sighting, True, 0.0
        if self._alike(image, rescale_points(found.pose.corners, self._size, self._full)) < _OTHER:
            return "none", None, False, 0.0
        place = self._find(image)
        if place is None:
            return anchor, found, False, 0.0
        corners = rescale_points(place.corners, self._full, self._size)
        apart = np.linalg.norm(corners.mean(0) - found.pose.corners.mean(0)) / quad_side(corners)
        if apart <= _SAME:
            self._disagreed = 0
            self._fading = max(self._fading, place.confidence)
        elif place.confidence > 0.5 and self._alike(image, place.corners) > _COLORS:
            self._disagreed += 1
            if self._disagreed >= 2:
                return "features", _coarse(corners), True, place.confidence
        return anchor, found, False, 0.0

    def _alike(self, image: Image, corners: Points) -> float:
        """How much of the keyframe's colours a place in a frame has, 0 to 1."""
        return float(np.minimum(self._palette, palette(image, corners)).sum())

    def _conclude(
        self, index: int, picture: npt.NDArray[np.uint8], last: Points, predicted: Points, *, anchor: str,
        found: Sighting | None, chain: Sighting | None, noise: npt.NDArray[np.float64], cut: bool, jump: bool,
        confidence: float,
    ) -> Observation:  # fmt: skip
        """Bring the state up to date and say what was observed."""
        jump = jump or cut
        if found is None:
            self._lost += 1
            damping = 0.9 if self._lost <= _GIVE_UP else 0.0
            self._velocity = self._velocity * damping
            self._corners = predicted if self._lost <= _GIVE_UP else last
            self._before = None
            return self._observation(
                index, np.zeros((8, 8)), None, last, seen=0.0, confidence=0.0, anchor="none", cut=cut, jump=False
            )
        self._corners = found.pose.corners if anchor == "key" else self._regularised(found.pose.corners)
        if jump and not cut and np.linalg.norm(self._corners - predicted, axis=1).max() < 0.5 * quad_side(last):
            jump = False  # near enough to be smoothed over
        if jump or self._lost:
            self._velocity = np.zeros((4, 2))
        else:
            self._velocity = 0.5 * self._velocity + 0.5 * (self._corners - last)
        covariance = np.linalg.inv(found.pose.information + 1e-9 * np.eye(8)) + noise
        if anchor == "key":
            self._fading = 1.0
            self._disagreed = 0
        elif anchor == "features":
            self._fading = confidence
        else:
            self._fading *= 0.995 if anchor == "recent" else 0.97
        self._age += 1
        if self._age >= _RENEW or anchor == "features" or jump:
            self._recent, self._age = Template.of(picture, self._corners), 0
            self._recent_noise = covariance if anchor != "chain" else covariance + np.eye(8)
        self._before = Template.of(picture, self._corners)
        self._lost = 0
        information = np.asarray(np.linalg.inv(covariance) if anchor != "chain" else np.zeros((8, 8)))
        sure = self._fading * (found.seen if anchor != "features" else 1.0)
        return self._observation(
            index, information, chain, last, seen=1.0 if anchor == "features" else found.seen, confidence=sure,
            anchor=anchor, cut=cut, jump=jump,
        )  # fmt: skip

    def _regularised(self, corners: Points) -> Points:
        """Take back some of a shape that does not rest on the keyframe: it wanders off otherwise."""
        quad = self._key.corners
        source, target = quad - quad.mean(0), corners - corners.mean(0)
        z, w = source @ [1, 1j], target @ [1, 1j]
        turned = (np.vdot(z, w) / np.vdot(z, z)) * z
        similar = np.stack([turned.real, turned.imag], 1)
        affine = source @ np.linalg.lstsq(source, target, rcond=None)[0]
        regularised: Points = corners - _TAME * (affine - similar) - _TAME_TAPER * (target - affine)
        return regularised

    def _observation(
        self, index: int, information: npt.NDArray[np.float64], chain: Sighting | None, last: Points, *,
        seen: float, confidence: float, anchor: str, cut: bool, jump: bool,
    ) -> Observation:  # fmt: skip
        """In pixels of the full frame."""
        scale = self._full[0] / self._size[0]
        known = chain is not None and anchor != "none" and not jump
        step = chain.pose.corners - last if known and chain is not None else np.zeros((4, 2))
        step_information = chain.pose.information if known and chain is not None else np.zeros((8, 8))
        return Observation(
            frame=index, corners=rescale_points(self._corners, self._size, self._full),
            information=information / scale**2, step=step * scale, step_information=step_information / scale**2,
            seen=float(seen), confidence=float(np.clip(confidence, 0, 1)), anchor=anchor, cut=cut, jump=jump,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Arrays from which `restore` goes on exactly here."""
        before = self._before
        numbers = [self._lost, self._age, self._since_features, self._disagreed, self._fading]
        return {
            "corners": self._corners, "velocity": self._velocity, "numbers": np.array(numbers, dtype=np.float64),
            "recent_picture": self._recent.picture, "recent_corners": self._recent.corners,
            "recent_noise": self._recent_noise,
            "before_picture": np.zeros((0, 0), np.uint8) if before is None else before.picture,
            "before_corners": np.zeros((0, 2)) if before is None else before.corners,
            **self._cuts.state(),
        }  # fmt: skip

    def _check_state(self, state: dict[str, Any]) -> None:
        first = {key: np.asarray(value) for key, value in self.state().items()}
        frame = {"before_picture": "recent_picture", "before_corners": "recent_corners"}
        shapes = {key: {value.shape, first[frame.get(key, key)].shape} for key, value in first.items()}
        shapes["cut_before"] |= {(0, 0, 3), (27, 48, 3)}
        shapes["cut_changes"] = {(count,) for count in range(13)}
        shapes["before_picture"].add((0, 0))
        shapes["before_corners"].add((0, 2))
        if state.keys() != first.keys():
            raise ValueError("the state has other arrays")
        for key, value in state.items():
            fits = value.dtype == first[key].dtype and value.shape in shapes[key]
            if not fits or (value.dtype.kind == "f" and not np.isfinite(value).all()):
                raise ValueError(f"the state has another {key}")
        if (state["before_picture"].size > 0) != (state["before_corners"].size > 0):
            raise ValueError("the state has half a template")

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; raises ValueError, and changes nothing, for arrays that no such tracker can have."""
        self._check_state(state)
        self._corners, self._velocity = state["corners"], state["velocity"]
        lost, age, since, disagreed, self._fading = state["numbers"].tolist()
        self._lost, self._age, self._since_features, self._disagreed = int(lost), int(age), int(since), int(disagreed)
        self._recent = Template.of(state["recent_picture"], state["recent_corners"])
        self._recent_noise = state["recent_noise"]
        whole = state["before_picture"].size > 0
        self._before = Template.of(state["before_picture"], state["before_corners"]) if whole else None
        self._cuts.restore(state)


def _coarse(corners: Points) -> Sighting:
    """A place found by features alone."""
    information = np.eye(8) / (_FEATURE_NOISE * quad_side(corners)) ** 2
    return Sighting(PoseFit(corners, information, 0.0), 0.0)
