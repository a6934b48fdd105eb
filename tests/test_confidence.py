"""The confidence: which model it is made with, what it names, and what several instances do to it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from skimage import data

from dift_edit.features.registry import load_featurizer
from dift_edit.geometry.base import MatrixTransform
from dift_edit.geometry.quad import quad_iou
from dift_edit.imaging.image import Image
from dift_edit.pipeline import abstain_reason
from dift_edit.placement.confidence import WORDS, ConfidenceFeatures, against, calibrated, probability
from dift_edit.placement.placement import locate, locate_features, turned_features
from dift_edit.placement.second_look import SecondLook
from dift_edit.placement.similarities import Poses, others_like_best, sample_poses
from dift_edit.placement.votes import Affinity, gather_evidence

QUAD = np.array([[150.0, 70], [290, 70], [290, 200], [150, 200]])  # the astronaut's head


@pytest.fixture(scope="module")
def astronaut() -> Image:
    return Image(data.astronaut())


@pytest.fixture(scope="module")
def confidence_features(astronaut, mini) -> ConfidenceFeatures:
    features = mini(astronaut)
    found = locate_features(features, QUAD, features).confidence_features
    assert found is not None
    return found


def test_other_models_are_judged_by_the_same_features(confidence_features) -> None:
    assert not calibrated("unheard of") and set(asdict(confidence_features)) == set(WORDS)
    usual = probability(confidence_features, "unheard of")
    assert probability(replace(confidence_features, round_trip=0.0), "unheard of") < usual
    assert probability(replace(confidence_features, agreement=0.0, rank=0.5), "unheard of") < usual


def test_points_agree_with_the_place_that_they_vote_for(astronaut, mini) -> None:
    features = mini(astronaut)
    evidence = gather_evidence(features, QUAD, features)
    affinity = Affinity.of(features, features)
    near, rank = affinity.agreement(evidence, MatrixTransform(np.eye(3)))
    assert near > 0.8 and rank > 0.95
    near, rank = affinity.agreement(evidence, MatrixTransform(np.array([[1.0, 0, 0], [0, 1, 250], [0, 0, 1]])))
    assert near < 0.2 and rank < 0.95


def test_the_embedded_networks_are_calibrated() -> None:
    for name in ("mini", "lite", "dift-mini"):
        assert calibrated(load_featurizer(name).fingerprint), name


def test_a_placement_says_what_its_confidence_rests_on(astronaut, tiny) -> None:
    found = locate(astronaut, QUAD, Image(data.coffee()), featurizer=tiny, mirror="never", surface=False)
    assert found.confidence_source == "uncalibrated" and 0 < found.confidence < 1
    same = locate(astronaut, QUAD, astronaut, featurizer=tiny, mirror="never")
    assert same.confidence_source == "surface"
    pinned = locate(
        astronaut, QUAD, Image(data.coffee()), featurizer=tiny, mirror="never", surface=False,
        pins=[((160, 80), (200, 90)), ((250, 90), (300, 100)), ((200, 180), (240, 190)), ((170, 150), (210, 160))],
    )  # fmt: skip
    assert pinned.confidence_source == "pins"


def test_what_speaks_against_a_placement_is_named(confidence_features, astronaut, mini) -> None:
    assert against(confidence_features) == []
    bad = replace(confidence_features, round_trip=0.0, back=0.1, back_contrast=0.0)
    assert against(bad)[0] == "the way back disagrees"
    assert len(against(replace(bad, contrast=-2.0, whole_contrast=-2.0, overlap=0.1))) == 2
    features = mini(astronaut)
    placed = replace(locate_features(features, QUAD, features), confidence=0.1, confidence_features=bad)
    assert abstain_reason(placed, 0.3).startswith("the confidence 0.10 is below 0.30: the way back disagrees")
    assert abstain_reason(placed, 0.0) == ""
    named = [" and ".join(against(bad, name)) for name in ("", features.fingerprint)]
    assert [abstain_reason(placed, 0.3, name).split(": ")[1] for name in ("", features.fingerprint)] == named


@pytest.mark.slow
def test_a_second_instance_does_not_lower_the_confidence(astronaut, mini) -> None:
    once = astronaut.pixels[:300, 60:360]
    twice = Image(np.concatenate([once, once], 1))
    alone = Image(np.concatenate([once, np.full_like(once, 90)], 1))
    single, double = (
        locate(astronaut, QUAD, target, featurizer=mini, mirror="never", surface=False) for target in (alone, twice)
    )
    assert single.instances == 1 and double.instances == 2
    assert max(quad_iou(double.quad, QUAD + [shift, 0]) for shift in (-60, 240)) > 0.5
    assert double.confidence > single.confidence - 0.1


def test_the_votes_nearest_to_a_place_are_kept(astronaut, mini) -> None:
    features = mini(astronaut)
    evidence = gather_evidence(features, QUAD, features)
    half = evidence.nearest(np.array([128.0, 256.0]), np.array([[384.0, 256.0]]))
    width = evidence.votes.shape[2]
    assert half.votes[:, :, width // 2 :].sum() == 0
    before = evidence.votes[:, :, : width // 2].sum((1, 2)).numpy()
    assert np.allclose(half.votes.sum((1, 2)).numpy()[before > 1e-3], 1, atol=1e-4) and (before > 1e-3).any()
    poses = sample_poses(evidence)
    assert len(others_like_best(evidence, poses, poses.placement)) == 0


@pytest.mark.slow
def test_an_edit_is_found_on_a_target_on_its_side(astronaut, lite) -> None:
    for quarters in (1, 2, 3):
        target = astronaut.turned(quarters)
        truth = QUAD
        for _ in range(quarters):  # against the clock: what was on the right comes to the top
            truth = np.stack([truth[:, 1], 511 - truth[:, 0]], 1)
        found = locate(astronaut, QUAD, target, featurizer=lite, surface=False)
        assert quad_iou(found.quad, truth) > 0.6 and not found.mirrored, quarters
        assert np.linalg.norm(found.quad[0] - truth[0]) < 60


def test_turned_features_lie_on_the_source(astronaut, mini) -> None:
    part = Image(astronaut.pixels[:, :400])
    features = mini(part)
    turned = turned_features(mini, part, features, 1)
    assert turned.data.shape == features.data.shape and turned.image_size == part.size
    assert turned_features(mini, part, features, 1) is turned
    again = turned_features(mini, part.turned(1), mini(part.turned(1)), 3)
    assert np.allclose(again.data.numpy(), np.rot90(features.data.numpy(), 1, (1, 2)), atol=1e-4)


@pytest.mark.slow
def test_a_second_look_at_cuts_refines_a_small_edit(astronaut, mini) -> None:
    eyes = np.array([[195.0, 95], [245, 95], [245, 125], [195, 125]])
    canvas = np.full((900, 900, 3), 128, np.uint8)
    canvas[40:552, 350:862] = astronaut.pixels
    target, moved = Image(canvas), eyes + (350, 40)
    source, seen = mini(astronaut), mini(target)
    asked = []

    def closer(near, far, mirrored):
        asked.append((near, far, mirrored))
        return mini(astronaut.crop(near)), mini(target.crop(far))

    first = locate_features(source, eyes, seen)
    again = locate_features(source, eyes, seen, closer=closer)
    assert len(asked) == 1 and not asked[0][2]
    near, far, _ = asked[0]
    assert near == (157, 47, 283, 173) and min(far[2] - far[0], far[3] - far[1]) > 126
    assert quad_iou(again.quad, moved) > quad_iou(first.quad, moved)
    before, after = first.confidence_features, again.confidence_features
    assert before is not None and before.second_rank == before.rank
    assert after == replace(before, second_rank=after.second_rank) and after.second_rank != after.rank
    # Neither where the cuts would be the pictures again, nor with pins, nor on a recognised surface.
    for options in (
        {"pins": [((200, 100), (550, 140))]}, {"pictures": (astronaut, target)},
    ):  # fmt: skip
        locate_features(source, eyes, seen, closer=closer, **options)
    locate_features(source, np.array([[20.0, 20], [490, 20], [490, 490], [20, 490]]), source, closer=closer)
    assert len(asked) == 1


def test_two_looks_that_disagree_are_not_mixed() -> None:
    a = np.array([1.0 + 0j])
    quad = np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]])
    first = Poses(a, a * 0, np.ones(1), quad)
    far, near = (SecondLook(MatrixTransform(np.array([[s, 0, x], [0, s, x], [0, 0, 1]])), 0.1, 1.0)
                 for s, x in ((1.0, 50.0), (1.21, 1.0)))  # fmt: skip
    assert np.allclose(far.merged(first)(quad), quad)
    assert np.allclose(replace(far, overlap=2.0).merged(first)(quad), quad + 50)
    mean = near.merged(first)
    assert np.isclose(mean.matrix[0, 0], 1.1) and np.allclose(mean(quad).mean(0), (5 + 7.05) / 2)
