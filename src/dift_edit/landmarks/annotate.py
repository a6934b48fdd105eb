"""The annotations of one or several sources on a target."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dift_edit.annotations.model import AnnotatedObject, Annotations
from dift_edit.errors import AnnotationError
from dift_edit.features.base import Featurizer
from dift_edit.geometry.base import Transform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.quad import box_quad
from dift_edit.imaging.image import Image
from dift_edit.landmarks.carry import carry_object, landmarks_of, outline_points
from dift_edit.landmarks.frame import TargetMaps
from dift_edit.landmarks.matcher import LandmarkMatcher, Landmarks
from dift_edit.landmarks.stored import object_to_dict
from dift_edit.placement.placement import Placement
from dift_edit.rendering.compositing import Compositing
from dift_edit.settings import AnnotateSettings
from dift_edit.viz.annotated import draw_annotations

__all__ = ["Carried", "LabelCarrier", "SourceLabels"]

FARTHEST = 1.0
"""How far an object may reach beyond the edges of its image, in longer sides of that (chosen)."""


@dataclass(frozen=True, eq=False)
class SourceLabels:
    """Annotated sources: what `annotate` carries, in the place of an edit.

    Attributes
    ----------
    images : tuple of Image
        The sources.
    annotations : Annotations
        Of these images, in the same order.
    settings : AnnotateSettings

    Raises
    ------
    AnnotationError
        If there is no source, one has no objects, one of them lies outside, or its size is not the one in its
        annotations.
    """

    images: Sequence[Image]
    annotations: Annotations
    settings: AnnotateSettings = field(default_factory=AnnotateSettings)

    def __post_init__(self) -> None:
        if not self.images or len(self.images) != len(self.annotations.images):
            raise AnnotationError("There is no annotated source: name an image that the annotations hold.")
        for image, annotated in zip(self.images, self.annotations.images, strict=True):
            if not any(thing.extent() for thing in annotated.objects):
                raise AnnotationError(f"Nothing is annotated in {annotated.path}: annotate it, or leave it out.")
            if annotated.size is not None and annotated.size != image.size:
                raise AnnotationError(
                    f"The annotations of {annotated.path} are for an image of {annotated.size[0]}×{annotated.size[1]} "
                    f"pixels, but it has {image.size[0]}×{image.size[1]}: annotate this image, or give the right one."
                )
            for thing in annotated.objects:
                _check_place(thing, image.size, annotated.path)

    @property
    def quad(self) -> Points:
        """(4, 2) the box round everything in the first source."""
        extents = np.array([extent for t in self.annotations.images[0].objects if (extent := t.extent()) is not None])
        low, high = extents[:, :2].min(0), extents[:, 2:].max(0)
        return box_quad((low[0] + 0.5, low[1] + 0.5, high[0] + 0.5, high[1] + 0.5))

    def apply(
        self,
        target: Image,
        transform: Transform,
        *,
        source: Image | None = None,
        compositing: Compositing | None = None,
    ) -> Image:
        """The first source with its annotations, drawn: for the review page."""
        return draw_annotations(self.images[0], self.annotations.images[0].objects)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, of which a job's fingerprint is made."""
        return {
            "images": [image.digest for image in self.images],
            "objects": [[object_to_dict(thing) for thing in one.objects] for one in self.annotations.images],
            "mirrored": [[category.name, *category.mirrored] for category in self.annotations.categories],
            "settings": repr(self.settings),
        }


def _check_place(thing: AnnotatedObject, size: tuple[int, int], path: str) -> None:
    """Refuse an object of which nothing can be seen, or next to nothing: its box is mostly far beyond the image."""
    extent = thing.extent()
    if extent is None:
        return
    low, high, end = np.array(extent[:2]), np.array(extent[2:]), np.array(size) - 0.5
    if (high < -0.5).any() or (low > end).any() or max((-0.5 - low).max(), (high - end).max()) > FARTHEST * max(size):
        (left, top), (right, bottom) = low.tolist(), high.tolist()
        raise AnnotationError(
            f"The object {thing.category!r} in {path} reaches from ({left:.0f}, {top:.0f}) to "
            f"({right:.0f}, {bottom:.0f}), outside the image of {size[0]}×{size[1]} pixels or far beyond its edges: "
            "correct its place."
        )


@dataclass(frozen=True, eq=False)
class Carried:
    """Annotations on a target.

    Attributes
    ----------
    objects : tuple of AnnotatedObject
        Those that are there.
    placement : Placement
        Of the surest object, whether it is there or not.
    """

    objects: Sequence[AnnotatedObject]
    placement: Placement


class LabelCarrier:
    """Put the objects of annotated sources on targets; what depends on the sources alone is computed once.

    Parameters
    ----------
    labels : SourceLabels
        What to carry.
    featurizer : Featurizer
        Gives the features.
    """

    def __init__(self, labels: SourceLabels, featurizer: Featurizer) -> None:
        self.labels = labels
        self.featurizer = featurizer

    @cached_property
    def _matchers(self) -> list[list[tuple[AnnotatedObject, LandmarkMatcher]]]:
        settings = self.labels.settings
        return [
            [
                (
                    thing,
                    LandmarkMatcher(
                        image, landmarks_of(thing), around=outline_points(thing), featurizer=self.featurizer,
                        mirror=settings.mirror, seed=settings.seed,
                    ),
                )
                for thing in annotated.objects
                if thing.extent() is not None
            ]
            for image, annotated in zip(self.labels.images, self.labels.annotations.images, strict=True)
        ]  # fmt: skip

    def __call__(self, target: Image) -> Carried:
        """The annotations of the source whose objects are found most surely."""
        maps = TargetMaps(target, self.featurizer, self.labels.settings.seed)
        found = [[(thing, matcher, matcher(target, maps)) for thing, matcher in source] for source in self._matchers]
        sureness = [np.mean([landmarks.object_confidence for *_, landmarks in source]) for source in found]
        best = found[int(np.argmax(sureness))]
        objects = [self._carry(thing, matcher, landmarks, target) for thing, matcher, landmarks in best]
        surest = max((landmarks for *_, landmarks in best), key=lambda landmarks: landmarks.object_confidence)
        return Carried([thing for thing in objects if thing is not None], surest.placement)

    def _carry(
        self, thing: AnnotatedObject, matcher: LandmarkMatcher, found: Landmarks, target: Image
    ) -> AnnotatedObject | None:
        settings = self.labels.settings
        if found.placement.reason or found.object_confidence < settings.min_confidence:
            return None
        return carry_object(
            thing, self.labels.annotations.category(thing.category), transform=found.transform, points=found.points,
            point_confidence=found.confidence, confidence=found.object_confidence,
            least=settings.min_keypoint_confidence, target=target, source_size=matcher.source.size,
            swap_sides=settings.swap_sides and found.placement.mirrored,
        )  # fmt: skip
