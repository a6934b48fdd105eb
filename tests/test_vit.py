from pathlib import Path

import numpy as np
import pytest
import torch

import dift_edit as de
from dift_edit.errors import ModelError, SettingsError
from dift_edit.features.fusion import FusedFeaturizer
from dift_edit.features.vit import IMAGENET, OPENAI, UNIT, VIT_TYPES
from toy_models import convnext, vision_transformer

transformers = pytest.importorskip("transformers")
RADIO = ["radio"] if hasattr(transformers, "RadioModel") else []  # of newer versions than the oldest allowed
KINDS = ["vit", "dinov2", "dinov2_with_registers", "dinov3_vit", *RADIO, "clip"]
NORMALISED = {"clip": OPENAI, "radio": UNIT}  # a C-RADIO normalises its images itself


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: vision_transformer(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def picture(size: tuple[int, int] = (32, 32), seed: int = 0) -> de.Image:
    return de.as_image(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_equal_the_stock_output(folders, kind: str) -> None:
    """At the size that the network was made for, the tokens are those of a plain call."""
    featurizer = de.load_featurizer(folders[kind], image_size=32, layer=1)
    image = picture()
    mean, std = (torch.tensor(value)[:, None, None] for value in NORMALISED.get(kind, IMAGENET))
    with torch.no_grad():
        output = featurizer.network(((image.to_tensor() - mean) / std)[None], output_hidden_states=True)
    expected = output.hidden_states[2][0, -16:].T.reshape(24, 4, 4)
    torch.testing.assert_close(featurizer(image).data, expected, rtol=1e-4, atol=1e-4)
    last = de.load_featurizer(folders[kind], image_size=32)(image).data
    final = output.last_hidden_state[0, -16:].T.reshape(24, 4, 4)
    torch.testing.assert_close(last, final, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_keys_are_the_projection_of_the_layer(folders, kind: str) -> None:
    featurizer = de.load_featurizer(folders[kind], image_size=32, layer=1, facet="keys")
    seen = {}
    for name, part in featurizer.network.named_modules():
        if ".1." in name and name.endswith(("k_proj", ".key")):
            part.register_forward_hook(lambda m, i, o: seen.update(keys=o))
    data = featurizer(picture()).data
    torch.testing.assert_close(data, seen["keys"][0, -16:].T.reshape(24, 4, 4))
    assert not torch.equal(
        data, de.load_featurizer(folders[kind], image_size=32, layer=1, facet="values")(picture()).data
    )


@pytest.mark.parametrize("kind", KINDS)
def test_stride_makes_denser_tokens_in_the_same_places(folders, kind: str) -> None:
    image = picture((48, 32))
    if kind == "radio":
        with pytest.raises(SettingsError, match="side by side"):
            de.load_featurizer(folders[kind], stride=4)
        return
    dense = de.load_featurizer(folders[kind], image_size=32, stride=4)(image)
    plain = de.load_featurizer(folders[kind], image_size=32)(image)
    assert plain.grid_size == (6, 4) and dense.grid_size == (12, 8) and dense.image_size == (48, 32)
    if kind == "dinov3_vit":
        # The rotation of the tokens is that of a picture of 12 × 8 patches side by side.
        rotary = de.load_featurizer(folders[kind], image_size=32, stride=4).network.rope_embeddings
        expected = type(rotary).forward(rotary, torch.zeros(1, 3, 8 * 8, 12 * 8))
        torch.testing.assert_close(rotary(torch.zeros(1, 3, 32 + 4, 48 + 4)), expected)
        return
    # The position encoding is that of the stock network for a picture of 12 × 8 patches side by side.
    embeddings = de.load_featurizer(folders[kind], image_size=32, stride=4)._embeddings
    stock = de.load_featurizer(folders[kind], image_size=32)._embeddings
    tokens = torch.zeros(1, 1 + 12 * 8, 24)
    expected = type(stock).interpolate_pos_encoding(stock, tokens, 8 * 8, 12 * 8)
    torch.testing.assert_close(embeddings.interpolate_pos_encoding(tokens, 32 + 4, 48 + 4), expected)


@pytest.mark.parametrize("size", [(57, 33), (20, 90)])
def test_maps_cover_pictures_of_any_size_and_batches_equal_single_calls(folders, size) -> None:
    featurizer = de.load_featurizer(folders["dinov2"], image_size=40)
    images = [picture(size), picture(), picture(size, seed=1)]
    maps = featurizer.batch(images)
    for image, features in zip(images, maps, strict=True):
        torch.testing.assert_close(features.data, featurizer(image).data, rtol=1e-4, atol=1e-4)
        width, height = features.grid_size
        assert abs(width / height - image.size[0] / image.size[1]) < 0.15 * image.size[0] / image.size[1]


@pytest.mark.slow
def test_fusion_averages_cosines(folders, mini) -> None:
    parts = [de.load_featurizer(folders["dinov2"], image_size=48), de.load_featurizer(folders["clip"], image_size=48)]
    fused = FusedFeaturizer(parts, [3, 1])
    image = picture((60, 48))
    data = fused(image).unit.flatten(1)
    cosines = [part(image).unit.flatten(1).T @ part(image).unit.flatten(1) for part in parts]
    torch.testing.assert_close(data.T @ data, 0.75 * cosines[0] + 0.25 * cosines[1], rtol=1e-4, atol=1e-4)
    both = FusedFeaturizer([mini, parts[0]])
    assert both(image).grid_size == mini(image).grid_size
    torch.testing.assert_close(both.batch([image])[0].data, both(image).data, rtol=1e-4, atol=1e-5)
    assert both.model.id.startswith(mini.model.id) and both.fingerprint != fused.fingerprint
    assert isinstance(fused, de.Featurizer)
    with pytest.raises(ModelError, match="positive"):
        FusedFeaturizer(parts, [1, 0])
    assert de.load_featurizer(f"lite+{folders['vit']}").model.id == f"lite+{folders['vit']}"


@pytest.mark.parametrize("kind", ["vit", "dinov3_vit"])
def test_other_settings_leave_the_featurizer_as_it_was(folders, kind: str) -> None:
    image = picture((64, 48))
    featurizer = de.load_featurizer(folders[kind], image_size=48)
    before = featurizer(image).data
    for changes in ({"stride": 4}, {"layer": 0}, {"facet": "keys"}):
        other = featurizer.with_settings(**changes)
        loaded = de.load_featurizer(folders[kind], image_size=48, **changes)
        assert other.fingerprint == loaded.fingerprint != featurizer.fingerprint
        torch.testing.assert_close(other(image).data, loaded(image).data)
        torch.testing.assert_close(featurizer(image).data, before)


def test_errors_are_sentences(folders, tmp_path: Path, monkeypatch) -> None:
    for bad, words in (({"layer": 3}, "0 to 2"), ({"facet": "heads"}, "tokens, keys"), ({"stride": 9}, "use 1 to 8")):
        with pytest.raises(SettingsError, match=words):
            de.load_featurizer(folders["vit"], **bad)
    (tmp_path / "config.json").write_text('{"model_type": "radio"}')
    with monkeypatch.context() as patch, pytest.raises(ModelError, match=r"needs FutureModel, which transformers \d"):
        patch.setitem(VIT_TYPES, "radio", "FutureModel")
        de.load_featurizer(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="'bert'"):
        de.load_featurizer(tmp_path)


def test_a_convnext_gives_the_outputs_of_its_stages(tmp_path: Path) -> None:
    folder = convnext(tmp_path / "convnext")
    image = picture((96, 64))
    featurizer = de.load_featurizer(folder, image_size=64, stages=(3,))
    mean, std = (torch.tensor(value)[:, None, None] for value in IMAGENET)
    with torch.no_grad():
        output = featurizer.network(((image.to_tensor() - mean) / std)[None])
        tokens = featurizer(image).data.flatten(1).T
        last = featurizer.network.layer_norm(tokens)
    assert featurizer(image).grid_size == (3, 2)
    torch.testing.assert_close(last, output.last_hidden_state[0, 1:], rtol=1e-4, atol=1e-4)
    both = de.load_featurizer(folder, image_size=64)
    assert both(image).data.shape == (16 + 24, 4, 6) and both(image).image_size == (96, 64)
    torch.testing.assert_close(both(image).data[:16].norm(dim=0), torch.ones(4, 6))
    images = [picture((57, 33)), image, picture((57, 33), seed=1)]
    for one, features in zip(images, both.batch(images), strict=True):
        torch.testing.assert_close(features.data, both(one).data, rtol=1e-4, atol=1e-4)
    assert both.fingerprint != featurizer.fingerprint and isinstance(both, de.Featurizer)
    with pytest.raises(SettingsError, match="0, 1, 2, 3"):
        de.load_featurizer(folder, stages=(4,))
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="restore its files"):
        de.load_featurizer(folder)


def test_any_two_models_are_fused_from_the_command_line(folders, tmp_path: Path, capsys) -> None:
    from safetensors.torch import load_file

    from dift_edit.cli import main

    picture((48, 32)).save(tmp_path / "a.png")
    name = f"{folders['dinov3_vit']}:0.6+{folders['clip']}:0.4"
    arguments = ["features", str(tmp_path / "a.png"), "-o", str(tmp_path), "--model", name]
    assert main([*arguments, "--set", "image_size=32"]) == 0
    expected = FusedFeaturizer(
        [de.load_featurizer(folders[kind], image_size=32) for kind in ("dinov3_vit", "clip")], [0.6, 0.4]
    )(tmp_path / "a.png")
    torch.testing.assert_close(load_file(tmp_path / "a.safetensors")["features"], expected.data)
    assert main([*arguments[:-1], f"{name}x"]) == 2 and "positive number" in capsys.readouterr().err
