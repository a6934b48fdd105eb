"""Toy-size models of the real classes with random weights, saved in the real layouts."""

import json
from pathlib import Path
from typing import Any

import torch

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def randomize(network: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights for which no part is zero or the identity, so that a mistake anywhere shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.ndim == 1:
                weight.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
            else:
                weight.copy_(noise / weight[0].numel() ** 0.5)
    return network.eval()


def stable_diffusion(folder: Path, *, xl: bool = False, channels: tuple[int, ...] | None = None) -> Path:
    """A folder as of Stable Diffusion 2.1 (or XL): U-Net, VAE, text encoder, tokenizer, scheduler."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel

    channels = channels or ((32, 64, 64) if xl else (32, 64, 64, 64))
    cross = len(channels) - 1
    down, up = ["CrossAttnDownBlock2D"] * cross + ["DownBlock2D"], ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * cross
    extra: dict[str, Any] = {}
    if xl:
        down, up = ["DownBlock2D"] + ["CrossAttnDownBlock2D"] * cross, ["CrossAttnUpBlock2D"] * cross + ["UpBlock2D"]
        extra = {
            "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 32,
        }  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=16, block_out_channels=channels, layers_per_block=2, cross_attention_dim=64 if xl else 32,
        attention_head_dim=8, norm_num_groups=8, down_block_types=tuple(down), up_block_types=tuple(up),
        use_linear_projection=True, upcast_attention=True, **extra,
    )  # fmt: skip
    randomize(unet).save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16, 16), layers_per_block=1, latent_channels=4, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, scaling_factor=0.18215,
    )  # fmt: skip
    randomize(vae, 1).save_pretrained(folder / "vae")
    PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear").save_pretrained(
        folder / "scheduler"
    )
    for suffix in ("", "_2") if xl else ("",):
        text_encoder(folder, suffix)
    return folder


def text_encoder(folder: Path, suffix: str) -> None:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    place = folder / f"tokenizer{suffix}"
    place.mkdir(parents=True)
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    (place / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    (place / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 12})
    )
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=12, projection_dim=32, bos_token_id=len(words) - 2, eos_token_id=len(words) - 1,
    )  # fmt: skip
    kind = CLIPTextModelWithProjection if suffix else CLIPTextModel
    randomize(kind(config), 2).save_pretrained(folder / f"text_encoder{suffix}")


def vision_transformer(folder: Path, kind: str) -> Path:
    """A folder of DINO ("vit"), DINOv2 ("dinov2", "dinov2_with_registers"), DINOv3 ("dinov3_vit"), "radio" or CLIP."""
    import transformers

    size = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    if kind == "vit":
        network = transformers.ViTModel(transformers.ViTConfig(**size, intermediate_size=48))
    elif kind == "dinov2":
        network = transformers.Dinov2Model(transformers.Dinov2Config(**size, mlp_ratio=2))
    elif kind == "dinov2_with_registers":
        network = transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**size, mlp_ratio=2, num_register_tokens=4)
        )
    elif kind == "dinov3_vit":
        network = transformers.DINOv3ViTModel(
            transformers.DINOv3ViTConfig(**size, intermediate_size=48, num_register_tokens=4)
        )
    elif kind == "radio":
        network = transformers.RadioModel(transformers.RadioConfig(**size, mlp_ratio=2.0, max_img_size=64))
    else:
        network = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**size, intermediate_size=48))
    randomize(network, 3).save_pretrained(folder)
    return folder


def convnext(folder: Path) -> Path:
    """A folder of DINOv3's ConvNeXt."""
    import transformers

    config = transformers.DINOv3ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 1, 2, 1])
    randomize(transformers.DINOv3ConvNextModel(config), 3).save_pretrained(folder)
    return folder
