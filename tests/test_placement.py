"""Placing edits: known warps are recovered, pins hold, masks are kept to, nonsense is answered in words."""

import numpy as np
import pytest
from skimage import data

from dift_edit.errors import EditError, GeometryError
from dift_edit.features.base import FeatureMap
from dift_edit.geometry.base import MatrixTransform, quad_folds, quad_iou
from dift_edit.geometry.mesh import PiecewiseAffine, triangulate
from dift_edit.image import Image
from dift_edit.instances import locate_best_view, locate_instances
from dift_edit.placement import locate, locate_features
from dift_edit.warp import warp_image

QUAD = np.array([[150.0, 70], [290, 70], [290, 200], [150, 200]])  # the astronaut's head
ENGINES = ["auto", "similarity", "affine", "homography", "mesh", "spline"]


@pytest.fixture(scope="module")
def astronaut() -> Image:
    return Image(data.astronaut())


@pytest.fixture(scope="module")
def features(astronaut, mini) -> FeatureMap:
    return mini(astronaut)


def homography() -> MatrixTransform:
    turn = np.radians(12)
    c, s = 0.8 * np.cos(turn), 0.8 * np.sin(turn)
    return MatrixTransform(np.array([[c, -s, 90], [s, c, 20], [1.5e-4, -1e-4, 1]]))


def opaque(image: Image) -> Image:
    return Image(image.pixels)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_picture_gives_the_identity(astronaut, mini, engine: str) -> None:
    placement = locate(astronaut, QUAD, astronaut, featurizer=mini, engine=engine)
    assert np.abs(placement.quad - QUAD).max() < 0.5
    assert placement.confidence > 0.9 and not placement.mirrored and not placement.reason


def test_a_known_homography_is_recovered(astronaut, mini) -> None:
    truth = homography()
    target = opaque(warp_image(astronaut, truth, (512, 512)))
    placement = locate(astronaut, QUAD, target, featurizer=mini)
    size = np.sqrt(np.prod(np.ptp(QUAD, axis=0)))
    assert np.linalg.norm(placement.quad - truth(QUAD), axis=1).max() < 0.02 * size
    assert placement.engine == "homography/surface"


def test_features_alone_place_well_too(astronaut, features, mini) -> None:
    truth = homography()
    target = mini(opaque(warp_image(astronaut, truth, (512, 512))))
    for engine in ENGINES:
        placement = locate_features(features, QUAD, target, engine=engine)
        assert quad_iou(placement.quad, truth(QUAD)) > 0.7, engine
        assert not quad_folds(placement.quad)


def test_a_bent_surface_needs_a_mesh(astronaut, mini) -> None:
    steps = np.linspace(0, 511, 7)
    grid = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
    wave = 14 * np.stack([np.sin(grid[:, 1] / 60), np.sin(grid[:, 0] / 55)], 1)
    wave[((grid == 0) | (grid == 511)).any(1)] = 0
    truth = PiecewiseAffine(grid, grid + wave, triangulate(grid), MatrixTransform(np.eye(3)))
    target = opaque(warp_image(astronaut, truth, (512, 512)))
    x, y = np.meshgrid(np.linspace(150, 290, 8), np.linspace(70, 200, 8))
    inner = np.stack([x.ravel(), y.ravel()], 1)
    error = {}
    for engine in ("similarity", "mesh", "spline"):
        found = locate(astronaut, QUAD, target, featurizer=mini, engine=engine)
        error[engine] = np.linalg.norm(found.transform(inner) - truth(inner), axis=1).mean()
    assert error["mesh"] < 0.6 * error["similarity"]
    assert error["spline"] < 0.6 * error["similarity"]


def test_a_mirrored_picture_is_recognised(astronaut, mini) -> None:
    placement = locate(astronaut, QUAD, astronaut.mirrored(), featurizer=mini)
    assert placement.mirrored
    assert quad_iou(placement.quad, QUAD * [-1, 1] + [511, 0]) > 0.6
    assert placement.quad[0, 0] > placement.quad[1, 0]
    assert not locate(astronaut, QUAD, astronaut.mirrored(), featurizer=mini, mirror="never").mirrored


def test_the_result_follows_from_the_seed(features) -> None:
    first, again = (locate_features(features, QUAD, features, seed=3) for _ in range(2))
    assert np.array_equal(first.quad, again.quad) and first.confidence == again.confidence


def test_pins_hold(features) -> None:
    pairs = [((160, 90), (200, 120)), ((280, 90), (300, 110)), ((220, 190), (240, 230)), ((170, 180), (190, 215))]
    for count in (1, 2, 3, 4):
        placement = locate_features(features, QUAD, features, pins=pairs[:count])
        source, target = (np.array([pair[k] for pair in pairs[:count]], float) for k in (0, 1))
        assert np.abs(placement.transform(source) - target).max() < 1e-6, count
    mirrored = locate_features(features, QUAD, features, lambda: features, mirror="always", pins=pairs[:1])
    assert np.abs(mirrored.transform([(160, 90)]) - [(200, 120)]).max() < 1e-6


def test_maps_of_two_fingerprints_are_refused(features) -> None:
    other = FeatureMap(features.data, features.image_size, "another", features.digest)
    with pytest.raises(GeometryError, match="different featurizers"):
        locate_features(features, QUAD, other)
    with pytest.raises(GeometryError, match="different featurizers"):
        locate_features(features, QUAD, features, lambda: other, mirror="always")
    fewer = FeatureMap(features.data[:8], features.image_size)
    with pytest.raises(GeometryError, match="different featurizers"):
        locate_features(features, QUAD, fewer)


def test_masks_say_where_to_look(features) -> None:
    left = np.zeros((512, 512), bool)
    left[:, :140] = True
    placement = locate_features(features, QUAD, features, target_mask=left)
    assert placement.matches is not None
    held = placement.matches.weights > 0.01 * placement.matches.weights.max()
    assert (placement.matches.target[held, 0] < 160).all()
    only = locate_features(features, QUAD, features, source_mask=np.ones((512, 512), bool))
    assert quad_iou(only.quad, QUAD) > 0.8
    with pytest.raises(GeometryError, match="size"):
        locate_features(features, QUAD, features, source_mask=np.ones((5, 5), bool))
    with pytest.raises(GeometryError, match="mask leaves"):
        locate_features(features, QUAD, features, target_mask=np.zeros((512, 512), bool))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"engine": "magic"}, "no engine 'magic'"),
        ({"mirror": "maybe"}, "mirror test"),
        ({"pins": [(1, 2)]}, "pairs"),
        ({"pins": [((1, 1), (2, 2)), ((1, 1), (3, 3))]}, "same place"),
    ],
)
def test_wrong_options_are_named(features, options: dict, words: str) -> None:
    with pytest.raises(EditError, match=words):
        locate_features(features, QUAD, features, **options)


def test_the_notebook_engine_finds_the_identity(features) -> None:
    placement = locate_features(features, QUAD, features, engine="notebook")
    assert np.abs(placement.quad - QUAD).max() < 8
    assert placement.matrix is not None and placement.engine == "notebook"


def test_every_instance_is_found_once(astronaut, mini) -> None:
    twice = np.concatenate([astronaut.pixels[:300, 60:360], astronaut.pixels[:300, 60:360]], 1)
    first = QUAD - [60, 0]
    found = locate_instances(astronaut, QUAD, Image(twice), featurizer=mini, mirror="never", min_confidence=0.3)
    for truth in (first, first + [300, 0]):
        assert max(quad_iou(placement.quad, truth) for placement in found) > 0.5
    assert all(quad_iou(a.quad, b.quad) < 0.3 for k, a in enumerate(found) for b in found[:k])


def test_the_better_view_is_taken(astronaut, mini) -> None:
    other = Image(data.coffee())
    views = [(other, QUAD), (astronaut, QUAD)]
    index, placement = locate_best_view(views, astronaut, featurizer=mini, mirror="never")
    assert index == 1 and np.abs(placement.quad - QUAD).max() < 0.5
    with pytest.raises(EditError, match="no view"):
        locate_best_view([], astronaut, featurizer=mini)
