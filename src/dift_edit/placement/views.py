"""Further views of an edit: other pictures that show the object, with the place of the edit on them."""

from dataclasses import dataclass, replace

import numpy as np

from dift_edit.errors import EditError, GeometryError
from dift_edit.features.base import FeatureMap, Featurizer, check_comparable
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.coords import Points
from dift_edit.geometry.estimate import Correspondences, fit_affine
from dift_edit.geometry.quad import as_quad, check_quad, quad_iou, signed_area
from dift_edit.imaging.files import as_image
from dift_edit.imaging.image import Image
from dift_edit.placement.similarities import sample_poses
from dift_edit.placement.votes import SCREEN_CELLS, WIDE, Affinity, Evidence, Mask, gather_evidence
from dift_edit.types import ImageLike, QuadLike

__all__ = ["SeenView", "View", "ViewEvidence"]

SCREEN_POINTS = 4
"""Each so manieth point is taken where two views are only compared (chosen, for time)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A further picture of the edit's object, and where the edit lies on it.

    Attributes
    ----------
    image : Image, path or array
        The picture, without the edit.
    quad : array_like
        (4, 2) corners of the edit in its pixels: top left, top right, bottom right, bottom left of the edit, which run
        the other way round where the picture shows the object mirrored.
    weight : float
        Of its evidence, above 0; the source's weighs 1.

    Raises
    ------
    EditError
        If the weight is no number above 0.
    """

    image: ImageLike
    quad: QuadLike
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.weight, int | float | np.number) or not 0 < self.weight < float("inf"):
            raise EditError(f"A view weighs {self.weight!r}: give a number above 0, or leave the view out.")

    def facing(self, quad: QuadLike) -> "View":
        """The view, mirrored where its edit is turned over against the edit on the source.

        Parameters
        ----------
        quad : array_like
            (4, 2) corners of the edit on the source.

        Raises
        ------
        EditError
            If the quad of the view is unusable.
        """
        picture = as_image(self.image)
        corners = check_quad(self.quad, picture.size, "The edit on a view")
        if signed_area(corners) * signed_area(as_quad(quad)) < 0:
            picture, corners = picture.mirrored(), corners * (-1, 1) + (picture.size[0] - 1, 0)
        return replace(self, image=picture, quad=corners)

    def seen(self, featurizer: Featurizer, *, seed: int = 0) -> "SeenView":
        """The view by its features; it has to face as the source does."""
        picture = as_image(self.image)
        return SeenView(featurizer(picture, seed=seed), np.asarray(self.quad, dtype=np.float64), self.weight, picture)


@dataclass(frozen=True, eq=False)
class SeenView:
    """A further view of an edit, by its features.

    Attributes
    ----------
    features : FeatureMap
        Of the picture; of its mirror image where it shows the object mirrored.
    quad : ndarray
        (4, 2) corners of the edit in pixels of that picture or mirror image.
    weight : float
        Of its evidence; the source's weighs 1.
    picture : Image, optional
        The same picture, to look for the very same surface with.
    """

    features: FeatureMap
    quad: Points
    weight: float = 1.0
    picture: Image | None = None

    def against(self, target: FeatureMap, target_mask: Mask | None, every: int) -> "ViewEvidence":
        """What each so manieth of its points says about a target, within a mask of the target."""
        check_comparable(self.features, target)
        affinity = Affinity.of(self.features, target, source_cells=SCREEN_CELLS)
        evidence = gather_evidence(
            self.features, self.quad, target, target_mask=target_mask, reach=WIDE, affinity=affinity, every=every
        )
        return ViewEvidence(self, affinity, evidence, every)

    def overlap(self, other: "SeenView", *, seed: int = 0) -> float:
        """IoU of another view's edit with where this view's edit is found in that picture, by few points."""
        check_comparable(self.features, other.features)
        affinity = Affinity.of(self.features, other.features, SCREEN_CELLS)
        try:
            evidence = gather_evidence(self.features, self.quad, other.features, affinity=affinity, every=SCREEN_POINTS)
            return quad_iou(sample_poses(evidence, seed=seed).placement(self.quad), other.quad)
        except GeometryError:
            return 0.0

    def to_edit(self, quad: Points) -> MatrixTransform:
        """The affine map from its pixels to those of the source, by the corners of the edit in both."""
        return fit_affine(Correspondences(self.quad, quad, np.ones(4)))


@dataclass(frozen=True, eq=False)
class ViewEvidence:
    """What a further view says about a target."""

    view: SeenView
    affinity: Affinity
    evidence: Evidence
    every: int
