"""Edit one photo, get the edit on all of them."""

import importlib
from typing import TYPE_CHECKING, Any

from dift_edit._version import __version__
from dift_edit.errors import DiftEditError

if TYPE_CHECKING:
    from dift_edit import viz
    from dift_edit.batch import ModelSpec, Summary, propagate, run_batch, run_job
    from dift_edit.cache import CachedFeaturizer, FeatureCache
    from dift_edit.compositing import Compositing, alpha_over
    from dift_edit.edits import Edit, PaintLayer, Sticker, edit_from_difference
    from dift_edit.features.base import FeatureMap, Featurizer
    from dift_edit.features.registry import load_featurizer
    from dift_edit.image import Image, as_image, image_digest
    from dift_edit.image_io import load_image, save_image
    from dift_edit.matching import PointMatches, match_dense, match_mutual, match_points, similarity_map
    from dift_edit.pipeline import Transfer, transfer
    from dift_edit.placement import Placement, locate
    from dift_edit.recipe import Job, load_job, save_job
    from dift_edit.settings import BatchSettings, TransferSettings
    from dift_edit.warp import warp_image

_HOMES = {
    "compositing": ["Compositing", "alpha_over"],
    "edits": ["Edit", "PaintLayer", "Sticker", "edit_from_difference"],
    "features.base": ["FeatureMap", "Featurizer"],
    "features.registry": ["load_featurizer"],
    "image": ["Image", "as_image", "image_digest"],
    "image_io": ["load_image", "save_image"],
    "matching": ["PointMatches", "match_dense", "match_mutual", "match_points", "similarity_map"],
    "cache": ["CachedFeaturizer", "FeatureCache"],
    "pipeline": ["Transfer", "transfer"],
    "placement": ["Placement", "locate"],
    "settings": ["BatchSettings", "TransferSettings"],
    "batch": ["ModelSpec", "Summary", "propagate", "run_batch", "run_job"],
    "recipe": ["Job", "load_job", "save_job"],
    "warp": ["warp_image"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BatchSettings",
    "CachedFeaturizer",
    "Compositing",
    "DiftEditError",
    "Edit",
    "FeatureCache",
    "FeatureMap",
    "Featurizer",
    "Image",
    "Job",
    "ModelSpec",
    "PaintLayer",
    "Placement",
    "PointMatches",
    "Sticker",
    "Summary",
    "Transfer",
    "TransferSettings",
    "__version__",
    "alpha_over",
    "as_image",
    "edit_from_difference",
    "image_digest",
    "load_featurizer",
    "load_image",
    "load_job",
    "locate",
    "match_dense",
    "match_mutual",
    "match_points",
    "propagate",
    "run_batch",
    "run_job",
    "save_image",
    "save_job",
    "similarity_map",
    "transfer",
    "viz",
    "warp_image",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``import dift_edit`` is quick."""
    if name == "viz":
        return importlib.import_module("dift_edit.viz")
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"dift_edit.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'dift_edit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
