"""Winograd's convolutions against plain ones."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dift_edit.features import winograd
from dift_edit.features.execution import Runtime
from dift_edit.features.winograd import convolve, quicken_convolutions, transformed_kernel
from trials import trials


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def difference(a, b):
    return float(torch.linalg.vector_norm(a.double() - b) / torch.linalg.vector_norm(b))


@pytest.mark.parametrize("m", [2, 4])
@trials(30)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 3),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bias=st.booleans(),
)
def test_equals_a_convolution_in_float64(m, seed, count, height, width, channels, bias):
    x = random(seed, count, channels[0], height, width).to(memory_format=torch.channels_last)
    weight, offset = random(seed + 1, *channels[::-1], 3, 3), random(seed + 2, channels[1]) if bias else None
    expected = F.conv2d(x.double(), weight.double(), None if offset is None else offset.double(), padding=1)
    with torch.no_grad():
        found = convolve(x, transformed_kernel(weight, m), offset, m)
    assert found.shape == expected.shape
    assert found.is_contiguous(memory_format=torch.channels_last)
    # Single sums may cancel, so the error is measured against the size of what was added up.
    size = float(F.conv2d(x.double().abs(), weight.double().abs(), padding=1).max())
    assert float((found - expected).abs().max()) < 1e-5 * size


def test_strips_do_not_show(monkeypatch):
    x, weight = random(0, 1, 8, 61, 47), random(1, 5, 8, 3, 3)
    expected = F.conv2d(x.double(), weight.double(), padding=1)
    for tiles in (1, 20, 10_000):
        monkeypatch.setattr(winograd, "_TILES_AT_ONCE", tiles)
        assert difference(convolve(x, transformed_kernel(weight, 4), None, 4), expected) < 1e-5


@pytest.fixture
def pair():
    """A convolution of 192 channels and its quickened copy."""
    plain = torch.nn.Conv2d(192, 192, 3, padding=1)
    torch.nn.init.normal_(plain.weight, generator=torch.Generator().manual_seed(0))
    quick = torch.nn.Conv2d(192, 192, 3, padding=1)
    quick.load_state_dict(plain.state_dict())
    network = Runtime().prepare(torch.nn.Sequential(quick))
    return plain.to(memory_format=torch.channels_last).requires_grad_(False), network


@torch.no_grad()
def test_prepared_networks_use_it(pair, monkeypatch):
    plain, network = pair
    calls = []
    monkeypatch.setattr(winograd, "convolve", lambda *given: calls.append(given[-1]) or convolve(*given))
    for side, tile in ((40, 4), (20, 2)):
        x = random(side, 2, 192, side, side + 3)
        assert difference(network(x), plain.double()(x.double())) < 1e-5
        plain.float()
        assert calls.pop() == tile
    network(random(1, 1, 192, 8, 8))  # too small a map
    assert not calls


@torch.no_grad()
def test_a_picture_does_not_depend_on_its_batch(pair):
    x = random(3, 4, 192, 33, 25)
    together = pair[1](x)
    for index in range(4):
        assert torch.equal(pair[1](x[index : index + 1])[0], together[index])


def test_elsewhere_the_plain_convolution_runs(pair, monkeypatch):
    plain, network = pair
    monkeypatch.setattr(winograd, "convolve", None)
    x = random(4, 1, 192, 32, 32).requires_grad_()
    network(x).sum().backward()
    assert x.grad is not None
    with torch.no_grad():
        network.double()
        assert torch.equal(network(x.double()), plain.double()(x.double()))


def test_other_convolutions_are_left_alone():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(192, 192, 3, padding=1, stride=2),
        torch.nn.Conv2d(192, 192, 3),
        torch.nn.Conv2d(192, 192, 1),
        torch.nn.Conv2d(192, 192, 3, padding=1, groups=2),
        torch.nn.Conv2d(192, 192, 3, padding=1, padding_mode="reflect"),
        torch.nn.Conv2d(32, 32, 3, padding=1),
    )
    quicken_convolutions(network)
    assert not any("forward" in vars(module) for module in network)
    assert not any(
        "forward" in vars(module)
        for runtime in (Runtime(channels_last=False), Runtime(compile=True))
        for module in [runtime.prepare(torch.nn.Conv2d(192, 192, 3, padding=1))]
    )
