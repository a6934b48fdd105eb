import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
import torch

import dift_edit as de
from dift_edit.errors import ModelError
from dift_edit.features.hooks import run_until


@pytest.mark.parametrize("size", [(97, 61), (64, 64), (33, 150)])
def test_map_covers_the_picture(mini, size: tuple[int, int], rng: np.random.Generator) -> None:
    image = de.as_image(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    features = mini(image)
    width, height = features.grid_size
    assert features.image_size == size
    assert abs(width / height - size[0] / size[1]) < 0.05 * size[0] / size[1]
    assert torch.isfinite(features.data).all() and features.data.dtype == torch.float32


def test_same_seed_same_features_whatever_came_before(mini, rng: np.random.Generator) -> None:
    first, second = (de.as_image(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)) for _ in range(2))
    once = mini(first, seed=3).data
    mini(second, seed=3)
    assert torch.equal(once, mini(first, seed=3).data)
    assert not torch.equal(once, mini(first, seed=4).data)


def test_the_part_that_weighs_most_tells_where_to_look_closer(mini, lite, dift_mini) -> None:
    assert mini.screening is lite and dift_mini.screening is dift_mini


def test_a_hook_gives_what_a_full_forward_computes(tiny) -> None:
    network = tiny.unet
    last = len(network.up_blocks) - 1
    assert last > 0
    sample = torch.randn(1, network.config.in_channels, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = {}
    handle = network.up_blocks[0].register_forward_hook(lambda m, i, o: seen.update(full=o))
    with torch.inference_mode():
        network(sample, 5)
    handle.remove()
    later = []
    handle = network.up_blocks[1].register_forward_hook(lambda m, i, o: later.append(o))
    stopped = run_until(network, ["mid_block", "up_blocks.0"], lambda: network(sample, 5))
    handle.remove()
    assert torch.equal(stopped["up_blocks.0"], seen["full"]) and not later
    with pytest.raises(ModelError, match=r"up_blocks\.9"):
        run_until(network, ["up_blocks.9"], lambda: None)


def test_the_embedded_network_is_a_stock_one_without_the_blocks_that_are_never_run(dift_mini) -> None:
    from diffusers import UNet2DModel

    assert type(dift_mini.unet) is UNet2DModel and len(dift_mini.unet.up_blocks) == 2
    assert not list(dift_mini.unet.conv_out.parameters())
    with pytest.raises(ModelError, match=r"up_blocks\.2"):
        dift_mini.with_settings(layers=("up_blocks.2",))(np.zeros((40, 40, 3), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mini", "lite", "dift_mini"])
def test_threads_may_share_a_network(name: str, request, rng: np.random.Generator) -> None:
    mini = request.getfixturevalue(name)
    images = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(4)]
    alone = [mini(image).data for image in images]
    together = Barrier(2)

    def extract(image):
        together.wait()
        return mini(image).data

    with ThreadPoolExecutor(2) as threads:
        shared = list(threads.map(extract, images))
    assert mini.parallel >= 1
    for one, other in zip(alone, shared, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_hooks_hold_when_threads_take_turns_at_any_moment() -> None:
    network = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(4)))
    sample = torch.ones(1, 4)
    with torch.inference_mode():
        expected = network[:3](sample)

    def use(number: int) -> None:
        layers = ["1", "2"] if number // 200 % 2 else ["2"]  # some want others than the rest
        outputs = run_until(network, layers, lambda: network(sample))
        assert outputs.keys() == set(layers) and torch.equal(outputs["2"], expected)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(use, range(4000)))
    finally:
        sys.setswitchinterval(interval)
    assert not any(part._forward_hooks for part in network)


def test_unknown_models_and_settings_are_named(tmp_path) -> None:
    with pytest.raises(ModelError, match="did you mean mini"):
        de.load_featurizer("minni")
    with pytest.raises(ModelError, match="setting"):
        de.load_featurizer("mini", colour=3)
    with pytest.raises(ModelError, match="not a model folder"):
        de.load_featurizer(tmp_path)
