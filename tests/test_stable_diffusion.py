"""Against an independent run of the released DIFT procedure on the same weights."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import dift_edit as de
from dift_edit.errors import ModelError, SettingsError
from dift_edit.features.execution import AdaptiveBatch, is_out_of_memory
from dift_edit.features.prompts import encode_prompt
from dift_edit.features.stable_diffusion import StableDiffusionFeaturizer, StableDiffusionSettings
from toy_models import stable_diffusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stable_diffusion(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="module")
def featurizer(folder: Path) -> StableDiffusionFeaturizer:
    return StableDiffusionFeaturizer.from_pretrained(folder, prompt="a cat", image_size=64)


def picture(size: tuple[int, int] = (64, 64), seed: int = 0) -> de.Image:
    return de.as_image(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def released(featurizer, latents: torch.Tensor, noise: torch.Tensor, t: int, block: int, prompt: str) -> torch.Tensor:
    """The released procedure: noise by the betas' products, then the network's parts one by one, then the mean."""
    unet, config = featurizer.unet, json.loads((featurizer._folder / "scheduler/scheduler_config.json").read_text())
    betas = torch.linspace(config["beta_start"] ** 0.5, config["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
    kept = torch.cumprod(1 - betas, 0)[t].float()
    sample = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    text = encode_prompt(featurizer._folder, prompt).tokens.expand(len(sample), -1, -1)
    with torch.no_grad():
        time = unet.time_embedding(unet.time_proj(torch.full((len(sample),), t)))
        hidden = unet.conv_in(sample)
        skips = [hidden]
        for part in unet.down_blocks:
            given = {"encoder_hidden_states": text} if hasattr(part, "attentions") else {}
            hidden, more = part(hidden, time, **given)
            skips += more
        hidden = unet.mid_block(hidden, time, encoder_hidden_states=text)
        for index, part in enumerate(unet.up_blocks):
            count = len(part.resnets)
            own, skips = skips[-count:], skips[:-count]
            given = {"encoder_hidden_states": text} if hasattr(part, "attentions") else {}
            after = skips[-1].shape[-2:] if index < len(unet.up_blocks) - 1 else None
            hidden = part(hidden, tuple(own), time, upsample_size=after, **given)
            if index == block:
                return hidden.mean(0)
    raise AssertionError


@pytest.mark.parametrize("block", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("t", "ensemble", "size"), [(0, 1, (8, 8)), (51, 2, (9, 13)), (261, 2, (7, 10)), (261, 1, (5, 9))]
)
def test_given_latents_and_noise_equal_the_released_method(featurizer, block, t, ensemble, size) -> None:
    generator = torch.Generator().manual_seed(block)
    latents = torch.randn(ensemble, 4, *size, generator=generator)
    noise = torch.randn(ensemble, 4, *size, generator=generator)
    ours = featurizer.with_settings(timestep=t, up_block=block, ensemble=ensemble)
    result = ours.extract(picture((size[1] * 8, size[0] * 8)), latents=latents, noise=noise)
    expected = released(featurizer, latents, noise, t, block, "a cat")
    assert result.data.shape == expected.shape
    assert torch.linalg.norm(result.data - expected) <= 1e-5 * torch.linalg.norm(expected)
    assert (result.data - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_picture_is_encoded_as_the_released_code_does(featurizer) -> None:
    """Copies of the picture through the encoder, a draw of the posterior, then the noise, from one generator."""
    from diffusers import AutoencoderKL

    from dift_edit.features.base import image_seed

    image, ensemble = picture(), 3
    vae = AutoencoderKL.from_pretrained(featurizer._folder / "vae")
    pixels = torch.from_numpy(image.pixels.transpose(2, 0, 1) / 127.5 - 1).float()
    generator = torch.Generator().manual_seed(image_seed(image.digest, 5))
    with torch.no_grad():
        posterior = vae.encode(pixels.expand(ensemble, -1, -1, -1)).latent_dist
        latents = posterior.sample(generator) * 0.18215
    noise = torch.randn(latents.shape, generator=generator)
    expected = released(featurizer, latents, noise, 261, 1, "a cat")
    for ours in (featurizer.with_settings(ensemble=3)(image, seed=5), featurizer.extract(image, latents, noise)):
        torch.testing.assert_close(ours.data, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))
    mean = featurizer.with_settings(posterior="mean").extract(image, noise=noise).data
    expected = released(featurizer, posterior.mean * 0.18215, noise, 261, 1, "a cat")
    torch.testing.assert_close(mean, expected, rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_an_ensemble_is_the_mean_of_single_runs(featurizer) -> None:
    latents, noise = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    image = picture()
    both = featurizer.extract(image, latents, noise).data
    single = [featurizer.extract(image, latents[i], noise[i]).data for i in range(2)]
    torch.testing.assert_close(both, (single[0] + single[1]) / 2, rtol=0, atol=1e-5 * float(both.abs().max()))
    # One set of latents serves all noises.
    shared = featurizer.extract(image, latents[:1], noise).data
    torch.testing.assert_close(shared, featurizer.extract(image, latents[[0, 0]], noise).data)


def test_later_blocks_are_not_run_and_batches_equal_single_calls(featurizer) -> None:
    ran = []
    handle = featurizer.unet.up_blocks[2].register_forward_hook(lambda *_: ran.append(1))
    images = [picture(seed=0), picture((80, 48), seed=1), picture(seed=2)]
    alone = [featurizer.with_settings(ensemble=2)(image) for image in images]
    together = featurizer.with_settings(ensemble=2).batch(images)
    handle.remove()
    assert not ran
    for one, other in zip(alone, together, strict=True):
        assert one.image_size == other.image_size and one.digest == other.digest
        torch.testing.assert_close(one.data, other.data, rtol=0, atol=1e-4 * float(one.data.abs().max()))


@pytest.mark.parametrize(
    ("settings", "grid"),
    [
        ({"size_mode": "none", "up_block": 1}, (7, 4)),
        ({"image_size": None, "up_block": 2}, (13, 8)),
        ({"size_mode": "short", "image_size": 96}, (10, 6)),
        ({"size_mode": "short", "image_size": 80, "floor_to": 32, "up_block": 3}, (16, 8)),
        ({"image_size": 96, "up_block": 0}, (3, 3)),
        ({"image_size": 64, "up_block": (1, 2)}, (8, 8)),
    ],
)
def test_a_map_covers_a_picture_of_any_size(featurizer, settings, grid) -> None:
    features = featurizer.with_settings(ensemble=1, **settings)(picture((105, 61)))
    assert features.grid_size == grid and features.image_size == (105, 61)
    if isinstance(settings.get("up_block"), tuple):
        torch.testing.assert_close(features.data.norm(dim=0), torch.full((8, 8), 2**0.5))


def test_cleandift_takes_clean_latents_and_other_weights(folder: Path, tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel
    from safetensors.torch import save_file

    from toy_models import randomize

    other = randomize(UNet2DConditionModel.from_pretrained(folder / "unet"), seed=7)
    file = tmp_path / "clean.safetensors"
    save_file(other.state_dict(), file)
    clean = StableDiffusionFeaturizer.from_pretrained(
        folder, unet_weights=file, add_noise=False, posterior="mean", image_size=64, prompt="a cat"
    )
    image, latents = picture(), torch.randn(1, 4, 8, 8)
    assert clean.settings.draws == 1
    assert torch.equal(clean(image, seed=0).data, clean(image, seed=1).data)
    with torch.no_grad():
        seen = {}
        other.up_blocks[1].register_forward_hook(lambda m, i, o: seen.update(out=o))
        other(latents, 261, encode_prompt(folder, "a cat").tokens)
    torch.testing.assert_close(clean.extract(image, latents=latents).data, seen["out"][0], rtol=1e-4, atol=1e-4)
    assert clean.model.sha256 != StableDiffusionFeaturizer.from_pretrained(folder).model.sha256
    with pytest.raises(ModelError, match="do not fit"):
        StableDiffusionFeaturizer.from_pretrained(
            folder, unet_weights=folder / "vae/diffusion_pytorch_model.safetensors"
        )


def test_sdxl(tmp_path: Path) -> None:
    folder = stable_diffusion(tmp_path / "xl", xl=True)
    featurizer = de.load_featurizer(folder, image_size=64, ensemble=2, up_block=1, prompt="a cat")
    image, latents, noise = picture(), torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    embedding = encode_prompt(folder, "a cat")
    assert embedding.tokens.shape == (1, 12, 64) and embedding.pooled.shape == (1, 32)
    seen = {}
    handle = featurizer.unet.up_blocks[1].register_forward_hook(lambda m, i, o: seen.update(out=o))
    kept = featurizer.scheduler.alphas_cumprod[261]
    with torch.no_grad():
        featurizer.unet(
            kept.sqrt() * latents + (1 - kept).sqrt() * noise, 261, embedding.tokens.expand(2, -1, -1),
            added_cond_kwargs={
                "text_embeds": embedding.pooled.expand(2, -1),
                "time_ids": torch.tensor([[64, 64, 0, 0, 64, 64]]).expand(2, -1),
            },
        )  # fmt: skip
    handle.remove()
    result = featurizer.extract(image, latents, noise).data
    torch.testing.assert_close(result, seen["out"].mean(0), rtol=1e-4, atol=1e-4)


def test_half_precision_and_compiled_blocks_agree(folder: Path) -> None:
    image = picture()
    full = de.load_featurizer(folder, image_size=64, ensemble=1)(image)
    for dtype, tolerance in (("bfloat16", 5e-2), ("float16", 5e-3)):
        half = de.load_featurizer(folder, image_size=64, ensemble=1, dtype=dtype)
        features = half(image)
        assert features.data.dtype == torch.float32 and features.fingerprint != full.fingerprint
        error = torch.linalg.norm(features.data - full.data) / torch.linalg.norm(full.data)
        assert 0 < error < tolerance


def test_compiled_blocks_keep_hooks_and_early_stop(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    # The compiler itself takes half a minute; what matters here is what is given to it.
    monkeypatch.setattr(torch, "compile", lambda function, **_: (compiled.append(function), function)[1])
    plain, quick = (de.load_featurizer(folder, image_size=64, ensemble=1, compile=flag) for flag in (False, True))
    # Down, middle and up blocks of the U-Net, and down and middle blocks of the VAE's encoder.
    assert len(compiled) == 9 + 5 and all(function.__name__ == "forward" for function in compiled)
    torch.testing.assert_close(quick(picture()).data, plain(picture()).data, rtol=1e-4, atol=1e-4)


def test_the_text_encoder_is_run_once_a_prompt(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dift_edit.features import stable_diffusion as module

    calls = []
    monkeypatch.setattr(module, "encode_prompt", lambda *args: (calls.append(args[1]), encode_prompt(*args))[1])
    featurizer = de.load_featurizer(folder, image_size=64, ensemble=1, prompt="a photo of a {category}")
    cat = featurizer.for_category("cat")
    cat(picture())
    cat(picture(seed=1))
    other = featurizer.for_category("dog")(picture())
    featurizer.for_category("cat")(picture())
    featurizer(picture())
    assert calls == ["a photo of a cat", "a photo of a dog", ""]
    assert cat.settings.prompt == "a photo of a cat" and cat.fingerprint != featurizer.fingerprint
    assert not torch.equal(other.data, cat(picture()).data)


def test_batches_shrink_when_memory_runs_out(featurizer, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    hungry = featurizer.with_settings(ensemble=8)
    hungry._batch = AdaptiveBatch()
    expected = featurizer.with_settings(ensemble=8)(picture(), seed=1).data
    forward = featurizer.unet.forward

    def limited(sample, *args, **options):
        sizes.append(len(sample))
        if len(sample) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return forward(sample, *args, **options)

    monkeypatch.setattr(featurizer.unet, "forward", limited)
    torch.testing.assert_close(hungry(picture(), seed=1).data, expected, rtol=1e-4, atol=1e-4)
    assert sizes == [8, 4, 2, 2, 2, 2] and hungry._batch.max_batch == 2
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError("shapes differ"))
    with pytest.raises(ModelError, match="not enough memory"):
        list(AdaptiveBatch()(1, lambda part: torch.empty(1 << 45)))


def test_errors_are_sentences(folder: Path, featurizer, tmp_path: Path) -> None:
    for bad, words in (
        ({"up_block": 4}, "use 0 to 3"),
        ({"timestep": 1000}, "use 0 to 999"),
        ({"posterior": "mode"}, "sample, mean"),
        ({"up_block": ()}, "at least one"),
        ({"up_block": (1, -1)}, "use 0 or more"),
        ({"size_mode": "long"}, "square, short, none"),
        ({"ensemble": 0}, "use 1 or more"),
    ):
        with pytest.raises(SettingsError, match=words):
            featurizer.with_settings(**bad)
    with pytest.raises(ModelError, match="give"):
        featurizer.extract(picture(), latents=torch.randn(2, 4, 8, 8), noise=torch.randn(3, 4, 8, 8))
    with pytest.raises(SettingsError, match="float32, tf32, bfloat16"):
        de.load_featurizer(folder, dtype="int8")
    with pytest.raises(ModelError, match="setting"):
        de.load_featurizer(folder, colour=1)
    broken = tmp_path / "broken"
    (broken / "unet").mkdir(parents=True)
    (broken / "unet/config.json").write_text((folder / "unet/config.json").read_text())
    with pytest.raises(ModelError, match="safetensors"):
        de.load_featurizer(broken)
    settings = StableDiffusionSettings(up_block=(2,))
    assert settings.up_block == 2 and settings == StableDiffusionSettings(up_block=[2])
