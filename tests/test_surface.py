"""The very same surface is recognised and aligned to a fraction of a pixel; another one is not taken for it."""

import numpy as np
import pytest
from skimage import data

from dift_edit.errors import GeometryError
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.mesh import PiecewiseAffine, triangulate
from dift_edit.imaging.image import Image
from dift_edit.placement.instances import locate_instances
from dift_edit.placement.pixel_alignment import align
from dift_edit.placement.placement import locate
from dift_edit.placement.same_surface import match_surface
from dift_edit.rendering.warp import warp_image

QUAD = np.array([[150.0, 70], [290, 70], [290, 200], [150, 200]])
SIZE = (512, 512)


@pytest.fixture(scope="module")
def astronaut() -> Image:
    return Image(data.astronaut())


def near(truth: MatrixTransform, shift: float) -> MatrixTransform:
    """The truth, moved and grown as a placement by features may be."""
    return truth.then(MatrixTransform(np.array([[1.04, 0, shift], [0, 1.04, -shift], [0, 0, 1]])))


def turned() -> MatrixTransform:
    turn = np.radians(12)
    c, s = 0.8 * np.cos(turn), 0.8 * np.sin(turn)
    return MatrixTransform(np.array([[c, -s, 90], [s, c, 20], [1.5e-4, -1e-4, 1]]))


def bent() -> PiecewiseAffine:
    steps = np.linspace(0, 511, 13)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    wave = 9 * np.stack([np.sin(grid[:, 1] / 60), np.sin(grid[:, 0] / 55)], 1)
    wave[((grid == 0) | (grid == 511)).any(1)] = 0
    return PiecewiseAffine(grid, grid + wave, triangulate(grid), MatrixTransform(np.eye(3)))


def relit(image: Image) -> Image:
    rng = np.random.default_rng(0)
    values = (image.pixels / 255.0) ** 1.4 * (0.9, 0.75, 1.05) + rng.normal(0, 0.03, image.pixels.shape)
    return Image((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def shown(picture: Image, transform) -> Image:
    return Image(warp_image(picture, transform, SIZE).pixels)


@pytest.mark.parametrize("light", [False, True])
def test_alignment_is_right_to_a_fraction_of_a_pixel(astronaut, light: bool) -> None:
    truth = turned()
    target = shown(astronaut, truth)
    found = align(astronaut, QUAD, relit(target) if light else target, near(truth, 6))
    error = np.linalg.norm(found.pairs.target - truth(found.pairs.source), axis=1)
    assert found.share > 0.5 and found.inside > 100
    assert np.median(error) < 0.25 and np.quantile(error, 0.9) < 1.0


def test_alignment_follows_a_bent_surface(astronaut) -> None:
    truth = bent()
    found = align(astronaut, QUAD, shown(astronaut, truth), MatrixTransform(np.eye(3)))
    error = np.linalg.norm(found.pairs.target - truth(found.pairs.source), axis=1)
    assert found.share > 0.5 and np.median(error) < 0.35


@pytest.mark.parametrize("other", [data.chelsea, data.coffee, data.rocket])
def test_another_object_is_not_the_same_surface(astronaut, other) -> None:
    target = Image(np.ascontiguousarray(other()))
    assert align(astronaut, QUAD, target, MatrixTransform(np.eye(3))).share < 0.1
    assert match_surface(astronaut, QUAD, target, MatrixTransform(np.eye(3))) is None


def test_a_surface_without_texture_is_no_surface() -> None:
    flat = Image(np.full((200, 300, 3), 120, np.uint8))
    quad = np.array([[50.0, 50], [150, 50], [150, 120], [50, 120]])
    found = align(flat, quad, flat, MatrixTransform(np.eye(3)))
    assert found.share == 0 and not len(found.pairs.source)
    assert match_surface(flat, quad, flat, MatrixTransform(np.eye(3))) is None


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_depth_of_the_pixels_does_not_matter(astronaut, kind) -> None:
    truth = turned()
    target = shown(astronaut, truth)
    deep = target.pixels.astype(np.uint16) * 257 if kind is np.uint16 else (target.pixels / 255).astype(np.float32)
    plain = align(astronaut, QUAD, target, near(truth, 4)).pairs
    again = align(astronaut, QUAD, Image(deep), near(truth, 4)).pairs
    assert len(plain.source) == pytest.approx(len(again.source), rel=0.1)
    assert np.median(np.linalg.norm(again.target - truth(again.source), axis=1)) < 0.25


def test_keypoints_find_what_features_missed(astronaut) -> None:
    truth = turned()
    target = shown(astronaut, truth)
    wrong = MatrixTransform(np.array([[0.8, 0, 300], [0, 0.8, 300], [0, 0, 1]]))
    assert match_surface(astronaut, QUAD, target, wrong, keypoints=False) is None
    found = match_surface(astronaut, QUAD, target, wrong)
    assert found is not None and found.share > 0.5
    assert np.median(np.linalg.norm(found.pairs.target - truth(found.pairs.source), axis=1)) < 0.3


def test_masks_bound_the_surface(astronaut) -> None:
    left = np.zeros((512, 512), bool)
    left[:, :220] = True
    identity = MatrixTransform(np.eye(3))
    found = match_surface(astronaut, QUAD, astronaut, identity, target_mask=left)
    assert found is not None and found.pairs.target[:, 0].max() < 220.5
    elsewhere = np.zeros((512, 512), bool)
    elsewhere[300:] = True
    assert match_surface(astronaut, QUAD, astronaut, identity, target_mask=elsewhere) is None
    with pytest.raises(GeometryError, match="size"):
        match_surface(astronaut, QUAD, astronaut, identity, source_mask=np.ones((3, 3), bool))


def test_the_surface_is_seen_in_the_mirror(astronaut, mini) -> None:
    placement = locate(astronaut, QUAD, astronaut.mirrored(), featurizer=mini)
    assert placement.mirrored and placement.on_surface
    assert np.abs(placement.quad - (QUAD * [-1, 1] + [511, 0])).max() < 0.5


def test_a_bent_surface_is_placed_by_a_mesh_of_its_own_accord(astronaut, mini) -> None:
    truth = bent()
    placement = locate(astronaut, QUAD, shown(astronaut, truth), featurizer=mini)
    x, y = np.meshgrid(np.linspace(155, 285, 8), np.linspace(75, 195, 8))
    inner = np.stack([x.ravel(), y.ravel()], 1)
    error = np.linalg.norm(placement.transform(inner) - truth(inner), axis=1).mean()
    assert placement.engine == "mesh" and placement.on_surface and error < 0.015 * 135


@pytest.mark.slow
def test_every_copy_is_placed_exactly(astronaut, mini) -> None:
    twice = np.concatenate([astronaut.pixels[:300, 60:360], astronaut.pixels[:300, 60:360]], 1)
    found = locate_instances(astronaut, QUAD, Image(twice), featurizer=mini, mirror="never")
    first = QUAD - [60, 0]
    for truth in (first, first + [300, 0]):
        assert min(np.abs(placement.quad - truth).max() for placement in found) < 0.5
