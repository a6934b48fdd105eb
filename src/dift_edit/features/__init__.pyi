from .base import FeatureMap as FeatureMap
from .base import Featurizer as Featurizer
from .base import ModelInfo as ModelInfo
from .base import NoFeaturizer as NoFeaturizer
from .cache import CachedFeaturizer as CachedFeaturizer
from .cache import FeatureCache as FeatureCache
from .cache import Pca as Pca
from .cache import fit_pca as fit_pca
from .execution import AdaptiveBatch as AdaptiveBatch
from .execution import Runtime as Runtime
from .export import ExportedNetwork as ExportedNetwork
from .export import export_onnx as export_onnx
from .fusion import FusedFeaturizer as FusedFeaturizer
from .lite import LiteFeaturizer as LiteFeaturizer
from .lite import LiteSettings as LiteSettings
from .network import NetworkFeaturizer as NetworkFeaturizer
from .pixel_diffusion import PixelDiffusionFeaturizer as PixelDiffusionFeaturizer
from .pixel_diffusion import PixelDiffusionSettings as PixelDiffusionSettings
from .presets import PRESETS as PRESETS
from .registry import load_featurizer as load_featurizer
from .stable_diffusion import StableDiffusionFeaturizer as StableDiffusionFeaturizer
from .stable_diffusion import StableDiffusionSettings as StableDiffusionSettings
from .vit import VisionTransformerFeaturizer as VisionTransformerFeaturizer
from .vit import VisionTransformerSettings as VisionTransformerSettings

__all__ = [
    "AdaptiveBatch",
    "CachedFeaturizer",
    "ExportedNetwork",
    "FeatureCache",
    "FeatureMap",
    "Featurizer",
    "FusedFeaturizer",
    "LiteFeaturizer",
    "LiteSettings",
    "ModelInfo",
    "NetworkFeaturizer",
    "NoFeaturizer",
    "PRESETS",
    "Pca",
    "PixelDiffusionFeaturizer",
    "PixelDiffusionSettings",
    "Runtime",
    "StableDiffusionFeaturizer",
    "StableDiffusionSettings",
    "VisionTransformerFeaturizer",
    "VisionTransformerSettings",
    "export_onnx",
    "fit_pca",
    "load_featurizer",
]
