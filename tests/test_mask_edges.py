"""Masks that end where the image has an edge."""

import cv2
import numpy as np
import pytest
import torch

from dift_edit.errors import GeometryError
from dift_edit.evaluation.segmentation import contour_accuracy, region_similarity
from dift_edit.imaging.edges import labels_at_edges, mask_at_edges
from dift_edit.imaging.image import Image

CELL = 8


def drawn(seed: int) -> tuple[Image, np.ndarray]:
    """A noisy image with a star of another colour, and where the star is."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 11)[:-1] + rng.uniform(0, 1)
    reach = np.where(np.arange(10) % 2, 22, 55)
    corners = np.stack([100 + reach * np.cos(angle), 64 + reach * np.sin(angle)], 1)
    mask = cv2.fillPoly(np.zeros((128, 200), np.uint8), [corners.round().astype(np.int32)], 1)
    colors = rng.integers(40, 216, (2, 3))
    while np.abs(colors[0] - colors[1]).max() < 60:
        colors = rng.integers(40, 216, (2, 3))
    pixels = colors[mask] + rng.normal(0, 3, (128, 200, 3))
    return Image(pixels.round().clip(0, 255).astype(np.uint8)), mask


def coarse(mask: np.ndarray, count: int = 2) -> torch.Tensor:
    """Blurred shares of the classes in cells, as a propagation finds them."""
    full = torch.from_numpy(np.stack([mask == value for value in range(count)]).astype(np.float32))
    shares = torch.nn.functional.avg_pool2d(full[None], CELL)
    return torch.nn.functional.avg_pool2d(shares, 3, 1, 1, count_include_pad=False)[0]


def enlarged(scores: torch.Tensor, image: Image) -> np.ndarray:
    size = image.pixels.shape[:2]
    return torch.nn.functional.interpolate(scores[None], size=size, mode="bilinear")[0].argmax(0).numpy()


@pytest.mark.parametrize("seed", range(4))
def test_thin_tips_come_back(seed: int) -> None:
    image, mask = drawn(seed)
    plain, sharp = enlarged(coarse(mask), image), labels_at_edges(coarse(mask), image)
    assert region_similarity(sharp, mask) > region_similarity(plain, mask) + 0.05
    assert contour_accuracy(sharp, mask) > contour_accuracy(plain, mask) + 0.05
    assert np.array_equal(sharp, labels_at_edges(coarse(mask), image)), "the same every time"


def test_every_class_ends_at_its_edge() -> None:
    image, mask = drawn(0)
    mask = mask.astype(int)
    mask[:, 160:] = 2
    pixels = image.pixels.copy()
    pixels[:, 160:] = (10, 250, 10)
    sharp = labels_at_edges(coarse(mask, 3), Image(pixels))
    assert (sharp == mask).mean() > 0.97 > (enlarged(coarse(mask, 3), image) == mask).mean()


def test_without_edges_the_outline_stays_about_where_it_was() -> None:
    _, mask = drawn(1)
    flat = Image(np.full((128, 200, 3), 90, np.uint8))
    box = np.zeros_like(mask)
    box[32:96, 40:160] = 1
    assert region_similarity(labels_at_edges(coarse(box), flat), box) > 0.9


def test_what_is_sure_stays_whatever_the_colours_are() -> None:
    noise = Image(np.random.default_rng(0).integers(0, 256, (128, 200, 3), dtype=np.uint8))
    box = np.zeros((128, 200), np.uint8)
    box[32:96, 40:160] = 1
    found = labels_at_edges(coarse(box), noise)
    assert found[48:80, 56:144].all() and not found[:16].any() and not found[112:].any()


def test_small_images_and_other_depths() -> None:
    image, mask = drawn(2)
    deep = Image(image.pixels.astype(np.uint16) * 257)
    assert np.array_equal(labels_at_edges(coarse(mask), deep), labels_at_edges(coarse(mask), image))
    tiny = Image(np.zeros((2, 3, 3), np.uint8))
    assert labels_at_edges(torch.tensor([[[0.2]], [[0.8]]]), tiny).all()
    assert not labels_at_edges(torch.ones(1, 4, 4), image).any(), "one class is everywhere"
    with pytest.raises(GeometryError, match="reach"):
        labels_at_edges(coarse(mask), image, reach=0)


@pytest.mark.parametrize("seed", range(3))
def test_a_mask_that_was_put_a_little_off_moves_to_the_edges(seed: int) -> None:
    image, mask = drawn(seed)
    shifted = np.roll(mask, (2, 3), (0, 1)) > 0
    found = mask_at_edges(shifted, image, error=0.03)
    assert region_similarity(found, mask) > region_similarity(shifted, mask) + 0.05
    assert not mask_at_edges(np.zeros_like(mask), image).any()
    with pytest.raises(GeometryError, match="200×128"):
        mask_at_edges(mask[1:], image)
